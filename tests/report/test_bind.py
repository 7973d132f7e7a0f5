"""The report: what of the notebooks is in it, what is not, and when there is none."""

import datetime
import json
import re

import html5lib
import nbformat
import numpy as np
import pandas as pd
import pytest
import typst
from nbclient import NotebookClient
from nbformat.v4 import (
    new_code_cell,
    new_markdown_cell,
    new_notebook,
    new_output,
)
from PIL import Image
from small import ADAPTER, HEAD, MULTIPLIED
from test_display import AS_SHOWN, HOSTILE

from course_utils.__main__ import main
from course_utils.comparison.results import ExperimentRuns, MissingRun
from course_utils.config import RunConfig, load_experiment
from course_utils.errors import CourseError
from course_utils.inputs.splits import Data
from course_utils.paths import PROJECT
from course_utils.report import bind, dependence, display, origins
from course_utils.report.chapters import citation, elements, parse_markdown
from course_utils.workflow import start

pytestmark = pytest.mark.slow

HTML = "{http://www.w3.org/1999/xhtml}"
MATH = "{http://www.w3.org/1998/Math/MathML}"

FIRST = """# Sentences & labels
What it shows HUTTO, as [HiRA](05_hira.ipynb#proof) does.[^1]
- see [below](#Proof) and [a file](../docs/contract.md)

[^1]: The first note.

## Proof
Raw <script>alert(1)</script> <b>bold</b> \\input{x} #read("x") [go](javascript:alert) 🦄.

| a | b |
|---|--:|
| x | 1 |
""".replace("HUTTO", citation("hutto2014vader"))
HIRA = """# HiRA
After HUANG, $\\Delta W = W_0 \\odot BA$, and[^1]

$$\\hat W = W_0 \\odot (1 + BA), \\quad g \\leftarrow \\max(|g| - \\|\\Delta W\\|_F, 0)$$

[^1]: The second note.

## Proof
Done.""".replace("HUANG", citation("huang2025hira"))
DRAW = (
    f"hostile = {HOSTILE!r}"
    + """
import matplotlib, sys
matplotlib.use("agg")
import matplotlib.pyplot as plt, pandas as pd
from course_utils.text import escape_markdown
from course_utils.report.display import show_document
from course_utils.report.display import show_figure
from course_utils.report.display import show_markdown
from course_utils.report.display import show_table
figure, axes = plt.subplots(figsize=(12, 3)); axes.plot([1, 2])
paper = '[(Hu et al., 2022)](https://arxiv.org/abs/2106.09685 "@hu2022lora")'
show_figure(figure, f"A line of $W_0$, see {paper}.", 'It "rises" \\\\ to 2.')
show_table(pd.DataFrame({"text": hostile, "n": range(len(hostile))}), "Hostile.")
show_markdown(escape_markdown(" / ".join(hostile)))
print("\\n".join(hostile))
for width in (10, 24):
    show_table(pd.DataFrame({f"metric_{i}": ["unbreakable"] for i in range(width)}), "Wide.")
show_document("---\\nlicense: mit\\n---\\n# A card\\n\\n## Uses\\nFew.\\n\\n| a |\\n|---|\\n| 1 |")
sys.stderr.write("warning debris")
print("10%\\r100%\\nprinted", "long" * 60)"""
)
CODE = f"assert True  # {'comment ' * 20}{'x' * 150}"


def tagged(cell, tag):
    cell.metadata.tags = [tag]
    return cell


def ran(source, *outputs):
    return new_code_cell(source, execution_count=1, outputs=list(outputs))


def printed(text):
    return new_output("stream", name="stdout", text=text)


def write(folder, name, *cells):
    """An executed notebook of reports/smoke, with the cells that are given."""
    path = folder / "smoke" / "notebooks" / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [new_markdown_cell(cell) if isinstance(cell, str) else cell for cell in cells]
    nbformat.write(new_notebook(cells=cells), path)
    return path


