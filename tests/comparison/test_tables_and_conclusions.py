"""The tables of an experiment and its verdicts, on runs with known answers."""

import re
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from made_up import SENTENCES, finished, write_run
from small import ADAPTER, FULL, GATED, HEAD, MULTIPLIED, QUANTISED

from course_utils import runs
from course_utils.comparison import results as of_experiment
from course_utils.comparison.conclusions import experiment_verdicts, judge, p_in_words, verdicts
from course_utils.comparison.results import read_predictions, read_runs
from course_utils.comparison.robustness import cut_down, one_less, seeds_apart
from course_utils.comparison.tables import (
    COLUMNS,
    accuracy_in_per_cent,
    comparison_frame,
    readable_summary,
    summary_table,
    write_comparison,
)
from course_utils.config import load_experiment
from course_utils.report import abstract, choice, exhibits
from course_utils.stats import compare_pairs
from course_utils.text import margin_points, signed_points

ACCURACY = {HEAD: 0.7, FULL: 0.9, ADAPTER: 0.85, GATED: 0.84, QUANTISED: 0.85, MULTIPLIED: 0.8}


@pytest.fixture
def experiment(runs_in, reports_in):
    """Three seeds of every method, all of them whole."""
    return finished(ACCURACY, apart=0.01).experiment


def break_runs(experiment):
    """Spoil four runs, each in its way."""
    folder = {name: runs.runs_folder() / experiment.config(name, 1).path for name in experiment.methods}
    shutil.rmtree(folder[ADAPTER])
    (folder[QUANTISED] / "result.json").write_text("{}")
    (folder[MULTIPLIED] / "predictions.parquet").write_bytes(b"torn")
    shutil.rmtree(folder[FULL])
    write_run(experiment.config(FULL, 1), 0.9, data="e" * 64)


def test_every_run_is_a_row_and_every_column_is_described(experiment):
    path = write_comparison(read_runs(experiment))
    frame = pd.read_csv(path)
    columns = pd.read_csv(path.with_name("comparison_columns.csv"))
    assert len(frame) == 18 and set(frame["status"]) == {"finished"}
    assert list(columns["column"]) == list(frame.columns) and set(COLUMNS) < set(frame.columns)
    assert columns["description"].str.len().min() > 10
    row = frame[(frame["method"] == MULTIPLIED) & (frame["seed"] == 2)].iloc[0]
    assert row["test_accuracy"] == pytest.approx(0.81)
    assert row["learning_rate"] == experiment.config(MULTIPLIED).settings.learning_rate
    assert row["parameters_adapter"] == 1_002 and row["peak_memory_bytes"] == 10**9


def test_predictions_are_aligned_by_sentence(experiment):
    predictions = read_predictions(read_runs(experiment))
    for method, correct in predictions.correct.items():
        assert list(correct.index) == [0, 1, 2] and list(correct.columns) == list(predictions.labels.index)
        assert correct.mean(axis=1).tolist() == pytest.approx([ACCURACY[method] + d for d in (-0.01, 0, 0.01)])
    assert predictions.correct[FULL]["sentence-0"].all()
    assert not predictions.correct[FULL][f"sentence-{SENTENCES - 1}"].any()


def test_summary_has_a_row_for_every_method_and_the_majority_class(experiment):
    summary = summary_table(read_runs(experiment)).set_index("method")
    assert list(summary.index) == ["majority", *experiment.methods]
    assert summary.loc["majority", "accuracy"] == 0.5
    lora = summary.loc[ADAPTER]
    assert lora["accuracy"] == pytest.approx(0.85) and lora["seeds"] == 3
    assert lora["accuracy_low"] < 0.82 < 0.88 < lora["accuracy_high"]
    assert lora["parameters_adapter"] == 1_001 and lora["step_ms_median"] == 101
    readable = readable_summary(summary.reset_index())
    assert readable.loc[3, "Accuracy (%)"].startswith("85.0 [") and readable.loc[3, "Seeds"] == "3"
    assert "F1 (%)" in readable and "Macro F1 (%)" not in readable
    summary.loc["majority", "accuracy"] = 0.98
    assert {"F1 (%)", "Macro F1 (%)"} <= set(readable_summary(summary.reset_index()))
    assert list(accuracy_in_per_cent(summary.reset_index())["estimate"].round(6)) == [98, 70, 90, 85, 84, 85, 80]


