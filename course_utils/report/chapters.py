"""The notebooks, and how an executed one is read as a chapter of the report: checked, and parsed by pandoc.

nbconvert turns the notebook into Markdown, and pandoc parses the Markdown. Raw HTML, TeX and Typst are
not read at all, so whatever the data holds stays text.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from course_utils.errors import CourseError
from course_utils.inputs.facts import Facts
from course_utils.methods import METHODS
from course_utils.paths import BIBLIOGRAPHY, PROJECT, assets_folder, reports_folder, runs_folder
from course_utils.report import origins
from course_utils.report.display import TEMPLATES, show_markdown
from course_utils.text import NO_TEXT, code_block, escape_markdown

if TYPE_CHECKING:
    from nbformat import NotebookNode

NOTEBOOKS = PROJECT / "notebooks"
LEFT_OUT = {"hide-cell", "parameters", "injected-parameters", "solution"}

# pandoc's Markdown, read as JupyterLab reads it: nothing raw, nothing that only pandoc would see.
MARKDOWN = (
    "markdown+lists_without_preceding_blankline-blank_before_header-blank_before_blockquote"
    "-raw_html-raw_tex-raw_attribute-latex_macros-markdown_in_html_blocks-native_divs-native_spans"
    "-yaml_metadata_block-pandoc_title_block-mmd_title_block-fancy_lists-example_lists"
    "-definition_lists-line_blocks-simple_tables-multiline_tables-grid_tables-subscript-superscript"
    "-inline_notes-implicit_figures"
)


def notebook_names(methods: list[str]) -> list[str]:
    """Names of the numbered notebooks, without those of methods that are not in `methods`."""
    names = sorted(path.stem for path in NOTEBOOKS.glob("[0-9]*_*.ipynb"))
    return [name for name in names if subject(name) not in METHODS or subject(name) in methods]


def subject(name: str) -> str:
    """What the notebook `name` is about: "02_lora" is about "lora"."""
    return name.partition("_")[2]


def read_chapter(path: Path, figures_folder: Path) -> list[dict]:
    """The blocks of pandoc's syntax tree of one executed notebook; its figures go to a folder.

    Raises CourseError, naming the notebook, when it failed or did not run to its end, has no title,
    cites otherwise than `make_citations` reads, shows a picture without alt text or a path of this machine.
    """
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    _check_executed(notebook, path.name)
    markdown, figures = _markdown(notebook, path.name)
    _check_paths(markdown, path.name)
    for name, content in figures.items():
        (figures_folder / name).write_bytes(content)
    blocks = parse_markdown(markdown)
    for div in elements(blocks, "Div"):
        if "document" in div["c"][0][1]:
            for heading in elements(div, "Header"):
                heading.update(t="Para", c=[{"t": "Strong", "c": heading["c"][2]}])
    make_citations(blocks, path.name)
    for image in elements(blocks, "Image"):
        if image["c"][2][0] not in figures:
            raise CourseError(
                f"{path.name} shows the image {image['c'][2][0]}, which no cell drew; "
                "draw it in a cell with show_figure(figure, caption, alt)"
            )
    if not blocks or blocks[0]["t"] != "Header" or blocks[0]["c"][0] != 1:
        raise CourseError(f"{path.name} does not begin with its title; make its first line # Title")
    return blocks


def parse_markdown(text: str) -> list[dict]:
    """The blocks of pandoc's syntax tree of Markdown, in which nothing raw is read."""
    import pypandoc

    return json.loads(pypandoc.convert_text(text, "json", format=MARKDOWN))["blocks"]


def cited_keys(notebook: NotebookNode) -> list[str]:
    """Keys of references.bib that a notebook cites, each once, in reading order."""
    text = "\n".join(cell.source for cell in notebook.cells)
    return [key for key in dict.fromkeys(re.findall(r"@([a-z]\w*)", text)) if key in papers()]


