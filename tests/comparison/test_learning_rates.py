"""The learning-rate search: its trials, its winners, and that the profiles use them."""

from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from made_up import write_run
from small import ADAPTER, FULL, MULTIPLIED, QUANTISED

from course_utils import config as configuration
from course_utils.code_identity import FROM_RECORDS
from course_utils.comparison.learning_rates import (
    by_one_seed,
    by_scaled_likelihood,
    search_sentences,
    search_table,
    search_trials,
    trial_differences,
    winners_as_toml,
)
from course_utils.comparison.results import read_runs
from course_utils.config import PROFILES, load_experiment
from course_utils.methods import METHODS
from course_utils.paths import PROJECT
from course_utils.tasks.classification import score
from course_utils.text import in_sentence


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """An experiment, and a folder with its trials: each method's third rate is the best, and HiRA's last."""
    experiment, folder = load_experiment("full", {"precision": "fp32"}), tmp_path_factory.mktemp("trials")
    grids = experiment.profile.search.rates
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_RUNS", str(folder))
        for config in experiment.configs():
            if not config.final:
                position = grids[config.method].index(config.settings.learning_rate)
                best = len(grids[config.method]) - 1 if config.method == MULTIPLIED else 2
                write_run(config, 0.8 - 0.1 * abs(position - best), set_name="validation")
    return experiment, folder


@pytest.fixture
def trials(written, monkeypatch):
    """The experiment of these trials, and their table."""
    experiment, folder = written
    monkeypatch.setenv("COURSE_RUNS", str(folder))
    return experiment, search_trials(read_runs(experiment))


def test_every_method_has_the_same_number_of_trials_on_validation_alone():
    experiment = load_experiment("full")
    searched = [config for config in experiment.configs() if not config.final]
    assert pd.Series([config.method for config in searched]).value_counts().eq(12).all()
    assert {config.seed for config in searched} == {0, 1} and experiment.shared.epochs == searched[0].epochs
    assert {config.method for config in searched} == set(experiment.methods)


def test_the_best_trial_wins_and_an_edge_is_named(trials):
    experiment, table = trials
    grids = experiment.profile.search.rates
    best = table[table["best"]].set_index("method")["learning_rate"]
    assert best.to_dict() == {name: grid[-1 if name == MULTIPLIED else 2] for name, grid in grids.items()}
    said, last = " ".join(search_sentences(table, experiment)), grids[MULTIPLIED][-1]
    edge = f"On the edge of the grid, beyond which a better rate may lie: {METHODS[MULTIPLIED].title} {last:g}."
    assert edge in said
    assert (
        "above its best rate a method lost more than 15 points: " in said
        and f"; {in_sentence(METHODS[FULL].title)} at {grids[FULL][4]:g}" in said
    )
    assert "A trial differs" not in said
    shorter = "A trial differs from a main run in `max_train` (8,000 and not all) and `epochs` (1 and not 3)."
    assert shorter in search_sentences(table, load_experiment("sst2", {"epochs": 3}))
    assert len(table) == 36 and f"[methods.{ADAPTER}]\nlearning_rate = {grids[ADAPTER][2]:g}" in winners_as_toml(table)


def test_a_collapse_is_a_fall_from_the_accuracy_at_the_best_rate(trials):
    """The best rate is that of the best likelihood: another may have the highest accuracy."""
    experiment, table = trials
    own = table["method"] == ADAPTER
    first, second, best, above, last = table.index[own][:5]
    accuracies = {first: (0.9, 0.9), best: (0.8, 0.8), above: (0.8, 0.5), last: (0.5, 0.5)}
    for row, of_seeds in accuracies.items():
        table.at[row, "of_seeds"] = [{"nll": 1.0, "accuracy": each} for each in of_seeds]
        table.loc[row, "accuracy"] = sum(of_seeds) / 2
    named = f"{METHODS[ADAPTER].title} at"
    (said,) = [said for said in search_sentences(table, experiment) if "above its best rate" in said]
    rates = table["learning_rate"]
    assert f"{named} {rates[above]:g} (1 of 2 seeds); {named} {rates[last]:g};" in said
    assert f"{named} {rates[first]:g}" not in said


def test_seeds_that_would_choose_different_rates_are_named(trials):
    experiment, table = trials
    assert not any("Single seeds" in said for said in search_sentences(table, experiment))
    own = table.index[table["method"] == ADAPTER]
    for row, of_seeds in zip(own[1:3], ((0.4, 0.1), (0.2, 0.2)), strict=True):
        table.at[row, "of_seeds"] = [{"nll": each, "accuracy": 0.8} for each in of_seeds]
    rates = table["learning_rate"][own[1:3]]
    told = "Single seeds of the search would choose different rates for LoRA ({:g} and {:g}).".format(*rates)
    assert told in search_sentences(table, experiment)


def test_the_table_says_the_neighbours_and_what_fewer_trials_would_have_found(trials):
    experiment, table = trials
    rows = search_table(table)
    assert [*rows.index] == experiment.methods
    own = rows.loc[ADAPTER]  # accuracies 60, 70, 80, 70, 60, 50 over its grid
    assert own[["rate", "below", "at", "above"]].to_list() == pytest.approx(
        [experiment.profile.search.rates[ADAPTER][2], 70, 80, 70]
    )
    assert own[1] == pytest.approx(65) and own[6] == pytest.approx(80)
    pairs = [max(pair) for pair in combinations([60, 70, 80, 70, 60, 50], 2)]
    assert own[2] == pytest.approx(sum(pairs) / len(pairs))
    assert pd.isna(rows.loc[MULTIPLIED, "above"])
    up_to_best = table.groupby("method", group_keys=False)[[*table]].apply(
        lambda own: own[own["learning_rate"] <= own.loc[own["best"], "learning_rate"].item()]
    )
    above = search_table(up_to_best)["above"]  # where every best rate is the highest, no method has one above
    assert [f"{rate:.1f}" for rate in above] == ["nan"] * len(above)


