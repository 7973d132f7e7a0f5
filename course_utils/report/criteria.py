"""What would follow if another criterion than the validation likelihood chose the learning rates.

Its words are those of templates/criteria.md.jinja: each comparative one has a branch for each outcome.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import chain
from typing import Any, NamedTuple

from course_utils.comparison import axes
from course_utils.comparison.agreement import variance_by_raters
from course_utils.comparison.conclusions import OF_CONTRASTS, differing, judge
from course_utils.comparison.results import ExperimentRuns
from course_utils.comparison.robustness import OneLess, one_less, tuned
from course_utils.config import RunConfig
from course_utils.methods import METHODS
from course_utils.report.display import TEMPLATES, show_markdown
from course_utils.runs import Run
from course_utils.stats import Judged, PairedComparison
from course_utils.text import template

say: Any = template(TEMPLATES / "criteria.md.jinja", OF_CONTRASTS).module


def show_by_accuracy(
    series: list[axes.Series],
    others: list[axes.Series],
    where: Callable[[Any, str], str],
    judged: Mapping[str, Judged],
    judged_others: Mapping[str, Judged],
    led: tuple[axes.Leaders | None, axes.Leaders | None] = (None, None),
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


def chosen_otherwise(series: list[axes.Series], others: list[axes.Series]) -> list[tuple[str, Any, float, float]]:
    """(method, value, learning rate, accuracy in per cent) of the points of `others` with another rate in `series`."""
    rates = {(own.method, own.varies, value): rate_of(runs) for own in series for value, runs in own.points.items()}
    return [
        (own.method, value, rate_of(runs), axes.accuracy_with_ends(own.correct[value])["estimate"])
        for own in others
        for value, runs in own.points.items()
        if rate_of(runs) != rates.get((own.method, own.varies, value))
    ]


def tried_rates(results: ExperimentRuns, config: RunConfig) -> list[float]:
    """The rates at which side studies tried what `config` trains, in ascending order."""
    study, plan = config.study, results.experiment.config
    names = [study, *axes.at_other_rates(results.experiment, config.method, study)]
    finished = (name for name in names if results.of(config.method, name))
    return sorted({plan(config.method, study=name).settings.learning_rate for name in finished})


def rate_of(runs: list[Run]) -> float:
    """The learning rate that `runs` have in common."""
    return runs[0].config.settings.learning_rate


def unlike(found: Mapping[str, Judged], others: Mapping[str, Judged]) -> dict[str, Judged]:
    """The contrasts of `others` that differ from those of `found` in their runs and in their verdict.

    Of the same runs the verdict may be another, too, since contrasts are corrected together; these are left out.
    """

    def differ(own: Judged, other: Judged) -> bool:
        one, another = ((each.verdict, each.equivalent, each.within_margin) for each in (own, other))
        return own.difference.estimate != other.difference.estimate and one != another

    return {label: other for label, other in others.items() if label in found and differ(found[label], other)}


def at_chosen_rates(results: ExperimentRuns, method: str, study: str) -> dict[float, tuple[list[str], list[Run]]]:
    """Rate → who chooses it, and the runs at it: other rates than that of `study`, beside which `method` tried them.

    The likelihood and the accuracy of the validation texts choose.
    """
    found: dict[float, tuple[list[str], list[Run]]] = {}
    for by, title in (
        (axes.validation_likelihood, "the likelihood of the validation texts"),
        (axes.validation_accuracy, "validation accuracy"),
    ):
        best = axes.at_best_rate(results, method, study, by)
        if best and best[0].config.study != study:
            found.setdefault(rate_of(best), ([], best))[0].append(title)
    return found


def show_other_rates(results: ExperimentRuns, method: str, study: str) -> None:
    """Show what is known of `method` `at_chosen_rates`, in a sentence for each."""
    for rate, (judges, best) in at_chosen_rates(results, method, study).items():
        usual = results.experiment.config(method, study=study).settings.learning_rate
        accuracy = axes.accuracy_with_ends(axes.right_answers(best))["estimate"]
        show_markdown(say.other_rate(method, usual, rate, accuracy, judges))


class ByAccuracy(NamedTuple):
    """The main comparison at the rates with the better validation accuracy, beside that at the main runs' rates.

    Both are on `seeds`. `usual` and `chosen` are the adapter methods with the highest mean at the main runs' rates and
    at those so chosen; `contrast` is the second less the first at the rates so chosen, None where they are the same.
    `pairs` are those at the rates so chosen, head only left out. `shown` and `shown_usual` are the pairs that are shown
    to differ at these and at the main runs' rates, the better method first; `less` is what is shown at the rates so
    chosen where one method is left out, and `runs` are those at these rates.
    """

    seeds: list[int]
    usual: str
    chosen: str
    contrast: axes.Contrast | None
    pairs: list[PairedComparison]
    shown_usual: list[PairedComparison]
    less: list[OneLess]
    runs: list[Run]

    @property
    def shown(self) -> list[PairedComparison]:
        return differing(self.pairs)

    def freed(self, names: Iterable[str]) -> list[str]:
        """Those of `names` that are shown to be behind a method at the rates of the main runs, and at these not."""
        usual, here = ({pair.second for pair in pairs} for pairs in (self.shown_usual, self.shown))
        return [name for name in names if name in usual - here]

    @property
    def same_pairs(self) -> bool:
        """Whether the same differences are shown at both."""
        shown, usual = ({(pair.first, pair.second) for pair in pairs} for pairs in (self.shown, self.shown_usual))
        return shown == usual


def by_accuracy(results: ExperimentRuns, series: list[axes.Series]) -> ByAccuracy | None:
    """What the rates of `series`, beside the main runs, change in the main comparison; None without two adapters."""
    seeds, tried = series[0].seeds, {own.method: [*own.points.values()] for own in series}
    usual, chosen = dict[str, list[Run]](), dict[str, list[Run]]()
    for name in results.experiment.methods:
        runs = [run for run in results.of(name) if run.config.seed in seeds]
        if len(runs) == len(seeds):
            usual[name], chosen[name] = runs, max(tried.get(name, [runs]), key=axes.validation_accuracy)
    adapters = [name for name in usual if not METHODS[name].is_baseline]
    if len(adapters) < 2:
        return None
    right, others = ({name: axes.right_answers(runs) for name, runs in own.items()} for own in (usual, chosen))
    before, after = (max(adapters, key=lambda name: own[name].to_numpy().mean()) for own in (right, others))
    contrast = None if before == after else axes.contrasts({after: axes.less(others[after], others[before])})[after]
    by_raters, runs = variance_by_raters(results), [*chain(*chosen.values())]
    pairs, pairs_usual = (tuned(judge(own, by_raters).pairs) for own in (others, right))
    less = [*one_less(others, by_raters)]
    return ByAccuracy(seeds, before, after, contrast, pairs, differing(pairs_usual), less, runs)