class Paper(NamedTuple):
    """An entry of references.bib as a citation shows it."""

    authors: str
    year: int
    address: str

    def forms(self) -> tuple[str, str]:
        """What a citation says in parentheses, and what it says within a sentence."""
        return f"({self.authors}, {self.year})", f"{self.authors} ({self.year})"


@cache
def papers() -> dict[str, Paper]:
    """Key of references.bib → its entry."""
    import pypandoc

    found = {}
    text = BIBLIOGRAPHY.read_text("utf-8")
    for entry in json.loads(pypandoc.convert_text(text, "csljson", format="biblatex")):
        first, *others = [author.get("family") or author["literal"] for author in entry["author"]]
        pair = len(others) == 1 and others != ["others"]
        authors = f"{first} and {others[0]}" if pair else f"{first} et al." if others else first
        address = entry.get("URL") or f"https://doi.org/{entry['DOI']}"
        found[entry["id"]] = Paper(authors, entry["issued"]["date-parts"][0][0], address)
    return found


def citation(key: str) -> str:
    """The Markdown that cites `key`: a link to the paper with authors and year, whose title is the key."""
    paper = papers()[key]
    return f'[{paper.forms()[0]}]({paper.address} "@{key}")'


def cited(facts: Facts) -> str:
    """The Markdown that cites the papers on data or a base model, for the place behind its name."""
    return "".join(f" {citation(key)}" for key in facts.citations)


def make_citations(blocks: list[dict], name: str) -> None:
    """Turn the links to papers in pandoc's `blocks` into pandoc's citations.

    A link whose title is a key, as `citation` writes it, is a link to a paper. Raises CourseError, naming the notebook
    `name`, where references.bib lacks the key or says otherwise, and where a citation has a form that JupyterLab does
    not show as a link.
    """
    for cite in elements(blocks, "Cite"):
        for cited in cite["c"][0]:
            _check_key(key := cited["citationId"], name)
            shown = "in a form that JupyterLab does not turn into a link"
            raise CourseError(f"{name} cites @{key} {shown}; type {citation(key)} and run it again")
    for link in elements(blocks, "Link"):
        _, words, (address, title) = link["c"]
        if not title.startswith("@"):
            continue
        _check_key(key := title[1:], name)
        said, paper = "".join(word["c"] if word["t"] == "Str" else " " for word in words), papers()[key]
        said = said.replace("\N{NO-BREAK SPACE}", " ")  # which pandoc puts behind an abbreviation
        if said not in paper.forms() or address != paper.address:
            within = f"or {paper.forms()[1]} within a sentence"
            raise CourseError(f"{name} cites {title} as [{said}]({address}); type {citation(key)}, {within}")
        mode = "NormalCitation" if said == paper.forms()[0] else "AuthorInText"
        about = {"citationPrefix": [], "citationSuffix": [], "citationNoteNum": 0, "citationHash": 0}
        link.update(t="Cite", c=[[about | {"citationId": key, "citationMode": {"t": mode}}], words])


def show_references(name: str) -> None:
    """Show what the notebook `name` cites as a list, in the order of the authors; the report has one list for all."""
    import nbformat
    import pypandoc

    keys = cited_keys(nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4))
    nocite = "---\nnocite: '" + ", ".join(f"@{key}" for key in keys) + "'\n---\n"
    options = ["--citeproc", f"--bibliography={BIBLIOGRAPHY.name}", "--wrap=none"]
    folder = str(BIBLIOGRAPHY.parent)  # in LC_ALL=C pandoc reads no path with letters beyond ASCII
    listed = pypandoc.convert_text(nocite, "gfm-raw_html", format="markdown", extra_args=options, cworkdir=folder)
    show_markdown("\n".join(f"- {entry}" for entry in listed.strip().split("\n\n")))


def elements(node: Any, kind: str) -> Iterator[dict]:
    """Every element of one kind in a part of pandoc's syntax tree, in reading order."""
    if isinstance(node, dict):
        if node.get("t") == kind:
            yield node
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from elements(child, kind)


