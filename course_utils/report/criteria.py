"""What would follow if another criterion than the validation likelihood chose the learning rates.

Its words are those of templates/criteria.md.jinja: each comparative one has a branch for each outcome.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from course_utils.comparison.axes import (
    Leaders,
    Series,
    accuracy_with_ends,
    answers,
    at_best_rate,
    validation_accuracy,
    validation_likelihood,
)
from course_utils.comparison.conclusions import OF_CONTRASTS
from course_utils.comparison.tables import ExperimentRuns
from course_utils.report.display import TEMPLATES, show_markdown
from course_utils.runs import Run
from course_utils.stats import Judged
from course_utils.text import template

say: Any = template(TEMPLATES / "criteria.md.jinja", OF_CONTRASTS).module


def show_by_accuracy(
    series: list[Series],
    others: list[Series],
    where: Callable[[Any, str], str],
    judged: Mapping[str, Judged],
    judged_others: Mapping[str, Judged],
    led: tuple[Leaders | None, Leaders | None] = (None, None),
    changes: Collection[str] = (),
) -> None:
    """Show what validation accuracy would choose, and what would be said otherwise; nothing if it chooses the same.

    `others` are the `series` at the rates that accuracy chooses, and so are `judged_others` the contrasts `judged`, by
    their labels, and the second of `led` the first. `where(value, method)` says a value of the factor in words.
    `changes` are the labels of contrasts that are changes of a difference.
    """
    if chosen := chosen_otherwise(series, others):
        known = any(contrast.judged for contrast in judged.values())
        show_markdown(say.by_accuracy(chosen, where, known, unlike(judged, judged_others), changes, *led))


def chosen_otherwise(series: list[Series], others: list[Series]) -> list[tuple[str, Any, float, float]]:
    """(method, value, learning rate, accuracy in per cent) of the points of `others` with another rate in `series`."""
    rates = {(own.method, own.varies, value): rate_of(runs) for own in series for value, runs in own.points.items()}
    return [
        (own.method, value, rate_of(runs), accuracy_with_ends(own.correct[value])["estimate"])
        for own in others
        for value, runs in own.points.items()
        if rate_of(runs) != rates.get((own.method, own.varies, value))
    ]


def rate_of(runs: list[Run]) -> float:
    """The learning rate that `runs` have in common."""
    return runs[0].config.settings.learning_rate


def unlike(found: Mapping[str, Judged], others: Mapping[str, Judged]) -> dict[str, Judged]:
    """The contrasts of `others` that differ from those of `found` in their runs and in their verdict.

    Of the same runs the verdict may be another, too, since contrasts are corrected together; these are left out.
    """

    def verdict(contrast: Judged) -> tuple[str, bool, bool]:
        return contrast.verdict, contrast.equivalent, contrast.within_margin

    pairs = {label: (found[label], other) for label, other in others.items() if label in found}
    return {
        label: other
        for label, (own, other) in pairs.items()
        if own.difference.estimate != other.difference.estimate and verdict(own) != verdict(other)
    }


def show_other_rates(results: ExperimentRuns, method: str, study: str) -> None:
    """Show what is known of `method` at other rates than that of `study`, beside which they were tried.

    A sentence for each rate that the likelihood or the accuracy of the validation texts chooses.
    """
    found: dict[float, tuple[list[str], list[Run]]] = {}
    for judge, title in (
        (validation_likelihood, "the likelihood of the validation texts"),
        (validation_accuracy, "validation accuracy"),
    ):
        best = at_best_rate(results, method, study, judge)
        if best and best[0].config.study != study:
            found.setdefault(rate_of(best), ([], best))[0].append(title)
    for rate, (judges, best) in found.items():
        usual = results.experiment.config(method, study=study).settings.learning_rate
        accuracy = accuracy_with_ends(answers(best))["estimate"]
        show_markdown(say.other_rate(method, usual, rate, accuracy, judges))
