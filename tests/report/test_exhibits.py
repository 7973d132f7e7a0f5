"""The exhibits of the comparison hold where a method changed nothing."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from made_up import finished, write_run
from sklearn.metrics import confusion_matrix as of_scikit_learn
from small import ADAPTER, FULL, GATED, QUANTISED

from course_utils.comparison.results import ExperimentRuns, Predictions, read_runs
from course_utils.comparison.tables import confusion_matrix
from course_utils.config import load_experiment
from course_utils.report import exhibits
from course_utils.training.updates import layer_facts


def test_a_method_whose_gates_are_all_shut_is_left_out_of_the_weights(shown):
    random = torch.Generator().manual_seed(0)
    changes = [torch.randn(8, 12, generator=random) for _ in range(3)]
    deltas = {ADAPTER: changes[0], FULL: changes[1], GATED: torch.zeros(8, 12)}

    def run(delta, method, seed=0):
        facts = layer_facts({"layer.0.query": (torch.ones(8, 12), delta)})
        return SimpleNamespace(updates=lambda: facts, method=method, config=SimpleNamespace(method=method, seed=seed))

    runs = {name: [run(delta, name)] for name, delta in deltas.items()}
    runs[ADAPTER].append(run(changes[2], ADAPTER, seed=1))
    first = [own[0] for own in runs.values()]
    experiment = SimpleNamespace(methods=list(deltas))
    exhibits.weight_changes(SimpleNamespace(experiment=experiment, of=runs.get, first_of_each=lambda: first))
    assert len(shown) == 3 * 3 + 2  # three figures and a text
    assert "Full fine-tuning" in shown[-1] and "two seeds of LoRA share" in shown[-1]


def test_where_there_is_nothing_to_compare_the_exhibit_says_so(shown):
    random = torch.Generator().manual_seed(0)
    facts = layer_facts({"layer.0.query": (torch.ones(8, 12), torch.randn(8, 12, generator=random))})
    run = SimpleNamespace(updates=lambda: facts, method=ADAPTER, config=SimpleNamespace(method=ADAPTER, seed=0))
    results = ExperimentRuns(load_experiment("smoke", {"methods": [ADAPTER]}), [], [])
    exhibits.quantised_base(results)
    exhibits.weight_changes(SimpleNamespace(first_of_each=lambda: [run], of=lambda name: [run]))
    assert "needs a head-only run" in shown[0] and "Fewer than two methods changed the weights" in shown[1]


def test_the_parts_of_a_step_add_up_and_those_that_change_most_are_named(shown):
    parts = pd.DataFrame({FULL: [60.0, 30.0, 10.0, 5.0], ADAPTER: [40.0, 1.0, 10.0, 5.5]}, index=[*"abcd"])
    exhibits._show_parts({"processor": "a processor", "ms": parts.to_dict()})
    table, caption, said = shown
    assert table.loc["these steps"].tolist() == ["105", "56"] and "a processor" in caption
    assert "is *a*: 71% of the time for LoRA, 57% of the time for full fine-tuning" in said
    assert "*b* by −29.0 ms; *a* by −20.0 ms; *d* by +0.5 ms." in said
    exhibits._show_parts({"processor": "a processor", "ms": parts.to_dict(), "joules": {FULL: 8.4, ADAPTER: 4.6}})
    assert shown[3].loc["energy of a step (J)"].tolist() == ["8.4", "4.6"] and "other work" in shown[4]
    exhibits._show_parts({})
    assert "not measured with these runs" in shown[-1]


def test_a_loss_is_written_with_a_minus_sign(monkeypatch, shown):
    found = {"method": ADAPTER, "texts": 100, "before": 90.0, "after": 65.5, "change": -24.5, "low": -28.7, "high": 1}
    judged = {"p_holm": 0.06, "differs": False, "four_bit": False}
    monkeypatch.setattr(exhibits, "forgetting_table", lambda results: pd.DataFrame([found | judged]))
    exhibits.forgetting(None)
    assert shown[0].loc[0, "Change [95%]"] == "−24.5 [−28.7, +1.0]"


def test_the_confusion_matrix_takes_all_seeds_together_and_keeps_a_class_without_a_text():
    random = np.random.default_rng(0)
    labels, answers = random.integers(4, size=300), random.integers(4, size=(3, 300))
    predictions = Predictions(pd.Series(labels), {ADAPTER: pd.DataFrame(answers)})
    wanted = of_scikit_learn(np.tile(labels, 3), answers.ravel(), labels=range(5))
    found = confusion_matrix(predictions, ADAPTER, 5)  # of which one class has no text
    assert found.loc[4].sum() == 0
    np.testing.assert_allclose(found[:4], wanted[:4] / wanted[:4].sum(axis=1, keepdims=True))


@pytest.mark.parametrize("accuracy", [0.75, 1.0])
def test_the_most_frequent_mistake_is_named_where_there_is_one(shown, runs_in, accuracy):
    experiment = load_experiment("smoke", {"methods": [ADAPTER], "precision": "fp32"})
    write_run(experiment.config(ADAPTER), accuracy)
    exhibits.confusions(read_runs(experiment))
    *figure, text = shown
    assert len(figure) == 3 and ("makes no mistake" in text) == (accuracy == 1.0)
    assert accuracy == 1.0 or "25.0% of the texts" in text


def test_the_pair_that_agrees_most_is_named_where_it_is_one(shown, runs_in, monkeypatch):
    results, titles, draw = finished({FULL: 0.8, ADAPTER: 0.8, QUANTISED: 0.7}), [], exhibits.plots.overlap_map

    def drawn(square, title, *more):
        titles.append(title)
        return draw(square, title, *more)

    monkeypatch.setattr(exhibits.plots, "overlap_map", drawn)
    monkeypatch.setattr(exhibits.agreement, "missed_by_all", lambda *_: pd.DataFrame(columns=["text", "label"]))
    for other in (0.7, 0.9):
        square = pd.DataFrame([[1, 0.9, other], [0.9, 1, 0.5], [other, 0.5, 1]], *[[FULL, ADAPTER, QUANTISED]] * 2)
        monkeypatch.setattr(exhibits.agreement, "cohens_kappa", lambda _, square=square: square)
        exhibits.agreements(results)
    assert titles == ["Full fine-tuning and LoRA agree most", "Several pairs of methods agree most"]
