"""The paper is set from what chapter 06 shows, and leaves out what an experiment does not have."""

import json

import pytest
from made_up import finished
from small import ADAPTER, FULL, HEAD

from course_utils.errors import CourseError
from course_utils.report import paper
from course_utils.report.chapters import elements

SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="100" height="60"><rect width="40" height="40"/></svg>'


def cell(call, *outputs):
    by = {"shown_by": f"course_utils.report.{call}"}
    shown = [{"output_type": "display_data", "data": data, "metadata": {"course": by | of}} for data, of in outputs]
    source = [f"{call}(results)\n"]
    return {"cell_type": "code", "metadata": {}, "execution_count": 1, "source": source, "outputs": shown}


@pytest.fixture(params=[[HEAD, FULL, ADAPTER]])
def results(runs_in, reports_in, request):
    """Three seeds of three methods, and an executed chapter that shows a table, a figure and two sentences."""
    results = finished(dict.fromkeys(request.param, 0.8), validated=True)
    for run in results.runs:
        run.result.data.sizes["validation"] = 100
    table = {"text/markdown": ["| Method | Accuracy |\n", "| --- | --- |\n", "| LoRA | 80.0 |"]}
    figure = {"image/svg+xml": [SVG]}
    caption = {"kind": "caption"}
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": ["exhibits.accuracies(results) in prose"]},
        {"cell_type": "markdown", "metadata": {}, "source": ["## Related work\n", "\n", "Others compare too.\n"]},
        cell(
            "exhibits.accuracies",
            (table, {"kind": "table", "caption": "Accuracies."}),
            ({"text/markdown": ["Table: Accuracies."]}, caption),
            (figure, {"kind": "figure", "caption": "Intervals.", "alt": "a square"}),
        ),
        cell("exhibits.conclusions", ({"text/markdown": ["Nothing differs."]}, {"kind": "sentences"})),
        cell("choice.which_when", ({"text/markdown": ["Nobody knows."]}, {"kind": "sentences"})),
    ]
    folder = reports_in / results.experiment.name / "notebooks"
    folder.mkdir(parents=True)
    notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 4}
    (folder / f"{paper.CHAPTER}.ipynb").write_text(json.dumps(notebook))
    return results


def test_exhibits_are_read_from_the_executed_chapter(results, tmp_path):
    found = paper.read_exhibits(paper._notebook(results.experiment), tmp_path)
    assert {name: [*kinds] for name, kinds in found.items()} == {
        "exhibits.accuracies": ["table", "figure"],
        "exhibits.conclusions": ["text"],
        "choice.which_when": ["text"],
    }
    chapter = paper._notebook(results.experiment)
    assert paper.read_section(chapter, "Related work").strip() == "Others compare too."
    assert paper.read_section(chapter, "Unrelated work") == ""
    assert (
        next(tmp_path.glob("figure-*.svg")).read_text() == SVG
        and "![a square]" in found["exhibits.accuracies"]["figure"][0]
    )


@pytest.mark.parametrize("results", [[HEAD, FULL], [ADAPTER]], indirect=True)
def test_the_words_fit_any_methods_and_are_said_once(results, monkeypatch):
    said = []

    def set_pdf(document, settings, scratch, *_):
        said.extend(word["c"] for word in elements(json.loads(document)["blocks"], "Str"))
        (scratch / "paper.pdf").touch()
        return scratch / "paper.pdf"

    monkeypatch.setattr(paper, "set_pdf", set_pdf)
    paper.build_paper(results)
    text = " ".join(said)
    assert text.count("Nobody knows.") == 1  # in the discussion, and not among the limitations
    assert ("thin factors" in text) == ("second kind" in text) == (ADAPTER in results.experiment.methods)


@pytest.mark.slow
def test_the_paper_is_set(results):
    assert paper.wants_paper(results.experiment)
    path = paper.build_paper(results)
    assert path.read_bytes().startswith(b"%PDF") and b"/StructTreeRoot" in path.read_bytes()
    assert [entry.name for entry in path.parent.iterdir() if entry.name.startswith(".paper")] == []
    paper._notebook(results.experiment).unlink()
    assert not paper.wants_paper(results.experiment)
    with pytest.raises(CourseError, match="no executed notebook 06_comparison"):
        paper.build_paper(results)
