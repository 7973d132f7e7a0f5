"""Which method to choose for which need, by the runs of an experiment."""

from collections.abc import Mapping
from math import inf
from typing import Any, NamedTuple

import pandas as pd

from course_utils.comparison import tables
from course_utils.comparison.axes import validation_likelihood
from course_utils.comparison.baselines import MAJORITY, title_of
from course_utils.comparison.conclusions import (
    OF_CONTRASTS,
    Judgement,
    above_majority,
    against,
    bought,
    judge_experiment,
    named,
)
from course_utils.comparison.costs import is_uneven, mean_loads, not_shown_above, processors
from course_utils.comparison.domains import Domain, forgetting_table, read_domains
from course_utils.comparison.learning_rates import on_edge, search_trials, trial_differences
from course_utils.comparison.results import ExperimentRuns
from course_utils.comparison.training_step import dropout_of
from course_utils.methods import CEILING, FLOOR, METHODS
from course_utils.report.display import TEMPLATES, show_markdown, show_table
from course_utils.report.rates import main_by_accuracy, understated
from course_utils.report.training_size import size_axis
from course_utils.stats import PairedComparison
from course_utils.text import and_joined, in_sentence, template

# What may count beside accuracy: a column of `summary_table`, and what a table calls it.
COSTS = {
    "bytes_adapter": "Bytes to store for each task, the head left out",
    "peak_memory_bytes": "Memory in training",
    "train_seconds": "Time to train",
    "bytes_base_model": "Memory of the base model",
}

ON_TEXTS = "Texts like these: "
FEW_TEXTS = "Few training texts"
NO_CHOICE = "no choice"


class Row(NamedTuple):
    """What to take where something counts, and why."""

    need: str
    take: list[str]  # names of methods
    why: str
    otherwise: str = NO_CHOICE  # what a table says where it takes none
    of_adapters: bool = False  # whether it chooses among the adapter methods alone
    left_out: tuple[str, ...] = ()  # methods with a better figure that are shown to be less accurate than the best


class Unbeaten(NamedTuple):
    """The most accurate method, those that are not shown to be worse, and the methods to choose among.

    These are the best and those that are not shown to be worse; where there is none of these, all that are compared.
    """

    best: str
    others: list[PairedComparison]  # the best less each of those
    lost: dict[str, PairedComparison]  # method → the best less it, where a difference is shown
    not_compared: list[str]  # the methods that have too few seeds, or share too few with the best
    names: list[str]  # of these methods, the more accurate first
    pairs: list[PairedComparison]  # of all methods with enough seeds


def unbeaten(results: ExperimentRuns, judged: Judgement) -> Unbeaten | None:
    """The best and the unbeaten of the methods that train more than a head; None without two that have enough seeds."""
    paired = dict.fromkeys(name for pair in judged.pairs for name in (pair.first, pair.second))
    names = [name for name in paired if name != FLOOR.name]
    if len(names) < 2:
        return None
    order = tables.by_method(results).loc[names, "accuracy"].astype(float).sort_values(ascending=False, kind="stable")
    best = str(order.index[0])
    compared = judged.against(best, names)
    others = [pair for pair in compared if not pair.above]
    known = {FLOOR.name, best, *(pair.second for pair in compared)}
    lost = {pair.second: pair for pair in compared if pair.above}
    kept = [name for name in order.index if name in known and (not others or name not in lost)]
    not_compared = [name for name in results.experiment.methods if name not in known]
    return Unbeaten(best, others, lost, not_compared, kept, judged.pairs)


def which_when(results: ExperimentRuns) -> None:
    """Show what training gained, the method to choose by these runs for each need, and the limits of these answers."""
    judged = judge_experiment(results)
    found = unbeaten(results, judged)
    if found is None:
        show_markdown(say.nothing_text())
        return
    summary = tables.by_method(results)
    if summary.loc[found.best, "accuracy_low"] <= (least := summary.loc[MAJORITY.name, "accuracy"]):
        show_markdown(say.not_learned_text(found, least, above_majority(results)))
        return
    show_markdown(say.unbeaten_text(found, bought(results)))
    rows = choices(results, found)
    cells = [(row.need, in_words(row, begins=True), row.why) for row in rows]
    caption = say.choices_table(found, any(row.need.startswith(FEW_TEXTS) for row in rows))
    show_table(pd.DataFrame(cells, columns=["What counts", "Take", "Because"]), caption)
    show_markdown(
        say.limits_text(
            results.experiment,
            results.runs[0].result,
            understated(results),
            main_by_accuracy(results),
            on_edge(search_trials(results)),
            trial_differences(results.experiment),
            [*dict.fromkeys(name for row in rows for name in row.left_out)],
        )
    )


