"""A notebook whose kernel falls silent is run once more."""

import nbformat

from course_utils.config import load_experiment
from course_utils.workflow import notebooks

SILENT_ONCE = """
import pathlib, time
first = not pathlib.Path("tried").exists()
pathlib.Path("tried").touch()
time.sleep(600 * first)
"""


def test_a_kernel_that_falls_silent_is_left_for_a_new_one(tmp_path, monkeypatch):
    experiment = load_experiment("smoke")
    given = nbformat.v4.new_code_cell("\n".join(f"{name} = None" for name in {"seed": 0} | experiment.parameters))
    given.metadata["tags"] = ["parameters"]
    cells = [given, nbformat.v4.new_code_cell(SILENT_ONCE)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), tmp_path / "01_data.ipynb")
    monkeypatch.setattr(notebooks, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(notebooks, "LONGEST_CELL", 2)
    monkeypatch.setenv("COURSE_REPORTS", str(tmp_path / "reports"))
    executed = nbformat.read(notebooks.run_notebook("01_data", experiment), as_version=4)
    assert executed.cells[-1].execution_count
    assert not executed.metadata.papermill.exception
