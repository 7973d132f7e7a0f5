"""Ways to a smaller adapter at equal effective size: gates, cuts of a finished one, a smaller rank from the start."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from course_utils.comparison import controls
from course_utils.comparison.axes import Contrast, Series, contrasts, less, read_axis, right_answers
from course_utils.comparison.measurements import measurement
from course_utils.comparison.results import ExperimentRuns
from course_utils.comparison.strays import refuse_strays
from course_utils.comparison.weights import directions_needed, run_deltas
from course_utils.methods import METHODS
from course_utils.runs import Run, load_model

PRUNED = 0.5  # share of entries that are set to zero
TRAINED_ON = 0.25  # share of its steps for which a run is trained on after a cut
GATED, WHOLE, OTHER_RANK, CUT, CUT_TRAINED, BY_LOT, ENTRIES, GRADUALLY = WAYS = (
    "gates", "whole", "other rank", "cut", "cut and trained on", "by lot", "entries", "entries, gradually"
)  # fmt: skip
CUT_STORED, BY_LOT_STORED = "cut to the stored size", "by lot, of the stored size"
GATES, PRUNINGS = (GATED,), (ENTRIES, GRADUALLY)


@dataclass(frozen=True)
class Sized:
    """Runs at one setting of one way to a smaller adapter.

    `numbers` is how many numbers store the effective size (`directions_needed`), mean over seeds: each direction of a
    layer (out, in) takes out + in. For pruned entries it is how many are left. `correct` holds booleans (seeds, test
    texts).
    """

    way: str
    setting: float
    numbers: float
    correct: pd.DataFrame

    def kept(self, texts: pd.Index) -> dict[str, Any]:
        """The fields as JSON: each seed's answers to `texts`, in their order, as a string of ones and zeros."""
        rows = self.correct[texts].astype(int).iterrows()
        return vars(self) | {"correct": {str(seed): "".join(map(str, row)) for seed, row in rows}}

    @classmethod
    def read(cls, kept: dict[str, Any], texts: pd.Index) -> Sized:
        """The object from which `kept` made these fields for `texts`."""
        rows = {int(seed): [answer == "1" for answer in row] for seed, row in kept["correct"].items()}
        return cls(**kept | {"correct": pd.DataFrame.from_dict(rows, orient="index", columns=texts)})


def ways_to_less(results: ExperimentRuns) -> tuple[Series, list[Sized]] | None:
    """The gated method over its strengths and its rivals, of the same seeds; None without a study of the strength.

    A finished adapter of the gated method's control is cut to the effective size of each gated run of its seed: by the
    singular values of ΔW, with and without training on, and by lot; without training on also to as many ranks as the
    gated run stores. Its entries are pruned by magnitude, at once and during further training. The control of another
    rank is trained with the scale of the main runs. Raises CourseError where the runs differ in anything else.
    """
    if (found := sized_ways(results)) is None:
        return None
    gated = read_axis(results, "sparsity")[0]
    return gated, [Sized.read(point, gated.texts) for point in [*found, *stored_ways(results)]]


def _with_control(results: ExperimentRuns) -> tuple[Series, dict[int, Run]] | None:
    """The gated method over its strengths, and seed → its control's whole run; None where one is missing."""
    gated = next(iter(read_axis(results, "sparsity")), None)
    if gated is None:
        return None
    plain = {run.config.seed: run for run in results.of(METHODS[gated.method].control or "", gated.beside)}
    whole = {seed: plain[seed] for seed in gated.seeds if seed in plain}
    return (gated, whole) if whole else None


@partial(measurement, optional=True)  # which older records lack
def stored_ways(results: ExperimentRuns) -> list[dict[str, Any]]:
    """The points of `ways_to_less` at the size that gated runs store."""
    if (found := _with_control(results)) is None:
        return []
    gated, whole = found
    test = controls.FinalSet(next(iter(whole.values())).config)
    points = [
        _cut(way, strength, [(run, whole[run.config.seed]) for run in runs if run.config.seed in whole], test)
        for strength, runs in gated.points.items()
        for way in (CUT_STORED, BY_LOT_STORED)
    ]
    return [point.kept(gated.texts) for point in points]


