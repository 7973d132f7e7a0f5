"""Scores beside accuracy, by which the same rule can show other differences."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from small import ADAPTER, FULL, MULTIPLIED

from course_utils.comparison.calibration import scaled_predictions
from course_utils.comparison.other_scores import other_scores

TEXTS, FAR, NEAR = 600, 2, 1  # all texts are of class 0


def runs_of(method, margin, wrong=0.1, instead=FAR):
    """Three seeds whose answers lead the other classes by about `margin`, on some texts for the class `instead`."""
    for seed in range(3):
        random = np.random.default_rng(seed)  # the same texts are wrong in every method
        named = np.where(random.random(TEXTS) < wrong, instead, 0)
        scores = np.eye(3)[named] * random.normal(margin, 0.02 * margin, (TEXTS, 1))
        of_set = pd.DataFrame({"example_id": [*map(str, range(TEXTS))], "label": 0, "scores": [*scores]})
        predictions = pd.concat([of_set.assign(set=name) for name in ("validation", "test")], ignore_index=True)
        yield SimpleNamespace(config=SimpleNamespace(method=method, seed=seed), predictions=predictions.copy)


def shown(runs, source):
    """What each score shows beside accuracy, and what it does not show: pairs of methods."""
    results = SimpleNamespace(experiment=SimpleNamespace(shared=SimpleNamespace(source=source)))
    return [
        [{(pair.first, pair.second) for pair in pairs} for pairs in (found.more, found.lost)]
        for found in other_scores(results, scaled_predictions(runs))
    ]


@pytest.mark.parametrize(
    ("source", "of_closeness"),
    [
        (SimpleNamespace(judged_as=None), [[{(MULTIPLIED, FULL), (MULTIPLIED, ADAPTER)}, set()]]),
        (SimpleNamespace(), []),
    ],
)
def test_methods_of_one_accuracy_can_differ_in_likelihood_and_in_closeness(source, of_closeness):
    runs = [*runs_of(FULL, 3), *runs_of(ADAPTER, 0.5), *runs_of(MULTIPLIED, 3, instead=NEAR)]
    before, after, *closeness = shown(runs, source)
    assert before == [{(FULL, ADAPTER), (MULTIPLIED, ADAPTER)}, set()]
    assert after == [set(), set()] and closeness == of_closeness  # a temperature makes them alike


def test_a_more_accurate_method_can_be_less_likely_before_its_temperature():
    before, after = shown([*runs_of(FULL, 20), *runs_of(ADAPTER, 1.5, wrong=0.2)], SimpleNamespace())
    assert before == [{(ADAPTER, FULL)}, {(FULL, ADAPTER)}] and after == [set(), set()]
