"""What changes at other learning rates: those of a method, and one that the head has of its own."""

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
from course_utils.comparison.conclusions import OF_CONTRASTS, judge_experiment
from course_utils.comparison.tables import ExperimentRuns
from course_utils.methods import METHODS
from course_utils.report.dependence import accuracy_cell, planned_for
from course_utils.report.display import TEMPLATES, show_markdown, show_table
from course_utils.stats import MINIMUM_SEEDS
from course_utils.text import template

say: Any = template(TEMPLATES / "rates.md.jinja", OF_CONTRASTS).module


class RateStudy(NamedTuple):
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
            if own.beside == study.beside and name in own.by_study:
                series.append(own)
                rates[own.method] = own.by_study[name], own.usual
        if series:
            changes = {own.method: less(*(own.correct[rate] for rate in rates[own.method])) for own in series}
            found.append(RateStudy(study.title, series, rates, contrasts(changes, margin)))
    return found


def learning_rates(results: ExperimentRuns) -> None:
    """Show a table and a sentence for each study of other learning rates."""
    studies = rate_studies(results)
    if not studies:
        show_markdown(say.one_rate_text(planned_for(results, RATE)))
    for study in studies:
        rows = [
            [
                title_of(own.method),
                *(f"{rate:g}: {accuracy_cell(own.correct[rate])}" for rate in study.rates[own.method]),
            ]
            for own in study.series
        ]
        table = pd.DataFrame(rows, columns=["Method", "Another", "That of the main runs"])
        show_table(table, say.learning_rates_table(study.title, study.series[0]))
        show_markdown(say.learning_rates_text(study.changes))
        if study.series[0].beside == "main" and (led := _leaders_by_rate(results, study.series)):
            show_markdown(say.leaders_by_rate(study.series[0].seeds, *led).strip())


def understated(results: ExperimentRuns) -> list[str]:
    """The methods that are shown to be more accurate at another learning rate than that of the main runs."""
    studies = [study for study in rate_studies(results) if study.series[0].beside == "main"]
    return [*dict.fromkeys(name for study in studies for name in of_verdict(study.changes, "above"))]


def rate_regime(results: ExperimentRuns, best: str) -> str:
    """Whether another adapter method than `best` leads where validation accuracy chooses the learning rates.

    A sentence; empty where none does, or where no study with enough seeds tried other rates than the main runs'.
    """
    for study in rate_studies(results):
        series = study.series[0]
        if series.beside == "main" and len(series.seeds) >= MINIMUM_SEEDS:
            led = _leaders_by_rate(results, study.series)
            if led and led[1] != best:
                return say.in_finding(led[1], series.training_texts, series.seeds).strip()
    return ""


def _leaders_by_rate(results: ExperimentRuns, series: list[Series]) -> tuple[str, str, Contrast | None] | None:
    """Who leads the adapters at the main runs' rates, who at those with the better validation accuracy, less the first.

    On the seeds of the `series`. The contrast is None where the same method leads, all is None where fewer than two
    adapters are there.
    """
    seeds, tried = series[0].seeds, {own.method: [*own.points.values()] for own in series}
    usual, chosen = {}, {}
    for name in results.experiment.methods:
        runs = [run for run in results.of(name) if run.config.seed in seeds]
        if len(runs) == len(seeds) and not METHODS[name].is_baseline:
            usual[name] = answers(runs)
            best = max(tried.get(name, [runs]), key=validation_accuracy)
            chosen[name] = answers(best)
    if len(usual) < 2:
        return None
    before, after = (max(each, key=lambda name: each[name].to_numpy().mean()) for each in (usual, chosen))
    if before == after:
        return before, after, None
    return before, after, contrasts({after: less(chosen[after], chosen[before])})[after]


def head_rates(results: ExperimentRuns) -> None:
    """Show what changes where the head has a learning rate of its own, the same for all methods."""
    series = read_axis(results, "head_learning_rate")
    if not series:
        show_markdown(say.shared_head_rate_text(planned_for(results, "head_learning_rate")))
        return
    own, found, rates = {}, {}, set()
    for method in series:
        apart = next(rate for rate in method.points if rate != method.usual)
        found[method.method] = less(method.correct[apart], method.correct[method.usual])
        own[method.method] = method.usual
        rates.add(apart)
    judged = contrasts(found, judge_experiment(results).margin)
    show_markdown(say.head_rates_text(judged, own, sorted(rates), series[0]))
