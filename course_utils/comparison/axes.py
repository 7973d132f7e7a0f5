"""What a result depends on: runs that differ in one declared factor and in nothing else, compared in pairs.

Baselines that fine-tune nothing stand beside the runs: they are fitted to as many training texts as each point has.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from course_utils.comparison.baselines import FITTED, fitted
from course_utils.comparison.measurements import measurement
from course_utils.comparison.results import ExperimentRuns
from course_utils.comparison.strays import refuse_strays
from course_utils.config import Experiment, differing_settings
from course_utils.errors import CourseError
from course_utils.methods import METHODS
from course_utils.runs import Run
from course_utils.stats import MINIMUM_SEEDS, CrossedBootstrap, Judged, SeedVariance, judge_differences

RATE = "learning_rate"


def right_answers(runs: Iterable[Run]) -> pd.DataFrame:
    """Which test texts each of `runs` got right: one row per seed, one column per text."""
    rows = {}
    for run in runs:
        frame = run.answers[run.answers["set"] == "test"].set_index("example_id")
        rows[run.config.seed] = frame["predicted"] == frame["label"]
    return pd.DataFrame(rows).T.astype(bool)


@dataclass(frozen=True)
class Series:
    """One method along one factor: value of the factor → its runs, one per seed; all points have the same seeds.

    `beside` is the study that all points are compared with; `varies` are the settings that differ between the points,
    the factor first.
    """

    method: str
    beside: str
    varies: tuple[str, ...]
    points: dict[Any, list[Run]]

    @cached_property
    def correct(self) -> dict[Any, pd.DataFrame]:
        """Value → booleans, one row per seed, one column per test text."""
        return {value: right_answers(runs) for value, runs in self.points.items()}

    @property
    def seeds(self) -> list[int]:
        """The seeds of every point."""
        return [run.config.seed for run in next(iter(self.points.values()))]

    @property
    def by_study(self) -> dict[str, Any]:
        """Study → the value of the factor that its runs have."""
        return {runs[0].config.study: value for value, runs in self.points.items()}

    @property
    def usual(self) -> Any:
        """The value of the factor in the runs of `beside`; None where these are lost."""
        return self.by_study.get(self.beside)

    def change(self, value: Any) -> pd.DataFrame:
        """`less` of what is right at `value` of the factor and at the usual one."""
        return less(self.correct[value], self.correct[self.usual])

    @property
    def texts(self) -> pd.Index:
        """The test texts, by example_id, in the order of the runs."""
        return next(iter(self.correct.values())).columns

    @property
    def training_texts(self) -> int:
        """The number of training texts of every point, where that is not the factor."""
        return next(iter(self.points.values()))[0].result.data.sizes["train"]


def validation_likelihood(runs: list[Run]) -> float:
    """The mean log-likelihood of the validation texts under `runs`, by which a search judges its trials as well."""
    return -float(np.mean([run.result.metrics["validation"].nll for run in runs]))


def validation_accuracy(runs: list[Run]) -> float:
    """The mean accuracy of `runs` on the validation texts."""
    return float(np.mean([run.result.metrics["validation"].accuracy for run in runs]))


Judge = Callable[[list[Run]], float]  # of runs at several learning rates, those with the highest value count


def read_axis(results: ExperimentRuns, factor: str, judge: Judge = validation_likelihood) -> list[Series]:
    """The series of `factor`: for each method, the points of the studies that vary it and of the study beside these.

    Empty where the experiment has no such study, or fewer than two points of it are there. Of several studies at one
    value, which try several learning rates, the best one by `judge` counts. The same holds at the value of the study
    beside, if that is not the main runs and the studies of the factor vary the rate. Raises CourseError where a run
    differs from the others in a setting that its study does not declare, in its data, base model or code.
    """
    of_factor = {name: study for name, study in results.experiment.studies.items() if study.varies[:1] == (factor,)}
    laws: dict[Hashable, Series] = {}  # what varies together with the factor, a rate tried beside it apart
    for name, study in of_factor.items():
        for method in (method for method in results.experiment.methods if method in study.methods):
            key = method, study.beside, frozenset(study.varies) - {RATE}
            before = laws.get(key, Series(method, study.beside, (), {}))
            points = before.points
            at, beside = results.of(method, name), results.of(method, study.beside)
            if RATE in study.varies[1:]:  # where the rate is the factor, the runs beside are a point of their own
                beside = at_best_rate(results, method, study.beside, judge)
            for runs in filter(None, (beside, at)):
                value = _value(runs[0], factor)
                points[value] = max(points.get(value, runs), runs, key=judge)
            laws[key] = Series(method, study.beside, (*dict.fromkeys(before.varies + study.varies),), points)
    return [series for law in laws.values() if (series := _on_shared_seeds(law))]


def at_best_rate(results: ExperimentRuns, method: str, study: str, judge: Judge = validation_likelihood) -> list[Run]:
    """The runs of `method` in `study`, or in a study that differs in the learning rate alone and is better by `judge`.

    For `study` "main", whose rate was searched, these are the main runs.
    """
    names = [study, *at_other_rates(results.experiment, method, study)]
    return max(filter(None, (results.of(method, name) for name in names)), key=judge, default=[])


def at_other_rates(experiment: Experiment, method: str, study: str) -> list[str]:
    """The studies that differ from a side `study` of `method` in the learning rate alone; of the main runs, none."""
    studies, config = experiment.studies, experiment.config
    if study not in studies or method not in studies[study].methods:
        return []
    usual = config(method, study=study)
    others = (name for name, other in studies.items() if method in other.methods)
    return [name for name in others if [*differing_settings(usual, config(method, study=name))] == [RATE]]


def _on_shared_seeds(series: Series) -> Series | None:
    """`series` with the seeds that all its points have; None without such a seed or with fewer than two points."""
    points = series.points
    refuse_strays([run for runs in points.values() for run in runs], series.varies)
    shared = set.intersection(*({run.config.seed for run in runs} for runs in points.values())) if points else set()
    if len(points) < 2 or not shared:
        return None
    kept = {value: [run for run in points[value] if run.config.seed in shared] for value in sorted(points)}
    return replace(series, points=kept)


def _value(run: Run, factor: str) -> Any:
    """The value of a `factor` in a run: its number of training texts, its head's rate, or a setting of its method."""
    if factor == "head_learning_rate":
        return run.config.head_learning_rate or run.config.settings.learning_rate
    return run.result.data.sizes["train"] if factor == "max_train" else getattr(run.config.settings, factor)