def test_broken_runs_are_listed_and_stop_nothing(experiment):
    break_runs(experiment)
    reasons = {run.config.method: run.reason for run in read_runs(experiment).missing}
    assert reasons[ADAPTER] == "not run, or failed" and "damaged" in reasons[QUANTISED]
    assert "predictions" in reasons[MULTIPLIED] and "other data" in reasons[FULL]
    frame = comparison_frame(read_runs(experiment))
    assert len(frame) == 18 and (frame["status"] != "finished").sum() == 4
    readable = readable_summary(summary_table(read_runs(experiment))).set_index("Method")
    assert readable.loc["LoRA", "Seeds"] == "2 of 3" and readable.loc["Sparse LoRA", "Seeds"] == "3"
    said = " ".join(experiment_verdicts(read_runs(experiment)))
    assert "4 runs cannot be used" in said and "LoRA, seed 1 (not run, or failed)" in said
    assert re.search("Sparse LoRA[^.]* significantly more accurate than head only", said)


def test_a_method_without_runs_stays_in_the_table(experiment):
    for seed in range(3):
        shutil.rmtree(runs.runs_folder() / experiment.config(MULTIPLIED, seed).path)
    readable = readable_summary(summary_table(read_runs(experiment))).set_index("Method")
    assert readable.loc["HiRA", "Accuracy (%)"] == "missing" and readable.loc["HiRA", "Seeds"] == "0 of 3"
    assert write_comparison(read_runs(experiment)).is_file()


def test_an_experiment_without_runs_is_a_table_of_what_is_missing(runs_in):
    experiment = load_experiment("smoke")
    assert set(readable_summary(summary_table(read_runs(experiment)))["Accuracy (%)"]) == {"missing"}
    assert set(comparison_frame(read_runs(experiment))["status"]) == {"not run, or failed"}
    assert "Nothing is concluded" in experiment_verdicts(read_runs(experiment))[-1]


def test_runs_of_other_settings_are_not_mixed_in(experiment):
    config = experiment.config(ADAPTER, 1)
    other = config.model_copy(update={"settings": config.settings.model_copy(update={"rank": 4})})
    write_run(other, 0.99)
    (missing,) = read_runs(experiment).missing
    assert missing.config == config and missing.reason == "made with other settings"


def test_published_figures_stand_beside_sst2(runs_in):
    experiment = load_experiment("smoke", {"precision": "fp32"})
    write_run(experiment.config(ADAPTER), 0.9, title="SST-2 validation")
    published = summary_table(read_runs(experiment)).query("method == 'published'")
    assert list(published["accuracy"]) == [0.922, 0.913]
    assert published[["accuracy_low", "accuracy_high"]].iloc[0].tolist() == pytest.approx([0.902, 0.938], abs=5e-4)
    assert "90.0%" in abstract.abstract(read_runs(experiment))


def without(seeds, lost):
    """The results of `seeds` seeds of three methods, where the seeds of `lost` are not there."""
    accuracy = {name: ACCURACY[name] for name in (FULL, ADAPTER, MULTIPLIED)}
    return finished(accuracy, seeds, apart=0.005, lost={(name, seed) for name in lost for seed in lost[name]})


APART = "Not compared, because they share fewer than 3 seeds: LoRA and HiRA."


@pytest.mark.parametrize("seeds", [5, 6])  # of which both have one, and none
def test_methods_that_share_too_few_seeds_are_not_compared_and_stop_nothing(runs_in, reports_in, shown, seeds):
    results = without(seeds, {ADAPTER: range(3, seeds), MULTIPLIED: range(seeds - 3)})
    exhibits.conclusions(results)
    choice.which_when(results)
    of_equivalence = shown[0]["p, equivalence"].str.removeprefix("< ").astype(float)
    assert ((of_equivalence < 0.05) == shown[0]["Verdict"].str.contains("equivalent|within")).all()
    told = "\n".join(word for word in shown if isinstance(word, str)).replace("\\", "")
    assert APART in told and all(re.search(f"{name}[^.]* than full fine-tuning", told) for name in ("LoRA", "HiRA"))
    assert "not shown to be better than HiRA" in told and "every difference" not in told
    assert "Error, simulated" not in told and "Rank 1" not in str(shown)  # of one seed nothing is drawn
    sentence, paragraph = abstract.finding(results), abstract.abstract(results)
    assert "not shown to be better than HiRA" in sentence and APART in paragraph


def test_where_no_two_methods_share_enough_seeds_nothing_is_concluded(runs_in, reports_in):
    results = without(5, {FULL: range(5), ADAPTER: (3, 4), MULTIPLIED: (0, 1)})
    said = experiment_verdicts(results)
    assert "fewer than two of them have 3 finished seeds that they share." in " ".join(said)
    assert "not shown to be better than HiRA" in abstract.finding(results) and APART in abstract.abstract(results)


def test_the_advice_says_which_methods_it_does_not_compare(runs_in, reports_in, shown):
    """The most accurate method shares seeds with one of the others alone, and is better than this one."""
    choice.which_when(without(6, {FULL: (3, 4, 5), ADAPTER: (0, 1, 2)}))
    assert "full fine-tuning has the highest mean" in shown[0] and "Every other" not in shown[0]
    assert "not compared with LoRA" in shown[0]


