"""What a result depends on is said of any choice of methods and settings, with made-up runs of all axes of `full`."""

import shutil

import pytest
from made_up import write_axes
from small import ADAPTER, FULL, HEAD, MULTIPLIED

from course_utils.comparison.axes import validation_likelihood
from course_utils.comparison.results import ExperimentRuns, MissingRun, read_runs
from course_utils.config import load_experiment
from course_utils.report import abstract, dependence, rates, training_size


def full(**overrides):
    return load_experiment("full", {"precision": "fp32"} | overrides)


def made(factors, accuracy=lambda config: 0.8, **overrides):
    write_axes(experiment := full(**overrides), accuracy, factors=factors)
    return read_runs(experiment)


def test_without_two_methods_that_train_more_than_a_head_no_change_is_judged(runs_in, shown):
    results = made(["max_train", "trained_modules"], methods=[HEAD, FULL])
    training_size.accuracy_by_size(results)
    axes, _, _, _, _, text, *_ = shown  # and no table of changes
    assert "no change of a difference is judged" in text and "none of" not in text
    shown.clear()
    dependence.placements(results)
    axes, _, _, accuracies, _, table, _, said = shown
    assert axes.get_title(loc="left") == "Accuracy by the layers that are trained"
    assert [*accuracies["Learning rate"]] == ["3e-05"] * 2
    assert [*table["First against second"]] == [
        "Full fine-tuning on query and value against full fine-tuning of everything"
    ]
    assert table.loc[0, "Difference [95%]"].startswith("0.0 [")
    assert said == "Full fine-tuning of query and value alone is equivalent to full fine-tuning of everything."


def test_sizes_are_compared_with_that_of_the_main_runs_where_it_is_the_least(runs_in, shown):
    training_size.accuracy_by_size(made(["max_train"], methods=[FULL, ADAPTER], max_train=500))
    _, _, _, _, _, table, _, text, at_sizes, *_ = shown
    assert "With 1,500 texts, none of 1 pair of methods is shown to differ" in at_sizes
    assert [*table][1:3] == ["With 1,500", "With 500"] and "Between 1,500 and 500 texts, none of 1 difference" in text


def test_each_law_of_the_scale_is_a_line_and_each_rank_a_whole_number(runs_in, shown):
    dependence.ranks(made(["rank"], methods=[ADAPTER], **{f"{ADAPTER}.rank": 4}))
    axes, caption, _, table, *_ = shown
    labels = axes.get_legend_handles_labels()[1]
    assert len(labels) == len({*labels}) == 4  # three laws, and a baseline
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "4", "16"]
    assert sorted(table["Rank"]) == [1, 1, 1, 2, 2, 2, 16, 16, 16] and "other adapter methods" not in caption


@pytest.mark.parametrize("step", [0.0, 0.05])
def test_a_table_says_whose_seeds_make_the_margin_wide_if_not_those_of_its_methods(runs_in, shown, step):
    dependence.ranks(
        made(["rank"], lambda config: 0.7 + step * config.seed * (config.method == FULL), methods=[FULL, ADAPTER])
    )
    *_, table, caption, _ = shown
    told = "full fine-tuning, which is not in this table, lie farthest apart and make the margin as wide"
    assert "Rank" in table and (told in caption) == (step > 0)


def test_of_one_seed_nothing_is_concluded(runs_in, shown):
    rates.head_rates(
        made(
            ["head_learning_rate"], lambda config: 0.5 if config.head_learning_rate else 0.9, methods=[ADAPTER], seeds=1
        )
    )
    table, _, said = shown
    assert [*table.loc[0, ["p (Holm)", "Verdict"]]] == ["–", "–"] and said == "With 1 seed, nothing is concluded."


def test_a_rate_of_the_head_is_compared_with_another(runs_in, shown):
    rates.head_rates(made(["head_learning_rate"], methods=[ADAPTER], head_learning_rate=0.001))
    table, caption, _ = shown
    assert "a head that learns at 0.003" in caption and table.loc[0, "Head at its usual rate"].startswith("0.001: ")


def test_only_studies_of_the_experiments_methods_are_planned(shown):
    for exhibit in (dependence.ranks, dependence.placements):
        exhibit(ExperimentRuns(full(methods=[HEAD]), [], []))
    planned = full(methods=[FULL])
    dependence.placements(ExperimentRuns(planned, [], [MissingRun(run, "not run") for run in planned.configs()]))
    assert ["are planned" in text for text in shown] == [False, False, True]


def test_layers_of_ones_own_are_not_told_as_query_and_value(runs_in, shown):
    own = {f"{ADAPTER}.target_modules": "q_lin,v_lin", "full.trained_modules": "all-linear"}
    dependence.placements(made(["target_modules", "trained_modules"], methods=[FULL, ADAPTER], **own))
    (said,) = shown
    assert "q_lin and v_lin" in said


@pytest.mark.parametrize("lost", [f"main/{MULTIPLIED}", "main"])
def test_side_studies_without_their_main_runs_are_no_failure(runs_in, shown, lost):
    made(["max_train"], methods=[FULL, ADAPTER, MULTIPLIED])
    (folder,) = runs_in.rglob(lost)
    shutil.rmtree(folder)
    results = read_runs(full(methods=[FULL, ADAPTER, MULTIPLIED]))
    training_size.accuracy_by_size(results)
    assert shown and (lost != "main" or "No adapter method has a finished run" in abstract.abstract(results))


def test_who_leads_is_judged_on_the_seeds_that_all_have(runs_in, reports_in, shown):
    """HiRA lacks the seed that is hardest for both; on the seeds that both have, LoRA is ahead at every size."""

    def accuracy(config):
        return 0.8 - 0.2 * (config.seed == 2) - 0.02 * (config.method == MULTIPLIED)

    made(["max_train"], accuracy, methods=[ADAPTER, MULTIPLIED])
    (folder,) = runs_in.rglob(f"size-500/{MULTIPLIED}/seed-2")
    shutil.rmtree(folder)
    results = read_runs(full(methods=[ADAPTER, MULTIPLIED]))
    axis = training_size.size_axis(results, validation_likelihood)
    assert axis.led.seeds == [0, 1] and {*axis.led.best.values()} == {ADAPTER}
