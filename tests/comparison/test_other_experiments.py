"""A report keeps its conclusions, and a report beside it says where the two do not agree."""

import json
import re

import pandas as pd
import pytest
from made_up import finished
from small import ADAPTER, FULL, HEAD, MULTIPLIED

from course_utils.comparison.other_experiments import (
    CONCLUSIONS,
    Conclusions,
    conclude,
    disagreements,
    others,
    shown_across,
    sole_leaders,
    write_conclusions,
)
from course_utils.errors import CourseError
from course_utils.paths import PROJECT
from course_utils.report import abstract, exhibits


@pytest.fixture
def concluded(runs_in, reports_in):
    """Makes an experiment of three seeds with these accuracies, and keeps its conclusions."""

    def make(**accuracy):
        # another length makes it another experiment
        overrides = {"max_length": 100 + len(made)}
        made.append(finished({HEAD: 0.6} | accuracy, apart=0.005, overrides=overrides, validated=True))
        write_conclusions(made[-1])
        return made[-1]

    made = []
    return make


def test_two_reports_say_where_they_do_not_agree(concluded, shown):
    ours = concluded(**{FULL: 0.9, ADAPTER: 0.9, MULTIPLIED: 0.7})
    theirs = concluded(**{FULL: 0.9, ADAPTER: 0.7, MULTIPLIED: 0.7})
    (other,) = others(ours)
    assert other == conclude(theirs)
    unlike, alike = disagreements(conclude(ours), other)
    assert len(unlike) == 2 and len(alike) == 1  # of full, the adapter and the one that multiplies
    assert [{one.first, one.second} for one, _ in unlike] == [{FULL, ADAPTER}, {ADAPTER, MULTIPLIED}]
    assert [(one.differs, their.differs) for one, their in unlike] == [(False, True), (True, False)]
    assert other.pairs[0].power == conclude(theirs).pairs[0].power  # what is read can do all that was written

    exhibits.across(ours)
    table, _, told, apart, _ = shown
    assert [*table.columns] == [ours.experiment.name, theirs.experiment.name] and len(table) == 4
    assert table.iloc[0].str.startswith(("90", "70")).all()  # the plain adapter's accuracy, and differences to it below
    assert [*table.iloc[1:, 0].str.endswith("*")] == [True, False, True]
    assert [*table.iloc[1:, 1].str.endswith("*")] == [True, True, False]
    pairs = {(own.first, own.second): (own.above, own.below) for own in shown_across([conclude(ours), other])}
    names = [ours.experiment.name, theirs.experiment.name]
    assert pairs == {
        (FULL, ADAPTER): (names[1:], []),
        (FULL, MULTIPLIED): (names, []),
        (ADAPTER, MULTIPLIED): (names[:1], []),
    }
    assert (
        sole_leaders([conclude(ours), other]) == ({FULL: 1}, 2)  # two methods that tie lead nothing
        and sole_leaders([conclude(concluded(**{HEAD: 0.6, ADAPTER: 0.9}))]) == ({}, 0)  # which has nothing to lead
        and "In every experiment" in told
        and "In some experiments only" in told
    )
    assert [*apart["Here"].str.endswith("*")] == [False, True] and [*apart["There"].str.endswith("*")] == [True, False]
    # each shows two differences of these methods, and one of the two is the same
    for results, elsewhere in ((ours, theirs), (theirs, ours)):
        told = abstract.abstract(results)
        assert f"In the experiment `{elsewhere.experiment.name}`, 1 of these differences is shown." in told
        assert f"The experiment `{elsewhere.experiment.name}` shows 1 difference that this one does not: " in told


def test_reports_that_agree_say_so_and_a_damaged_one_is_named(concluded, reports_in, shown):
    ours = concluded(**{FULL: 0.9, ADAPTER: 0.7, MULTIPLIED: 0.7})
    exhibits.across(ours)
    theirs = concluded(**{FULL: 0.85, ADAPTER: 0.7, MULTIPLIED: 0.7})
    exhibits.across(ours)
    alone, _, _, told = shown
    assert "No other report" in alone
    assert "In some" not in told
    assert "differences between methods that are shown here" not in abstract.abstract(ours)
    file = reports_in / theirs.experiment.name / CONCLUSIONS
    file.write_text(json.dumps({"experiment": "x"}))
    with pytest.raises(CourseError, match=f"{CONCLUSIONS} cannot be read .* bind that report again"):
        others(ours)


def test_the_findings_are_what_the_reports_conclude():
    lines = (PROJECT / "docs" / "findings.md").read_text("utf-8").splitlines()
    (names,) = [re.findall(r"`(\w+)`", line) for line in lines if line.startswith("| | `full`")]
    files = [PROJECT / "reports" / name / CONCLUSIONS for name in names]
    found = [Conclusions.model_validate_json(file.read_bytes()) for file in files]
    table = pd.DataFrame({own.experiment: exhibits._beside_plain(own) for own in found}).fillna("–")
    ends = [line.partition(" | ")[2] for line in lines]
    for row in table.itertuples(index=False):
        assert f"{' | '.join(row)} |" in ends, row