# ---------------------------------------------------------------- verdicts


def answers(accuracy, seeds=5, noise=0.02, sentences=2_000, seed=0, apart=0.005):
    """Answers of a method: the harder sentences are wrong for every seed, a share `noise` by chance.

    The accuracies of successive seeds lie `apart`, for all methods alike.
    """
    accuracy = accuracy + apart * (np.arange(seeds)[:, None] - (seeds - 1) / 2)
    random = np.random.default_rng(seed)
    difficulty = np.linspace(0, 1, sentences)
    own = random.random((seeds, sentences))
    return pd.DataFrame(np.where(random.random((seeds, sentences)) < noise, own, difficulty) < accuracy)


def saying(sentences, text):
    return [sentence for sentence in sentences if text in sentence]


def test_a_clear_winner_is_called_one():
    said = verdicts({HEAD: answers(0.70, seed=1), ADAPTER: answers(0.86, seed=2), MULTIPLIED: answers(0.80, seed=3)})
    assert (
        "LoRA has the highest mean accuracy" in said[0]
        and "every difference from another adapter method is significant" in said[0]
    )
    assert "LoRA and HiRA are significantly more accurate than head only." in said
    (different,) = saying(said, "Significantly different after Holm's correction: LoRA and HiRA.")
    assert not saying(said, "quivalent") and not saying(said, "nconclusive")


def test_a_tie_is_equivalence_and_names_no_winner():
    said = verdicts({ADAPTER: answers(0.85, seed=1), QUANTISED: answers(0.85, seed=2)})
    assert "it is not shown to be better than" in said[0]
    assert saying(saying(said, "Equivalent within 2."), " points: LoRA and QLoRA")
    assert not saying(said, "ignificantly different")


def test_a_difference_within_the_noise_is_inconclusive():
    few = {ADAPTER: answers(0.86, sentences=150, noise=0.1, seed=1, apart=0)}
    few[QUANTISED] = answers(0.84, sentences=150, noise=0.1, seed=2, apart=0)
    said = verdicts(few)
    (open_,) = saying(said, "Inconclusive, neither different nor equivalent: LoRA and QLoRA")
    (pair,) = compare_pairs(few, margin=0.01)
    assert open_.endswith(f"of 2 points in {100 * pair.power.of_difference[0.02]:.0f}% of cases.")
    assert not saying(said, "Equivalent") and not saying(said, "Significantly")


def test_an_inconclusive_verdict_says_what_would_have_been_seen():
    close = {FULL: answers(0.86, sentences=1_000, noise=0.05, seed=1, apart=0)}
    close[ADAPTER] = answers(0.85, sentences=1_000, noise=0.05, seed=2, apart=0)
    (pair,) = compare_pairs(close, margin=0.01)
    said = saying(verdicts(close), "LoRA is not shown to differ from full fine-tuning")
    assert said[0].endswith(f"of 2 points in {100 * pair.power.of_difference[0.02]:.0f}% of cases.")


def test_smaller_experiments_are_cut_out_of_one_and_judged_alike():
    alike, far = answers(0.86, seeds=7, noise=0.1, seed=1, apart=0), answers(0.6, seeds=7, noise=0.1, seed=2, apart=0)
    near = answers(0.84, seeds=7, noise=0.1, seed=3, apart=0, sentences=2_000)
    for seeds, some, cuts in ((7, 4, 10), (4, 3, 4), (3, 3, 0)):
        correct = {name: own[:seeds] for name, own in ((FULL, alike), (ADAPTER, far), (MULTIPLIED, near))}
        found = cut_down(correct)
        assert (found.seeds, len(found.of_seeds), len(found.of_texts)) == (some, cuts, 10)
        for pairs in found.of_seeds + found.of_texts:
            (pair,) = (pair for pair in pairs if {pair.first, pair.second} == {FULL, ADAPTER})
            assert pair.above and not pair.equivalent and pair.standard_error.value > 0
    twins = {FULL: alike[:3], ADAPTER: alike[:3]}
    assert all(pair.equivalent for (pair,) in cut_down(twins, by_raters=1e-4).of_texts)


def test_one_seed_allows_no_conclusion():
    said = verdicts({ADAPTER: answers(0.9, seeds=1), MULTIPLIED: answers(0.5, seeds=1)})
    assert "Too few seeds" in said[0] and "LoRA (1 seed) and HiRA (1 seed)" in said[0]
    assert said[1:] == [
        "Nothing is concluded about methods: fewer than two of them have 3 finished seeds that they share."
    ]