def test_smoke_and_full_use_the_same_winners():
    profiles = [load_experiment(name).profile for name in ("full", "smoke")]
    rates = [{name: entry["learning_rate"] for name, entry in profile.methods.items()} for profile in profiles]
    assert rates[0] == rates[1]
    assert profiles[0].found_by == profiles[1].found_by


def test_quick_uses_the_rates_that_are_the_better_ones_for_as_many_texts():
    runs, quick = pd.read_csv(PROJECT / "reports" / "full" / "comparison.csv"), load_experiment("quick")
    alike = runs[(runs["max_train"] == quick.shared.max_train) & (runs["epochs"] == quick.shared.epochs)]
    tried = alike[alike["study"].isin(["size-1500", "size-1500-rates"])]
    likelihoods = tried.groupby(["method", "learning_rate"])["validation_nll"].mean()
    for method, entry in quick.profile.methods.items():
        if method in METHODS:
            assert likelihoods[method].idxmin() == entry["learning_rate"]
    told = (
        (PROJECT / "docs" / "findings.md")
        .read_text(encoding="utf-8")
        .partition("- *Which profile.*")[2]
        .partition("\n")[0]
    )
    means = 100 * tried.groupby(["method", "learning_rate"])["test_accuracy"].mean()
    for at, methods in ((min, [FULL, ADAPTER, MULTIPLIED]), (max, [FULL, MULTIPLIED])):
        for method in methods:
            assert f"{means[method, at(means[method].index)]:.1f}%" in told


def test_a_trial_differs_in_what_is_not_the_same_in_the_main_runs():
    sst2 = load_experiment("sst2")
    assert sst2.profile.search.settings["epochs"] == sst2.shared.epochs
    assert trial_differences(sst2) == "`max_train` (8,000 and not all)"
    assert not trial_differences(load_experiment("full"))


def test_a_difference_in_a_setting_that_is_no_number_is_said_as_it_is_set(tmp_path, monkeypatch):
    settings = 'max_train = 8000\nprecision = "fp32"\nspeedups = false\nhead_learning_rate = 0.003\n'
    text = (PROFILES / "full.toml").read_text(encoding="utf-8")
    (tmp_path / "mine.toml").write_text(f"{text}\n[search.settings]\n{settings}", encoding="utf-8")
    monkeypatch.setattr(configuration, "PROFILES", tmp_path)
    assert trial_differences(load_experiment("mine", {"max_train": None})) == (
        "`max_train` (8,000 and not all), `precision` (fp32 and not bf16), `speedups` (False and not True)"
        " and `head_learning_rate` (0.003 and not none)"
    )


def test_a_search_of_language_models_is_judged_without_accuracies(monkeypatch):
    monkeypatch.setenv(FROM_RECORDS, "1")
    experiment = load_experiment("language")
    said = search_sentences(search_trials(read_runs(experiment)), experiment)
    assert said[0].startswith("The best rates on validation are: ") and not any("lost more" in line for line in said)


def test_a_rate_that_another_seed_would_not_choose_is_named(monkeypatch):
    monkeypatch.setenv(FROM_RECORDS, "1")
    results = read_runs(load_experiment("language"))
    trials, on_four_bits = search_trials(results), METHODS[QUANTISED]
    tried = trials[trials["method"] == QUANTISED].set_index("learning_rate")["bits_per_byte"].drop(1e-2)
    worst = max(run.result.metrics["validation"].bits_per_byte for run in results.of(QUANTISED))
    told = f"{on_four_bits.title} (bits per byte {worst:.4f}, and {tried.min():.4f} in the trial at {tried.idxmin():g})"
    assert worst > tried.min() and told in by_one_seed(trials, results)
    two_seeds = trials.assign(of_seeds=[2 * of_seeds for of_seeds in trials["of_seeds"]])
    assert by_one_seed(two_seeds, results) == ""  # single seeds of the search are compared there


def test_a_rate_that_its_overconfidence_alone_makes_unlikely_is_named():
    def trial(rate, wrong, margin):
        named = np.arange(1_000) < 1_000 * wrong  # class 1, where all texts are of class 0
        logits = np.eye(2)[named.astype(int)] * margin
        own = score(logits, np.zeros(1_000, int))
        predictions = pd.DataFrame({"set": "validation", "label": 0, "scores": [*logits]})
        metrics = {"validation": SimpleNamespace(nll=own["nll"], accuracy=own["accuracy"])}
        config = SimpleNamespace(method=ADAPTER, settings=SimpleNamespace(learning_rate=rate), final=False)
        result = SimpleNamespace(metrics=metrics, fingerprint="f")
        return SimpleNamespace(config=config, result=result, predictions=lambda: predictions)

    experiment = SimpleNamespace(shared=SimpleNamespace(task="classification"))
    for margin, said in ((8, "other rates: LoRA 0.01."), (2.2, "")):
        runs = SimpleNamespace(runs=[trial(1e-3, 0.2, 1.4), trial(1e-2, 0.1, margin)], experiment=experiment)
        trials = search_trials(runs)
        best = trials.query("best")["learning_rate"].item()
        assert (best == 1e-3) == bool(said) and by_scaled_likelihood(trials, runs).endswith(said)
        assert bool(by_scaled_likelihood(trials, runs)) == bool(said)
