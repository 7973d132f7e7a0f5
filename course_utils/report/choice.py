"""Which method to choose for which need, by the runs of an experiment."""

from typing import Any, NamedTuple

import pandas as pd

from course_utils.comparison import tables
from course_utils.comparison.axes import leaders
from course_utils.comparison.baselines import title_of
from course_utils.comparison.conclusions import Judgement, bought, judge_experiment, unsized
from course_utils.comparison.costs import is_uneven, mean_loads, not_shown_above
from course_utils.comparison.domains import Domain, forgetting_table, read_domains
from course_utils.comparison.tables import ExperimentRuns
from course_utils.methods import FLOOR
from course_utils.report.dependence import size_axis
from course_utils.report.display import TEMPLATES, show_markdown, show_table
from course_utils.report.rates import understated
from course_utils.stats import PairedComparison
from course_utils.text import and_joined, in_sentence, template

# What may count beside accuracy: a column of `summary_table`, and what a table calls it.
COSTS = {
    "bytes_adapter": "Bytes to store and send for each task",
    "peak_memory_bytes": "Memory in training",
    "train_seconds": "Time to train",
    "bytes_base_model": "Memory of the base model",
}

Row = tuple[str, str, str]  # what counts, the method to take, and why


class Unbeaten(NamedTuple):
    """The most accurate method, those that are not shown to be worse, and what the methods to choose among cost.

    These are the best and those that are not shown to be worse; where there is none of these, all that are compared.
    """

    best: str
    others: list[PairedComparison]  # the best less each of those
    lost: dict[str, PairedComparison]  # method → the best less it, where a difference is shown
    not_compared: list[str]  # the methods that have too few seeds, or share too few with the best
    costs: pd.DataFrame  # a row a method, the more accurate first; a column a cost


def unbeaten(results: ExperimentRuns, judged: Judgement) -> Unbeaten | None:
    """The best and the unbeaten of the methods that train more than a head; None without two that have enough seeds."""
    summary = results.summary.set_index("method")
    compared = dict.fromkeys(name for pair in judged.pairs for name in (pair.first, pair.second))
    names = [name for name in compared if name != FLOOR.name]
    if len(names) < 2:
        return None
    order = summary.loc[names, "accuracy"].astype(float).sort_values(ascending=False, kind="stable")
    best = str(order.index[0])
    against = judged.against(best, names)
    others = [pair for pair in against if not pair.above]
    known = {FLOOR.name, best, *(pair.second for pair in against)}
    lost = {pair.second: pair for pair in against if pair.above}
    kept = [name for name in order.index if name in known and (not others or name not in lost)]
    not_compared = [name for name in results.experiment.methods if name not in known]
    return Unbeaten(best, others, lost, not_compared, summary.loc[kept, [*COSTS]])


def which_when(results: ExperimentRuns) -> None:
    """Show what training gained, the method to choose by these runs for each need, and the limits of these answers."""
    judged = judge_experiment(results)
    found = unbeaten(results, judged)
    if found is None:
        show_markdown(say.nothing_text())
        return
    show_markdown(say.unbeaten_text(found, bought(results)))
    show_table(_choices(results, found), say.choices_table(found))
    show_markdown(say.limits_text(results.experiment, results.runs[0].result, understated(results)))


def _choices(results: ExperimentRuns, found: Unbeaten) -> pd.DataFrame:
    rows: list[Row | None] = [_for_cost(results, found, cost) for cost in COSTS]
    rows += [_for_few_texts(results), *map(_for_domain, read_domains(results)[1:]), _for_what_was_known(results, found)]
    return pd.DataFrame([row for row in rows if row], columns=["What counts", "Take", "Because"])