def _check_executed(notebook: NotebookNode, name: str) -> None:
    unfinished = f"{name} did not run to its end; run it again with ./run_all.sh"
    if notebook.metadata.get("papermill", {"end_time": ""})["end_time"] is None:
        raise CourseError(unfinished)
    for cell in notebook.cells:
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        for output in cell.outputs:
            if output.output_type == "error":
                problem = f"{name} stopped with {output.ename}: {output.evalue}"
                raise CourseError(f"{problem}; mend the notebook and run it again")
        if cell.execution_count is None:
            raise CourseError(unfinished)


def _check_key(key: str, name: str) -> None:
    if key not in papers():
        raise CourseError(
            f"{name} cites @{key}, which course_utils/references.bib lacks; "
            r"add the entry, correct the key, or write \@ for a plain @"
        )


def _check_paths(markdown: str, name: str) -> None:
    text = markdown.replace("\\", "")
    folders = {PROJECT, runs_folder(), assets_folder(), reports_folder()}
    folders |= {Path.home(), Path(tempfile.gettempdir())}
    for folder in sorted(map(str, folders - {Path("/")}), reverse=True):
        found = re.search(rf"(?<![\w.~-]){re.escape(folder)}(?![\w.-])[^\s\"'`|)]*", text)
        if found:
            raise CourseError(
                f"{name} shows the path {found[0]} of this machine; "
                "print it through course_utils.paths.relative_to_project, or hide the output"
            )


def _markdown(notebook: NotebookNode, name: str) -> tuple[str, dict[str, bytes]]:
    """A notebook's Markdown, and its figures' bytes by file name."""
    from nbconvert import MarkdownExporter
    from traitlets.config import Config

    tags = {"enabled": True, "remove_cell_tags": LEFT_OUT, "remove_input_tags": {"hide-input"}}
    settings = {
        "TagRemovePreprocessor": tags,
        "CoalesceStreamsPreprocessor": {"enabled": True},
        "ExtractOutputPreprocessor": {"extract_output_types": {"image/svg+xml"}},
    }
    exporter = MarkdownExporter(
        config=Config(settings),
        template_file=str(TEMPLATES / "notebook.md.j2"),
        filters={"code_block": code_block, "printed": _printed, "shown": partial(_shown, name)},
    )
    markdown, resources = exporter.from_notebook_node(notebook, {"unique_key": name.removesuffix(".ipynb")})
    return re.sub(f"[{NO_TEXT}]", "", markdown), resources["outputs"]


def _printed(text: str) -> str:
    """What a cell printed, without colours; CoalesceStreamsPreprocessor has left out what was overwritten."""
    from nbconvert.filters import strip_ansi

    return code_block(strip_ansi(text).rstrip(), "output")


def _shown(name: str, output: NotebookNode, cell: NotebookNode) -> str:
    """One displayed output of a cell as Markdown; templates/numbered.lua makes figures and tables."""
    data, course = output.data, output.metadata.get("course", {})
    mark = origins.mark(name.removesuffix(".ipynb"), cell.execution_count, course.get("shown_by", ""))
    match course.get("kind"):
        case "caption":
            return ""
        case "figure":
            image = output.metadata.filenames["image/svg+xml"]
            body = f"![{escape_markdown(course['alt'])}]({image})"
            return f"::::: figure\n{body}\n\n{course['caption']}{mark}\n:::::"
        case "table":
            return f"::::: table\n{data['text/markdown']}\n\n{course['caption']}{mark}\n:::::"
        case "sentences" if origins.is_computed(course):
            return f"{data['text/markdown'].rstrip()}{mark}"
        case "document":
            return f"::::: document\n{data['text/markdown']}\n\n:::::"
    if "application/vnd.jupyter.widget-view+json" in data:
        return ""
    if any(kind.startswith("image/") for kind in data):
        raise CourseError(f"{name} shows a picture without alt text; use show_figure(figure, caption, alt)")
    if "text/markdown" in data:
        return data["text/markdown"]
    text = data.get("text/plain", "")
    return "" if text.startswith("<IPython.core.display.") else _printed(text)
