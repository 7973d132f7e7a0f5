"""Binds the executed notebooks of an experiment into report.html and report.pdf.

Each notebook is a chapter. Before the chapters come a title page with the finding and an abstract, after
them one bibliography and an appendix. All of this is one pandoc document. Pandoc writes it as HTML and
as Typst, and Typst sets a PDF.
"""

from __future__ import annotations

import datetime
import json
import os
import shutil
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_utils.config import command_of
from course_utils.errors import CourseError
from course_utils.methods import METHODS
from course_utils.paths import BIBLIOGRAPHY, PROJECT
from course_utils.report import fonts, origins
from course_utils.report.chapters import elements, make_citations, parse_markdown, read_chapter
from course_utils.report.display import TEMPLATES
from course_utils.text import and_joined, escape_markdown

if TYPE_CHECKING:
    from course_utils.comparison.results import ExperimentRuns
    from course_utils.config import Experiment

APPENDIX = "Appendix: how these results were made"
ORIGINS = "Where the figures and sentences come from"
# The title is the page's only first-level heading.
AS_PAGE = ["--template=page.html", "--embed-resources", "--mathml", "--toc", "--toc-depth=3"]
AS_PAGE += ["--number-sections", "--shift-heading-level-by=1"]
AGAIN = (
    "The word *source* beside a figure, a table or a computed sentence leads to one of these lines. A line names the"
    " function that made what is shown, the cell by its place in the executed notebook, and the studies whose runs were"
    " read. The commits, the seeds and the command that makes the report again stand in the lists above."
)


def build_report(results: ExperimentRuns) -> tuple[Path, Path]:
    """Bind reports/<experiment>/notebooks into report.html and report.pdf beside them.

    The finding, the abstract and the appendix are made from `results`. Neither file is replaced
    before both are whole. Raises CourseError when a notebook is not fit for the report (see
    `read_chapter`), a setting is wrong, or the PDF would not be accessible.
    """
    from course_utils.report.checklist import checklist

    folder = results.experiment.report_folder
    settings = read_settings(results.experiment)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".report-") as name:
        scratch = Path(name)
        chapters, front = _chapters_and_front(results, folder, scratch)
        appendix = f"# {APPENDIX}\n\n{checklist(results)}"
        everything = json.dumps([chapters, settings, front, appendix], ensure_ascii=False, default=str)
        if said := fonts.said_of(everything):
            print(said)
            appendix += f"\n## Characters\n\n{escape_markdown(said)}\n"
        chapters["appendix"] = parse_markdown(appendix)
        make_citations(chapters["appendix"], "the appendix")
        chapters["appendix"] += _origins(chapters, results.experiment)
        document = _joined(chapters, settings, front)
        html = scratch / "report.html"
        html.write_text(_pandoc(document, "html5", scratch, *AS_PAGE), "utf-8")
        pdf = set_pdf(document, settings, scratch, "report", "book.typ")
        return html.replace(folder / "report.html"), pdf.replace(folder / "report.pdf")


