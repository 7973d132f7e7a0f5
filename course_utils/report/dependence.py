"""What the result depends on: one exhibit per factor, each computed, drawn and put into words.

An exhibit takes the runs of one declared factor (`comparison.axes`), which refuses runs that differ in anything else.
Its words are those of templates/dependence.md.jinja: each comparative one has a branch for each outcome.
"""

from typing import Any, NamedTuple

import pandas as pd

from course_utils.comparison import axes, sparsity
from course_utils.comparison.baselines import title_of
from course_utils.comparison.conclusions import OF_CONTRASTS, against, judge_experiment
from course_utils.comparison.results import ExperimentRuns
from course_utils.config import RunConfig
from course_utils.methods import CEILING, METHODS
from course_utils.report import plots
from course_utils.report.criteria import rate_of, show_by_accuracy, show_other_rates, tried_rates
from course_utils.report.display import TEMPLATES, show_figure, show_markdown, show_table, with_ends
from course_utils.report.training_size import size_axis
from course_utils.report.wording import (
    accuracy_cell,
    alt_text,
    judged_cells,
    labelled,
    show_one_value,
    values_of_mains,
    with_margin,
)
from course_utils.stats import Judged
from course_utils.text import and_joined, template

QUERY_AND_VALUE, EVERYTHING = "query and value", "everything"
LAYERS: dict[tuple[str, ...], str] = {("query-value",): QUERY_AND_VALUE, ("all-linear",): "all linear layers"}

say: Any = template(TEMPLATES / "dependence.md.jinja", OF_CONTRASTS).make_module({"ceiling": CEILING.name})


def placements(results: ExperimentRuns) -> None:
    """Adapters on query and value and on all linear layers, beside full fine-tuning of the same and of everything."""
    chosen = read_placements(results)
    series, moved = chosen.series, chosen.moved
    if not series:
        values = [_layers(value) for value in values_of_mains(results, "target_modules")]
        show_one_value(results, "choice of adapted layers", values, "target_modules", "trained_modules")
        return
    table = axes.accuracy_table(series)
    runs = [own.points[value][0].config for own in series for value in own.points]
    table["rate"] = [config.settings.learning_rate for config in runs]
    table["tried"] = [tried_rates(results, config) for config in runs]
    usual = {CEILING.name: EVERYTHING}
    table["value"] = [_layers(row.value, usual.get(row.method, QUERY_AND_VALUE)) for row in table.itertuples()]
    table["series"] = table["method"].map(title_of)
    order = [*LAYERS.values(), EVERYTHING]
    table = table.sort_values("value", key=lambda values: values.map(order.index), kind="stable")
    line, xlabel = axes.best_baseline(results, series[0]), "layers that are adapted or trained"
    figure = plots.accuracy_by_factor(table, say.placements_title(moved), xlabel, line)
    show_figure(figure, say.placements_figure(series[0], line), alt_text(table, line))
    show_table(_with_rates(table.reset_index()), say.placements_rates(series[0]))
    others = read_placements(results, axes.validation_accuracy)
    judged, by_accuracy = map(_placement_verdicts, (chosen, others))
    if judged:
        rows = [
            {"First against second": label[:1].upper() + label[1:]} | judged_cells(contrast)
            for label, contrast in judged.items()
        ]
        show_table(pd.DataFrame(rows), say.placements_table(judged, table["tried"].map(len).nunique() > 1))
        show_markdown(say.placements_text(chosen))
    sizes = size_axis(results, axes.validation_likelihood)
    among = sizes.pairs.get(series[0].training_texts, []) if sizes else []
    behind = [pair for pair in against(among, CEILING.name) if pair.second in chosen.before]
    if behind:
        show_markdown(say.among_all_text(behind))
    show_by_accuracy(series, others.series, say.on_layers, judged, by_accuracy)


class Placements(NamedTuple):
    """Series of adapted and of trained layers; the adapters' change to all linear layers; the gaps to full fine-tuning.

    `gaps` are of the adapters on all linear layers, and of full fine-tuning of query and value alone; `before` are of
    the adapters on query and value; `on_same` are of these, too, but to full fine-tuning of query and value alone.
    """

    series: list[axes.Series]
    moved: dict[str, axes.Contrast]
    gaps: dict[str, axes.Contrast]
    before: dict[str, axes.Contrast]
    on_same: dict[str, axes.Contrast]


