"""What a result depends on is said of any choice of methods and settings, with made-up runs of all axes of `full`."""

from made_up import write_axes
from small import ADAPTER, FULL, HEAD

from course_utils.comparison.tables import ExperimentRuns, read_runs
from course_utils.config import load_experiment
from course_utils.report import dependence, rates


def full(**overrides):
    return load_experiment("full", {"precision": "fp32"} | overrides)


def made(factors, accuracy=lambda config: 0.8, **overrides):
    write_axes(experiment := full(**overrides), accuracy, factors=factors)
    return read_runs(experiment)


def test_without_two_methods_that_train_more_than_a_head_no_change_is_judged(runs_in, shown):
    results = made(["max_train", "trained_modules"], methods=[HEAD, FULL])
    dependence.training_sizes(results)
    axes, _, _, text = shown  # and no table
    assert "no change of a difference is judged" in text and "none of" not in text
    shown.clear()
    dependence.placements(results)
    axes, *_, text = shown
    assert axes.get_title(loc="left") == "Accuracy by the layers that are trained"
    assert "Its difference from full fine-tuning of everything is 0.0" in text


def test_sizes_are_compared_with_that_of_the_main_runs_where_it_is_the_least(runs_in, shown):
    dependence.training_sizes(made(["max_train"], methods=[FULL, ADAPTER], max_train=500))
    _, _, _, table, _, text = shown
    assert [*table][1:3] == ["With 1,500", "With 500"] and "Between 1,500 and 500 texts, none of 1 difference" in text


def test_each_law_of_the_scale_is_a_line_and_each_rank_a_whole_number(runs_in, shown):
    dependence.ranks(made(["rank"], methods=[ADAPTER], **{f"{ADAPTER}.rank": 4}))
    axes, caption, _, text = shown
    labels = axes.get_legend_handles_labels()[1]
    assert len(labels) == len({*labels}) == 3
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "4", "16"]
    assert text.count("against rank 4") == 7 and "other adapter methods" not in caption


def test_of_one_seed_nothing_is_concluded(runs_in, shown):
    rates.head_rates(
        made(
            ["head_learning_rate"], lambda config: 0.5 if config.head_learning_rate else 0.9, methods=[ADAPTER], seeds=1
        )
    )
    assert "With 1 seed, nothing is concluded." in shown[0] and "p " not in shown[0] and "No change" not in shown[0]


def test_a_rate_of_the_head_is_compared_with_another(runs_in, shown):
    rates.head_rates(made(["head_learning_rate"], methods=[ADAPTER], head_learning_rate=0.001))
    assert "a head that learns at 0.003" in shown[0] and "LoRA (head at 0.001 otherwise)" in shown[0]


def test_only_studies_of_the_experiments_methods_are_planned(shown):
    for exhibit in (dependence.ranks, dependence.placements):
        exhibit(ExperimentRuns(full(methods=[HEAD]), [], []))
    dependence.placements(ExperimentRuns(full(methods=[FULL]), [], []))
    assert ["are planned" in text for text in shown] == [False, False, True]