def bind_in(patch, folder):
    """The report of the notebooks of reports/smoke, an experiment of which no run is finished."""
    patch.setenv("COURSE_REPORTS", str(folder))
    patch.setenv("SOURCE_DATE_EPOCH", "1767225600")
    sentences = pd.DataFrame({"example_id": ["a", "b"], "text": ["a", "b"], "label": [0, 1]})
    data = Data("embedded", {"test": sentences}, {"test": "movie test"}, {}, ("negative", "positive"))
    patch.setattr(RunConfig, "load_data", lambda config: data)
    experiment = load_experiment("smoke")
    missing = [MissingRun(config, "not run, or failed") for config in experiment.configs()]
    return bind.build_report(ExperimentRuns(experiment, [], missing))


@pytest.fixture
def reports(tmp_path):
    return tmp_path / "reports"


@pytest.fixture(scope="module")
def bound(tmp_path_factory):
    """The report of two notebooks, the first executed for real.

    Its HTML, its PDF, its pages as pictures, and what its PDF's tables and code blocks say.
    """
    folder = tmp_path_factory.mktemp("bound")
    drawn = [tagged(new_code_cell(DRAW), "hide-input"), new_code_cell(CODE)]
    hidden = [
        tagged(new_code_cell("profile = 'hidden one'"), "parameters"),
        tagged(new_code_cell("print('hidden two')"), "hide-cell"),
        tagged(new_code_cell("print('hidden three')"), "solution"),
    ]
    path = write(folder, "01_data", FIRST, *hidden, *drawn)
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(PROJECT)}}).execute()
    nbformat.write(notebook, path)
    write(folder, "05_hira", HIRA)

    def compile_and_picture(source, output, **options):
        compile_(source, output=output, **options)
        options.pop("pdf_standards")
        pages = folder / "page-{n}.png"
        compile_(source, output=pages, format="png", ppi=50, **options)
        found = [json.loads(typst.query(source, kind, **options)) for kind in ("table", "raw")]
        set_in_pdf.append("".join(words(found)))

    compile_, set_in_pdf = typst.compile, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typst, "compile", compile_and_picture)
        html, pdf = bind_in(patch, folder)
        assert sorted(path.name for path in (folder / "smoke").iterdir()) == [
            "notebooks",
            "report.html",
            "report.pdf",
        ]
    return html.read_text("utf-8"), pdf.read_bytes(), sorted(folder.glob("page-*.png")), *set_in_pdf


def words(node):
    """The texts in a part of a Typst document."""
    if isinstance(node, dict) and isinstance(node.get("text"), str):
        yield node["text"]
    elif isinstance(node, dict) and node.get("func") in ("space", "smartquote"):
        yield " " if node["func"] == "space" else '"' if node["double"] else "'"
    else:
        for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else []:
            yield from words(child)


@pytest.fixture(scope="module")
def page(bound):
    parser = html5lib.HTMLParser(strict=True)
    return parser.parse(bound[0])


def text_of(element):
    return " ".join("".join(element.itertext()).split())


def texts(page, path):
    return [text_of(element) for element in page.iterfind(f".//{HTML}{path}")]


def test_report_is_one_document(page):
    assert texts(page, "h1") == ["Adapting a small pretrained model"]
    chapters = ["1 Sentences & labels", "2 HiRA", "References", "Appendix: how these results were made"]
    assert texts(page, "h2") == ["Abstract", "Contents", *chapters]
    sections = texts(page, "h3")
    assert sections[:2] == ["1.1 Proof", "2.1 Proof"]  # and no heading of the card
    assert sections[2:4] == ["Data", "Learning rates"] and sections[-2:] == ["Not run", bind.ORIGINS]
    assert {"A card", "Uses"} <= set(texts(page, "strong")) and "license" not in text_of(page)
    header = text_of(page.find(f".//{HTML}header"))
    assert "smoke has a finished run: nothing was found." in header and "0 of 6 planned runs" in header


def test_links_lead_somewhere(page):
    identifiers = [element.get("id") for element in page.iter() if element.get("id")]
    assert len(identifiers) == len(set(identifiers))
    links = {text_of(link): link.get("href") for link in page.iter(f"{HTML}a")}
    assert links["HiRA"] == "#05_hira-proof" and links["below"] == "#01_data-proof"
    assert links["2.1 Proof"] == "#05_hira-proof"
    assert "a file" not in links and "go" not in links
    inside = {link[1:] for link in links.values() if link.startswith("#")}
    assert inside <= set(identifiers)


