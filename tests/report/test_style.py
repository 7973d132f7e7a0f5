"""The notebooks as a book, held to the same few rules.

A line of code is a line of a code cell that is not blank; a word of prose is what spaces part in a Markdown cell, the
address behind a link left out.
"""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from statistics import median

import nbformat
import pytest
from ipykernel.kernelspec import get_kernel_dict

from course_utils.methods import METHODS
from course_utils.paths import PROJECT
from course_utils.report.chapters import (
    BIBLIOGRAPHY,
    LEFT_OUT,
    TEMPLATES,
    cited_keys,
    make_citations,
    papers,
    parse_markdown,
)

NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.ipynb"))
NOT_SHOWN = LEFT_OUT | {"hide-input"}
OWN_PATHS = re.compile(r"(?<![\w.~/:-])/(home|root|tmp|work|Users|mnt|opt|var)/\w|[A-Z]:\\")


@cache
def read(path):
    return nbformat.read(path, as_version=4)


def cells(notebook, kind):
    return [cell for cell in notebook.cells if cell.cell_type == kind]


def tags(cell):
    return set(cell.metadata.get("tags", []))


def prose(notebook):
    """The Markdown of a notebook, fenced code left out."""
    return re.sub(r"```.*?```", "", "\n\n".join(cell.source for cell in cells(notebook, "markdown")), flags=re.S)


def headings(notebook):
    """(level, title) of every heading, in reading order."""
    return [(len(marks), title) for marks, title in re.findall(r"^(#+) (.+)$", prose(notebook), re.M)]


def section(notebook, title):
    """The cells of the section `title`, from that which holds its heading to the next of the same level."""
    starts = [i for i, cell in enumerate(notebook.cells) if re.match(r"## ", cell.source)] + [len(notebook.cells)]
    for start, end in zip(starts, starts[1:], strict=False):
        if notebook.cells[start].source.startswith(f"## {title}"):
            return notebook.cells[start:end]
    return []


def measures(notebook):
    """What is measured of a notebook: name → number."""
    code = cells(notebook, "code")
    lines = [sum(bool(line.strip()) for line in cell.source.splitlines()) for cell in code]
    words = len(re.sub(r'\]\(\S+( "@\w+")?\)', "]", prose(notebook)).split())  # not where a link leads
    return {
        "code cells": len(code),
        "median lines": median(lines),
        "longest cell": max(lines),
        "words a line": words / sum(lines),
    }


LIMITS = {"code cells": (1, 45), "median lines": (1, 8), "longest cell": (1, 40), "words a line": (5, 10)}
OF_COMPARISON = {"words a line": (4, 12)}  # most of its lines call an exhibit, which its prose explains


each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@each_notebook
def test_cells_are_short_and_prose_and_code_in_balance(path):
    found = measures(read(path))
    limits = LIMITS | (OF_COMPARISON if path.stem == "06_comparison" else {})
    for name, (low, high) in limits.items():
        value = found[name]
        assert low <= value <= high, f"{path.name}: {name} {value:.3g}, must be {low} to {high}"


@each_notebook
def test_it_opens_with_a_title_and_what_one_must_know_and_no_level_is_skipped(path):
    found = headings(read(path))
    levels = [level for level, _ in found]
    assert levels[0] == 1 and levels.count(1) == 1, f"{path.name}: headings of level 1: {levels.count(1)}, must be one"
    for (above, _), (below, title) in zip(found, found[1:], strict=False):
        assert below <= above + 1, f"{path.name}: {title!r} has level {below} below level {above}"
    opening = read(path).cells[0].source.partition("\n")[2]
    assert "This chapter" in opening or "This one" in opening, f"{path.name}: the opening does not say what it shows"
    assert re.search(r"[Yy]ou need to|of \w+ you need|You do not need", opening), f"{path.name}: what must one know?"


@each_notebook
def test_it_closes_with_summary_exercises_and_references(path):
    notebook = read(path)
    titles = [title for level, title in headings(notebook) if level == 2]
    closing = ["Summary", "Exercises", "References"]
    found = [title for title in titles if title in closing]
    assert found == closing, f"{path.name}: closes with {found}, must with {closing}"
    exercises = section(notebook, "Exercises")
    questions = re.findall(r"^\*\*(\d)\. ", "\n".join(c.source for c in exercises if c.cell_type == "markdown"), re.M)
    assert questions == ["1", "2", "3"], f"{path.name}: exercises {questions}, must be three"
    asked = exercises if "**1. " in exercises[0].source else exercises[1:]  # the heading may stand alone
    shape = [cell.cell_type for cell in asked]
    assert shape == ["markdown", "code"] * 3, f"{path.name}: a question and its solution must take turns: {shape}"
    for number, cell in enumerate(asked[1::2], start=1):
        where = f"{path.name}: solution {number}"
        folded = cell.metadata.get("jupyter", {}).get("source_hidden")
        assert "solution" in tags(cell) and folded, f"{where} must be tagged solution, and folded"
        assert any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(cell.source))), f"{where} proves nothing"


