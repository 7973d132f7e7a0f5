"""What the conclusions depend on: one method that is left out, seeds that lie far apart, fewer seeds or texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from math import comb
from typing import NamedTuple

import numpy as np
import pandas as pd

from course_utils import stats
from course_utils.methods import FLOOR, METHODS

OUTLYING = 2.0  # times the standard deviation of the seeds of any other method
CUTS = 10  # smaller experiments of each kind


def tuned(pairs: Iterable[stats.PairedComparison]) -> list[stats.PairedComparison]:
    """Those of `pairs` whose methods both train more than a head."""
    return [pair for pair in pairs if FLOOR.name not in (pair.first, pair.second)]


class OneLess(NamedTuple):
    """What the rule shows of the other methods where one is left out; pairs of head only are judged, and not told."""

    left_out: str
    margin: float  # of the other methods
    pairs: list[stats.PairedComparison]
    differing: list[stats.PairedComparison]  # that it does not show with it
    equivalent: list[stats.PairedComparison]  # pairs of adapter methods, within `margin`


def one_less(
    scores: Mapping[str, pd.DataFrame], by_raters: float = 0.0, among: Iterable[str] | None = None
) -> Iterator[OneLess]:
    """Judge the methods of `scores` (seeds, texts) again without each `among` them, or without each of all.

    `by_raters` is as in `judge`.
    """
    enough = stats.with_enough_seeds(scores)
    pairs = stats.compare_pairs(enough, stats.equivalence_margin(enough, by_raters))
    whole = {(pair.first, pair.second): pair for pair in pairs}
    for method in among or enough:
        rest = {name: own for name, own in enough.items() if name != method}
        margin = stats.equivalence_margin(rest, by_raters)
        both = [(pair, whole[pair.first, pair.second]) for pair in tuned(stats.compare_pairs(rest, margin))]
        adapters = {name for name in rest if not METHODS[name].is_baseline}
        yield OneLess(
            method,
            margin,
            [pair for pair, _ in both],
            differing=[pair.better_first() for pair, before in both if pair.differs and not before.differs],
            equivalent=[pair for pair, _ in both if pair.equivalent and {pair.first, pair.second} <= adapters],
        )


def is_fragile(pair: stats.PairedComparison, less: Iterable[OneLess]) -> bool:
    """Whether the rule answers otherwise for `pair`, that it differs or that this is not shown, without some method."""
    methods = {pair.first, pair.second}
    return any(own.differs != pair.differs for one in less for own in one.pairs if {own.first, own.second} == methods)


class SeedsApart(NamedTuple):
    """A method whose seeds lie far apart, so that they widen the intervals of all pairs, and the margin."""

    method: str
    spread: float  # standard deviation of the means of its seeds
    next: float  # that of the method with the next largest
    without: OneLess


def seeds_apart(scores: Mapping[str, pd.DataFrame], by_raters: float = 0.0) -> SeedsApart | None:
    """The method of `scores` (seeds, texts) whose seeds lie more than `OUTLYING` times as far apart as any other's."""
    spread = {name: float(own.mean(axis=1).std()) for name, own in stats.with_enough_seeds(scores).items()}
    if len(spread) < 2:
        return None
    method, following = sorted(spread, key=spread.__getitem__, reverse=True)[:2]
    if spread[method] <= OUTLYING * spread[following]:
        return None
    return SeedsApart(method, spread[method], spread[following], *one_less(scores, by_raters, [method]))


class SmallerExperiments(NamedTuple):
    """The pairs of every cut of an experiment, judged by the rule for the whole; those of head only are not told."""

    seeds: int  # in a cut of the seeds
    of_seeds: list[list[stats.PairedComparison]]  # one list a cut; none where no seed can be left out
    of_texts: list[list[stats.PairedComparison]]


def cut_down(correct: Mapping[str, pd.DataFrame], by_raters: float = 0.0) -> SmallerExperiments:
    """Judge every pair by the rule for the whole on half of the shared seeds, three at least, and on half of the texts.

    `correct` maps a method to booleans (seeds, texts). All choices of seeds where there are no more than `CUTS`, else
    so many random ones; random halves of the texts. `by_raters` is as in `judge`, for all texts. Each cut has its own
    margin of equivalence.
    """
    seeds = max(stats.MINIMUM_SEEDS, (len(stats.shared_seeds(correct)) + 1) // 2)
    found = SmallerExperiments(seeds, [], [])
    for kind, cut in _cuts(correct, seeds):
        margin = stats.equivalence_margin(cut, by_raters * (2 if kind == "texts" else 1))
        judged = found.of_texts if kind == "texts" else found.of_seeds
        judged.append(tuned(stats.compare_pairs(cut, margin)))
    return found


def _cuts(correct: Mapping[str, pd.DataFrame], number: int) -> Iterator[tuple[str, dict[str, pd.DataFrame]]]:
    """Kind and answers of every smaller experiment; `number` seeds are in one of fewer seeds."""
    random, seeds = np.random.default_rng(0), stats.shared_seeds(correct)
    texts = [*next(iter(correct.values())).columns]
    if number < len(seeds):
        some = (random.choice(seeds, number, replace=False) for _ in range(CUTS))
        ways = combinations(seeds, number) if comb(len(seeds), number) <= CUTS else some
        for way in ways:
            yield "seeds", {name: own.loc[[*way]] for name, own in correct.items()}
    for _ in range(CUTS):
        half = random.permutation(texts)[: len(texts) // 2]
        yield "texts", {name: own[half] for name, own in correct.items()}
