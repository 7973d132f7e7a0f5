"""Calibration of predicted probabilities on a test set, before and after temperature scaling fitted on validation."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy.special import softmax

from course_utils.runs import Run
from course_utils.tasks.classification import METRICS, calibration_bins, score, scores_of


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature T for which `logits` (n, classes) / T have the smallest NLL against `labels` (n,).

    Above 1 the logits were overconfident, below 1 underconfident. T is searched from 1/20 to 20; no prediction
    changes.
    Source: guo2017calibration, section 4.2.
    """
    from scipy.optimize import minimize_scalar

    limit = np.log(20)
    nll = METRICS["nll"].value
    found = minimize_scalar(lambda t: nll(logits / np.exp(t), labels), bounds=(-limit, limit))
    return float(np.exp(found.x))


def scaled_predictions(runs: Iterable[Run]) -> pd.DataFrame:
    """Test predictions of each of `runs`, before and after its own temperature scaling.

    Each run's temperature is fitted on its validation predictions. Columns: method, seed, stage (before, after),
    temperature (1 before), example_id, label, scores.
    """
    parts = []
    for run in runs:
        predictions = run.predictions()
        scores = scores_of(predictions)
        # Less those of the first class, as published records keep them: both then give the same bits.
        predictions["scores"] = list(scores - scores[:, :1])
        validation = predictions[predictions["set"] == "validation"]
        test = predictions[predictions["set"] == "test"].drop(columns="set")
        fitted = fit_temperature(scores_of(validation), validation["label"].to_numpy())
        for stage, temperature in (("before", 1.0), ("after", fitted)):
            about = {"method": run.config.method, "seed": run.config.seed, "stage": stage, "temperature": temperature}
            parts.append(test.assign(scores=list(scores_of(test) / temperature), **about))
    return pd.concat(parts, ignore_index=True)


def calibration_table(scaled: pd.DataFrame) -> pd.DataFrame:
    """Calibration of every method, mean over seeds, from what `scaled_predictions` returns.

    Columns: method, stage, temperature, n and every metric that applies; two rows a method.
    """
    rows = [
        {"method": method, "stage": stage, "temperature": part["temperature"].iloc[0]}
        | score(scores_of(part), part["label"].to_numpy())
        for (method, _, stage), part in scaled.groupby(["method", "seed", "stage"], sort=False)
    ]
    return pd.DataFrame(rows).groupby(["method", "stage"], sort=False, as_index=False).mean()


def reliability(scaled: pd.DataFrame) -> pd.DataFrame:
    """The points of a reliability diagram, the seeds of a method together, from what `scaled_predictions` returns.

    Columns: method, stage, n, confidence, accuracy (means of a bin, as shares); a row for every bin that is not empty.
    """
    parts = []
    for (method, stage), part in scaled.groupby(["method", "stage"], sort=False):
        bins = calibration_bins(softmax(scores_of(part), axis=1), part["label"].to_numpy())
        parts.append(bins.assign(method=method, stage=stage))
    return pd.concat(parts, ignore_index=True)[["method", "stage", "n", "confidence", "accuracy"]]
