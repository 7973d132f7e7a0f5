"""The chapter of mistakes: each has a size, and a check that caught it."""

import ast

import nbformat
import pytest

from course_utils.report.pitfalls import Account
from course_utils.workflow.notebooks import NOTEBOOKS

CHAPTER = "07_pitfalls.ipynb"


def calls():
    """The calls of `pitfall` in the chapter."""
    code = [cell.source for cell in nbformat.read(NOTEBOOKS / CHAPTER, as_version=4).cells if cell.cell_type == "code"]
    nodes = [node for source in code for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [node for node in nodes if ast.unparse(node.func) == "pitfall"]


def test_a_check_that_catches_nothing_stops_the_chapter():
    account = Account()
    account.pitfall("A mistake", 3.0, 1.0, "a check", True)
    account.pitfall("A larger one", 1.0, 4.0, "a check", True)
    with pytest.raises(AssertionError, match="has not caught it"):
        account.pitfall("Another", 3.0, 1.0, "a check", False)
    account.pitfall("Out of its reach", 2.0, 1.0, "a check", None)
    table = account.table()
    assert [*table["size"].items()] == [("A larger one", 3), ("A mistake", 2), ("Out of its reach", 1)]
    assert table.loc["Out of its reach", "check"] != table.loc["A mistake", "check"] == "a check"
    assert not [call.args[0].value for call in calls() for arg in call.args if getattr(arg, "value", None) is True]


@pytest.mark.slow
def test_every_mistake_has_a_size_and_its_check_caught_it(smoke):
    executed = nbformat.read(smoke.project / "reports" / "smoke" / "notebooks" / CHAPTER, as_version=4)
    tables = [
        output.data["text/markdown"]
        for cell in executed.cells
        for output in cell.get("outputs", [])
        if output.get("metadata", {}).get("course", {}).get("kind") == "table"
    ]
    rows = [[part.strip() for part in line.split(" | ")] for line in tables[-1].splitlines()[2:]]
    found = {row[0].lstrip("| ").replace("\\", ""): row[1:] for row in rows}
    assert set(found) == {call.args[0].value for call in calls()} and len(found) > 20
    shown, right, size = (
        {name: float(row[place].replace("\\", "").replace("−", "-")) for name, row in found.items()}
        for place in range(3)
    )
    assert shown["Test texts in training, spelled otherwise"] > right["Test texts in training, spelled otherwise"] + 10
    assert right["Zeros that save nothing"] == 0 and size["LoRA of a larger rank by another name"] == 300
    assert all(abs(size[name] - abs(shown[name] - right[name])) < 0.11 for name in found)