@dataclass(frozen=True, kw_only=True)
class Contrast(Judged):
    """A difference of accuracies among the contrasts of its exhibit."""

    seeds: int

    @property
    def judged(self) -> bool:
        """Whether it has enough seeds to conclude anything."""
        return self.seeds >= MINIMUM_SEEDS

    def negated(self) -> Contrast:
        """The contrast of the opposite difference."""
        return replace(self, difference=self.difference.negated())


def of_verdict(judged: Mapping[Any, Contrast], *verdicts: str) -> list[Any]:
    """The keys of the contrasts that have one of these verdicts."""
    return [key for key, contrast in judged.items() if contrast.verdict in verdicts]


def contrasts(
    values: Mapping[Any, pd.DataFrame],
    margin: float = 0.0,
    independent: int | None = None,
    alike: Callable[[Any], Hashable] = lambda key: None,
) -> dict[Any, Contrast]:
    """Key → contrast of its `values`: differences, one row per seed, one column per text. Without a seed there is none.

    A contrast's variance between seeds is its own or the mean of those that are `alike`, whichever is larger; by
    default all are. The degrees of freedom of the mean count a contrast by its share in the mean, and at most
    `independent` contrasts: by default all that are alike. The p-values of all are corrected together.
    In simulations with 3 seeds, 5 methods and 3 sizes without interaction (tests/comparison/test_axes.py), where those
    of a size are alike, at least one of the 20 contrasts was called different in 4 to 5% of experiments, and in 10 to
    12% where one method's seeds lie four times as far apart as the others'. With all of them alike, these shares were
    7% and 11% where the seeds of one size lie five times as far apart as those of another.
    """
    arrays = {key: frame.to_numpy(float) for key, frame in values.items() if len(frame)}
    groups: dict[Hashable, list[Any]] = {}
    for key in (key for key, array in arrays.items() if len(array) > 1):
        groups.setdefault(alike(key), []).append(key)
    shared: dict[Any, SeedVariance] = {}
    for group in groups.values():
        of_seeds = np.array([arrays[key].mean(axis=1).var(ddof=1) for key in group])
        counted = of_seeds.sum() ** 2 / (of_seeds**2).sum() if of_seeds.any() else len(group)
        degrees = (min(len(arrays[key]) for key in group) - 1) * max(min(counted, independent or len(group)), 1)
        shared |= dict.fromkeys(group, SeedVariance(of_seeds.mean(), degrees))
    judged = judge_differences(arrays, shared, margin)
    return {key: Contrast(seeds=len(arrays[key]), **found) for key, found in judged.items()}


