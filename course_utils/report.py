"""Binds the executed notebooks of an experiment into report.html and report.pdf.

nbconvert turns each notebook into Markdown, pandoc parses it, and what pandoc parsed is checked and
joined into one document, which pandoc writes as HTML and as Typst. Raw HTML, TeX and Typst are not
read at all, so whatever the data holds stays text.
"""

import datetime
import json
import os
import re
import tempfile
import tomllib
from pathlib import Path

from course_utils.display import code_block
from course_utils.errors import CourseError
from course_utils.paths import PROJECT, assets_folder, reports_folder, runs_folder

TEMPLATES = Path(__file__).parent / "templates"
BIBLIOGRAPHY = TEMPLATES / "references.bib"
API_VERSION = [1, 23, 1]
LEFT_OUT = {"hide-cell", "parameters", "injected-parameters"}

# pandoc's Markdown, read as JupyterLab reads it: nothing raw, nothing that only pandoc would see.
MARKDOWN = (
    "markdown+lists_without_preceding_blankline-blank_before_header-blank_before_blockquote"
    "-raw_html-raw_tex-raw_attribute-latex_macros-markdown_in_html_blocks-native_divs-native_spans"
    "-yaml_metadata_block-pandoc_title_block-mmd_title_block-fancy_lists-example_lists"
    "-definition_lists-line_blocks-simple_tables-multiline_tables-grid_tables-subscript-superscript"
    "-inline_notes-implicit_figures"
)


def build_report(experiment: str) -> tuple[Path, Path]:
    """Bind reports/<experiment>/notebooks into report.html and report.pdf beside them.

    Both files are replaced only once both are whole. Raises CourseError, naming the notebook, when
    one failed or did not run to its end, cites what references.bib lacks, shows a figure without
    alt text, or mentions a path of this machine.
    """
    folder = reports_folder() / experiment
    notebooks = sorted((folder / "notebooks").glob("*.ipynb"))
    if not notebooks:
        raise CourseError(
            f"no executed notebooks in {folder / 'notebooks'}; make them with ./run_all.sh"
        )
    settings = _settings()
    with tempfile.TemporaryDirectory(dir=folder, prefix=".report-") as scratch:
        scratch = Path(scratch)
        known = set(re.findall(r"^@\w+\{([^,\s]+)", BIBLIOGRAPHY.read_text("utf-8"), re.M))
        chapters = [_chapter(path, scratch, known) for path in notebooks]
        document = _joined(chapters, settings)
        html = _write_html(document, scratch)
        pdf = _write_pdf(document, settings, scratch)
        return (
            html.replace(folder / "report.html"),
            pdf.replace(folder / "report.pdf"),
        )


def _settings():
    """The title page's settings, with the date as a day."""
    path = PROJECT / "reports" / "report.toml"
    try:
        settings = tomllib.loads(path.read_text("utf-8"))
        settings = {key: str(settings[key]) for key in ("title", "subtitle", "author", "course", "date")}
        day = settings["date"]
        if day == "today":
            now = os.environ.get("SOURCE_DATE_EPOCH")
            day = datetime.datetime.fromtimestamp(int(now), datetime.UTC) if now else datetime.date.today()
            day = day.strftime("%Y-%m-%d")
        return settings | {"date": datetime.date.fromisoformat(day)}
    except FileNotFoundError:
        raise CourseError("reports/report.toml is missing; restore it with: git checkout reports/report.toml") from None
    except KeyError as error:
        raise CourseError(f'reports/report.toml lacks {error}; add the line {error.args[0]} = ""') from None
    except ValueError as error:
        raise CourseError(f'reports/report.toml: {error}; a date is "today" or like "2026-01-31"') from None


