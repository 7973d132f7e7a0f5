"""What the result owes to the number of training texts: every method and baseline at each size.

The words are those of templates/training_size.md.jinja: each comparative one has a branch for each outcome.
"""

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import pandas as pd

from course_utils.comparison import axes
from course_utils.comparison.agreement import variance_by_raters
from course_utils.comparison.baselines import title_of
from course_utils.comparison.conclusions import OF_CONTRASTS, differing, judge, judge_experiment, p_in_words
from course_utils.comparison.costs import processors
from course_utils.comparison.results import ExperimentRuns
from course_utils.comparison.robustness import tuned
from course_utils.methods import CEILING, FLOOR, METHODS
from course_utils.report import plots
from course_utils.report.criteria import rate_of, show_by_accuracy, tried_rates
from course_utils.report.display import TEMPLATES, show_figure, show_markdown, show_table, with_ends
from course_utils.report.wording import alt_text, labelled, show_one_value
from course_utils.stats import Judged, PairedComparison
from course_utils.text import signed_interval, signed_points, template

say: Any = template(TEMPLATES / "training_size.md.jinja", OF_CONTRASTS).module


def accuracy_by_size(results: ExperimentRuns) -> None:
    """Accuracy of every method against the number of training texts, and whether the leader depends on it."""
    axis, others = (size_axis(results, judge) for judge in (axes.validation_likelihood, axes.validation_accuracy))
    if not axis or not others:  # of which one has the sizes of the other
        show_one_value(results, "number of training texts", _sizes(results), "max_train")
        return
    series, reference, changes = axis.series, axis.reference, axis.changes
    fitted = pd.DataFrame(
        {"method": name, "value": size} | axes.accuracy_with_ends(correct)
        for size, of_size in axis.baselines.items()
        for name, correct in of_size.items()
    )
    table = pd.concat([axes.accuracy_table(series), fitted]).sort_values("value", kind="stable")
    table["series"] = table["method"].map(title_of)
    figure = plots.accuracy_by_factor(table, say.sizes_title(axis.led), "training texts")
    rates = _other_rates(results, series, reference)
    made_on = processors(run for own in series for runs in own.points.values() for run in runs)
    show_figure(figure, say.sizes_figure(series[0].seeds, bool(rates), made_on), alt_text(table))
    cells = table.assign(shown=[with_ends(*ends) for ends in table[["estimate", "low", "high"]].to_numpy()])
    cells = cells.pivot(index="series", columns="value", values="shown").loc[table["series"].unique()].fillna("–")
    cells = cells.rename(columns="{:,} texts".format).rename_axis("Method", axis=0).reset_index()
    show_table(cells, say.accuracies_table(series[0].seeds))
    least = min((value for *_, value in changes), default=reference)
    shown = {pair[:2]: change for pair, change in changes.items() if pair[2] == least}
    if shown:
        show_table(_pairs(series, shown, least, reference), say.sizes_table(least, reference, len(changes)))
    largest = sum(rate == max(tried) for own in rates.values() for _, rate, tried in own if len(tried) > 1)
    show_markdown(say.sizes_text(axis.led, shown, least, reference, rates, largest))
    if axis.pairs:
        shown_at = {size: (pairs, differing(pairs)) for size, pairs in axis.pairs.items()}
        with_head = any(FLOOR.name in correct for correct in axis.correct.values())
        show_markdown(say.pairs_text(shown_at, series[0].seeds, with_head))
    own, otherwise, moved = _size_verdicts(axis), _size_verdicts(others), _size_changes(axis)
    show_by_accuracy(series, others.series, say.with_size, own, otherwise, (axis.led, others.led), moved)
    if len(fitted):
        highest = fitted.loc[fitted.groupby("value")["estimate"].idxmax()]
        rows = [_beside_baselines(axis, row) for row in highest.to_dict("records")]
        show_table(pd.DataFrame(rows), say.beside_baselines_table(len(axis.over_baselines)))


@dataclass(frozen=True, eq=False)
class SizeAxis:
    """What is known of the training size, at the learning rates that one criterion chooses.

    `reference` is the size of the main runs.
    """

    results: ExperimentRuns
    series: list[axes.Series]
    reference: int

    @property
    def tuned(self) -> list[axes.Series]:
        """The series of the methods that train more than a head."""
        return [own for own in self.series if METHODS[own.method] is not FLOOR]

    @cached_property
    def changes(self) -> dict[tuple[str, str, int], axes.Contrast]:
        """The `interactions` of these methods with the size."""
        return axes.interactions(self.tuned, self.reference)

    @cached_property
    def led(self) -> axes.Leaders | None:
        """Which adapter method leads at each size."""
        return axes.leaders(self.series, self.changes, self.reference)

    @cached_property
    def correct(self) -> dict[int, dict[str, pd.DataFrame]]:
        """Training size, but that of the main runs → method → booleans (seeds, test texts)."""
        sizes = sorted({size for own in self.series for size in own.points} - {self.reference})
        return {size: {own.method: own.correct[size] for own in self.series if size in own.points} for size in sizes}

    @cached_property
    def pairs(self) -> dict[int, list[PairedComparison]]:
        """Training size → its pairs of methods, judged by the rule of the main comparison, less those of the floor.

        Each size is a family of its own.
        """
        by_raters = variance_by_raters(self.results)
        judged = {size: tuned(judge(correct, by_raters).pairs) for size, correct in self.correct.items()}
        return {size: pairs for size, pairs in judged.items() if pairs}

    @cached_property
    def baselines(self) -> dict[int, dict[str, pd.DataFrame]]:
        """Size → baseline that fine-tunes nothing → booleans (one row, test texts)."""
        sizes = sorted({size for own in self.series for size in own.points})
        return {size: axes.with_texts(self.results, size, self.series[0].texts) for size in sizes}

    @cached_property
    def over_baselines(self) -> dict[tuple[str, int, str], axes.Contrast]:
        """(method, size, baseline) → what the method gains on the baseline; corrected over all."""
        return axes.against_baselines(self.tuned, self.baselines, judge_experiment(self.results).margin)


