"""The notebooks in git hold no outputs, and run to their ends as a reader opens them."""

import json
import subprocess

import nbformat
import pytest

from course_utils.paths import PROJECT


def test_notebooks_are_committed_without_outputs():
    # Asked of git, for in the working tree JupyterLab saves what a reader ran.
    names = subprocess.run(
        ["git", "ls-files", "notebooks/*.ipynb"], cwd=PROJECT, capture_output=True, text=True
    ).stdout.split()
    if not names:
        pytest.skip("an unpacked archive has nothing committed")
    for name in names:
        notebook = subprocess.check_output(["git", "show", f":{name}"], cwd=PROJECT, text=True, encoding="utf-8")
        code = [cell for cell in json.loads(notebook)["cells"] if cell["cell_type"] == "code"]
        assert not any(cell["outputs"] or cell["execution_count"] for cell in code), f"{name}: clear its outputs"


@pytest.mark.slow
@pytest.mark.parametrize("data", ["embedded", "embedded-5"])
def test_a_reader_who_runs_every_cell_of_the_data_chapter_gets_to_its_end(data, monkeypatch):
    """JupyterLab, unlike the workflow, leaves no cell out that is tagged for other data."""
    monkeypatch.chdir(PROJECT / "notebooks")
    monkeypatch.setattr("IPython.display.display", lambda *_, **__: None)
    names = {}
    for cell in nbformat.read("01_data.ipynb", as_version=4).cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, "a cell", "exec"), names)
            if "parameters" in cell.metadata.get("tags", []):
                names |= {"profile": "smoke", "overrides": {"data": data}}
    assert 0.5 < names["human"] < 1
