"""What changes at other learning rates: those of a method, and one that the head has of its own."""

from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import pandas as pd

from course_utils.comparison.axes import (
    RATE,
    Contrast,
    Series,
    answers,
    contrasts,
    less,
    of_verdict,
    read_axis,
    validation_accuracy,
)
from course_utils.comparison.baselines import title_of
from course_utils.comparison.conclusions import OF_CONTRASTS, differing, judge, judge_experiment
from course_utils.comparison.tables import ExperimentRuns
from course_utils.methods import METHODS
from course_utils.report.dependence import accuracy_cell, judged_cells, planned_for
from course_utils.report.display import TEMPLATES, show_markdown, show_table
from course_utils.stats import MINIMUM_SEEDS, PairedComparison
from course_utils.text import template

say: Any = template(TEMPLATES / "rates.md.jinja", OF_CONTRASTS).module


@dataclass(frozen=True, eq=False)
class RateStudy:
    """A study of another learning rate, in runs of the same length as those beside."""

    title: str
    series: list[Series]  # of the methods that it trains
    rates: dict[str, tuple[float, float]]  # method → its rate in this study, and in the runs beside
    changes: dict[str, Contrast]  # method → accuracy at the first rate less that at the second


@cache  # the exhibit and the advice ask for them
def rate_studies(results: ExperimentRuns) -> list[RateStudy]:
    """Every finished study of another learning rate, beside the main runs or beside those of a training size."""
    axis, margin, found = read_axis(results, RATE), judge_experiment(results).margin, []
    for name, study in results.experiment.studies.items():
        series, rates = [], {}
        for own in axis:
            if own.beside == study.beside and name in own.by_study and own.usual is not None:
                series.append(own)
                rates[own.method] = own.by_study[name], own.usual
        if series:
            changes = {own.method: less(*(own.correct[rate] for rate in rates[own.method])) for own in series}
            found.append(RateStudy(study.title, series, rates, contrasts(changes, margin)))
    return found


def learning_rates(results: ExperimentRuns) -> None:
    """Show a table and what follows from it for each study of other learning rates."""
    studies = rate_studies(results)
    if not studies:
        show_markdown(say.one_rate_text(planned_for(results, RATE)))
    for study in studies:
        rows = []
        for own in study.series:
            another, usual = (f"{rate:g}: {accuracy_cell(own.correct[rate])}" for rate in study.rates[own.method])
            row = {"Method": title_of(own.method), "Another rate": another, "That of the main runs": usual}
            rows.append(row | judged_cells(study.changes[own.method]))
        show_table(pd.DataFrame(rows), say.learning_rates_table(study.title, study.series[0], study.changes))
        show_markdown(say.learning_rates_text(study.changes).strip())
        if _judged(study) and (found := by_accuracy(results, study)):
            show_markdown(say.by_accuracy(found))


def _judged(study: RateStudy) -> bool:
    """Whether the main comparison can be judged at the rates of `study`."""
    return study.series[0].beside == "main" and len(study.series[0].seeds) >= MINIMUM_SEEDS


def understated(results: ExperimentRuns) -> list[str]:
    """The methods that are shown to be more accurate at another learning rate than that of the main runs."""
    studies = [study for study in rate_studies(results) if study.series[0].beside == "main"]
    return [*dict.fromkeys(name for study in studies for name in of_verdict(study.changes, "above"))]


class ByAccuracy(NamedTuple):
    """The main comparison at the rates with the better validation accuracy, beside that at the main runs' rates.

    Both are on `seeds`. `usual` and `chosen` are the adapter methods with the highest mean at the main runs' rates and
    at those so chosen; `contrast` is the second less the first at the rates so chosen, None where they are the same.
    `shown` and `shown_usual` are the pairs that are shown to differ, the better method first, head only left out.
    """

    seeds: list[int]
    usual: str
    chosen: str
    contrast: Contrast | None
    shown: list[PairedComparison]
    shown_usual: list[PairedComparison]

    @property
    def same_pairs(self) -> bool:
        """Whether the same differences are shown at both."""
        shown, usual = ({(pair.first, pair.second) for pair in pairs} for pairs in (self.shown, self.shown_usual))
        return shown == usual


