"""Accuracy against an adapter's effective size, and what other gates change.

The words are those of templates/sparsity.md.jinja: each comparative one has a branch for each outcome.
"""

from collections.abc import Collection
from statistics import fmean
from typing import Any

import pandas as pd

from course_utils.comparison import axes, sparsity
from course_utils.comparison.conclusions import OF_CONTRASTS, judge_experiment
from course_utils.comparison.results import ExperimentRuns
from course_utils.comparison.weights import short_layer_name
from course_utils.methods import METHODS
from course_utils.report import plots
from course_utils.report.criteria import at_chosen_rates, show_other_rates
from course_utils.report.display import TEMPLATES, show_figure, show_markdown, show_table
from course_utils.report.wording import accuracy_cell, judged_cells, show_one_value, values_of_mains
from course_utils.runs import Run
from course_utils.text import template

say: Any = template(TEMPLATES / "sparsity.md.jinja", OF_CONTRASTS).module


def against_size(results: ExperimentRuns) -> None:
    """Accuracy against effective size: gates at several strengths, and simpler ways to a smaller adapter."""
    found = sparsity.ways_to_less(results)
    if found is None:
        show_one_value(results, "strength of the gates", values_of_mains(results, "sparsity"), "sparsity")
        return
    gated, points = found
    line = axes.best_baseline(results, gated)
    times = _stored_beside_effective(gated, points)
    show_against_size(gated.method, points, gated.training_texts, judge_experiment(results).margin, line, times)
    show_other_rates(results, gated.method, gated.beside)
    if control := METHODS[gated.method].control:
        show_other_rates(results, control, gated.beside)
        for rate, (_, runs) in at_chosen_rates(results, control, gated.beside).items():
            changes = {
                strength: axes.less(correct, axes.right_answers(runs)) for strength, correct in gated.correct.items()
            }
            if judged := axes.contrasts(changes, judge_experiment(results).margin):
                show_markdown(say.against_other_rate(METHODS[gated.method].title, METHODS[control].title, rate, judged))
    unlikely = {
        strength: fmean(run.result.metrics["validation"].nll for run in runs) for strength, runs in gated.points.items()
    }
    stored = {point.setting: point.numbers for point in points if point.way == sparsity.GATED}
    if gated.usual is not None:
        show_markdown(say.strength_text(min(unlikely, key=unlikely.__getitem__), gated.usual, stored))
    first = {f"{strength:g}": runs[0].result.method["ranks"] for strength, runs in gated.points.items()}
    left = pd.DataFrame(first)
    figure = plots.rank_map(left.T.rename(columns=short_layer_name), "Ranks left in each layer", "strength of the pull")
    show_figure(figure, say.survivors_figure(gated.seeds[0], gated.training_texts), say.survivors_alt(left.sum()))


def _stored_beside_effective(gated: axes.Series, points: list[sparsity.Sized]) -> list[float]:
    """How many times as many numbers a gated run stores as its effective size takes, a mean for each strength."""
    stored = {strength: fmean(run.result.parameters.adapter for run in runs) for strength, runs in gated.points.items()}
    gates = [point for point in points if point.way == sparsity.GATED and point.numbers]  # none: shut in every seed
    return [stored[point.setting] / point.numbers for point in gates]


def show_against_size(
    gated: str,
    points: list[sparsity.Sized],
    texts: int,
    margin: float,
    line: dict[str, Any] | None = None,
    times: Collection[float] = (),
) -> None:
    """The figure and the sentences of accuracy against effective size, which gated runs store `times` over."""
    method = METHODS[gated]
    control = METHODS[method.control or ""]
    labels = say.ways(method.title, control.title).strip().splitlines()
    named = dict(zip(sparsity.WAYS, labels, strict=True))
    table = pd.DataFrame(
        {"series": named[point.way], "numbers": point.numbers, **axes.accuracy_with_ends(point.correct)}
        | {"method": gated if point.way == sparsity.GATED else control.name}
        for point in points
        if point.way in named
    )
    rivals = (*(sparsity.CUT, sparsity.CUT_STORED, sparsity.CUT_TRAINED), *(sparsity.BY_LOT, sparsity.BY_LOT_STORED))
    cuts = [sparsity.against_cut(points, way, margin) for way in rivals]
    gates, pruned = (sparsity.against_whole(points, ways, margin) for ways in (sparsity.GATES, sparsity.PRUNINGS))
    title, xlabel = say.sparsities_title(cuts[0], method.title, control.title), "numbers that store it (k)"
    figure = plots.accuracy_by_numbers(table, title, xlabel, line)
    show_figure(
        figure,
        say.sparsities_figure([*points[0].correct.index], texts, sparsity.TRAINED_ON, line),
        say.sparsities_alt(table.to_dict("records"), line),
    )
    openings = say.compared(method.title, control.title).strip().splitlines()
    judged = {way: found for way, found in zip(openings, (gates, *cuts), strict=True) if found}
    rows = [
        {f"{method.title} against": way}
        | {f"strength {strength:g}": say.marked(contrast) for strength, contrast in found.items()}
        for way, found in judged.items()
    ]
    if rows:
        show_table(pd.DataFrame(rows).fillna(""), say.sparsities_table(method.title, margin, times))
    if pruned:
        show_markdown(say.pruned_text(control.title, pruned))


def other_gates(results: ExperimentRuns) -> None:
    """What gates of another reach and another rank at the start change; nothing where no study tries them.

    A study is told if its runs have the seeds of the first one and stand beside the same.
    """
    series: dict[str, axes.Series] = {}
    for factor in ("gate_reach", "rank"):
        for own in axes.read_axis(results, factor):
            if METHODS[own.method].picture.gated and own.usual in own.points:
                series.setdefault(factor, own)
    if not series:
        return
    first = next(iter(series.values()))
    alike = first.method, first.beside, first.seeds
    series = {factor: own for factor, own in series.items() if (own.method, own.beside, own.seeds) == alike}
    usual = {factor: own.usual for factor, own in series.items()}
    settings = {say.usual_gates(usual): first.points[first.usual]}
    changes = {}
    for factor, own in series.items():
        for value, runs in own.points.items():
            if value != own.usual:
                label = say.gates(factor, value)
                settings[label] = runs
                changes[label] = own.change(value)
    judged = axes.contrasts(changes, judge_experiment(results).margin)
    rows = [_row(label, runs) | judged_cells(judged.get(label)) for label, runs in settings.items()]
    scaled = "rank" in series and sparsity.keeps_scale(series["rank"])
    show_table(pd.DataFrame(rows), say.gates_table(first, [*series], scaled, judged))
    likeliest = max(settings, key=lambda label: axes.validation_likelihood(settings[label]))
    show_markdown(say.gates_text(first.method, judged, likeliest))


def _row(setting: str, runs: list[Run]) -> dict[str, str]:
    """Means over `runs` of a gated method, as cells of a table."""
    return {
        "Setting": setting,
        "Accuracy (%) [95%]": accuracy_cell(axes.right_answers(runs)),
        "Validation NLL": f"{-axes.validation_likelihood(runs):.4f}",
        "Ranks left": f"{fmean(sum(run.result.method['ranks'].values()) for run in runs):.1f}",
        "Numbers stored": f"{fmean(run.result.parameters.adapter for run in runs):,.0f}",
    }
