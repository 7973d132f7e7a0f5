"""What changes at other learning rates: those of a method, and one that the head has of its own."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import pandas as pd

from course_utils.comparison.axes import (
    RATE,
    Contrast,
    Series,
    contrasts,
    less,
    of_verdict,
    read_axis,
)
from course_utils.comparison.baselines import title_of
from course_utils.comparison.conclusions import OF_CONTRASTS, judge_experiment
from course_utils.comparison.tables import ExperimentRuns
from course_utils.report.criteria import ByAccuracy, by_accuracy
from course_utils.report.dependence import accuracy_cell, planned_for
from course_utils.report.display import TEMPLATES, show_markdown, show_table
from course_utils.stats import MINIMUM_SEEDS
from course_utils.text import template

say: Any = template(TEMPLATES / "rates.md.jinja", OF_CONTRASTS).module


@dataclass(frozen=True, eq=False)
class RateStudy:
    """A study of another learning rate, in runs of the same length as those beside."""

    name: str
    title: str
    series: list[Series]  # of the methods that it trains
    changes: dict[str, Contrast]  # method → its accuracy in this study less that in the runs beside


@cache  # the exhibit and the advice ask for them
def rate_studies(results: ExperimentRuns) -> list[RateStudy]:
    """Every finished study of another learning rate, beside the main runs or beside those of a training size."""
    axis, margin, found = read_axis(results, RATE), judge_experiment(results).margin, []
    for name, study in results.experiment.studies.items():
        of_study = [own for own in axis if own.beside == study.beside and name in own.by_study]
        if series := [own for own in of_study if own.usual is not None]:
            changes = {own.method: less(own.correct[own.by_study[name]], own.correct[own.usual]) for own in series}
            found.append(RateStudy(name, study.title, series, contrasts(changes, margin)))
    return found


def learning_rates(results: ExperimentRuns) -> None:
    """Show a table and a sentence for each study of other learning rates."""
    studies = rate_studies(results)
    if not studies:
        show_markdown(say.one_rate_text(planned_for(results, RATE)))
    for study in studies:
        rows = [
            [title_of(own.method)]
            + [f"{rate:g}: {accuracy_cell(own.correct[rate])}" for rate in (own.by_study[study.name], own.usual)]
            for own in study.series
        ]
        table = pd.DataFrame(rows, columns=["Method", "Another", "That of the main runs"])
        show_table(table, say.learning_rates_table(study.title, study.series[0]))
        show_markdown(say.learning_rates_text(study.changes))
        if _judged(study) and (found := by_accuracy(results, study.series)):
            show_markdown(say.by_accuracy(found))


def _judged(study: RateStudy) -> bool:
    """Whether the main comparison can be judged at the rates of `study`."""
    return study.series[0].beside == "main" and len(study.series[0].seeds) >= MINIMUM_SEEDS


def understated(results: ExperimentRuns) -> list[str]:
    """The methods that are shown to be more accurate at another learning rate than that of the main runs."""
    studies = [study for study in rate_studies(results) if study.series[0].beside == "main"]
    return [*dict.fromkeys(name for study in studies for name in of_verdict(study.changes, "above"))]


@cache  # the title page and the advice ask for it
def main_by_accuracy(results: ExperimentRuns) -> ByAccuracy | None:
    """`by_accuracy` of the first study of other rates than the main runs' with enough seeds; None without one."""
    return next((by_accuracy(results, study.series) for study in rate_studies(results) if _judged(study)), None)


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
    own, found, rates = {}, {}, set()
    for method in (own for own in series if own.usual is not None):
        apart = next(rate for rate in method.points if rate != method.usual)
        found[method.method] = less(method.correct[apart], method.correct[method.usual])
        own[method.method] = method.usual
        rates.add(apart)
    judged = contrasts(found, judge_experiment(results).margin)
    show_markdown(say.head_rates_text(judged, own, sorted(rates), series[0]))