def _chapter(path, scratch, known):
    """The blocks of one notebook as pandoc parsed and this module checked them; figures go to `scratch`."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    _check_executed(notebook, path.name)
    markdown, figures = _markdown(notebook, path.stem)
    _check_paths(markdown, path.name)
    for name, content in figures.items():
        (scratch / name).write_bytes(content)
    blocks = json.loads(_pandoc(markdown, MARKDOWN, "json"))["blocks"]
    for element in _elements(blocks):
        kind, content = element["t"], element.get("c")
        if kind == "Cite":
            for citation in content[0]:
                if citation["citationId"] not in known:
                    raise CourseError(
                        f"{path.name} cites @{citation['citationId']}, which "
                        "course_utils/templates/references.bib lacks; add it there or mend the key"
                    )
        elif kind == "Image" and content[2][0] not in figures:
            raise CourseError(
                f"{path.name} shows the image {content[2][0]}, which no cell drew; "
                "draw it in a cell with show_figure(figure, caption, alt)"
            )
    if not blocks or blocks[0]["t"] != "Header" or blocks[0]["c"][0] != 1:
        raise CourseError(f"{path.name} does not begin with its title; make its first line # Title")
    return path.stem, blocks


def _check_executed(notebook, name):
    for cell in notebook.cells:
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        for output in cell.outputs:
            if output.output_type == "error":
                raise CourseError(
                    f"{name} stopped with {output.ename}: {output.evalue}; mend the notebook and run it again"
                )
        if cell.execution_count is None:
            raise CourseError(f"{name} did not run to its end; run it again with ./run_all.sh")


def _markdown(notebook, stem):
    """A notebook's Markdown, and its figures by file name."""
    from nbconvert import MarkdownExporter
    from traitlets.config import Config

    settings = Config()
    settings.TagRemovePreprocessor.enabled = True
    settings.TagRemovePreprocessor.remove_cell_tags = LEFT_OUT
    settings.TagRemovePreprocessor.remove_input_tags = {"hide-input"}
    settings.CoalesceStreamsPreprocessor.enabled = True
    settings.ExtractOutputPreprocessor.extract_output_types = {"image/svg+xml"}
    exporter = MarkdownExporter(
        config=settings,
        template_file=str(TEMPLATES / "report" / "notebook.md.j2"),
        filters={
            "code_block": code_block,
            "printed": _printed,
            "shown": lambda output: _shown(output, stem),
        },
    )
    markdown, resources = exporter.from_notebook_node(notebook, {"unique_key": stem})
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "", markdown), resources["outputs"]


def _printed(text):
    """What a cell printed, as a terminal would show it at the end: no colours, no overwritten lines."""
    from nbconvert.filters import strip_ansi

    lines = [line.rstrip("\r").rsplit("\r", 1)[-1] for line in strip_ansi(text).split("\n")]
    return code_block("\n".join(lines).rstrip(), "output")


def _shown(output, stem):
    """One displayed output as Markdown; the filter in templates/report numbers figures and tables."""
    data, course = output.data, output.metadata.get("course", {})
    match course.get("kind"):
        case "caption":
            return ""
        case "figure":
            image = output.metadata.filenames["image/svg+xml"]
            alt = course["alt"].replace("\\", "\\\\").replace('"', '\\"')
            return f'::::: figure\n![]({image}){{alt="{alt}"}}\n\n{course["caption"]}\n:::::'
        case "table":
            return f"::::: table\n{data['text/markdown']}\n\n{course['caption']}\n:::::"
    if "application/vnd.jupyter.widget-view+json" in data:
        return ""
    if any(kind.startswith("image/") for kind in data):
        raise CourseError(
            f"{stem}.ipynb shows a picture without alt text; use show_figure(figure, caption, alt)"
        )
    for kind in ("text/markdown", "text/latex"):
        if kind in data:
            return data[kind]
    text = data.get("text/plain", "")
    return "" if text.startswith("<IPython.core.display.") else _printed(text)


def _check_paths(markdown, name):
    text = markdown.replace("\\", "")
    private = {PROJECT, Path.home(), runs_folder(), assets_folder(), reports_folder(), Path(tempfile.gettempdir())}
    for path in sorted(map(str, private - {Path("/")})):
        if found := re.search(rf"(?<![\w.~-]){re.escape(path)}(?![\w.-])[^\s\"'`|)]*", text):
            raise CourseError(
                f"{name} shows the path {found[0]} of this machine; "
                "print it through course_utils.paths.relative_to_project, or hide the output"
            )