def choices(results: ExperimentRuns, found: Unbeaten) -> list[Row]:
    """For every need the methods to take, and why."""
    rows: list[Row | None] = [_for_cost(results, found, cost) for cost in COSTS]
    rows += [_for_few_texts(results), *map(_for_domain, read_domains(results)[1:]), _for_what_was_known(results, found)]
    return [row for row in rows if row]


def in_words(row: Row, begins: bool = False) -> str:
    """What a row takes, as a sentence lists it or, where it `begins` one, with a capital letter."""
    if not row.take:
        return row.otherwise
    titles = [named(name) for name in row.take]
    if begins:
        titles[0] = title_of(row.take[0])
    return and_joined(titles, "or")


def _row(need: str, best: list[str], as_good: list[str], of: Mapping[str, str], why: str, worse: str) -> Row:
    """The row that takes the methods `best` and those not shown to be `worse`, or none where these are all of `of`.

    `of` maps every method to its figure in words.
    """
    taken = [*best, *as_good]
    if len(taken) == len(of) > 1:
        return Row(need, [], why)
    if as_good:
        why += f"; not shown to {worse}: {and_joined([f'{named(name)} ({of[name]})' for name in as_good])}"
    return Row(need, taken, why)


def _listed(names: list[str]) -> str:
    """The titles of methods within a sentence."""
    return and_joined([named(name) for name in names])


def _for_cost(results: ExperimentRuns, found: Unbeaten, cost: str) -> Row:
    column, names = tables.COLUMNS[cost], found.names
    costs = tables.finished_runs(results).pivot(index="seed", columns="method", values=cost)
    costs = costs[[*names, *(found.lost.keys() - {*names})]].astype(float) / column.unit
    of_all = costs.agg(column.over_seeds)
    costs, typical = costs[names], of_all[names]
    lowest = str(typical.idxmin())
    least = [name for name in names if not (costs[name] - costs[lowest]).dropna().any()]  # alike with every seed
    as_good = not_shown_above(costs.drop(columns=[name for name in least if name != lowest]), lowest)
    if (why := _no_times(results, names)) and cost == "train_seconds":
        return Row(COSTS[cost], [], why)
    figures = {name: f"{figure:{column.form}}" for name, figure in of_all.items()}
    why = f"{column.title}: {column.over_seeds} {figures[lowest]} for {_listed(least)}"
    if found.best not in least:
        why += f", {figures[found.best]} for {named(found.best)}"
    row = _row(COSTS[cost], least, as_good, {name: figures[name] for name in names}, why, "need more")
    if cost == "peak_memory_bytes" and (reason := _no_dropout(results, row.take, names)):
        return Row(COSTS[cost], [], f"{row.why}; {reason}")
    return _with_losses(row, found, {name: figures[name] for name in of_all.index[of_all < typical.min()]})


def _no_dropout(results: ExperimentRuns, taken: list[str], names: list[str]) -> str:
    """Why the methods `taken` need less memory than others of `names` for a dropout that they lack; empty if not so."""
    dropout = {name: dropout_of(results.experiment.config(name)) for name in names if not METHODS[name].is_baseline}
    without = [name for name in taken if dropout.get(name) == 0]
    if not without or not any(dropout[name] for name in dropout if name not in taken):
        return ""
    have = "has" if len(without) == 1 else "have"
    return f"{_listed(without)} {have} no dropout, others have, and a difference in memory may come from this"


def _no_times(results: ExperimentRuns, names: list[str]) -> str:
    """Why times to train with the methods `names` are not those of one machine under one load; empty if they are."""
    if len(found := processors(results.mains)) > 1:
        return f"{and_joined(found)} made these runs, and a difference in time may come from the processor"
    loads = mean_loads(results).reindex(names)
    if not is_uneven(loads):
        return ""
    least_loaded, most_loaded = (named(name) for name in (loads.idxmin(), loads.idxmax()))
    ends = f"{loads.min():.1f} ({least_loaded}) to {loads.max():.1f} ({most_loaded})"
    return f"the mean load of the machine was {ends}, and a difference in time may come from it"


def _for_few_texts(results: ExperimentRuns) -> Row | None:
    axis = size_axis(results, validation_likelihood)
    if not axis or not axis.led or (least := min(axis.led.best)) == axis.reference:
        return None
    tried = [own for own in axis.series if not METHODS[own.method].is_baseline and least in own.correct]
    accuracy = {own.method: float(own.correct[least].to_numpy().mean()) for own in tried}
    need, best, judged = f"{FEW_TEXTS} ({least:,})", axis.led.best[least], axis.over_baselines
    right = {name: float(correct.to_numpy().mean()) for name, correct in axis.baselines[least].items()}
    beaten = {
        method: [name for name in right if judged[method, least, name].verdict == "above"]
        for method in accuracy
        if all(contrast.judged for contrast in judged.values())
    }
    return _most_accurate(need, axis.pairs.get(least, []), best, accuracy, right, beaten)


