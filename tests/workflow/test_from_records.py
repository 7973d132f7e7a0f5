"""A report is bound from its published records alone, and says what the report of the runs said."""

import gzip
import shutil

import nbformat
import pytest
from whole_project import copy_project, finish, start, steps

from course_utils.config import load_experiment
from course_utils.text import hash_of

pytestmark = pytest.mark.slow


def said_in(folder, name="06_comparison.ipynb"):
    """Caption, table and sentence of an executed chapter, and its figures by their hash; not how long it took."""
    cells = [cell for cell in nbformat.read(folder / "notebooks" / name, as_version=4).cells if "outputs" in cell]
    shown = [output.data for cell in cells for output in cell.outputs if "data" in output]
    said = [data.get("text/markdown") or hash_of(data.get("image/svg+xml", "")) for data in shown]
    return [words for words in said if "Nothing is trained in this chapter" not in words]


def test_the_report_from_records_says_what_that_of_the_runs_said(smoke, tmp_path):
    project = copy_project(tmp_path / "another checkout")
    own, again = (place / "reports" / "smoke" for place in (smoke.project, project))
    shutil.copytree(own / "records", again / "records")
    for name in ("01_data", "07_pitfalls"):  # they read no record
        (project / "notebooks" / f"{name}.ipynb").unlink()
    output = finish(start(project, "--from-records"))
    assert "nothing is trained" in output and not [step for step in steps(output) if step.startswith("Train")]
    assert not list((project / "runs").rglob("result.json"))
    assert (again / "comparison.csv").read_bytes() == (own / "comparison.csv").read_bytes()
    assert said_in(again) == said_in(own) and len(said_in(own)) > 20
    assert "made from published records" in " ".join((again / "report.html").read_text("utf-8").split())
    assert (again / "report.pdf").read_bytes().startswith(b"%PDF")


def test_no_sentence_of_the_data_is_in_the_records(smoke):
    folder = smoke.project / "reports" / "smoke" / "records"
    written = [gzip.decompress(path.read_bytes()).decode() for path in folder.rglob("*.gz")]
    written += [path.read_text("utf-8") for path in folder.rglob("*.json")]
    sentences = [text for frame in load_experiment("smoke").shared.load_data().sets.values() for text in frame["text"]]
    assert len(written) > 5 and not [text for text in sentences if len(text) > 30 and text in "\n".join(written)]