def _placement_verdicts(found: Placements) -> dict[str, Judged]:
    """All differences between placements by their labels."""
    said = (
        (found.moved, say.moved_label),
        (found.before, say.before_label),
        (found.on_same, say.on_same_label),
        (found.gaps, say.gap_label),
    )
    return {label: contrast for kind, told in said for label, contrast in labelled(kind, told).items()}


def read_placements(results: ExperimentRuns, judge: axes.Judge = axes.validation_likelihood) -> Placements:
    """What is known of the adapted layers, at the learning rates that `judge` chooses."""
    # Where a setting gives the main runs other layers, there is no such pair of points.
    adapted = [
        own for own in axes.read_axis(results, "target_modules", judge) if {*own.points} == {(), ("all-linear",)}
    ]
    trained = [
        own for own in axes.read_axis(results, "trained_modules", judge) if {*own.points} == {(), ("query-value",)}
    ]
    if not (series := [*adapted, *trained]):
        return Placements([], {}, {}, {}, {})
    margin = judge_experiment(results).margin
    changes = {own.method: axes.less(own.correct[max(own.points)], own.correct[min(own.points)]) for own in adapted}
    usual = axes.at_best_rate(results, CEILING.name, series[0].beside, judge)
    whole = trained[0].correct[()] if trained else axes.right_answers(usual)
    last, first = ({own.method: own.correct[at(own.points)] for own in series} for at in (max, min))
    gaps = {name: axes.less(frame, whole) for name, frame in last.items()} if len(whole) else {}
    before = {own.method: axes.less(first[own.method], whole) for own in adapted} if len(whole) else {}
    ceiling = trained[0].correct[max(trained[0].points)] if trained else whole.head(0)
    on_same = {own.method: axes.less(first[own.method], ceiling) for own in adapted} if len(ceiling) else {}
    return Placements(series, *(axes.contrasts(found, margin) for found in (changes, gaps, before, on_same)))


def _layers(value: tuple[str, ...], none: str = QUERY_AND_VALUE) -> str:
    """The layers that a setting names, in words; `none` where it names none."""
    return LAYERS.get(value, and_joined([*value])) if value else none


def _with_rates(table: pd.DataFrame) -> pd.DataFrame:
    """The accuracies of placements, each with its learning rate and those that were tried, as a table shows them."""
    return pd.DataFrame(
        {
            "Method": table["series"],
            "Layers": table["value"],
            "Accuracy (%) [95%]": [*map(with_ends, table["estimate"], table["low"], table["high"])],
            "Learning rate": table["rate"].map("{:g}".format),
            "Tried": [", ".join(f"{rate:g}" for rate in tried) for tried in table["tried"]],
        }
    )


def ranks(results: ExperimentRuns) -> None:
    """Accuracy against the rank, by the law of the scale, beside the other adapters at the rank of the main runs."""
    laws = _laws(results)
    if not laws:
        if not axes.read_axis(results, "rank"):  # else those of other gates are told there
            show_one_value(results, "rank", values_of_mains(results, "rank"), "rank")
        return
    at_one_rank = _at_one_rank(results, laws[0])
    named = [(_law_title(own), own) for own in laws] + [(title_of(own.method), own) for own in at_one_rank]
    table = pd.concat([axes.accuracy_table([own]).assign(series=title) for title, own in named])
    table = table.sort_values("value", kind="stable")
    usual = _rank(results.experiment.config(laws[0].method, study=laws[0].beside))
    found = _from_usual_rank(results, laws, usual)
    at_usual = [own.points[usual][0].config.study for own in laws if usual in own.points]
    agree = len(at_usual) == len(laws) > 1 == len({*at_usual})
    line = axes.best_baseline(results, laws[0])
    figure = plots.accuracy_by_factor(table, say.ranks_title(found, usual), "rank", line)
    show_figure(figure, say.ranks_figure(laws[0], agree, len(at_one_rank), line), alt_text(table, line))
    if found:
        rows = [{"Law of the scale": law, "Rank": rank} | judged_cells(found[law, rank]) for law, rank in found]
        caption = say.ranks_table(laws[0], found, usual)
        show_table(pd.DataFrame(rows), with_margin(caption, results, {own.method for own in laws}))
    rates = {_law_title(own): chosen for own in laws if (chosen := _chosen_rates(results, own))}
    show_markdown(say.ranks_text(rates, found, usual))
    if {*at_usual} == {laws[0].beside}:
        show_other_rates(results, laws[0].method, laws[0].beside)
    by_accuracy = _laws(results, axes.validation_accuracy)
    own = labelled(found, say.rank_label, usual)
    others = labelled(_from_usual_rank(results, by_accuracy, usual), say.rank_label, usual)
    show_by_accuracy(laws, by_accuracy, say.at_rank, own, others)


