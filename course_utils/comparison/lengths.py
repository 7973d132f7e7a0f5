"""Accuracy by the length of a text: what long texts cost each method, and whether length changes who leads."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import combinations

import pandas as pd

from course_utils.comparison.axes import Contrast, accuracy_with_ends, contrasts, less, less_across_texts
from course_utils.comparison.results import ExperimentRuns
from course_utils.config import RunConfig
from course_utils.methods import FLOOR
from course_utils.tasks.classification import Classification

APART = 64  # least interquartile range of length, in tokens, at which accuracy is shown by length
SHORTEST, LONGEST = 0, 3  # quarters
UNCUT = 10**6  # tokens of a text at most


@dataclass(frozen=True)
class Lengths:
    """Accuracy by quarter of the test texts, the shortest texts first.

    `quarters` has a row per quarter: texts, low and high (tokens of its shortest and of its longest text, before they
    are cut), and cut (the share of its texts that are cut). `accuracy` has the columns method, quarter, estimate, low,
    high, in per cent. `fall` maps a method to its accuracy on the longest quarter less that on the shortest; `moved`
    maps two methods, the floor left out, to how their difference changes from the shortest to the longest quarter.
    """

    quarters: pd.DataFrame
    accuracy: pd.DataFrame
    fall: dict[str, Contrast]
    moved: dict[tuple[str, str], Contrast]


@cache  # the choice of cells, the cell and the exhibit ask for it
def text_lengths(config: RunConfig) -> pd.Series:
    """Tokens of every test text before it is cut, by its example_id."""
    frame = config.load_data().sets["test"]
    tokens = Classification.tokenize(frame, config.base.tokenizer(), UNCUT)
    return pd.Series(tokens["length"], frame["example_id"])


def differ_enough(lengths: pd.Series) -> bool:
    """Whether the interquartile range of `lengths`, in tokens, is at least `APART`."""
    return bool(lengths.quantile(0.75) - lengths.quantile(0.25) >= APART)


def quarters_of(lengths: pd.Series) -> pd.Series:
    """The quarter of every text, from 0, the shortest, to 3: of equal size, so that equal lengths may be parted."""
    return pd.qcut(lengths.rank(method="first"), 4, labels=False)


def read_lengths(results: ExperimentRuns) -> Lengths | None:
    """The main runs by the length of the test texts; None where the texts do not differ enough."""
    config, correct = results.experiment.shared, results.predictions.correct
    lengths = text_lengths(config)
    if not differ_enough(lengths):
        return None
    quarter = quarters_of(lengths)
    quarters = lengths.groupby(quarter).agg(
        texts="size", low="min", high="max", cut=lambda tokens: (tokens > config.max_length).mean()
    )
    parts = {
        name: [frame.loc[:, (quarter[frame.columns] == place).to_numpy()] for place in quarters.index]
        for name, frame in correct.items()
    }
    rows = [
        {"method": name, "quarter": place} | accuracy_with_ends(part)
        for name, own in parts.items()
        for place, part in enumerate(own)
    ]
    trained = [name for name in parts if name != FLOOR.name]
    moved = {
        (one, other): less_across_texts(*(less(parts[one][at], parts[other][at]) for at in (LONGEST, SHORTEST)))
        for one, other in combinations(trained, 2)
    }
    return Lengths(
        quarters,
        pd.DataFrame(rows),
        contrasts({name: less_across_texts(own[LONGEST], own[SHORTEST]) for name, own in parts.items()}),
        contrasts(moved, independent=len(trained) - 1),
    )