def _elements(node):
    """Every element of a pandoc syntax tree, parents first."""
    if isinstance(node, dict):
        if "t" in node:
            yield node
        node = node.get("c", list(node.values()) if "t" not in node else [])
    if isinstance(node, list):
        for child in node:
            yield from _elements(child)


def _joined(chapters, settings):
    """One pandoc document of all chapters, with identifiers and links that are unique in it."""
    starts = {stem for stem, _ in chapters}
    identifiers = set(starts)
    blocks = []
    for stem, chapter in chapters:
        headings = [element["c"] for element in _elements(chapter) if element["t"] == "Header"]
        for heading in headings:
            heading[1][0] = f"{stem}-{heading[1][0]}"
        headings[0][1][0] = stem
        identifiers |= {heading[1][0] for heading in headings}
        blocks += chapter
    for stem, chapter in chapters:
        for link in [element for element in _elements(chapter) if element["t"] == "Link"]:
            address = link["c"][2]
            if address[0].startswith(("https://", "http://", "mailto:")):
                continue
            notebook = re.fullmatch(r"(?:\./)?([\w-]+)\.ipynb(?:#.*)?", address[0])
            target = notebook[1] if notebook else f"{stem}-{address[0].removeprefix('#').lower()}"
            if target in identifiers:
                address[0] = f"#{target}"
            else:  # a file of the project, which a report alone does not hold
                link.update(t="Span", c=[["", [], []], link["c"][1]])
    meta = {key: {"t": "MetaString", "c": str(value)} for key, value in settings.items() if value}
    meta |= {
        "lang": {"t": "MetaString", "c": "en-GB"},
        "link-citations": {"t": "MetaBool", "c": True},
        "reference-section-title": {"t": "MetaString", "c": "References"},
    }
    return json.dumps({"pandoc-api-version": API_VERSION, "meta": meta, "blocks": blocks})


def _write_html(document, scratch):
    path = scratch / "report.html"
    html = _pandoc(
        document,
        "json",
        "html5",
        "--mathml",
        "--embed-resources",
        "--standalone",
        f"--template={TEMPLATES / 'report' / 'page.html'}",
        f"--css={TEMPLATES / 'report' / 'page.css'}",
        f"--resource-path={scratch}",
        "--toc",
        "--toc-depth=2",
        "--number-sections",
        "--shift-heading-level-by=1",
    )
    path.write_text(html, "utf-8")
    return path


def _write_pdf(document, settings, scratch):
    """Typst refuses what PDF/UA-1 forbids: a figure without alt text, a skipped heading level."""
    import matplotlib
    import typst
    from matplotlib.ft2font import FT2Font

    text = _pandoc(
        document, "json", "typst", "--standalone", f"--template={TEMPLATES / 'report' / 'book.typ'}"
    )
    # A character that no font has would be an error; DejaVu Sans has the most, and comes along with
    # matplotlib.
    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    drawable = FT2Font(fonts / "DejaVuSans.ttf").get_charmap().keys()
    missing = dict.fromkeys({ord(character) for character in set(text) - {"\n"}} - drawable, "\ufffd")
    source = scratch / "report.typ"
    source.write_text(text.translate(missing), "utf-8")
    path = scratch / "report.pdf"
    try:
        typst.compile(
            source,
            output=path,
            font_paths=[fonts],
            ignore_system_fonts=True,
            pdf_standards="ua-1",
            sys_inputs={key: str(value) for key, value in settings.items()},
        )
    except typst.TypstError as error:
        raise CourseError(f"the report could not be set as a PDF: {error}") from None
    return path


def _pandoc(text, source, target, *options):
    import pypandoc

    if source == "json":
        options = (
            "--citeproc",
            f"--bibliography={BIBLIOGRAPHY}",
            f"--lua-filter={TEMPLATES / 'report' / 'numbered.lua'}",
            *options,
        )
    return pypandoc.convert_text(text, target, format=source, extra_args=options, sandbox=False)
