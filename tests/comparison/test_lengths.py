"""Accuracy by length: the quarters, the tests between them, what is said of each outcome, and where it is said."""

import nbformat
import numpy as np
import pandas as pd
import pytest
from long_texts import as_csv
from made_up import SENTENCES, finished
from small import ADAPTER, FULL, GATED, HEAD

from course_utils.comparison import lengths
from course_utils.comparison.lengths import LONGEST, SHORTEST, differ_enough, quarters_of, read_lengths, text_lengths
from course_utils.config import load_experiment
from course_utils.report import exhibits
from course_utils.workflow.notebooks import NOTEBOOKS, what_fits

RISING = 20 + 2 * np.arange(SENTENCES)
SHUFFLED = np.random.default_rng(0).permutation(RISING)


@pytest.fixture
def results(runs_in):
    """Three seeds of four methods: of the texts in the order of their names, the first ones are right."""
    return finished({HEAD: 0.6, FULL: 0.95, ADAPTER: 0.85, GATED: 0.85}, overrides={"max_length": 128})


@pytest.fixture
def of_length(monkeypatch):
    """A function that gives the test texts these lengths, in the order of their names."""

    def give(tokens):
        names = [f"sentence-{number}" for number in range(SENTENCES)]
        monkeypatch.setattr(lengths, "text_lengths", lambda config: pd.Series(tokens, names))

    return give


def test_accuracy_by_quarter_is_that_of_a_worked_example(results, of_length):
    of_length(RISING)
    found = read_lengths(results)
    assert found.quarters[["texts", "low", "high"]].to_numpy().tolist() == [
        [50, 20, 118], [50, 120, 218], [50, 220, 318], [50, 320, 418],
    ]  # fmt: skip
    assert found.quarters["cut"].tolist() == [0, 0.9, 1, 1]  # of more than 128 tokens
    wide = found.accuracy.pivot(index="method", columns="quarter", values="estimate")
    assert wide.loc[FULL].tolist() == [100, 100, 100, pytest.approx(80)]
    assert wide.loc[ADAPTER].tolist() == [100, 100, 100, pytest.approx(40)]
    assert found.fall[FULL].difference.estimate == pytest.approx(-0.2) and found.fall[FULL].verdict == "below"
    assert {*found.moved} == {(FULL, ADAPTER), (FULL, GATED), (ADAPTER, GATED)}
    assert found.moved[FULL, ADAPTER].difference.estimate == pytest.approx(0.4)
    assert [found.moved[pair].verdict for pair in found.moved] == ["above", "above", "open"]
    values = np.repeat([True, False], [40, 10])  # of full fine-tuning on the longest quarter; all are right elsewhere
    error = found.fall[FULL].standard_error.value
    assert error == pytest.approx(np.sqrt(values.var(ddof=1) / 50), rel=0.02)


def test_quarters_are_of_equal_size_even_where_lengths_are_equal():
    tokens = pd.Series([5] * 60 + [9] * 40)
    quarter = quarters_of(tokens)
    assert quarter.value_counts().tolist() == [25] * 4
    assert tokens[quarter == SHORTEST].max() == 5 and tokens[quarter == LONGEST].min() == 9
    assert not differ_enough(tokens) and differ_enough(pd.Series(RISING))


@pytest.mark.parametrize(
    ("tokens", "title", "said"),
    [
        (RISING, "harder than the shortest for 4 of 4 methods", ["points lower on", "harder for head only, "]),
        (RISING[::-1], "easier than the shortest for 4 of 4", ["points higher on", "no method, and easier for head"]),
        (SHUFFLED, "No effect of the length", ["harder for no method.", "none of 3 differences between two methods"]),
    ],
)
def test_each_outcome_is_said(results, of_length, shown, tokens, title, said):
    of_length(tokens)
    exhibits.lengths(results)
    assert title in shown[0].get_title(loc="left")
    assert "Where a text has more than 128 tokens, the beginning is read. This limit cuts" in shown[1]
    assert "Full fine-tuning: " in shown[2] and "20 to 118 tokens" in shown[2]
    assert all(words in shown[3] for words in said), shown[3]
    depends = "is not shown to depend" if tokens is SHUFFLED else "may depend"
    assert f"Which method is more accurate {depends} on the length." in shown[3]
    assert "100% of the texts of the longest quarter are cut." in shown[3]


def test_texts_of_one_length_are_not_divided(results, of_length, shown):
    of_length(np.full(SENTENCES, 30))
    exhibits.lengths(results)
    assert shown == [exhibits.say.one_length_text(lengths.APART)] and "within 64 tokens" in shown[0]


def test_the_chapter_looks_at_the_length_of_long_texts_alone(tmp_path):
    long = load_experiment("smoke", {"data": str(as_csv(tmp_path, 80, most=24))})
    tokens = text_lengths(long.shared)
    assert differ_enough(tokens) and tokens.max() > long.shared.max_length > tokens.min()
    shown = {}
    for experiment in (long, load_experiment("smoke")):
        notebook = nbformat.read(NOTEBOOKS / "06_comparison.ipynb", as_version=4)
        shown[experiment.name] = {cell.id for cell in what_fits(notebook, experiment).cells}
    assert "lengths" in shown[long.name] and "lengths" not in shown["smoke"]
