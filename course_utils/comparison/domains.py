"""Texts of other domains than that of training: which method leads, what differs, and what was forgotten."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from course_utils.comparison.axes import Contrast, across, contrasts, less
from course_utils.comparison.conclusions import MINIMUM_SEEDS, judge_experiment
from course_utils.comparison.tables import evaluation_sets, read_predictions
from course_utils.methods import CEILING, FLOOR, METHODS
from course_utils.stats import PairedComparison, StandardError, compare_pairs

if TYPE_CHECKING:
    from course_utils.comparison.tables import ExperimentRuns


@dataclass(frozen=True)
class Domain:
    """What the methods do on one evaluation set; `pairs` are of all methods but the floor, with enough seeds.

    `moved` maps an adapter method to how the lead of full fine-tuning over it changes from the test set to this set,
    judged among the changes of all sets; for the test set `moved` is empty.
    """

    title: str
    accuracy: dict[str, float]  # of the adapter methods, means over seeds
    pairs: list[PairedComparison]
    moved: dict[str, Contrast]

    @property
    def best(self) -> str:
        """The adapter method with the highest mean."""
        return max(self.accuracy, key=lambda name: self.accuracy[name])

    @property
    def differing(self) -> list[PairedComparison]:
        """The pairs that are shown to differ, the better one first."""
        return [pair if pair.above else pair.swapped() for pair in self.pairs if pair.differs]


@cache  # its exhibit and the advice ask for it
def read_domains(results: ExperimentRuns) -> list[Domain]:
    """The test set, then every further set of the main runs; empty without a further set or without two adapters."""
    titles = evaluation_sets(results)
    correct = {}
    for of in titles:
        answers = read_predictions(results, of=of).correct
        correct[of] = {
            name: frame for name, frame in answers.items() if name != FLOOR.name and len(frame) >= MINIMUM_SEEDS
        }
    adapters = [name for name in correct["test"] if not METHODS[name].is_baseline]
    if len(titles) < 2 or len(adapters) < 2:
        return []
    changes = {
        (of, name): across(*(less(correct[at][CEILING.name], correct[at][name]) for at in (of, "test")))
        for of in [*titles][1:]
        for name in adapters
        if CEILING.name in correct[of]
    }
    moved = contrasts(changes)
    margin = judge_experiment(results).margin
    return [
        Domain(
            title,
            {name: float(correct[of][name].to_numpy().mean()) for name in adapters},
            compare_pairs(correct[of], margin),
            {name: found for (at, name), found in moved.items() if at == of},
        )
        for of, title in titles.items()
    ]


def forgetting_table(results: ExperimentRuns) -> pd.DataFrame:
    """One row per method: texts, before, after, and change with its ends low and high, in points.

    The means are over seeds; the ends are those of a t interval over seeds (95%), nan with one seed. Empty where no run
    recorded forgetting.
    """
    rows = []
    for name in results.experiment.methods:
        found = [run.result.forgetting for run in results.of(name) if run.result.forgetting]
        if not found:
            continue
        changes, width = 100 * np.array([own.after - own.before for own in found]), np.nan
        if len(changes) > 1:
            width = StandardError(changes.std(ddof=1) / np.sqrt(len(changes)), len(changes) - 1).half_width(0.95)
        after, change = 100 * float(np.mean([own.after for own in found])), float(changes.mean())
        row = {"method": name, "texts": found[0].texts, "before": 100 * found[0].before, "after": after}
        rows.append(row | {"change": change, "low": change - width, "high": change + width})
    return pd.DataFrame(rows, columns=["method", "texts", "before", "after", "change", "low", "high"])
