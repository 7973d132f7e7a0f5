"""What changes at other learning rates: those of a method, and one that the head has of its own."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from course_utils.comparison.axes import RATE, Contrast, Series, contrasts, of_verdict, read_axis
from course_utils.comparison.baselines import title_of
from course_utils.comparison.conclusions import OF_CONTRASTS, judge_experiment
from course_utils.comparison.results import ExperimentRuns
from course_utils.report.criteria import ByAccuracy, by_accuracy
from course_utils.report.display import TEMPLATES, show_markdown, show_table
from course_utils.report.wording import accuracy_cell, judged_cells, planned_for
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


def rate_studies(results: ExperimentRuns) -> list[RateStudy]:
    """Every finished study of another learning rate, beside the main runs or beside those of a training size."""
    axis, margin, found = read_axis(results, RATE), judge_experiment(results).margin, []
    for name, study in results.experiment.studies.items():
        of_study = [own for own in axis if own.beside == study.beside and name in own.by_study]
        if series := [own for own in of_study if own.usual is not None]:
            changes = {own.method: own.change(own.by_study[name]) for own in series}
            found.append(RateStudy(name, study.title, series, contrasts(changes, margin)))
    return found


def learning_rates(results: ExperimentRuns) -> None:
    """Show a table and what follows from it for each study of other learning rates."""
    studies = rate_studies(results)
    if not studies:
        show_markdown(say.one_rate_text(planned_for(results, RATE)))
    for study in studies:
        rows = []
        for own in study.series:
            another, usual = (f"{r:g}: {accuracy_cell(own.correct[r])}" for r in (own.by_study[study.name], own.usual))
            row = {"Method": title_of(own.method), "Another rate": another, "That of the main runs": usual}
            rows.append(row | judged_cells(study.changes[own.method]))
        show_table(pd.DataFrame(rows), say.learning_rates_table(study.title, study.series[0], study.changes))
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


def main_by_accuracy(results: ExperimentRuns) -> ByAccuracy | None:
    """`by_accuracy` of the first study of other rates than the main runs' with enough seeds; None without one."""
    return next((by_accuracy(results, study.series) for study in rate_studies(results) if _judged(study)), None)


def rate_regime(results: ExperimentRuns, best: str) -> str:
    """Who is more accurate at another learning rate, and what is shown at the rates that validation accuracy chooses.

    Sentences; the latter are left out where `best` leads the adapters there, too, and the same pairs differ.
    """
    found = main_by_accuracy(results)
    return say.in_finding(found, found is not None and found.chosen != best, understated(results)).strip()


def head_rates(results: ExperimentRuns) -> None:
    """Show what changes where the head has a learning rate of its own, the same for all methods."""
    series = read_axis(results, "head_learning_rate")
    if not series:
        show_markdown(say.shared_head_rate_text(planned_for(results, "head_learning_rate")))
        return
    for rate in sorted({value for own in series for value in own.points if value != own.usual}):
        tried = [own for own in series if own.usual is not None and rate in own.points]
        changes = _changes(results, tried, rate)
        table = _as_table(tried, rate, changes, "Head at its usual rate", "Head at")
        show_table(table, say.head_rates_table(rate, tried[0], changes))
        show_markdown(say.changes_text(changes))


def without_dropout(results: ExperimentRuns) -> None:
    """Show what changes where methods with dropout are trained without it; nothing where no study tries it."""
    tried = [own for own in read_axis(results, "dropout") if own.usual and 0 in own.points]
    if tried:
        changes = _changes(results, tried, 0)
        show_table(_as_table(tried, 0, changes, "With dropout", "Dropout"), say.dropouts_table(tried[0], changes))
        show_markdown(say.changes_text(changes))


def _changes(results: ExperimentRuns, series: list[Series], value: float) -> dict[str, Contrast]:
    """Method → its accuracy at `value` of the factor less that at the usual one."""
    return contrasts({own.method: own.change(value) for own in series}, judge_experiment(results).margin)


def _as_table(series: list[Series], value: float, changes: dict[str, Contrast], usual: str, what: str) -> pd.DataFrame:
    """The accuracies at the usual value of a factor and at `value`, and their difference, a row a method."""
    return pd.DataFrame(
        {
            "Method": title_of(own.method),
            usual: f"{own.usual:g}: {accuracy_cell(own.correct[own.usual])}",
            f"{what} {value:g}": accuracy_cell(own.correct[value]),
        }
        | judged_cells(changes[own.method])
        for own in series
    )
