"""Which method to choose for which need, by the runs of an experiment."""

from statistics import median
from typing import Any, NamedTuple

import pandas as pd

from course_utils.comparison import tables
from course_utils.comparison.axes import leaders
from course_utils.comparison.baselines import title_of
from course_utils.comparison.conclusions import Judgement, bought, judge_experiment, unsized
from course_utils.comparison.costs import is_uneven, mean_loads
from course_utils.comparison.domains import forgetting_table, read_domains
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
    rows = []
    readable = tables.readable_summary(results.summary).set_index(results.summary["method"])
    for cost, title in COSTS.items():
        costs, column = found.costs[cost].astype(float), tables.COLUMNS[cost].title
        if tables.COLUMNS[cost].over_seeds == "median" and (
            why := _overlapping(results, [*costs.index], cost) or _by_load(results, [*costs.index], cost)
        ):
            rows.append((title, "not shown", why))
            continue
        cheapest = [name for name in costs.index if costs[name] == costs.min()]
        figures = f"{readable.loc[cheapest[0], column]} against {readable.loc[found.best, column]}"
        rows.append(
            (title, " or ".join(map(title_of, cheapest)), f"{column}: {figures}{_less_accurate(found, cheapest)}")
        )
    if least := _with_few_texts(results):
        size, name = least
        rows.append((f"Few training texts ({size:,})", title_of(name), "the highest mean of the adapter methods there"))
    for domain in read_domains(results)[1:]:
        taken, share = " or ".join(map(title_of, domain.best)), f"{100 * domain.accuracy[domain.best[0]]:.1f}%"
        why = f"{share}, the highest mean of the adapter methods there"
        if domain.not_beaten:
            name, accuracy = next(iter(domain.not_beaten.items()))
            baseline, own = in_sentence(title_of(name)), f"{100 * accuracy:.1f}%"
            why = f"no adapter method is shown to be more accurate than {baseline} ({own}); "
            taken, why = "none", why + f"highest mean: {taken}, {share}"
        rows.append((f"Texts like these: {domain.title}", taken, why))
    kept = forgetting_table(results)
    kept = kept[kept["method"].isin(found.costs.index)]
    if len(kept):
        most = kept.loc[kept["after"].idxmax()]
        losses = {
            name: {run.config.seed: -run.result.forgetting.after for run in results.of(name) if run.result.forgetting}
            for name in kept["method"]
        }
        share = f"{most.after:.1f}% of the neighbours are of the text's own domain, {most.before:.1f}% before"
        share += " quantisation and training" if most.four_bit else " training"
        if close := _no_worse(losses, most.method):
            why = f"{title_of(most.method)} has the highest mean, {most.after:.1f}%; no less with some seed: {close}"
            rows.append(("What the base model knew", "not shown", why))
        else:
            share += _less_accurate(found, [most.method])
            rows.append(("What the base model knew", title_of(most.method), share))
    return pd.DataFrame(rows, columns=["What counts", "Take", "Because"])


def _less_accurate(found: Unbeaten, names: list[str]) -> str:
    """Which of `names` are shown to be less accurate than the best, and by how much: the end of a reason."""
    lost = [
        f"{title_of(name)} (−{100 * found.lost[name].difference.estimate:.1f} points)"
        for name in names
        if name in found.lost
    ]
    return f"; shown to be less accurate: {and_joined(lost)}" if lost else ""


def _overlapping(results: ExperimentRuns, methods: list[str], cost: str) -> str:
    """Which methods cost no more, with a seed, than the method with the lowest median; empty where none does."""
    column = tables.COLUMNS[cost]
    runs = tables.comparison_frame(results).query("study == 'main' and status == 'finished'")
    runs = runs.assign(cost=runs[cost].astype(float) / column.unit)
    costs = {name: dict(runs.loc[runs["method"] == name, ["seed", "cost"]].itertuples(index=False)) for name in methods}
    lowest = min(costs, key=lambda name: median(costs[name].values()))
    own = costs[lowest].values()
    ends = f"{min(own):{column.form}} to {max(own):{column.form}}"
    close = _no_worse(costs, lowest)
    said = (
        f"{column.title}: {ends} for {title_of(lowest)}, which has the lowest median; no more with some seed: {close}"
    )
    return said if close else ""


def _by_load(results: ExperimentRuns, methods: list[str], cost: str) -> str:
    """Why a difference in time may come from the load of the machine; empty where it was even, or for another cost."""
    loads = mean_loads(results).reindex(methods)
    if cost != "train_seconds" or not is_uneven(loads):
        return ""
    ends = f"{loads.min():.1f} ({title_of(loads.idxmin())}) to {loads.max():.1f} ({title_of(loads.idxmax())})"
    return f"the mean load of the machine was {ends}, and a difference in time may come from it"


def _no_worse(costs: dict[str, dict[int, float]], best: str) -> str:
    """Which methods cost no more than `best` with a seed, as a list in words: `costs` by method and seed."""
    own = costs[best]
    found = [name for name, other in costs.items() if any(other[seed] <= own[seed] for seed in other.keys() & own)]
    return and_joined([title_of(name) for name in found if name != best] or [""])


def _with_few_texts(results: ExperimentRuns) -> tuple[int, str] | None:
    """The least number of training texts of the axis, and the adapter method with the highest mean there."""
    axis = size_axis(results)
    led = leaders(axis.series, axis.changes, axis.reference) if axis else None
    return (least, led.best[least]) if led and (least := min(led.best)) != led.reference else None


say: Any = template(TEMPLATES / "choice.md.jinja", {"titled": title_of, "unsized": unsized}).module
