"""The chapter of mistakes: each has a size, and a check that caught it."""

import ast
import re

import nbformat
import numpy as np
import pandas as pd
import pytest
from small import HEAD, MULTIPLIED, PLAIN

from course_utils import config as configuration
from course_utils.report import pitfalls
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


def test_where_all_labels_are_alike_a_classifier_gives_this_label():
    states, labels = np.random.default_rng(0).random((30, 4)), np.ones(30, dtype=int)
    frame = pd.DataFrame({"text": ["a text"] * 30, "label": labels})
    fitted = [pitfalls.classifier(states, labels), pitfalls.sparse_classifier(states, labels, 0.01, 0)]
    answers = [model.predict(states) for model in fitted] + [pitfalls.words(frame).predict(frame.text)]
    assert all((given == 1).all() for given in [*answers, *pitfalls.small_networks(states, labels, states, seeds=1)])
    assert pitfalls.perplexity((states, labels), (states, labels)) == 1.0  # all texts begin alike


def test_a_profile_that_lacks_a_method_takes_the_chapter_s_from_smoke(tmp_path, monkeypatch):
    text = (configuration.PROFILES / "smoke.toml").read_text("utf-8")
    for name in (MULTIPLIED, "default"):
        text = re.sub(rf"\[methods\.{name}\].*\nlearning_rate = .*\n", "", text)
    (tmp_path / "smoke.toml").write_text((configuration.PROFILES / "smoke.toml").read_text("utf-8"), encoding="utf-8")
    (tmp_path / "mine.toml").write_text(text.replace("max_test = 50", "max_test = 40"), encoding="utf-8")
    monkeypatch.setattr(configuration, "PROFILES", tmp_path)
    mine = configuration.load_experiment("mine", {"methods": [HEAD, PLAIN.name]})
    found = pitfalls.with_all_methods(mine, {"methods": [HEAD, PLAIN.name, MULTIPLIED], "epochs": 2})
    assert found.config(MULTIPLIED).settings.learning_rate == 6e-3
    assert (found.shared.max_test, found.shared.epochs) == (40, 2)


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
        {name: float(row[place].replace("\\", "").replace("−", "-").replace(",", "")) for name, row in found.items()}
        for place in range(3)
    )
    assert shown["Test texts in training, spelled otherwise"] > right["Test texts in training, spelled otherwise"] + 10
    assert right["Zeros that save nothing"] == 0 and size["LoRA of a larger rank by another name"] == 300
    assert all(abs(size[name] - abs(shown[name] - right[name])) < 0.11 for name in found)