def _chapters_and_front(results: ExperimentRuns, folder: Path, scratch: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Name → blocks of every chapter, whose figures go to `scratch`; and what stands on the title page."""
    if not results.experiment.classifies:
        from course_utils.report.language import language_chapter, language_front

        blocks = parse_markdown(language_chapter(results, scratch))
        make_citations(blocks, "the chapter on language models")
        return {"language": blocks}, language_front(results)
    from course_utils.report.abstract import abstract, finding

    front = {"finding": finding(results), "abstract": abstract(results)}
    return {path.stem: read_chapter(path, scratch) for path in executed_notebooks(results.experiment)}, front


def executed_notebooks(experiment: Experiment) -> list[Path]:
    """The executed notebooks of a report, in order; CourseError where there is none."""
    folder = experiment.report_folder / "notebooks"
    if found := sorted(folder.glob("*.ipynb")):
        return found
    raise CourseError(f"no executed notebooks in {folder}; make them with {command_of(experiment)}")


def write_cards(results: ExperimentRuns) -> None:
    """Write the card of every adapter of `results` again, now with its method's row of the comparison.

    A run that was restored from published records has no adapter, and so no card.
    """
    from course_utils.comparison.tables import readable_summary, summary_table
    from course_utils.training.card import write_card

    adapters = [run for run in results.runs if not run.method.is_baseline and (run.folder / "adapter").is_dir()]
    compared: dict[tuple[str, str], dict[str, str]] = {}
    for study in {run.config.study for run in adapters if run.config.final and results.experiment.classifies}:
        summary = summary_table(results, study)
        rows = readable_summary(summary).to_dict("records")
        compared |= {(study, method): row for method, row in zip(summary["method"], rows, strict=True)}
    for run in adapters:
        write_card(run, results.experiment, compared.get((run.config.study, run.config.method)))


def read_settings(experiment: Experiment | None = None) -> dict[str, Any]:
    """Title, subtitle, author, course and date of reports/report.toml, the date as a date, and whether to set a paper.

    In the title and the subtitle, {methods} becomes the names of the adapter methods of `experiment`, and {experiment}
    its own.
    "today" is the day of SOURCE_DATE_EPOCH where that is set, so that a report can be made again to
    the byte. Raises CourseError when the file or a setting is missing or wrong.
    """
    path = PROJECT / "reports" / "report.toml"
    try:
        found = tomllib.loads(path.read_text("utf-8"))
        names = ("title", "subtitle", "author", "course", "date")
        settings: dict[str, Any] = {name: found[name] for name in names}
        for name, value in settings.items():
            settings[name] = and_joined(list(map(str, value))) if value and isinstance(value, list) else str(value)
        settings |= {"paper": found.get("paper", False)}
        if not isinstance(settings["paper"], bool):
            raise CourseError(f"reports/report.toml: paper is {settings['paper']!r}; write paper = true or false")
        day = _today() if settings["date"] == "today" else datetime.date.fromisoformat(settings["date"])
    except FileNotFoundError:
        raise CourseError("reports/report.toml is missing; restore it: git checkout reports/report.toml") from None
    except KeyError as error:
        name = error.args[0]
        raise CourseError(f'reports/report.toml lacks {name}; add the line {name} = ""') from None
    except tomllib.TOMLDecodeError as error:
        raise CourseError(f'reports/report.toml: {error}; write a setting as name = "value"') from None
    except ValueError as error:  # of the date
        raise CourseError(f'reports/report.toml: {error}; write a date as "today" or "2026-01-31"') from None
    compared = experiment.methods if experiment else []
    named = and_joined([METHODS[name].title for name in compared if not METHODS[name].is_baseline] or ["no adapter"])
    words = {"{methods}": named, "{experiment}": experiment.name if experiment else ""}
    filled = {name: settings[name] for name in ("title", "subtitle")}
    for mark, word in words.items():
        filled = {name: value.replace(mark, word) for name, value in filled.items()}
    return settings | filled | {"date": day}


def _today() -> datetime.date:
    """The day of SOURCE_DATE_EPOCH where that is set."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if not epoch:
        return datetime.date.today()
    try:
        return datetime.datetime.fromtimestamp(int(epoch), datetime.UTC).date()
    except (ValueError, OverflowError, OSError):
        raise CourseError(f"SOURCE_DATE_EPOCH is {epoch!r}; set it to the seconds since 1970, or unset it") from None


def _origins(chapters: dict[str, list[Any]], experiment: Experiment) -> list[dict]:
    """The page to which the marks of all `chapters` lead: an entry for each, under the titles of the chapters."""
    blocks, titles = parse_markdown(f"## {ORIGINS}\n\n{AGAIN}"), set()
    blocks.append({"t": "RawBlock", "c": ["typst", "#set text(size: 9pt)\n#set par(spacing: 0.55em)"]})  # to the end
    marked = origins.resolve([*elements([*chapters.values()], "Link")])
    for origin in marked:
        if origin.chapter not in titles:
            titles.add(origin.chapter)
            title = {"t": "Para", "c": [{"t": "Strong", "c": chapters[origin.chapter][0]["c"][2]}]}
            blocks.append(title)
        blocks.append({"t": "Div", "c": [[origin.anchor, [], []], parse_markdown(origins.entry(origin, experiment))]})
    return blocks if marked else []


def _joined(chapters: dict[str, list[Any]], settings: dict[str, Any], front: dict[str, str]) -> str:
    """One pandoc document of it all, with identifiers and links that are unique in it."""
    for heading in elements(chapters["appendix"], "Header"):
        heading["c"][1][1].append("unnumbered")
    identifiers: set[str] = set()
    for stem, blocks in chapters.items():
        headings = [heading["c"] for heading in elements(blocks, "Header")]
        for heading in headings:
            heading[1][0] = f"{stem}-{heading[1][0]}"
        headings[0][1][0] = stem
        identifiers |= {heading[1][0] for heading in headings}
    for stem, blocks in chapters.items():
        for link in elements(blocks, "Link"):
            address = link["c"][2]
            if address[0].startswith(("https://", "http://", "mailto:", f"#{origins.PREFIX}")):
                continue
            chapter, _, section = address[0].removeprefix("./").partition("#")
            target = chapter.removesuffix(".ipynb") or stem
            target += f"-{section.lower()}" if section else ""
            if target in identifiers:
                address[0] = f"#{target}"
            else:  # a file of the project, which a report alone does not hold
                link.update(t="Span", c=[["", [], []], link["c"][1]])
    *parts, appendix = chapters.values()
    return with_front([block for part in (*parts, references(), appendix) for block in part], settings, front)


def references() -> list[dict]:
    """The heading of the references, and where pandoc puts the entries."""
    return [*parse_markdown("# References {.unnumbered}"), {"t": "Div", "c": [["refs", [], []], []]}]


def with_front(blocks: list[dict], settings: dict[str, Any], front: dict[str, str]) -> str:
    """A pandoc document of `blocks`; `settings` and the paragraphs of `front` are its metadata."""
    day = settings["date"]
    meta = settings | {"day": f"{day.day} {day:%B %Y}", "lang": "en-GB"}
    meta = {name: {"t": "MetaString", "c": str(value)} for name, value in meta.items() if value}
    meta |= {name: {"t": "MetaBlocks", "c": parse_markdown(text)} for name, text in front.items()}
    meta["link-citations"] = {"t": "MetaBool", "c": True}
    return json.dumps({"pandoc-api-version": [1, 23, 1], "meta": meta, "blocks": blocks})


def set_pdf(document: str, settings: dict[str, Any], scratch: Path, name: str, look: str) -> Path:
    """Set `document` as name.pdf, by the template `look`, in `scratch`.

    Raises CourseError where Typst refuses the document, as it does what PDF/UA-1 forbids: a figure without alt text, a
    skipped heading level.
    """
    import typst

    text = _pandoc(document, "typst", scratch, f"--template={look}")
    source = scratch / f"{name}.typ"
    source.write_text(fonts.printable(text), "utf-8")  # Typst also refuses a character that no font has
    inputs = {name: fonts.printable(str(value)) for name, value in settings.items()}
    path = scratch / f"{name}.pdf"
    try:
        typst.compile(  # type: ignore[call-overload]  # its stub lags behind and knows no ua-1
            source,
            output=path,
            font_paths=fonts.folders(),
            ignore_system_fonts=True,
            pdf_standards="ua-1",
            sys_inputs=inputs | {"fonts": ",".join(fonts.families(text))},
        )
    except typst.TypstError as error:
        raise CourseError(f"{name}.pdf could not be set: {error}; mend the notebook with this fault") from None
    return path


def _pandoc(document: str, target: str, scratch: Path, *options: str) -> str:
    """`document` as pandoc writes it, working in `scratch`: in LC_ALL=C it reads no path with letters beyond ASCII."""
    import pypandoc

    for file in (BIBLIOGRAPHY, *TEMPLATES.iterdir()):
        shutil.copy(file, scratch)
    arguments = ["--standalone", "--citeproc", f"--bibliography={BIBLIOGRAPHY.name}", "--lua-filter=numbered.lua"]
    return pypandoc.convert_text(document, target, "json", extra_args=[*arguments, *options], cworkdir=str(scratch))