def test_figures_and_tables_have_numbers_captions_and_alt_texts(page):
    assert [image.get("alt") for image in page.iter(f"{HTML}img")] == ['It "rises" \\ to 2.']
    (caption,) = texts(page, "figcaption")
    assert caption.startswith("Figure 1. A line of") and "Hu et al. 2022" in caption
    assert texts(page, "caption") == ["Table 1. Hostile. source", "Table 2. Wide. source", "Table 3. Wide. source"]


def test_every_mark_leads_to_where_its_figure_or_table_comes_from(page):
    entries = {e.get("id"): text_of(e) for e in page.iter(f"{HTML}div") if (e.get("id") or "").startswith("origin-")}
    marks = [link.get("href")[1:] for link in page.iter(f"{HTML}a") if link.get("class") == "origin"]
    assert len(marks) == 4 and set(marks) == set(entries)  # a figure and three tables, of one cell
    (said,) = entries.values()
    assert re.match(r"The code of cell \d of notebooks/01_data.ipynb. No run of this experiment.", said)


def test_an_origin_names_the_function_and_the_runs_that_it_read(monkeypatch):
    shown = []
    monkeypatch.setattr(display, "_display", lambda data, **course: shown.append(display._shown_by()))
    dependence.ranks(ExperimentRuns(load_experiment("smoke"), [], []))
    assert shown == ["course_utils.report.dependence.ranks"]
    ((mark,),) = [[*elements(parse_markdown(origins.mark("06_comparison", 7, shown[0])), "Link")]]
    (origin,) = origins.resolve([mark])
    assert mark["c"][2][0] == f"#{origin.anchor}"
    said = origins.entry(origin, load_experiment("full"))
    assert "`course_utils.report.dependence.ranks`, called in cell 7" in said
    assert "Runs of `size-1500`," in said and "`rank-1-alpha-16`," in said and "`main`" not in said


def test_data_stays_text(bound, page):
    everything = text_of(page)
    assert "Raw <script>alert(1)</script> <b>bold</b> \\input{x} #read(" in everything
    assert set(AS_SHOWN) <= set(texts(page, "td")) and " / ".join(AS_SHOWN) in everything
    assert not list(page.iter(f"{HTML}b"))
    (printed,) = [text for text in texts(page, "pre") if "alert" in text]
    for text in AS_SHOWN:
        assert text.replace(" [0m", "").replace("[31m", "") in printed
        assert text in bound[3]
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", bound[0] + bound[3])


def test_maths_is_mathml(page):
    assert len(list(page.iter(f"{MATH}math"))) == 3
    assert "⊙" in {text_of(operator) for operator in page.iter(f"{MATH}mo")}


def test_what_is_hidden_or_debris_is_left_out(page):
    everything = text_of(page)
    for absent in ("hidden one", "hidden two", "debris", "show_figure", "10%", "Figure size"):
        assert absent not in everything
    assert "100% printed" in everything and "assert True" in everything


def test_one_bibliography_of_what_is_cited(page):
    entries = [e for e in page.iter(f"{HTML}div") if e.get("class") == "csl-entry"]
    assert sorted(text_of(entry).split(",")[0] for entry in entries) == ["Dodge", "Hu", "Huang", "Hutto"]
    assert "The first note." in text_of(page) and "The second note." in text_of(page)


def test_pdf_is_tagged_and_accessible(bound):
    assert bound[1].startswith(b"%PDF-")
    assert b"/StructTreeRoot" in bound[1] and b"pdfuaid:part" in bound[1]


def test_nothing_runs_over_the_printed_margin(bound):
    assert len(bound[2]) >= 5
    for path in bound[2]:
        pixels = np.asarray(Image.open(path).convert("L"))
        margin = round(2.2 / 21.0 * pixels.shape[1])
        assert pixels[:, -margin:].min() > 250 and pixels[:, :margin].min() > 250, path.name


def test_same_notebooks_give_the_same_bytes(reports, monkeypatch):
    write(reports, "05_hira", HIRA)
    first = [path.read_bytes() for path in bind_in(monkeypatch, reports)]
    assert [path.read_bytes() for path in bind_in(monkeypatch, reports)] == first