def less(one: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """`one` less `other` on the seeds that both have; CourseError where their texts are not the same."""
    if set(one.columns) != set(other.columns):
        raise CourseError(
            "Two points of a comparison were tested on different texts; delete the runs of both and run again."
        )
    seeds = one.index.intersection(other.index)
    return one.loc[seeds].astype(int) - other.loc[seeds, one.columns].astype(int)


def less_across_texts(one: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """`one` less `other` on the seeds that both have, where they are of different texts.

    The frame has the columns of both. Its row means are the differences of the two frames' row means. Its columns vary
    about their mean as the texts of each set vary about the set's mean, weighted by the sets' sizes. So the standard
    error of a mean is that of a difference of two independent means.
    """
    seeds = one.index.intersection(other.index)
    one, other = one.loc[seeds].astype(float), other.loc[seeds].astype(float)
    size, mean, other_mean = one.shape[1] + other.shape[1], one.to_numpy().mean(), other.to_numpy().mean()
    parts = size / one.shape[1] * (one - mean), -size / other.shape[1] * (other - other_mean)
    return pd.concat(parts, axis=1) + (mean - other_mean)


def accuracy_table(series: Iterable[Series]) -> pd.DataFrame:
    """Columns method, value, estimate, low, high (accuracy in %, 95% interval): one row per point."""
    return pd.DataFrame(
        {"method": own.method, "value": value} | accuracy_with_ends(frame)
        for own in series
        for value, frame in own.correct.items()
    )


def accuracy_with_ends(correct: pd.DataFrame) -> dict[str, float]:
    """Estimate, low and high (95% interval) of the accuracy of `correct` (seeds, texts)."""
    found = CrossedBootstrap.draw(*correct.shape).mean_interval(correct.to_numpy(float))
    return {name: 100 * end for name, end in vars(found).items()}


def interactions(series: list[Series], reference: Any) -> dict[tuple[str, str, Any], Contrast]:
    """(method, other, value) → how the difference of two methods changes from `value` to the `reference`.

    The interaction of method and factor: (method − other) at the reference less the same at `value`, on shared seeds
    and texts; p corrected over all pairs and values.
    """
    values = {}
    for one, other in combinations([own for own in series if reference in own.correct], 2):
        if one.method == other.method or {*one.varies} - {RATE} != {*other.varies} - {RATE}:
            continue  # two laws of a factor differ in more than the method
        there = less(one.correct[reference], other.correct[reference])
        for value in (value for value in one.correct if value in other.correct and value != reference):
            values[one.method, other.method, value] = less(there, less(one.correct[value], other.correct[value]))
    methods = len({own.method for own in series})
    return contrasts(values, independent=methods - 1, alike=lambda key: key[2])


@dataclass(frozen=True)
class Leaders:
    """The adapter method with the highest mean at each value of a factor, and whether a change of it is shown.

    At some values another method leads than at the `reference`. `turns` maps each such value to how much the
    reference's leader gains on that other method between the value and the reference.
    """

    reference: Any
    best: dict[Any, str]
    turns: dict[Any, Contrast]
    seeds: list[int]  # those that all these methods have at every value


def leaders(series: list[Series], changes: Mapping[tuple[str, str, Any], Contrast], reference: Any) -> Leaders | None:
    """Which adapter method leads at each value.

    By the seeds that all have. None where fewer than two have every value, where none has the `reference`, or where
    they share no seed.
    `changes` are the `interactions` of all of them.
    """
    adapters = {own.method: own for own in series if not METHODS[own.method].is_baseline}
    values = max((list(own.points) for own in adapters.values()), key=len, default=[])
    whole = {name: own for name, own in adapters.items() if list(own.points) == values}
    if len(whole) < 2 or reference not in values:
        return None
    if not (seeds := sorted(set.intersection(*({*own.seeds} for own in whole.values())))):
        return None

    def mean(name: str, value: Any) -> float:
        return float(whole[name].correct[value].loc[seeds].to_numpy().mean())

    best = {value: max(whole, key=lambda name: mean(name, value)) for value in values}
    turned = {(other, name, value): found.negated() for (name, other, value), found in changes.items()}
    changes = {**changes, **turned}
    others = {value: (best[reference], name, value) for value, name in best.items() if name != best[reference]}
    if not changes.keys() >= {*others.values()}:
        return None
    return Leaders(reference, best, {value: changes[key] for value, key in others.items()}, seeds)


# ---------------------------------------------------------------- baselines with as many training texts


@measurement
def baselines_by_size(results: ExperimentRuns) -> dict[str, dict[str, str]]:
    """Number of training texts → baseline → its answers to the runs' test texts: a one for each that is right.

    The size of the main runs is left out: `predictions.baselines` are fitted to as many.
    """
    axis = read_axis(results, "max_train")
    configs = {size: runs[0].config for own in axis for size, runs in own.points.items()}
    configs = {size: config for size, config in configs.items() if config.study != "main"}
    found: dict[str, dict[str, str]] = {}
    for size, config in sorted(configs.items()):
        data = config.load_data()
        sets = {name: data.sets[name] for name in ("train", "validation", "test")}
        for baseline in FITTED:
            answers, *_ = fitted(baseline, config, sets)
            right = np.stack(answers["scores"].to_list()).argmax(axis=1) == answers["label"]
            right = right.set_axis(answers["example_id"])[axis[0].texts]
            found.setdefault(str(size), {})[baseline.name] = "".join("1" if each else "0" for each in right)
    return found


def best_baseline(results: ExperimentRuns, series: Series) -> dict[str, Any] | None:
    """The row of an `accuracy_table` of the baseline with the highest mean, with the training texts of a series.

    None where no baseline was fitted to as many.
    """
    fitted = with_texts(results, series.training_texts, series.texts)
    rows = [{"method": name} | accuracy_with_ends(right) for name, right in fitted.items()]
    return max(rows, key=lambda row: row["estimate"], default=None)


def with_texts(results: ExperimentRuns, size: int, texts: pd.Index) -> dict[str, pd.DataFrame]:
    """Baseline → booleans (one row, test `texts`), of those that are fitted to `size` training texts.

    Empty where neither the main runs nor a point of the axis of training sizes have as many.
    """
    found: dict[str, list[bool]]
    if size in {run.result.data.sizes["train"] for run in results.mains}:
        mains = results.predictions.correct_baselines
        found = {own.name: [*mains[own.name][texts]] for own in FITTED if own.name in mains}
    else:
        kept = baselines_by_size(results).get(str(size), {})
        found = {name: [each == "1" for each in right] for name, right in kept.items()}
    return {name: pd.DataFrame([right], columns=texts) for name, right in found.items()}


def against_baselines(
    series: list[Series], baselines: dict[Any, dict[str, pd.DataFrame]], margin: float
) -> dict[tuple[str, Any, str], Contrast]:
    """(method, size, baseline) → the method's accuracy less the baseline's with as many texts; corrected over all."""
    values = {}
    for own in series:
        for size, correct in own.correct.items():
            for name, right in baselines[size].items():
                same = pd.concat([right] * len(correct)).set_axis(correct.index)
                values[own.method, size, name] = less(correct, same)
    return contrasts(values, margin, alike=lambda key: key[1])
