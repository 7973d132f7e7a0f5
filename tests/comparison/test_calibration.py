"""Temperature scaling finds the temperature, changes no prediction, and is fitted on validation alone."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from small import ADAPTER, MULTIPLIED, QUANTISED

from course_utils.comparison.calibration import calibration_table, fit_temperature, reliability, scaled_predictions
from course_utils.comparison.results import ExperimentRuns
from course_utils.report import plots


def overconfident(seed, n=4_000, temperature=3.0):
    """Logits (n, 2) whose probabilities are right once they are divided by `temperature`, and labels."""
    random = np.random.default_rng(seed)
    honest = random.normal(scale=1.5, size=n)
    labels = (random.random(n) < 1 / (1 + np.exp(-honest))).astype(int)
    shift = random.normal(size=n)  # what both logits share means nothing
    return temperature * np.stack([shift - honest / 2, shift + honest / 2], axis=1), labels


def test_temperature_is_the_inverse_of_the_logistic_coefficient():
    logits, labels = overconfident(1)
    regression = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-8)
    regression.fit(logits[:, 1:] - logits[:, :1], labels)
    fitted = fit_temperature(logits, labels)
    assert fitted == pytest.approx(1 / regression.coef_.item(), rel=1e-3)
    assert fitted == pytest.approx(3, rel=0.1)


def run(method, seed, sets, study="main"):
    """What stands for a finished run with the logits and labels of `sets`."""
    parts = [
        pd.DataFrame({"set": name, "example_id": range(len(labels)), "label": labels}).assign(scores=list(logits))
        for name, (logits, labels) in sets.items()
    ]
    config = SimpleNamespace(method=method, seed=seed, study=study)
    return SimpleNamespace(config=config, predictions=lambda: pd.concat(parts, ignore_index=True))


@pytest.fixture
def scaled():
    """Two seeds of LoRA, overconfident by different factors, and a HiRA whose validation set says otherwise."""
    runs = [
        run(ADAPTER, seed, {"validation": overconfident(seed, temperature=t), "test": overconfident(9, temperature=t)})
        for seed, t in ((0, 2.0), (1, 4.0))
    ]
    runs.append(run(MULTIPLIED, 0, {"validation": overconfident(3, temperature=0.5), "test": overconfident(9)}))
    runs.append(run(QUANTISED, 0, {"validation": overconfident(4)}, study="lr-1e-3"))
    return scaled_predictions(ExperimentRuns(SimpleNamespace(all_studies={}), runs, []).mains)


def test_every_run_is_scaled_by_what_its_own_validation_set_says(scaled):
    table = calibration_table(scaled).set_index(["method", "stage"])
    assert list(table.index) == [(m, s) for m in (ADAPTER, MULTIPLIED) for s in ("before", "after")]
    before, after = table.loc[ADAPTER].loc["before"], table.loc[ADAPTER].loc["after"]
    assert before["temperature"] == 1 and after["temperature"] == pytest.approx(3, rel=0.1)
    assert after["accuracy"] == before["accuracy"]
    assert after["ece"] < 0.02 < 0.1 < before["ece"] and after["nll"] < before["nll"]
    of_test = table.loc[MULTIPLIED]["ece"]
    assert of_test["after"] > of_test["before"]  # never fitted on the test set


def test_reliability_pools_the_seeds_and_is_drawn(scaled):
    bins = reliability(scaled)
    assert bins.groupby(["method", "stage"], sort=False)["n"].sum().tolist() == [8_000, 8_000, 4_000, 4_000]
    after = bins[(bins["method"] == ADAPTER) & (bins["stage"] == "after")]
    assert np.average((after["accuracy"] - after["confidence"]).abs(), weights=after["n"]) < 0.02
    figure = plots.reliability_diagram(bins, "Scaling helps LoRA")
    assert [len(axis.lines) for axis in figure.axes] == [3, 3]
    drawn = figure.axes[1].lines[1].get_xydata() / 100
    assert drawn == pytest.approx(after[["confidence", "accuracy"]].to_numpy())
