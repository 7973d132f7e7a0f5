"""paper.pdf: the comparison on a few pages in two columns, from the exhibits that chapter 06 has drawn."""

from __future__ import annotations

import re
import tempfile
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import nbformat

from course_utils.comparison.baselines import BASELINES
from course_utils.comparison.conclusions import judge_experiment
from course_utils.comparison.results import ExperimentRuns, evaluation_sets
from course_utils.config import Experiment
from course_utils.errors import CourseError
from course_utils.methods import CEILING, FLOOR, METHODS
from course_utils.report.abstract import abstract, finding
from course_utils.report.bind import read_settings, references, set_pdf, with_front
from course_utils.report.chapters import citation, cited, make_citations, parse_markdown
from course_utils.report.display import TEMPLATES
from course_utils.text import escape_markdown, template

CHAPTER = "06_comparison"


def build_paper(results: ExperimentRuns) -> Path:
    """Set reports/<experiment>/paper.pdf: abstract, methods, experiments, results, discussion, limits, references.

    Its words are those of templates/paper.md.jinja; figures, tables and computed sentences are those that the executed
    chapter 06 shows. Raises CourseError where that chapter was not made.
    """
    folder, notebook = results.experiment.report_folder, _notebook(results.experiment)
    if not notebook.is_file():
        raise CourseError(f"no executed notebook {CHAPTER} in {notebook.parent}; make it with ./run_all.sh")
    settings = read_settings(results.experiment)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".paper-") as name:
        scratch = Path(name)
        exhibits = read_exhibits(notebook, scratch)
        facts = _facts(results, exhibits) | {"related_work": read_section(notebook, "Related work")}
        text = template(TEMPLATES / "paper.md.jinja").render(facts)
        blocks = parse_markdown(text)
        make_citations(blocks, "the paper")
        document = with_front([*blocks, *references()], settings, {"abstract": abstract(results)})
        return set_pdf(document, settings, scratch, "paper", "paper.typ").replace(folder / "paper.pdf")


def wants_paper(experiment: Experiment) -> bool:
    """Whether reports/report.toml asks for a paper, and there is the chapter that it is made from."""
    return read_settings()["paper"] and _notebook(experiment).is_file()


def _notebook(experiment: Experiment) -> Path:
    return experiment.report_folder / "notebooks" / f"{CHAPTER}.ipynb"


def read_exhibits(notebook: Path, scratch: Path) -> dict[str, dict[str, list[str]]]:
    """Exhibit → kind ("figure", "table", "text") → what an executed notebook shows of it, as Markdown, in its order.

    An exhibit has the name by which the notebook calls it, "exhibits.accuracies". The pictures go into `scratch`.
    """
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    cells = nbformat.read(notebook, as_version=4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    for number, output in enumerate(outputs):
        course, data = output.get("metadata", {}).get("course", {}), output.get("data", {})
        of_exhibit = found[".".join(course.get("shown_by", "").split(".")[-2:])]
        match course.get("kind"):
            case "figure":
                image = f"figure-{number}.svg"
                (scratch / image).write_text(data["image/svg+xml"], encoding="utf-8")
                of_exhibit["figure"].append(f"![{escape_markdown(course['alt'])}]({image})\n\n{course['caption']}")
            case "table":
                of_exhibit["table"].append(f"{data['text/markdown']}\n\n{course['caption']}")
            case "sentences":
                of_exhibit["text"].append(data["text/markdown"])
    return found


def read_section(notebook: Path, title: str) -> str:
    """What stands below the heading `title`, in the cell of a notebook that begins with it; nothing where none does."""
    cells = nbformat.read(notebook, as_version=4).cells
    sources = (cell.source.partition("\n") for cell in cells if cell.cell_type == "markdown")
    return next((below for heading, _, below in sources if heading == f"## {title}"), "")


def _placed(
    exhibits: dict[str, dict[str, list[str]]], kind: str, name: str, number: int = 0, wide: bool = False
) -> str:
    """A figure or a table of an exhibit, over one column or both; nothing where the experiment has no such exhibit."""
    of_kind = exhibits[name][kind]
    if number >= len(of_kind):
        return ""
    return f"::::: {{.{kind}{' .wide' if wide else ''}}}\n{of_kind[number]}\n:::::\n"


def _facts(results: ExperimentRuns, exhibits: dict[str, dict[str, list[str]]]) -> dict[str, Any]:
    """What the template says, by name."""
    experiment = results.experiment
    return {
        "figure": partial(_placed, exhibits, "figure"),
        "table": partial(_placed, exhibits, "table"),
        "text": lambda name, number=0: (exhibits[name]["text"] or [""])[number],
        "exhibits": exhibits,
        "citation": citation,
        "cited": cited,
        "finding": finding(results),
        "experiment": experiment,
        "settings": _settings_of_methods(experiment),
        "methods": [METHODS[name] for name in experiment.methods],
        "floor": FLOOR,
        "ceiling": CEILING,
        "baselines": list(BASELINES.values()),
        "run": results.runs[0].result,
        "sets": evaluation_sets(results),
        "judged": judge_experiment(results),
        "missing": results.missing,
    }


def _settings_of_methods(experiment: Experiment) -> list[tuple[str, str, list[str], str]]:
    """(setting, value, methods that have this value, meaning), but for learning rates and switches that are off."""
    found: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for method in experiment.methods:
        settings = experiment.config(method).settings
        for name, field in type(settings).model_fields.items():
            value, meaning = getattr(settings, name), field.description or ""
            if name == "learning_rate" or value is False or (METHODS[method].is_baseline and value == ()):
                continue  # the paper says of full fine-tuning that it trains every weight
            clause, _, default = meaning.partition("; empty: ")
            if value == ():
                value, meaning = default, f"{re.split('[,:]', clause)[0]} (the default)"
            elif isinstance(value, tuple):
                value = ", ".join(value)
            shown = f"{value:g}" if isinstance(value, float) else "yes" if value is True else str(value)
            found[name.replace("_", " "), shown, re.split("[,:;]", meaning)[0]].append(METHODS[method].title)
    return [(name, value, titles, meaning) for (name, value, meaning), titles in found.items()]