def _laws(results: ExperimentRuns, judge: axes.Judge = axes.validation_likelihood) -> list[axes.Series]:
    """The series over the rank of methods that keep all ranks which they start with: of those without gates."""
    return [own for own in axes.read_axis(results, "rank", judge) if not METHODS[own.method].picture.gated]


def _law_title(series: axes.Series) -> str:
    return f"{title_of(series.method)}, {_law(series)}"


def _from_usual_rank(
    results: ExperimentRuns, laws: list[axes.Series], usual: int
) -> dict[tuple[str, int], axes.Contrast]:
    """(law of the scale, rank) → the accuracy at this rank less that at the `usual` one."""
    changes = {
        (_law_title(own), rank): axes.less(own.correct[rank], own.correct[usual])
        for own in laws
        for rank in own.points
        if rank != usual and usual in own.points
    }
    return axes.contrasts(changes, judge_experiment(results).margin)


def _chosen_rates(results: ExperimentRuns, series: axes.Series) -> dict[int, tuple[float, list[float]]]:
    """Rank → the learning rate of its runs, and those that were tried, at ranks where one of several is chosen."""
    if axes.RATE not in series.varies:
        return {}
    tried = {rank: tried_rates(results, runs[0].config) for rank, runs in series.points.items()}
    return {rank: (rate_of(series.points[rank]), own) for rank, own in tried.items() if len(own) > 1}


def _rank(config: RunConfig) -> int:
    own: Any = config.settings
    return own.rank


def _law(series: axes.Series) -> str:
    """How the scale s of the update follows the rank, along a series."""
    if sparsity.keeps_scale(series):
        return f"s = {sparsity.scale_of(next(iter(series.points.values()))[0]):g}"
    if "use_rslora" in series.varies:
        return "s = α/√r"
    return "s = α/r, α by rank" if "alpha" in series.varies else "s = α/r"


def _at_one_rank(results: ExperimentRuns, law: axes.Series) -> list[axes.Series]:
    """The other adapters of the study beside a law of the rank, each `at_best_rate` and so a series of one point."""
    runs = {
        name: axes.at_best_rate(results, name, law.beside) for name in results.experiment.methods if name != law.method
    }
    adapters = {name: own for name, own in runs.items() if own and not METHODS[name].is_baseline}
    return [axes.Series(name, law.beside, (), {_rank(own[0].config): own}) for name, own in adapters.items()]


def four_bits(results: ExperimentRuns) -> None:
    """What changes where a method trains beside frozen weights in 4 bits; nothing where no study tries it."""
    series = [own for own in axes.read_axis(results, "four_bit") if {*own.points} == {False, True}]
    if not series:
        return
    judged = axes.contrasts({own.method: own.change(True) for own in series}, judge_experiment(results).margin)
    rows = [
        {
            "Method": title_of(own.method),
            "As it is": accuracy_cell(own.correct[False]),
            "In 4 bits": accuracy_cell(own.correct[True]),
            "Base model (MB)": f"{own.points[False][0].result.bytes.base_model / 1e6:,.1f}",
            "In 4 bits (MB)": f"{own.points[True][0].result.bytes.base_model / 1e6:,.1f}",
        }
        | judged_cells(judged[own.method])
        for own in series
    ]
    show_table(pd.DataFrame(rows), with_margin(say.four_bits_table(series[0], judged), results, judged))
    show_markdown(say.four_bits_text(judged))