@measurement
def sized_ways(results: ExperimentRuns) -> list[dict[str, Any]] | None:
    """The other points of `ways_to_less`."""
    if (found := _with_control(results)) is None:
        return None
    gated, whole = found
    control = METHODS[gated.method].control
    laws = [own for own in read_axis(results, "rank") if own.method == control and keeps_scale(own)]
    at_ranks = {rank: runs for own in laws for rank, runs in own.points.items() if runs[0].config.study != own.beside}
    groups = (*gated.points.values(), [*whole.values()], *at_ranks.values())
    refuse_strays([run for runs in groups for run in runs], ("sparsity", "rank", "alpha"))
    test = controls.FinalSet(next(iter(whole.values())).config)
    points = [_trained(GATED, strength, runs) for strength, runs in gated.points.items()]
    points += [_trained(WHOLE, 0, [*whole.values()])]
    points += [_trained(OTHER_RANK, rank, runs) for rank, runs in at_ranks.items()]
    for strength, runs in gated.points.items():
        pairs = [(run, whole[run.config.seed]) for run in runs if run.config.seed in whole]
        points += [_cut(way, strength, pairs, test) for way in (CUT, CUT_TRAINED, BY_LOT)]
    points += [_pruned(way, [*whole.values()], test) for way in (ENTRIES, GRADUALLY)]
    return [point.kept(gated.texts) for point in points]


def keeps_scale(series: Series) -> bool:
    """Whether all points of a series over ranks have the scale s of the update in common."""
    return len({round(scale_of(run), 6) for runs in series.points.values() for run in runs}) == 1


def scale_of(run: Run) -> float:
    """The scale s of the update of a run that has ranks: alpha / rank, or alpha / √rank; 1 without alpha."""
    own: Any = run.config.settings
    if not hasattr(own, "alpha"):
        return 1.0
    return own.alpha / (own.rank**0.5 if getattr(own, "use_rslora", False) else own.rank)


def against_cut(points: list[Sized], way: str, margin: float) -> dict[float, Contrast]:
    """Strength → the gated runs less those of `way` at the same effective size."""
    gated = {point.setting: point.correct for point in points if point.way == GATED}
    cut = {point.setting: point.correct for point in points if point.way == way}
    return contrasts({strength: less(gated[strength], frame) for strength, frame in cut.items()}, margin)


def against_whole(points: list[Sized], ways: tuple[str, ...], margin: float) -> dict[Any, Contrast]:
    """The runs of `ways` less the whole ones, by their setting for the gates and by their way else."""
    (whole,) = (point.correct for point in points if point.way == WHOLE)
    smaller = {point.setting if point.way == GATED else point.way: point for point in points if point.way in ways}
    return contrasts({key: less(point.correct, whole) for key, point in smaller.items()}, margin)


def _trained(way: str, setting: float, runs: list[Run]) -> Sized:
    return Sized(way, setting, float(np.mean([_effective(run)[1] for run in runs])), right_answers(runs))


def _cut(way: str, strength: float, pairs: list[tuple[Run, Run]], test: controls.FinalSet) -> Sized:
    rows, numbers = {}, []
    for gated, plain in pairs:
        keep, size = _stored(gated) if way in (CUT_STORED, BY_LOT_STORED) else _effective(gated)
        model = load_model(plain, merged=False)
        if way in (BY_LOT, BY_LOT_STORED):
            controls.keep_random_ranks(model, keep, gated.config.seed)
        else:
            controls.cut_directions(model, keep)
        if way == CUT_TRAINED:
            controls.train_on(plain, model, TRAINED_ON)
        rows[gated.config.seed] = test.correct_of(model)
        numbers.append(size)
    return Sized(way, strength, float(np.mean(numbers)), pd.DataFrame(rows).T)


def _pruned(way: str, runs: list[Run], test: controls.FinalSet) -> Sized:
    rows = {}
    for run in runs:
        model = load_model(run, merged=False)
        if way == GRADUALLY:
            controls.train_on(run, model, TRAINED_ON, [controls.PruneGradually(PRUNED)])
        else:
            controls.prune_entries(model, PRUNED)
        rows[run.config.seed] = test.correct_of(model)
    numbers = np.mean([run.result.parameters.adapter for run in runs]) * (1 - PRUNED)
    return Sized(way, PRUNED, float(numbers), pd.DataFrame(rows).T)


def _stored(run: Run) -> tuple[int, int]:
    """Ranks that a gated run stores, over all layers, and their numbers."""
    return sum(run.result.method["ranks"].values()), run.result.parameters.adapter


def _effective(run: Run) -> tuple[int, int]:
    """Directions that a run's update needs, over all layers, and the numbers that store them."""
    deltas = run_deltas(run)
    needed = directions_needed(deltas)
    return sum(needed.values()), sum(number * sum(deltas[name][1].shape) for name, number in needed.items())
