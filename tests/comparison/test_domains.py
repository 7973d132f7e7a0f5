"""Other domains: the same rule there, changes of a lead between sets of other texts, and what was forgotten."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from made_up import finished
from small import ADAPTER, FULL, GATED, HEAD, MULTIPLIED, QUANTISED

from course_utils import runs
from course_utils.comparison import domains
from course_utils.comparison.axes import contrasts, less_across_texts
from course_utils.comparison.baselines import MAJORITY
from course_utils.comparison.results import Predictions
from course_utils.methods import CEILING
from course_utils.report import choice, exhibits
from course_utils.training.forgetting import share_of_own

METHODS = [HEAD, FULL, ADAPTER, GATED]


def answers(accuracy, texts, seed):
    return pd.DataFrame(np.random.default_rng(seed).random((3, texts)) < accuracy).astype(int)


def test_a_difference_across_sets_has_the_error_of_two_independent_means():
    one = pd.concat([answers(0.8, 500, 0).head(1)] * 3, ignore_index=True)  # no spread between seeds
    other = pd.concat([answers(0.6, 300, 1).head(1)] * 3, ignore_index=True)
    both = less_across_texts(one, other)
    assert both.mean(axis=1).to_numpy() == pytest.approx((one.mean(axis=1) - other.mean(axis=1)).to_numpy())
    expected = np.sqrt(one.loc[0].var() / 500 + other.loc[0].var() / 300)
    assert contrasts({"": both})[""].standard_error.value == pytest.approx(expected, rel=0.01)


def test_seeds_that_lie_far_apart_on_one_set_hide_nothing_on_another():
    quiet, wide = answers(0.6, 900, 2) - answers(0.5, 900, 3), answers(0.6, 900, 4)
    wide = wide + pd.DataFrame([0.3, 0.0, -0.3]).to_numpy()
    values = {("quiet", ADAPTER): quiet, ("wide", ADAPTER): wide}
    together, apart = contrasts(values), contrasts(values, alike=lambda key: key[0])
    assert [found["quiet", ADAPTER].verdict for found in (together, apart)] == ["open", "above"]


@pytest.fixture
def results(runs_in):
    return finished(dict.fromkeys(METHODS, 0.7))


@pytest.mark.parametrize(("elsewhere", "said"), [
    ({FULL: 0.9, ADAPTER: 0.8, GATED: 0.8}, "LoRA on tweets and Sparse LoRA on tweets, and less accurate than none."),
    ({FULL: 0.7, ADAPTER: 0.8, GATED: 0.7}, "no adapter method, and less accurate than LoRA on tweets."),
    ({FULL: 0.8, ADAPTER: 0.8, GATED: 0.8}, ""),
])  # fmt: skip
def test_who_is_ahead_elsewhere_is_computed(results, monkeypatch, elsewhere, said):
    """In domain, full fine-tuning is ten points ahead."""
    accuracy = {"test": {FULL: 0.9, ADAPTER: 0.8, GATED: 0.8}, "tweets": elsewhere}

    def read(results, of):
        labels = pd.Series(1, range(2_000))
        return Predictions(labels, {name: answers(share, 2_000, 7) for name, share in accuracy[of].items()})

    monkeypatch.setattr(domains, "read_predictions", read)
    monkeypatch.setattr(domains, "evaluation_sets", lambda results: {"test": "movie test", "tweets": "tweets"})
    found = domains.read_domains(results)
    text = exhibits.say.domains_text(found, CEILING)
    nothing = "no difference between full fine-tuning and an adapter method is shown."
    assert (
        (f"is shown to be more accurate than {said}" if said else nothing) in text
        and len(found) == 2
        and not found[0].moved
    )
    lost = [name for name in (ADAPTER, GATED) if elsewhere[FULL] - elsewhere[name] < 0.09]
    assert [name for name, change in found[1].moved.items() if change.verdict == "below"] == lost
    assert f"is shown to change in {len(lost) or 'none'} of 2 cases" in text


@pytest.mark.parametrize(("of_baseline", "taken"), [(0.6, "no choice"), (0.8, "none"), (0.9, "none")])
def test_no_method_is_taken_where_a_baseline_is_not_beaten_and_none_of_two_that_tie(
    results, monkeypatch, shown, of_baseline, taken
):
    def read(results, of):
        alike = dict.fromkeys((ADAPTER, GATED), answers(0.8, 2_000, 7))
        fixed = {MAJORITY.name: answers(of_baseline, 2_000, 8).head(1)}
        return Predictions(pd.Series(1, range(2_000)), alike, fixed)

    monkeypatch.setattr(domains, "read_predictions", read)
    monkeypatch.setattr(domains, "evaluation_sets", lambda results: {"test": "movie test", "tweets": "tweets"})
    choice.which_when(results)
    table = next(said for said in shown if isinstance(said, pd.DataFrame)).set_index("What counts")
    assert table.loc["Texts like these: tweets", "Take"] == taken
    found = domains.read_domains(results)
    assert "LoRA and Sparse LoRA (" in exhibits.say.best_there(found[1])
    cell = exhibits._of_domain(found[1], [])["Shown to beat every baseline"]
    assert ("none is shown to be more accurate than the majority class" in cell) == (taken == "none")
    text = exhibits.say.domains_text(found, CEILING)
    assert ("LoRA and Sparse LoRA are shown to be less accurate than the majority" in text) == (of_baseline == 0.9)
    assert found[1].beating == ([ADAPTER, GATED] if of_baseline == 0.6 else [])


def test_classes_that_no_run_names_on_any_set_are_told_with_their_share_of_each(monkeypatch):
    answers = {"test": ([[0, 1, 1, 1]], [0, 1, 2, 2]), "tweets": ([[1, 1]], [1, 3])}
    found = {
        of: Predictions(labels=pd.Series(labels), predicted={ADAPTER: pd.DataFrame(said)})
        for of, (said, labels) in answers.items()
    }
    monkeypatch.setattr(domains, "read_predictions", lambda _, of: found[of])
    monkeypatch.setattr(domains, "evaluation_sets", lambda _: {"test": "movies", "tweets": "tweets"})
    results = SimpleNamespace(runs=[SimpleNamespace(task=SimpleNamespace(class_names=[*"abcd"]))])
    assert domains.never_named(results) == (["c", "d"], {"movies": 0.5, "tweets": 0.5}, {"movies": "c"})


def test_what_was_forgotten_is_the_fall_of_the_share_of_own_neighbours(results):
    states = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1], [1, 0.3]])
    assert share_of_own(states, np.array(list("aabbb"))) == pytest.approx(4 / 5)
    falls = {FULL: 0.2, ADAPTER: 0.0, HEAD: 0.0, GATED: 0.03}  # shown for the last without a correction only
    measured = [
        runs.Run(run.folder, run.result.model_copy(update={"forgetting": runs.Forgetting(
            texts=600, before=0.8, after=0.8 - falls[run.config.method] + 0.01 * (run.config.seed - 1))}))
        for run in results.runs
    ]  # fmt: skip
    table = domains.forgetting_table(type(results)(results.experiment, measured, []))
    changes = table.set_index("method")["change"]
    assert {name: round(-changes[name] / 100, 3) for name in METHODS} == falls
    one_text_less = {"forgetting": runs.Forgetting(texts=600, before=0.8, after=0.8 - 1 / 600)}
    tied = [runs.Run(run.folder, run.result.model_copy(update=one_text_less)) for run in results.runs]
    assert not domains.forgetting_table(type(results)(results.experiment, tied, []))["differs"].any()
    text = exhibits.say.forgetting_text(table.set_index("method"))
    assert "is shown for full fine-tuning." in text and "the lowest share after training is that of full" in text
    p_values = table.set_index("method")["p_holm"]
    assert p_values[GATED] == pytest.approx(2 * 0.0351, abs=0.001) and np.isnan(p_values[HEAD])
    assert dict(zip(table["method"], table["four_bit"], strict=True)) == dict.fromkeys(METHODS, False)
    assert domains.forgetting_table(results).empty


def test_a_method_is_named_where_none_between_it_and_the_best_is_behind_and_where_it_beats_the_baselines():
    def pair(first, second, above):
        return SimpleNamespace(first=first, second=second, above=above, differs=above)

    accuracy = {GATED: 0.81, ADAPTER: 0.80, QUANTISED: 0.79, MULTIPLIED: 0.78}
    pairs = [pair(GATED, name, name == QUANTISED) for name in accuracy if name != GATED]
    for beating, taken in (
        ((GATED, ADAPTER, QUANTISED, MULTIPLIED), [GATED, ADAPTER]),
        ((GATED, MULTIPLIED), [GATED]),
        ((ADAPTER,), [ADAPTER]),
        ((MULTIPLIED,), []),
    ):
        over = [pair(name, MAJORITY.name, name in beating) for name in accuracy]
        row = choice._for_domain(domains.Domain("tweets", accuracy, pairs, {}, {MAJORITY.name: 0.7}, over))
        assert row.take == taken and ("left out" in row.why) == (0 < len(taken) < 2)
