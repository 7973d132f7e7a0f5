"""The notebooks in git hold no outputs."""

import json
import subprocess

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
