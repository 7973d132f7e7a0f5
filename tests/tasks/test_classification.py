"""Every metric for any number of classes is what scikit-learn computes, and has an interval around it."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, f1_score, log_loss

from course_utils.tasks.classification import METRICS, Classification, calibration_bins, metrics_of, score


@pytest.fixture(params=[2, 3, 7])
def case(request):
    random, classes = np.random.default_rng(0), request.param
    labels = random.choice(classes, size=400, p=np.arange(1, classes + 1) / np.arange(1, classes + 1).sum())
    logits = random.normal(size=(400, classes)) + 1.5 * np.eye(classes)[labels]
    return logits.astype(np.float32), labels


def test_metrics_are_those_of_scikit_learn(case):
    logits, labels = case
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found, predicted = score(logits, labels), logits.argmax(axis=1)
    assert found["accuracy"] == pytest.approx(accuracy_score(labels, predicted))
    assert found["macro_f1"] == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert found["nll"] == pytest.approx(log_loss(labels, probabilities), rel=1e-5)
    distance = ((probabilities - np.eye(logits.shape[1])[labels]) ** 2).sum(axis=1).mean()
    assert found["brier"] == pytest.approx(distance / 2, rel=1e-5)
    bins = calibration_bins(probabilities, labels)
    assert bins["n"].sum() == 400 and (bins["n"] * bins["accuracy"]).sum() / 400 == pytest.approx(found["accuracy"])
    right, confidence = predicted == labels, probabilities.max(axis=1)
    if logits.shape[1] == 2:  # for more classes scikit-learn has bins that hold nothing
        np.testing.assert_allclose(bins[["accuracy", "confidence"]].T, calibration_curve(right, confidence, n_bins=15))
    gaps = np.abs(bins["accuracy"] - bins["confidence"])
    assert found["ece"] == pytest.approx(np.average(gaps, weights=bins["n"]), rel=1e-5)
    assert ("f1" in found) == (logits.shape[1] == 2)
    if "f1" in found:
        assert found["f1"] == pytest.approx(f1_score(labels, predicted))


def test_every_metric_has_an_interval_around_it(case):
    logits, labels = case
    found = score(logits, labels)
    for name, interval in Classification(("",) * logits.shape[1]).intervals(logits, labels).items():
        assert interval.estimate == pytest.approx(found[name]), name
        assert 0 <= interval.low < interval.high, name
        if name != "ece":  # whose interval makes up for a lean upwards
            assert interval.low < found[name] < interval.high, name
    assert metrics_of(2) == METRICS and [name for name in METRICS if name not in metrics_of(3)] == ["f1"]


def test_no_interval_reaches_beyond_what_a_metric_can_be():
    """One positive text found, of a few: an F1 so near to zero that its interval would go below."""
    labels = np.repeat([0, 1], [180, 20])
    logits = np.stack([np.ones(200), np.zeros(200)], axis=1)
    logits[[0, 199]] = [0.0, 1.0]
    intervals = Classification(("", "")).intervals(logits, labels).values()
    assert all(0 <= interval.low <= interval.high for interval in intervals)


def test_macro_f1_over_seeds_is_the_mean_of_scikit_learns(case):
    logits, labels = case
    seeds = np.stack([(logits + noise).argmax(axis=1) for noise in (0, 0.3 * np.ones(logits.shape[1]), -logits / 2)])
    interval = METRICS["macro_f1"].over_seeds(seeds, labels)
    assert interval.estimate == pytest.approx(np.mean([f1_score(labels, one, average="macro") for one in seeds]))
    assert interval.low < interval.estimate < interval.high
