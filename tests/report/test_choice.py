"""Which method when: among methods that are not shown to be worse, the cheapest; no answer where there is none."""

import pytest
from made_up import write_run
from small import ADAPTER, FULL, GATED, HEAD, MULTIPLIED, QUANTISED

from course_utils.comparison.conclusions import judge_experiment
from course_utils.comparison.tables import read_runs
from course_utils.config import load_experiment
from course_utils.report import choice

ACCURACY = {HEAD: 0.6, FULL: 0.9, ADAPTER: 0.9, GATED: 0.7, QUANTISED: 0.9}


@pytest.fixture
def shown(monkeypatch):
    said = []
    monkeypatch.setattr(choice, "show_markdown", said.append)
    monkeypatch.setattr(choice, "show_table", lambda frame, caption: said.append(frame))
    return said


def finished(seeds, changes=lambda result: None):
    experiment = load_experiment("smoke", {"seeds": seeds, "precision": "fp32", "methods": list(ACCURACY)})
    for config in experiment.configs():
        write_run(config, ACCURACY[config.method])
    results = read_runs(experiment)
    for run in results.runs:
        changes(run.result)
    return results


def quantised_base_is_small(result):
    if result.config.method == QUANTISED:
        object.__setattr__(result.bytes, "base_model", 9_000)
    if result.config.method == FULL:
        object.__setattr__(result.timing, "train_seconds", 1.0)


def test_the_cheapest_of_those_that_are_not_shown_to_be_worse_is_chosen(runs_in, shown):
    results = finished(3, quantised_base_is_small)
    found = choice.unbeaten(results, judge_experiment(results))
    assert set(found.costs.index) == {FULL, ADAPTER, QUANTISED}  # not the gated one, which is shown to be worse
    choice.which_when(results)
    text, table, limits = shown
    taken = table.set_index("What counts")["Take"]
    assert taken["Memory of the base model"] == "QLoRA" and taken["Time to train"] == "Full fine-tuning"
    assert "this experiment cannot choose between them" in text and "1,000 of them in training" in limits


def test_a_method_with_too_few_seeds_is_named_and_none_is_recommended_before_it_is_finished(runs_in, shown):
    experiment = load_experiment("smoke", {"seeds": 3, "precision": "fp32", "methods": [FULL, ADAPTER, MULTIPLIED]})
    for config in experiment.configs():
        if (config.method, config.seed) != (MULTIPLIED, 2):
            write_run(config, {FULL: 0.6, ADAPTER: 0.8, MULTIPLIED: 0.95}[config.method])
    choice.which_when(read_runs(experiment))
    assert "too few seeds, it is not compared with HiRA" in shown[0] and "the method to take" not in shown[0]


def test_with_too_few_seeds_nothing_is_recommended(runs_in, shown):
    choice.which_when(finished(1))
    (said,) = shown
    assert said.endswith("so nothing can be recommended.")
