"""What a smaller experiment would have shown: every pair judged again on some of the seeds, or half of the texts."""

from collections.abc import Iterator, Mapping
from itertools import combinations
from math import comb
from typing import NamedTuple

import numpy as np
import pandas as pd

from course_utils.stats import MINIMUM_SEEDS, compare_pairs, shared_seeds

CUTS = 10  # smaller experiments of each kind


class SmallerExperiments(NamedTuple):
    """What the cuts of an experiment show; their kinds are "seeds" and "texts"."""

    seeds: int  # in a cut of that kind
    number: dict[str, int]  # kind → cuts
    shown: dict[tuple[str, str], dict[str, int]]  # pair → kind → cuts that show a difference
    turned: int  # differences of a cut whose sign is not that of the difference in the whole


def cut_down(correct: Mapping[str, pd.DataFrame]) -> SmallerExperiments:
    """Judge every pair by the rule for the whole on half of the shared seeds, three at least, and on half of the texts.

    `correct` maps a method to booleans (seeds, texts). All choices of seeds where there are no more than `CUTS`, else
    so many random ones; random halves of the texts.
    """
    seeds = max(MINIMUM_SEEDS, (len(shared_seeds(correct)) + 1) // 2)
    whole = {(pair.first, pair.second): pair for pair in compare_pairs(correct, margin=0.0)}
    number: dict[str, int] = {}
    shown: dict[tuple[str, str], dict[str, int]] = {pair: {} for pair in whole}
    turned = 0
    for kind, cut in _cuts(correct, seeds):
        number[kind] = number.get(kind, 0) + 1
        for pair in compare_pairs(cut, margin=0.0):
            both = pair.first, pair.second
            shown[both][kind] = shown[both].get(kind, 0) + pair.differs
            turned += pair.differs and pair.difference.estimate * whole[both].difference.estimate < 0
    return SmallerExperiments(seeds, number, shown, turned)


def _cuts(correct: Mapping[str, pd.DataFrame], number: int) -> Iterator[tuple[str, dict[str, pd.DataFrame]]]:
    """Kind and answers of every smaller experiment; `number` seeds are in one of fewer seeds."""
    random, seeds, texts = np.random.default_rng(0), shared_seeds(correct), [*next(iter(correct.values())).columns]
    if number < len(seeds):
        some = (random.choice(seeds, number, replace=False) for _ in range(CUTS))
        ways = combinations(seeds, number) if comb(len(seeds), number) <= CUTS else some
        for way in ways:
            yield "seeds", {name: own.loc[[*way]] for name, own in correct.items()}
    for _ in range(CUTS):
        half = random.permutation(texts)[: len(texts) // 2]
        yield "texts", {name: own[half] for name, own in correct.items()}