@cache  # the exhibit, the title page and the advice ask for it
def by_accuracy(results: ExperimentRuns, study: RateStudy) -> ByAccuracy | None:
    """What rates of a `study` beside the main runs change in the main comparison; None with fewer than two adapters."""
    seeds, tried = study.series[0].seeds, {own.method: [*own.points.values()] for own in study.series}
    usual, chosen = {}, {}
    for name in results.experiment.methods:
        runs = [run for run in results.of(name) if run.config.seed in seeds]
        if len(runs) == len(seeds):
            usual[name] = answers(runs)
            best = max(tried.get(name, [runs]), key=validation_accuracy)
            chosen[name] = answers(best)
    adapters = [name for name in usual if not METHODS[name].is_baseline]
    if len(adapters) < 2:
        return None
    before, after = (max(adapters, key=lambda name: own[name].to_numpy().mean()) for own in (usual, chosen))
    contrast = None if before == after else contrasts({after: less(chosen[after], chosen[before])})[after]
    return ByAccuracy(seeds, before, after, contrast, *(differing(judge(own).pairs) for own in (chosen, usual)))


def main_by_accuracy(results: ExperimentRuns) -> ByAccuracy | None:
    """`by_accuracy` of the first study of other rates than the main runs' with enough seeds; None without one."""
    for study in rate_studies(results):
        if _judged(study):
            return by_accuracy(results, study)
    return None


def rate_regime(results: ExperimentRuns, best: str) -> str:
    """Who leads, and what is shown, where validation accuracy chooses the learning rates.

    Sentences; empty where `best` leads the adapters then, too, and the same pairs are shown to differ.
    """
    found = main_by_accuracy(results)
    if not found or (found.chosen == best and found.same_pairs):
        return ""
    return say.in_finding(found, found.chosen != best).strip()


def head_rates(results: ExperimentRuns) -> None:
    """Show what changes where the head has a learning rate of its own, the same for all methods."""
    series = read_axis(results, "head_learning_rate")
    if not series:
        show_markdown(say.shared_head_rate_text(planned_for(results, "head_learning_rate")))
        return
    for rate in sorted({value for own in series for value in own.points if value != own.usual}):
        tried = [own for own in series if own.usual is not None and rate in own.points]
        changes = _changes(results, tried, rate)
        show_table(_as_table(tried, rate, changes, "Head at"), say.head_rates_table(rate, tried[0], changes))
        show_markdown(say.changes_text(changes).strip())


def without_dropout(results: ExperimentRuns) -> None:
    """Show what changes where methods with dropout are trained without it; nothing where no study tries it."""
    tried = [own for own in read_axis(results, "dropout") if own.usual and 0 in own.points]
    if tried:
        changes = _changes(results, tried, 0)
        show_table(_as_table(tried, 0, changes, "Dropout"), say.dropouts_table(tried[0], changes))
        show_markdown(say.changes_text(changes).strip())


def _changes(results: ExperimentRuns, series: list[Series], value: float) -> dict[str, Contrast]:
    """Method → its accuracy at `value` of the factor less that at the usual one."""
    found = {own.method: less(own.correct[value], own.correct[own.usual]) for own in series}
    return contrasts(found, judge_experiment(results).margin)


def _as_table(series: list[Series], value: float, changes: dict[str, Contrast], what: str) -> pd.DataFrame:
    """The accuracies at the usual value of a factor and at `value`, and their difference, a row a method."""
    return pd.DataFrame(
        {
            "Method": title_of(own.method),
            f"{what} …": f"{own.usual:g}: {accuracy_cell(own.correct[own.usual])}",
            f"{what} {value:g}": accuracy_cell(own.correct[value]),
        }
        | judged_cells(changes[own.method])
        for own in series
    )