@cache  # the exhibit, the title page and the advice ask for it
def size_axis(results: ExperimentRuns, judge: axes.Judge) -> SizeAxis | None:
    """What is known of the training size, at the learning rates that `judge` chooses; None where there is one size."""
    series, sizes = axes.read_axis(results, "max_train", judge), _sizes(results)
    return SizeAxis(results, series, sizes[0]) if series and sizes else None


def size_regime(results: ExperimentRuns, best: str) -> str:
    """Whether the lead of `best`, an adapter method, holds at other training sizes: sentences, or empty.

    `best` leads by all seeds of the main runs. The axis has the seeds that all sizes share, and by these another method
    may lead.
    """
    axis = size_axis(results, axes.validation_likelihood)
    if not axis or not axis.led:
        return ""
    adapters = {
        size: [pair for pair in differing(pairs) if CEILING.name not in (pair.first, pair.second)]
        for size, pairs in axis.pairs.items()
    }
    return say.in_finding(axis.led, best, {size: pairs for size, pairs in adapters.items() if pairs}).strip()


def _size_verdicts(axis: SizeAxis) -> dict[str, Judged]:
    """What is judged of the training size, by its label.

    These are the changes of differences, and at each size every method against the baselines and the other methods.
    """
    of_pairs = {(pair.first, size, pair.second): pair for size, pairs in axis.pairs.items() for pair in pairs}
    over_baselines = labelled(axis.over_baselines, say.baseline_label)
    return _size_changes(axis) | over_baselines | labelled(of_pairs, say.baseline_label)


def _size_changes(axis: SizeAxis) -> dict[str, Judged]:
    return labelled(axis.changes, say.change_label, axis.reference)


def _beside_baselines(axis: SizeAxis, best: dict[str, Any]) -> dict[str, Any]:
    """The baselines of one size beside the methods, as a row of a table; `best` has the highest mean of them."""
    verdicts: dict[str, list[str]] = {}
    for (method, size, _), contrast in axis.over_baselines.items():
        if size == best["value"]:
            verdicts.setdefault(title_of(method), []).append(contrast.verdict)
    above = [name for name, own in verdicts.items() if {*own} == {"above"}]
    below = [name for name, own in verdicts.items() if "below" in own]
    return {
        "Texts": best["value"],
        "Baseline with the highest mean": title_of(best["method"]),
        "Accuracy (%) [95%]": with_ends(best["estimate"], best["low"], best["high"]),
        "More accurate than each baseline": ", ".join(above) or "none",
        "Less accurate than one": ", ".join(below) or "none",
    }


def _other_rates(
    results: ExperimentRuns, series: list[axes.Series], reference: int
) -> dict[int, list[tuple[str, float, list[float]]]]:
    """Size → the methods with another learning rate there than at the `reference`: the rate, and those tried."""
    found: dict[int, list[tuple[str, float, list[float]]]] = {}
    for own in series:
        rates = {size: rate_of(runs) for size, runs in own.points.items()}
        for size, rate in rates.items():
            if rate != rates.get(reference, rate):
                tried = tried_rates(results, own.points[size][0].config)
                found.setdefault(size, []).append((own.method, rate, tried))
    return dict(sorted(found.items()))


def _sizes(results: ExperimentRuns) -> list[int]:
    """Numbers of training texts of the main runs."""
    return [*dict.fromkeys(run.result.data.sizes["train"] for run in results.mains)]


def _pairs(series: list[axes.Series], shown: dict[Any, axes.Contrast], least: Any, reference: Any) -> pd.DataFrame:
    correct = {own.method: own.correct for own in series}

    def difference(first: str, second: str, value: Any) -> str:
        return signed_points(float(axes.less(correct[first][value], correct[second][value]).to_numpy().mean()))

    rows = (
        {
            "Pair": f"{title_of(first)} − {title_of(second)}",
            f"With {least:,}": difference(first, second, least),
            f"With {reference:,}": difference(first, second, reference),
            "Change [95%]": signed_interval(change.difference),
            "p (Holm)": p_in_words(change.p_holm),
        }
        for (first, second), change in shown.items()
    )
    return pd.DataFrame(rows)