def _for_domain(domain: Domain) -> Row:
    need, best = f"{ON_TEXTS}{domain.title}", max(domain.accuracy, key=lambda name: domain.accuracy[name])
    return _most_accurate(need, domain.pairs, best, domain.accuracy, domain.baselines, domain.beaten)


def _most_accurate(
    need: str,
    pairs: list[PairedComparison],
    best: str,
    accuracy: dict[str, float],
    baselines: dict[str, float],
    beaten: dict[str, list[str]],
) -> Row:
    """The row of the adapter methods with these accuracies, of which `best` leads, by the `pairs` that are compared.

    `baselines` maps those that fine-tune nothing to their accuracy, `beaten` a method to those that it is shown to
    beat; a method is taken only if these are all. `beaten` is empty where this was not judged.
    """
    figures = {name: f"{100 * own:.1f}%" for name, own in (accuracy | baselines).items()}
    above = [pair.second for pair in against(pairs, best) if pair.above]
    least = max((accuracy[name] for name in above if name in accuracy), default=-inf)
    as_good = [name for name in accuracy if name == best or name not in above and accuracy[name] > least]
    taken = [name for name in as_good if not beaten or len(beaten[name]) == len(baselines)]
    leads = f"highest mean{' of the adapter methods' if taken else ''}: {named(best)}, {figures[best]}"
    if not taken:
        open_ = [name for name in baselines if not any(name in own for own in beaten.values())]
        hardest = max(open_, key=baselines.__getitem__, default="")
        what = f"{named(hardest)} ({figures[hardest]})" if hardest else "every baseline that fine-tunes nothing"
        why = f"no adapter method is shown to be more accurate than {what}; {leads}"
        return Row(need, [], why, "none", of_adapters=True)
    if any(pair.second == CEILING.name and pair.differs and not pair.above for pair in against(pairs, best)):
        leads += f"; {in_sentence(CEILING.title)} is shown to be more accurate"
    others = [name for name in taken if name != best]
    of_all = {name: figures[name] for name in accuracy}
    row = _row(need, [best] if best in taken else [], others, of_all, leads, "be less accurate")
    if left := [f"{named(name)} ({figures[name]})" for name in as_good if name not in taken]:
        row = row._replace(why=f"{row.why}; left out, as not shown to beat every baseline: {and_joined(left)}")
    return row._replace(of_adapters=True)


def _for_what_was_known(results: ExperimentRuns, found: Unbeaten) -> Row | None:
    of_all = forgetting_table(results).set_index("method")
    kept = of_all.loc[of_all.index.isin(found.names)]
    if kept.empty:
        return None
    best = str(kept["after"].idxmax())
    lost = {
        name: {run.config.seed: -100 * own.after for run in results.of(name) if (own := run.result.forgetting)}
        for name in kept.index
    }
    most = kept.loc[best]
    as_good = not_shown_above(pd.DataFrame(lost), best, step=100 / most.texts)
    before = f"{most.before:.1f}% before {'quantisation and ' if most.four_bit else ''}training"
    why = f"neighbours of the text's own domain: mean {most.after:.1f}% for {named(best)}, {before}"
    figures = {name: f"{share:.1f}%" for name, share in kept["after"].items()}
    row = _row("Keeping what the base model knew", [best], as_good, figures, why, "keep less")
    more = of_all["after"][of_all["after"] > most.after]
    return _with_losses(row, found, {name: f"{share:.1f}%" for name, share in more.items()})


def _with_losses(row: Row, found: Unbeaten, better: dict[str, str]) -> Row:
    """`row`, whose reason ends with methods that are shown to be less accurate than the best.

    These are the methods taken, by the points that they lose; and those left out whose figure is `better`, with it.
    """
    lost = [
        f"{named(name)} (−{100 * found.lost[name].difference.estimate:.1f} points)"
        for name in row.take
        if name in found.lost
    ]
    left_out = tuple(name for name in found.lost if name in better)
    why = f"{row.why}; shown to be less accurate: {and_joined(lost)}" if lost else row.why
    if left_out:
        told = [f"{named(name)} ({better[name]}{_beside(name, row.take, found.pairs)})" for name in left_out]
        why += f"; better in this and left out, as shown to be less accurate than {named(found.best)}: "
        why += and_joined(told)
    return row._replace(why=why, left_out=left_out)


def _beside(name: str, taken: list[str], pairs: list[PairedComparison]) -> str:
    """What is shown of the accuracy of `name` beside that of the methods `taken`, within brackets."""
    open_ = [pair for pair in against(pairs, name) if pair.second in taken and not pair.differs]
    told = [
        (relation, [pair.second for pair in open_ if pair.equivalent == alike])
        for relation, alike in (("equivalent to", True), ("not shown to differ from", False))
    ]
    said = [f"{relation} {_listed(names)}" for relation, names in told if names]
    return f"; in accuracy {and_joined(said)}" if said else ""


say: Any = template(TEMPLATES / "choice.md.jinja", OF_CONTRASTS).module
