"""What opens and closes a chapter: how long it takes, the references, and a sentence of the reader's own."""

import json
import re

import nbformat
import pandas as pd
import pytest
from small import ADAPTER, FEW

from course_utils.__main__ import main
from course_utils.config import load_experiment
from course_utils.errors import CourseError
from course_utils.methods import METHODS
from course_utils.report import chapters
from course_utils.report.chapters import (
    citation,
    cited_keys,
    elements,
    make_citations,
    parse_markdown,
    show_references,
)
from course_utils.report.laboratory import classify, playground, trained_runs
from course_utils.training.train import train
from course_utils.workflow.notebooks import NOTEBOOKS, time_needed

TEXT = "Slow at first, but <b>superb</b> at the end."
pytestmark = pytest.mark.usefixtures("reports_in")
EXPERIMENT = load_experiment("smoke", FEW)


def click(widget, capsys):
    """What the widget shows after a click on its button: outside a notebook it is printed."""
    capsys.readouterr()
    widget.manual_button.click()
    return capsys.readouterr().out


def test_without_runs_it_says_what_is_missing(runs_in, capsys):
    assert trained_runs(EXPERIMENT) == []
    assert classify(TEXT, []).empty
    shown = click(playground(EXPERIMENT), capsys)
    assert "Not trained yet: Head only, Full fine-tuning, LoRA" in shown


@pytest.mark.slow
def test_it_answers_as_the_command_line_does(runs_in, capsys):
    config = EXPERIMENT.config(ADAPTER)
    assert "still to be made" in time_needed("02_lora", EXPERIMENT, config)
    run = train(config)
    assert "took" in time_needed("02_lora", EXPERIMENT, config) and run.result.timing.train_seconds > 0
    answers = classify(TEXT, trained_runs(EXPERIMENT))
    capsys.readouterr()
    assert main(["predict", str(run.folder), TEXT, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    of_one = {"method": METHODS[ADAPTER].title, "label": said["label"], "probability": said["probability"]}
    expected = pd.DataFrame([of_one])
    pd.testing.assert_frame_equal(answers, expected)

    widget = playground(EXPERIMENT)
    (sentence,) = widget.kwargs_widgets
    sentence.value = TEXT
    shown = click(widget, capsys)
    assert (
        said["label"] in shown
        and f"{round(said['probability'], 3):g}" in shown
        and "Not trained yet: Head only" in shown
    )
    sentence.value = "  "
    assert "Type a sentence first." in click(widget, capsys)


def test_the_time_of_a_chapter_is_read_from_its_executed_copy(reports_in):
    assert time_needed("01_data", EXPERIMENT) == ""
    folder = reports_in / EXPERIMENT.name / "notebooks"
    folder.mkdir(parents=True)
    executed = nbformat.v4.new_notebook(metadata={"papermill": {"duration": 41.7}})
    nbformat.write(executed, folder / "01_data.ipynb")
    assert "took 42 s" in time_needed("01_data", EXPERIMENT)


def test_references_are_what_the_chapter_cites(monkeypatch):
    shown = []
    monkeypatch.setattr(chapters, "show_markdown", shown.append)
    show_references("05_hira")
    (listed,) = shown
    keys = cited_keys(nbformat.read(NOTEBOOKS / "05_hira.ipynb", as_version=4))
    assert keys[0] == "huang2025hira" and "hira2025issue7" in keys
    assert len(listed.splitlines()) == len(keys) and listed.splitlines() == sorted(listed.splitlines())
    assert "- Huang, Qiushi" in listed and "<" not in listed.replace("<https://", "")


def test_a_link_to_a_paper_is_a_citation_and_says_what_the_bibliography_says():
    assert chapters.papers()["card2020power"].forms() == ("(Card et al., 2020)", "Card et al. (2020)")
    authors = {key: paper.authors for key, paper in chapters.papers().items()}
    assert authors["owen2007pigeonhole"] == "Owen" and authors["hutto2014vader"] == "Hutto and Gilbert"
    assert authors["khaki2025sparselora"] == "Khaki et al." and authors["hira2025issue7"] == "HiRA repository, issue 7"

    right = citation("hu2022lora")
    blocks = parse_markdown(f"It is low {right}, as {right.replace('(Hu et al., 2022)', 'Hu et al. (2022)')} say.")
    make_citations(blocks, "a notebook")
    modes = [cite["c"][0][0]["citationMode"]["t"] for cite in elements(blocks, "Cite")]
    assert modes == ["NormalCitation", "AuthorInText"] and not [*elements(blocks, "Link")]
    for wrong in ("[@hu2022lora]", right.replace("2022)", "2021)"), right.replace("2106", "2107")):
        with pytest.raises(CourseError, match=re.escape(f"type {right}")):
            make_citations(parse_markdown(wrong), "a notebook")