def _for_cost(results: ExperimentRuns, found: Unbeaten, cost: str) -> Row:
    costs, column = found.costs[cost].astype(float), tables.COLUMNS[cost].title
    if why := _not_shown(results, [*costs.index], cost):
        return COSTS[cost], "not shown", why
    cheapest = [name for name in costs.index if costs[name] == costs.min()]
    readable = tables.readable_summary(results.summary).set_index(results.summary["method"])[column]
    figures = f"{readable[cheapest[0]]} against {readable[found.best]}"
    return COSTS[cost], " or ".join(map(title_of, cheapest)), f"{column}: {figures}{_less_accurate(found, cheapest)}"


def _not_shown(results: ExperimentRuns, methods: list[str], cost: str) -> str:
    """Why none of `methods` is shown to have the lowest `cost`; empty where one is, or where runs cannot differ."""
    column = tables.COLUMNS[cost]
    if column.over_seeds != "median":
        return ""
    runs = results.frame.query("study == 'main' and status == 'finished'")
    costs = runs.pivot(index="seed", columns="method", values=cost)[methods].astype(float) / column.unit
    lowest = costs.median().idxmin()
    if close := not_shown_above(costs, lowest):
        median = f"{costs[lowest].median():{column.form}}"
        named = and_joined([*map(title_of, close)])
        return f"{column.title}: the median is lowest for {title_of(lowest)}, {median}; not shown to need more: {named}"
    loads = mean_loads(results).reindex(methods)
    if cost != "train_seconds" or not is_uneven(loads):
        return ""
    ends = f"{loads.min():.1f} ({title_of(loads.idxmin())}) to {loads.max():.1f} ({title_of(loads.idxmax())})"
    return f"the mean load of the machine was {ends}, and a difference in time may come from it"


def _for_few_texts(results: ExperimentRuns) -> Row | None:
    axis = size_axis(results)
    led = leaders(axis.series, axis.changes, axis.reference) if axis else None
    if not led or (least := min(led.best)) == led.reference:
        return None
    why = "the highest mean of the adapter methods there"
    return f"Few training texts ({least:,})", title_of(led.best[least]), why


def _for_domain(domain: Domain) -> Row:
    titles, share = " or ".join(map(title_of, domain.best)), f"{100 * domain.accuracy[domain.best[0]]:.1f}%"
    need = f"Texts like these: {domain.title}"
    if not domain.not_beaten:
        return need, titles, f"{share}, the highest mean of the adapter methods there"
    name, accuracy = next(iter(domain.not_beaten.items()))
    baseline = f"{in_sentence(title_of(name))} ({100 * accuracy:.1f}%)"
    why = f"no adapter method is shown to be more accurate than {baseline}; highest mean: {titles}, {share}"
    return need, "none", why


def _for_what_was_known(results: ExperimentRuns, found: Unbeaten) -> Row | None:
    kept = forgetting_table(results).set_index("method")
    kept = kept.loc[kept.index.isin(found.costs.index)]
    if kept.empty:
        return None
    need, best = "What the base model knew", str(kept["after"].idxmax())
    lost = {
        name: {run.config.seed: -100 * own.after for run in results.of(name) if (own := run.result.forgetting)}
        for name in kept.index
    }
    most = kept.loc[best]
    if close := not_shown_above(pd.DataFrame(lost), best, step=100 / most.texts):
        highest = f"{title_of(best)} has the highest mean, {most.after:.1f}%"
        return need, "not shown", f"{highest}; not shown to keep less: {and_joined([*map(title_of, close)])}"
    share = f"{most.after:.1f}% of the neighbours are of the text's own domain, {most.before:.1f}% before"
    share += " quantisation and training" if most.four_bit else " training"
    return need, title_of(best), share + _less_accurate(found, [best])


def _less_accurate(found: Unbeaten, names: list[str]) -> str:
    """Which of `names` are shown to be less accurate than the best, and by how much: the end of a reason."""
    lost = [
        f"{title_of(name)} (−{100 * found.lost[name].difference.estimate:.1f} points)"
        for name in names
        if name in found.lost
    ]
    return f"; shown to be less accurate: {and_joined(lost)}" if lost else ""


say: Any = template(TEMPLATES / "choice.md.jinja", {"titled": title_of, "unsized": unsized}).module