def test_citations_are_links_that_say_what_the_bibliography_says():
    texts = {path: prose(read(path)) for path in NOTEBOOKS}
    texts |= {path: path.read_text("utf-8") for path in TEMPLATES.glob("*.md.jinja")}
    for path, text in texts.items():
        make_citations(parse_markdown(text), path.name)


@each_notebook
def test_claims_about_papers_are_cited(path):
    first_authors = re.findall(r"author=\{([^,]+),", BIBLIOGRAPHY.read_text("utf-8"))
    of_a_paper = re.compile(rf"\b([Pp]apers?|published (at|as|result)|{'|'.join(first_authors)})\b")
    for paragraph in prose(read(path)).split("\n\n"):
        bare = of_a_paper.search(paragraph) and ' "@' not in paragraph and not paragraph.startswith("#")
        assert not bare, f"{path.name}: speaks of a paper and cites none: {paragraph[:200]}…"


@each_notebook
def test_every_figure_has_a_caption_and_an_alt_text(path):
    for cell in cells(read(path), "code"):
        tree = ast.parse(cell.source)
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        shown = [call for call in calls if ast.unparse(call.func) == "show_figure"]
        within = {id(node) for call in shown for node in ast.walk(call)}
        for call in calls:
            name = ast.unparse(call.func)
            lost = name.startswith(("plots.", "plt.", "sns.")) and id(call) not in within or name == "display"
            assert not lost, f"{path.name}: {name} is shown without show_figure(figure, caption, alt)"
        for call in shown:
            assert len(call.args) == 3, f"{path.name}: show_figure has {len(call.args)} arguments, must have 3"


@each_notebook
def test_it_is_committed_clean(path):
    notebook = read(path)
    identifiers = [cell.id for cell in notebook.cells]
    assert len(identifiers) == len(set(identifiers)), f"{path.name}: cells share an id"
    for cell in notebook.cells:
        found = OWN_PATHS.search(cell.source)
        assert not found, f"{path.name}: shows the path {found[0]}… of a machine"
    for cell in cells(notebook, "code"):
        assert not cell.outputs and cell.execution_count is None, f"{path.name}: holds outputs; clear them"


@each_notebook
def test_it_opens_unmodified_with_its_plumbing_folded(path):
    nbformat.validate(notebook := read(path))
    assert path.read_text("utf-8") == nbformat.writes(notebook) + "\n", f"{path.name}: saving it would change it"
    kernel = {"name": "python3"} | {name: get_kernel_dict()[name] for name in ("display_name", "language")}
    assert notebook.metadata.kernelspec == kernel, f"{path.name}: JupyterLab would write {kernel} into it"
    for cell in cells(notebook, "code"):
        folded = cell.metadata.get("jupyter", {}).get("source_hidden", False)
        plumbing = bool(tags(cell) & NOT_SHOWN - {"parameters"})
        assert folded == plumbing, f"{path.name}: set source_hidden of cell {cell.id} to {str(plumbing).lower()}"


def test_everything_in_the_bibliography_is_cited():
    in_chapters = {key for path in NOTEBOOKS for key in cited_keys(read(path))}
    written = [path for kind in ("*.py", "*.jinja") for path in (PROJECT / "course_utils").rglob(kind)]
    in_package = "\n".join(path.read_text("utf-8") for path in written)
    in_cards = {method.citation for method in METHODS.values()}
    idle = [key for key in papers() if key not in in_chapters | in_cards and key not in in_package]
    assert not idle, f"references.bib: nothing cites {', '.join(idle)}"


def test_the_cell_for_colab_sets_up_there_and_does_nothing_elsewhere(tmp_path, monkeypatch):
    [cell] = [cell for path in NOTEBOOKS for cell in read(path).cells if "only-colab" in cell.metadata.get("tags", [])]
    monkeypatch.chdir(tmp_path)
    done = []

    def run(command, check):
        done.append([str(word) for word in command])
        (tmp_path / "course").mkdir(exist_ok=True)

    monkeypatch.setattr(subprocess, "run", run)
    exec(cell.source, {})
    assert not done and Path.cwd() == tmp_path
    monkeypatch.setitem(sys.modules, "google.colab", None)
    exec(cell.source, {})
    assert [command[0] for command in done] == ["git", sys.executable, sys.executable]
    assert (PROJECT / Path(done[1][-1]).name).is_file() and Path.cwd() == tmp_path / "course"
