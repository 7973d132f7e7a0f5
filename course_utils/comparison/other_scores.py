"""Which differences the rule shows if it judges by another score than accuracy."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import log_softmax

from course_utils.comparison.conclusions import differing
from course_utils.comparison.results import ExperimentRuns
from course_utils.comparison.robustness import tuned
from course_utils.stats import PairedComparison, compare_pairs, with_enough_seeds
from course_utils.tasks.classification import scores_of


class OtherScore(NamedTuple):
    """What the rule shows by one score of a text; pairs of head only are judged, and not told."""

    title: str  # the mean of the score in words; the difference says which method has the higher one
    heading: str
    pairs: list[PairedComparison]
    more: list[PairedComparison]  # the differences that it shows, and by accuracy does not; the higher first
    lost: list[PairedComparison]  # by this score, those that it shows by accuracy alone


def other_scores(results: ExperimentRuns, scaled: pd.DataFrame) -> list[OtherScore]:
    """Judge runs on the test set by the rule for accuracy, with other scores: the higher, the better.

    `scaled` are the runs' answers, as `scaled_predictions` returns them.

    The scores are the log-likelihood of the right class, before and after temperature scaling; and, where people have
    rated the texts and there are more than two classes, minus the distance of the answer from the right class.
    """
    labels, logits = scaled["label"].to_numpy(), scores_of(scaled)
    distance = np.abs(logits.argmax(axis=1) - labels)
    likelihood = log_softmax(logits, axis=1)[np.arange(len(labels)), labels]
    scaled = scaled.assign(accuracy=distance == 0, likelihood=likelihood, closeness=-distance)
    before, after = (scaled[scaled["stage"] == stage] for stage in ("before", "after"))
    shown_by_accuracy = {(pair.first, pair.second): pair for pair in differing(_judged(before, "accuracy"))}
    scores = [
        ("log-likelihood of the right class (nats)", "likelihood", before, "likelihood"),
        ("log-likelihood of the right class after temperature scaling (nats)", "scaled", after, "likelihood"),
    ]
    if logits.shape[1] > 2 and hasattr(results.experiment.shared.source, "judged_as"):
        closeness = "closeness to the right class (minus the distance in classes)"
        scores.append((closeness, "closeness", before, "closeness"))
    found = []
    for title, heading, predictions, column in scores:
        pairs = _judged(predictions, column)
        shown = {(pair.first, pair.second): pair for pair in differing(pairs)}
        either = {(pair.first, pair.second): pair for own in pairs for pair in (own, own.swapped())}
        found.append(
            OtherScore(
                title,
                heading,
                tuned(pairs),
                [pair for both, pair in shown.items() if both not in shown_by_accuracy],
                [either[both] for both in shown_by_accuracy if both not in shown],
            )
        )
    return found


def _judged(predictions: pd.DataFrame, column: str) -> list[PairedComparison]:
    """Every two methods by the scores in `column`."""
    frames = {
        str(method): own.pivot(index="seed", columns="example_id", values=column)
        for method, own in predictions.groupby("method", sort=False)
    }
    return compare_pairs(with_enough_seeds(frames), margin=0.0)
