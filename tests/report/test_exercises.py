"""The edition for students has the questions and no solution; `check` knows what the solutions print."""

import contextlib
import io
import re
from math import isclose

import nbformat
import numpy as np
import pytest

from course_utils.__main__ import main
from course_utils.paths import PROJECT
from course_utils.report.exercises import CHECKED, check


def solutions(folder):
    """Chapter.exercise → the source of the cell after its question."""
    found = {}
    for path in sorted(folder.glob("*.ipynb")):
        cells = nbformat.read(path, as_version=4).cells
        for question, answer in zip(cells, cells[1:], strict=False):
            if question.cell_type == "markdown" and (
                numbers := re.findall(r"^\*\*(\d+)\. ", question.source, re.MULTILINE)
            ):
                found[f"{path.stem[:2]}.{numbers[-1]}"] = answer.source
    return found


def test_the_edition_for_students_asks_everything_and_solves_nothing(tmp_path, capsys):
    assert main(["student-edition", str(tmp_path / "students")]) == 0
    ours, theirs = solutions(PROJECT / "notebooks"), solutions(tmp_path / "students")
    assert {*theirs} == {*ours} and {*CHECKED} <= {*ours}
    for path in (tmp_path / "students").glob("*.ipynb"):
        source = path.read_text("utf-8")
        assert "followed by a solution" not in source and "your solution into" in source
    for exercise, source in theirs.items():
        assert "your solution" in source and not {*source.splitlines()} & {*ours[exercise].splitlines()} - {""}
        compile(source, exercise, "exec")
    assert main(["student-edition", str(tmp_path / "students")]) == 2
    assert "new folder" in capsys.readouterr().err
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "inside"):
        assert main(["student-edition", str(place)]) == 2 and "folder" in capsys.readouterr().err


@pytest.mark.parametrize("exercise", ["05.2", "06.1", "06.2", "07.1"])
def test_it_knows_the_number_that_the_solution_prints(exercise):
    source = solutions(PROJECT / "notebooks")[exercise]
    setup = (
        "import numpy as np, torch; from scipy.stats import binomtest; from course_utils.stats import holm;"
        "seed = 0; rank = torch.linalg.matrix_rank"
    )
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(f"{setup}\n{source}", {})
    value = CHECKED[exercise][1]
    numbers = [float(number) for number in re.findall(r"\d+(?:\.\d+)?", printed.getvalue())]
    assert any(isclose(number, scale * value, rel_tol=0.01) for number in numbers for scale in (1, 100))


def test_it_says_whether_an_answer_is_right(capsys):
    assert check("02.1", 663_552) and check("06.1", np.int64(12)) and check("06.2", np.float32(0.54))
    # what leaves a part out: the embeddings of positions, the constants of blocks; "the first" is no other
    wrong = {"02.1": 600_000, "02.2": 385, "01.1": 66_362_880 - 512 * 768, "04.1": 4.0, "06.2": None}
    assert not any(check(exercise, answer) for exercise, answer in wrong.items())
    assert capsys.readouterr().out.splitlines()[0] == "That is right."