def test_a_table_without_columns_leaves_its_caption(reports, monkeypatch):
    empty = {"text/markdown": display._markdown_table([], [], []), "text/plain": ""}
    course = {"kind": "table", "caption": "Of nothing.", "shown_by": ""}
    write(reports, "05_hira", HIRA, ran("x", new_output("display_data", empty, metadata={"course": course})))
    html, _ = bind_in(monkeypatch, reports)
    assert "Of nothing." in html.read_text("utf-8")


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["# T", ran("1/0", new_output("error", ename="ZeroDivisionError", evalue="by zero"))],
         "stopped with ZeroDivisionError: by zero"),
        (["# T", new_code_cell("1")], "did not run to its end"),
        (["# T\n[x](https://example.org '@nobody1999')"], "cites @nobody1999"),
        (["# T\n[@hu2022lora]"], 'type [(Hu et al., 2022)](https://arxiv.org/abs/2106.09685 "@hu2022lora")'),
        (["# T", ran("x", printed(f"saved {PROJECT}/runs/a"))], f"path {PROJECT}/runs/a of this"),
        (["# T\n\n![x](https://example.org/x.png)"], "shows the image https://example.org/x.png"),
        (["# T", ran("x", new_output("display_data", {"image/png": "AA=="}))], "without alt text"),
        (["## T"], "does not begin with its title"),
        (["# T\n\n### Skipped"], "skip"),
    ],
)  # fmt: skip
def test_what_spoils_a_report_is_named_and_the_last_one_kept(reports, monkeypatch, cells, message):
    write(reports, "03_sparse_lora", *cells)
    for name in ("report.html", "report.pdf"):
        (reports / "smoke" / name).write_text("the last one")
    with pytest.raises(CourseError) as error:
        bind_in(monkeypatch, reports)
    assert message in str(error.value)
    assert "03_sparse_lora.ipynb" in str(error.value) or message == "skip"
    kept = sorted(path for path in (reports / "smoke").iterdir() if path.is_file())
    assert [path.read_text() for path in kept] == ["the last one"] * 2


def test_no_notebooks_says_what_makes_them(reports, monkeypatch):
    with pytest.raises(CourseError, match="run_all.sh"):
        bind_in(monkeypatch, reports)


def test_without_notebooks_an_older_report_is_left_as_it_is(reports, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_REPORTS", str(reports))
    (reports / "smoke").mkdir(parents=True)
    (kept := reports / "smoke" / "comparison.csv").write_text("the last one")
    assert main(["report", "--profile", "smoke"]) == 2
    assert "run_all.sh --profile smoke" in capsys.readouterr().err and kept.read_text() == "the last one"


def test_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767225600")
    assert bind.read_settings()["date"] == datetime.date(2026, 1, 1)
    experiment = load_experiment("smoke", {"methods": [HEAD, ADAPTER, MULTIPLIED]})
    assert bind.read_settings(experiment)["subtitle"].endswith(
        f"HiRA, trained and measured alike: experiment {experiment.name}"
    )
    monkeypatch.setattr(bind, "PROJECT", tmp_path)
    (tmp_path / "reports").mkdir()
    settings = tmp_path / "reports" / "report.toml"
    with pytest.raises(CourseError, match="is missing; restore it: git checkout reports/report.toml"):
        start.run("quick", [], None, True, False, [])  # before any work
    settings.write_text('title = "T"')
    with pytest.raises(CourseError, match="lacks subtitle"):
        bind.read_settings()
    settings.write_text('title="T"\nsubtitle=""\nauthor=""\ncourse=""\ndate="31.1.2026"')
    with pytest.raises(CourseError, match="2026-01-31"):
        bind.read_settings()
    settings.write_text(settings.read_text().replace("31.1.2026", "today"))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "soon")
    with pytest.raises(CourseError, match="SOURCE_DATE_EPOCH is 'soon'; set it to the seconds"):
        bind.read_settings()
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    settings.write_text(settings.read_text().replace('author=""', 'author=["Ada", "Bo"]'))
    assert bind.read_settings()["author"] == "Ada and Bo"
    settings.write_text("title = Four ways")
    with pytest.raises(CourseError, match='write a setting as name = "value"'):
        bind.read_settings()