def test_the_last_sentence_is_the_power_of_the_design():
    correct = {FULL: answers(0.70, seed=1), ADAPTER: answers(0.86, seed=2), MULTIPLIED: answers(0.80, seed=3)}
    correct[HEAD] = answers(0.60, seed=4)  # whose pairs are not told
    pairs = [pair for pair in compare_pairs(correct, margin=0.01) if HEAD not in (pair.first, pair.second)]
    powers = sorted(pair.power.of_difference[0.015] for pair in pairs)
    least, median, most = (f"{100 * power:.0f}" for power in powers)
    assert f"of 1.5 points in {median}% ({least} to {most})" in saying(verdicts(correct), "Power")[0]
    alone = verdicts({ADAPTER: answers(0.85, seed=1), MULTIPLIED: answers(0.5, seeds=1)})
    assert not saying(alone, "Power")


def test_a_difference_shows_which_side_of_zero_it_is_on():
    shown = {0.0142: "+1.4", -0.0004: "−0.04", 0.00049: "+0.05", -0.00001: "−0.001", 1e-6: "+0.0001", 1e-7: "0.0"}
    assert {difference: signed_points(difference) for difference in shown} == shown


def test_no_p_value_reads_as_zero():
    assert [p_in_words(p) for p in (0.0004, 0.0123, 0.0496)] == ["< 0.001", "0.012", "0.0496"]


def test_a_method_whose_seeds_lie_far_apart_is_named():
    def seeds(step):
        return pd.DataFrame([np.arange(1_000) < 800 + step * seed for seed in range(3)])

    correct = {ADAPTER: seeds(1), GATED: seeds(2), FULL: seeds(5)}
    told = "The seeds of full fine-tuning lie farthest apart: the standard deviation of their accuracies is 0.5 points"
    assert any(sentence.startswith(told) and "at most 0.2 for" in sentence for sentence in verdicts(correct))
    assert not any("farthest apart" in sentence for sentence in verdicts(correct | {FULL: seeds(3)}))


def test_a_difference_that_the_seeds_of_another_method_hide_is_named():
    correct = {ADAPTER: answers(0.83, seed=1), GATED: answers(0.80, seed=2), FULL: answers(0.84, seed=3, apart=0.06)}
    (pair,) = seeds_apart(correct).without.differing
    assert {pair.first, pair.second} == {ADAPTER, GATED} and not judge(correct).pairs[0].differs
    assert any("shows 1 difference more: LoRA − Sparse LoRA" in sentence for sentence in verdicts(correct))
    assert {found.left_out: len(found.differing) for found in one_less(correct)} == {ADAPTER: 0, GATED: 0, FULL: 1}
    near = correct | {name: answers(0.83, sentences=8_000, seed=seed) for seed, name in enumerate((ADAPTER, GATED))}
    near[FULL] = answers(0.84, sentences=8_000, seed=3, apart=0.06)
    assert any("shows no further difference between two methods" in sentence for sentence in verdicts(near))
    (without,) = (found for found in one_less(near) if found.left_out == FULL)
    assert [(pair.first, pair.second) for pair in without.equivalent] == [(ADAPTER, GATED)]
    assert without.margin < judge(near).margin / 5


def test_pairs_of_head_only_are_judged_where_one_method_is_left_out_and_not_told():
    correct = {ADAPTER: answers(0.83, seed=1), GATED: answers(0.83, seed=2), FULL: answers(0.84, seed=3, apart=0.06)}
    with_head = correct | {HEAD: answers(0.80, seed=4)}
    hidden = {(pair.first, pair.second) for pair in judge(with_head).pairs if pair.differs}
    shown = {
        (pair.first, pair.second) for pair in judge({**with_head, FULL: answers(0.84, seed=3)}).pairs if pair.differs
    }
    assert any(HEAD in pair for pair in shown - hidden)
    assert not any(HEAD in (pair.first, pair.second) for one in one_less(with_head) for pair in one.differing)


def test_what_is_equivalent_is_so_within_the_printed_margin():
    assert [margin_points(margin) for margin in (0.022391, 0.0224, 0.01)] == [
        "2.24 points",
        "2.24 points",
        "1.00 points",
    ]
    for margin in np.random.default_rng(0).uniform(0.001, 0.1, 100):
        assert 0 <= float(margin_points(margin).split()[0]) - 100 * margin < 0.01


def test_the_code_of_most_runs_is_one_that_runs_have():
    """Of three states of two modules, the state of the most runs counts as a whole, not module by module."""
    first, second, third = ({"trainer": state, ADAPTER: own} for state, own in (("a", "x"), ("b", "y"), ("c", "y")))
    codes = [first] * 3 + [second] * 2 + [third] * 2
    runs = [SimpleNamespace(result=SimpleNamespace(code=code)) for code in [*codes, {"trainer": "a", MULTIPLIED: "z"}]]
    assert of_experiment._code_of_most(runs) == {"trainer": "a", ADAPTER: "x", MULTIPLIED: "z"}
