"""What the result depends on: one exhibit per factor, each computed, drawn and put into words.

An exhibit takes the runs of one declared factor (`comparison.axes`), which refuses runs that differ in anything else.
Its words are those of templates/dependence.md.jinja: each comparative one has a branch for each outcome.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

import pandas as pd

from course_utils.comparison import sparsity
from course_utils.comparison.axes import (
    RATE,
    Contrast,
    Judge,
    Series,
    accuracy_table,
    accuracy_with_ends,
    against_baselines,
    answers,
    at_best_rate,
    at_each_size,
    at_other_rates,
    contrasts,
    interactions,
    leaders,
    less,
    read_axis,
    validation_accuracy,
    validation_likelihood,
    with_texts,
)
from course_utils.comparison.baselines import title_of
from course_utils.comparison.conclusions import OF_CONTRASTS, against, differing, judge, judge_experiment, p_in_words
from course_utils.comparison.tables import ExperimentRuns
from course_utils.config import RunConfig
from course_utils.methods import CEILING, FLOOR, METHODS
from course_utils.report import plots
from course_utils.report.criteria import rate_of, show_by_accuracy, show_other_rates
from course_utils.report.display import TEMPLATES, show_figure, show_markdown, show_table
from course_utils.stats import Judged, PairedComparison
from course_utils.text import and_joined, signed_interval, signed_points, template

QUERY_AND_VALUE, EVERYTHING = "query and value", "everything"
LAYERS: dict[tuple[str, ...], str] = {("query-value",): QUERY_AND_VALUE, ("all-linear",): "all linear layers"}

say: Any = template(TEMPLATES / "dependence.md.jinja", OF_CONTRASTS).make_module({"ceiling": CEILING.name})


def training_sizes(results: ExperimentRuns) -> None:
    """Accuracy of every method against the number of training texts, and whether the leader depends on it."""
    axis = size_axis(results, validation_likelihood)
    if not axis:
        show_markdown(
            say.one_value_text("number of training texts", _sizes(results), planned_for(results, "max_train"))
        )
        return
    series, reference, changes = axis
    found = leaders(series, changes, reference)
    table = accuracy_table(series).sort_values("value", kind="stable")
    baselines, judged = beside_baselines(results, validation_likelihood)
    fitted = [
        {"method": name, "value": size} | accuracy_with_ends(correct)
        for name, of_sizes in baselines.items()
        for size, correct in of_sizes.items()
    ]
    table = pd.concat([table, pd.DataFrame(fitted)]).sort_values("value", kind="stable")
    table["series"] = table["method"].map(title_of)
    figure = plots.accuracy_by_factor(table, say.sizes_title(found), "training texts")
    rates = _other_rates(results, series, reference)
    show_figure(figure, say.sizes_figure(series[0].seeds, bool(rates), _processors(series)), say.alt(_by_series(table)))
    least = min((value for *_, value in changes), default=reference)
    shown = {pair[:2]: change for pair, change in changes.items() if pair[2] == least}
    if shown:
        show_table(_pairs(series, shown, least, reference), say.sizes_table(least, reference, len(changes)))
    largest = sum(rate == max(tried) for own in rates.values() for _, rate, tried in own if len(tried) > 1)
    show_markdown(say.sizes_text(found, shown, least, reference, rates, largest))
    if judged_at := pairs_at_sizes(results, validation_likelihood):
        shown_at = {size: (pairs, differing(pairs)) for size, pairs in judged_at.items()}
        show_markdown(say.pairs_text(shown_at, series[0].seeds).strip())
    if other := size_axis(results, validation_accuracy):
        led = leaders(other.series, other.changes, reference)
        moved = _labelled(changes, say.change_label, reference)
        pairs, pairs_otherwise = map(_by_pair, (judged_at, pairs_at_sizes(results, validation_accuracy)))
        told = [
            key
            for key, pair in pairs.items()
            if key in pairs_otherwise and (pair.differs or pairs_otherwise[key].differs)
        ]
        own = moved | _labelled(judged | {key: pairs[key] for key in told}, say.baseline_label)
        others = _labelled(other.changes, say.change_label, reference)
        judged_otherwise = beside_baselines(results, validation_accuracy).judged
        others |= _labelled(judged_otherwise | {key: pairs_otherwise[key] for key in told}, say.baseline_label)
        show_by_accuracy(series, other.series, say.with_size, own, others, (found, led), moved)
    highest = {
        size: max(rows.to_dict("records"), key=lambda row: row["estimate"])
        for size, rows in pd.DataFrame(fitted).groupby("value")
    }
    show_markdown(say.sizes_against_baselines(highest, judged).strip())


def _processors(series: list[Series]) -> list[str]:
    runs = (run for own in series for of_point in own.points.values() for run in of_point)
    return sorted({run.result.environment.processor for run in runs})


def _other_rates(
    results: ExperimentRuns, series: list[Series], reference: Any
) -> dict[Any, list[tuple[str, float, list[float]]]]:
    """Value of the factor → the methods with another learning rate there than at `reference`: rate, and those tried."""
    found: dict[Any, list[tuple[str, float, list[float]]]] = {}
    for own in series:
        if reference not in own.points:
            continue
        rates = {value: rate_of(runs) for value, runs in own.points.items()}
        for value, rate in rates.items():
            if rate != rates[reference]:
                tried = _tried(results, own.points[value][0].config)
                found.setdefault(value, []).append((own.method, rate, tried))
    return dict(sorted(found.items()))


@cache  # the exhibit, the title page and the advice ask for it
def pairs_at_sizes(results: ExperimentRuns, by: Judge) -> dict[int, list[PairedComparison]]:
    """Training size → the pairs of methods, judged there by the rule of the main comparison.

    The learning rates are those that `by` chooses. Each size but that of the main runs is a family of its own; head
    only is left out.
    """
    found: dict[int, list[PairedComparison]] = {}
    if not (axis := size_axis(results, by)):
        return found
    for size in sorted({size for own in axis.series for size in own.points} - {axis.reference}):
        tuned = [own for own in axis.series if METHODS[own.method] is not FLOOR and size in own.points]
        pairs = judge({own.method: own.correct[size] for own in tuned}).pairs
        if pairs:
            found[size] = pairs
    return found


def _by_pair(found: Mapping[int, list[PairedComparison]]) -> dict[tuple[str, int, str], PairedComparison]:
    return {(pair.first, size, pair.second): pair for size, pairs in found.items() for pair in pairs}


def _labelled(judged: Mapping[Any, Judged], label: Callable[..., str], *known: Any) -> dict[str, Judged]:
    """`judged` by what `label` says of each key, whose parts are told one by one, and of what is `known`."""
    told = {key: key if isinstance(key, tuple) else (key,) for key in judged}
    return {label(*told[key], *known).strip(): contrast for key, contrast in judged.items()}


def size_regime(results: ExperimentRuns, best: str) -> str:
    """Whether the lead of `best`, an adapter method, holds at other training sizes: sentences, or empty.

    `best` leads by all seeds of the main runs. The axis has the seeds that all sizes share, and by these another method
    may lead.
    """
    axis = size_axis(results, validation_likelihood)
    if not axis or not (found := leaders(axis.series, axis.changes, axis.reference)):
        return ""
    adapters = {
        size: [pair for pair in differing(pairs) if CEILING.name not in (pair.first, pair.second)]
        for size, pairs in pairs_at_sizes(results, validation_likelihood).items()
    }
    return say.in_finding(found, best, found.seeds, {size: pairs for size, pairs in adapters.items() if pairs}).strip()


class SizeAxis(NamedTuple):
    """The series over training sizes, the size of the main runs, and the interactions with it, the floor left out."""

    series: list[Series]
    reference: int
    changes: dict[Any, Contrast]


@cache  # the exhibit, the title page and the advice ask for it
def size_axis(results: ExperimentRuns, judge: Judge) -> SizeAxis | None:
    """What is known of the training size, at the learning rates that `judge` chooses; None where there is one size."""
    series = read_axis(results, "max_train", judge)
    if not series or not (sizes := _sizes(results)):
        return None
    reference = sizes[0]
    trained = [own for own in series if METHODS[own.method] is not FLOOR]
    return SizeAxis(series, reference, interactions(trained, reference))


class BesideBaselines(NamedTuple):
    """Baselines that fine-tune nothing at every training size, and every method that trains more than a head less each.

    `baselines` maps a baseline and a size to booleans (one row, test texts); `judged` has a contrast for a method, a
    size and a baseline, corrected over all.
    """

    baselines: dict[str, dict[Any, pd.DataFrame]]
    judged: dict[tuple[str, Any, str], Contrast]


@cache  # the exhibit and the advice ask for it
def beside_baselines(results: ExperimentRuns, judge: Judge) -> BesideBaselines:
    """The baselines at the sizes of the `size_axis`, and what the methods gain on them."""
    axis = size_axis(results, judge)
    series = axis.series if axis else []
    baselines = at_each_size(results, series)
    trained = [own for own in series if METHODS[own.method] is not FLOOR]
    return BesideBaselines(baselines, against_baselines(trained, baselines, judge_experiment(results).margin))


def best_baseline(results: ExperimentRuns, series: Series) -> dict[str, Any] | None:
    """The row of an `accuracy_table` of the baseline with the highest mean, with the training texts of a series.

    None where no baseline was fitted to as many.
    """
    fitted = with_texts(results, series.training_texts, series.texts)
    rows = [{"method": name} | accuracy_with_ends(right) for name, right in fitted.items()]
    return max(rows, key=lambda row: row["estimate"], default=None)


def _sizes(results: ExperimentRuns) -> list[int]:
    """Numbers of training texts of the main runs."""
    mains = (run for run in results.runs if run.config.study == "main")
    return [*dict.fromkeys(run.result.data.sizes["train"] for run in mains)]


def _pairs(series: list[Series], shown: dict[Any, Contrast], least: Any, reference: Any) -> pd.DataFrame:
    correct = {own.method: own.correct for own in series}

    def difference(first: str, second: str, value: Any) -> str:
        return signed_points(float(less(correct[first][value], correct[second][value]).to_numpy().mean()))

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


def placements(results: ExperimentRuns) -> None:
    """Adapters on query and value and on all linear layers, beside full fine-tuning of the same and of everything."""
    adapted, trained, moved, gaps, before = chosen = read_placements(results)
    if not (series := [*adapted, *trained]):
        held = [_layers(value) for value in _held(results, "target_modules")]
        planned = planned_for(results, "target_modules") or planned_for(results, "trained_modules")
        show_markdown(say.one_value_text("choice of adapted layers", held, planned))
        return
    table = accuracy_table(series)
    runs = [own.points[value][0].config for own in series for value in own.points]
    table["rate"] = [config.settings.learning_rate for config in runs]
    table["tried"] = [_tried(results, config) for config in runs]
    usual = {CEILING.name: EVERYTHING}
    table["value"] = [_layers(row.value, usual.get(row.method, QUERY_AND_VALUE)) for row in table.itertuples()]
    table["series"] = table["method"].map(title_of)
    order = {name: place for place, name in enumerate([*LAYERS.values(), EVERYTHING])}
    table = table.sort_values("value", key=lambda values: values.map(order).fillna(1), kind="stable")
    line, xlabel = best_baseline(results, series[0]), "layers that are adapted or trained"
    figure = plots.accuracy_by_factor(table, say.placements_title(moved), xlabel, line)
    show_figure(figure, say.placements_figure(series[0], line), say.alt(_by_series(table), line))
    among = pairs_at_sizes(results, validation_likelihood).get(series[0].training_texts, [])
    behind = [pair for pair in against(among, CEILING.name) if pair.second in before]
    show_markdown(say.placements_text(moved, before, gaps, CEILING, _rates(table)))
    if behind:
        show_markdown(say.among_all_text(behind, len(among)).strip())
    others = read_placements(results, validation_accuracy)
    otherwise = [*others.adapted, *others.trained]
    own, by_accuracy = (
        _labelled(found.moved, say.moved_label)
        | _labelled(found.before, say.before_label)
        | _labelled(found.gaps, say.gap_label)
        for found in (chosen, others)
    )
    show_by_accuracy(series, otherwise, say.on_layers, own, by_accuracy)


class Placements(NamedTuple):
    """Series of adapted and of trained layers; the adapters' change to all linear layers; the gaps to full fine-tuning.

    `gaps` are of the adapters on all linear layers, and of full fine-tuning of query and value alone; `before` are of
    the adapters on query and value.
    """

    adapted: list[Series]
    trained: list[Series]
    moved: dict[str, Contrast]
    gaps: dict[str, Contrast]
    before: dict[str, Contrast]


def read_placements(results: ExperimentRuns, judge: Judge = validation_likelihood) -> Placements:
    """What is known of the adapted layers, at the learning rates that `judge` chooses."""
    # Where a setting gives the main runs other layers, there is no such pair of points.
    adapted = [own for own in read_axis(results, "target_modules", judge) if {*own.points} == {(), ("all-linear",)}]
    trained = [own for own in read_axis(results, "trained_modules", judge) if {*own.points} == {(), ("query-value",)}]
    if not (series := [*adapted, *trained]):
        return Placements([], [], {}, {}, {})
    margin = judge_experiment(results).margin
    changes = {own.method: less(own.correct[max(own.points)], own.correct[min(own.points)]) for own in adapted}
    usual = at_best_rate(results, CEILING.name, series[0].beside, judge)
    whole = trained[0].correct[()] if trained else answers(usual)
    last, first = ({own.method: own.correct[at(own.points)] for own in series} for at in (max, min))
    gaps = {name: less(frame, whole) for name, frame in last.items()} if len(whole) else {}
    before = {own.method: less(first[own.method], whole) for own in adapted} if len(whole) else {}
    return Placements(adapted, trained, *(contrasts(found, margin) for found in (changes, gaps, before)))


def _layers(value: tuple[str, ...], none: str = QUERY_AND_VALUE) -> str:
    """The layers that a setting names, in words; `none` where it names none."""
    return LAYERS.get(value, and_joined([*value])) if value else none


def show_one_value(results: ExperimentRuns, setting: str, title: str) -> None:
    """Say that no finished run varies a `setting`, called `title`, and which values the main runs have."""
    show_markdown(say.one_value_text(title, _held(results, setting), planned_for(results, setting)))


def _held(results: ExperimentRuns, setting: str) -> list[Any]:
    """The values that the main runs have of a setting that some methods have."""
    settings = (results.experiment.config(name).settings for name in results.experiment.methods)
    return [*dict.fromkeys(getattr(own, setting) for own in settings if hasattr(own, setting))]


def _tried(results: ExperimentRuns, config: RunConfig) -> list[float]:
    """The rates at which side studies tried what `config` trains, in ascending order."""
    study, plan = config.study, results.experiment.config
    names = [study, *at_other_rates(results.experiment, config.method, study)]
    finished = (name for name in names if results.of(config.method, name))
    return sorted({plan(config.method, study=name).settings.learning_rate for name in finished})


def _rates(table: pd.DataFrame) -> dict[str, list[tuple[str, float, list[float]]]]:
    """Method → its layers with the rate that they were trained at, and those that were tried."""
    return {
        name: [*zip(rows["value"], rows["rate"], rows["tried"], strict=True)]
        for name, rows in table.groupby("method", sort=False)
    }


def ranks(results: ExperimentRuns) -> None:
    """Accuracy against the rank, by the law of the scale, beside the other adapters at the rank of the main runs."""
    laws = _laws(results)
    if not laws:
        if not read_axis(results, "rank"):  # else those of other gates are told there
            show_one_value(results, "rank", "rank")
        return
    names = {id(own): _law_title(own) for own in laws}
    table = pd.concat([accuracy_table([own]).assign(series=names[id(own)]) for own in laws])
    others = _at_one_rank(results, laws[0])
    if len(others):  # an empty frame has no whole numbers, and ranks would become 1.0 and 2.0
        table = pd.concat([table, others])
    table = table.sort_values("value", kind="stable")
    usual = _rank(results.experiment.config(laws[0].method, study=laws[0].beside))
    found = _from_usual_rank(results, laws, usual)
    at_usual = [own.points[usual][0].config.study for own in laws if usual in own.points]
    agree = len(at_usual) == len(laws) > 1 == len({*at_usual})
    line = best_baseline(results, laws[0])
    figure = plots.accuracy_by_factor(table, say.ranks_title(found, usual), "rank", line)
    show_figure(figure, say.ranks_figure(laws[0], agree, len(others), line), say.alt(_by_series(table), line))
    rates = {names[id(own)]: chosen for own in laws if (chosen := _chosen_rates(results, own))}
    show_markdown(say.ranks_text(found, usual, rates))
    if {*at_usual} == {laws[0].beside}:
        show_other_rates(results, laws[0].method, laws[0].beside)
    by_accuracy = _laws(results, validation_accuracy)
    own = _labelled(found, say.rank_label, usual)
    others = _labelled(_from_usual_rank(results, by_accuracy, usual), say.rank_label, usual)
    show_by_accuracy(laws, by_accuracy, say.at_rank, own, others)


def _laws(results: ExperimentRuns, judge: Judge = validation_likelihood) -> list[Series]:
    """The series over the rank of methods that keep all ranks which they start with: of those without gates."""
    return [own for own in read_axis(results, "rank", judge) if not METHODS[own.method].picture.gated]


def _law_title(series: Series) -> str:
    return f"{title_of(series.method)}, {_law(series)}"


def _from_usual_rank(results: ExperimentRuns, laws: list[Series], usual: int) -> dict[tuple[str, int], Contrast]:
    """(law of the scale, rank) → the accuracy at this rank less that at the `usual` one."""
    changes = {
        (_law_title(own), rank): less(own.correct[rank], own.correct[usual])
        for own in laws
        for rank in own.points
        if rank != usual and usual in own.points
    }
    return contrasts(changes, judge_experiment(results).margin)


def _chosen_rates(results: ExperimentRuns, series: Series) -> dict[int, tuple[float, list[float]]]:
    """Rank → the learning rate of its runs, and those that were tried, at ranks where one of several is chosen."""
    if RATE not in series.varies:
        return {}
    configs = {rank: runs[0].config for rank, runs in series.points.items()}
    tried = {rank: _tried(results, config) for rank, config in configs.items()}
    return {rank: (configs[rank].settings.learning_rate, own) for rank, own in tried.items() if len(own) > 1}


def _rank(config: RunConfig) -> int:
    own: Any = config.settings
    return own.rank


def _law(series: Series) -> str:
    """How the scale s of the update follows the rank, along a series."""
    if sparsity.keeps_scale(series):
        return f"s = {sparsity.scale_of(next(iter(series.points.values()))[0]):g}"
    if "use_rslora" in series.varies:
        return "s = α/√r"
    return "s = α/r, α by rank" if "alpha" in series.varies else "s = α/r"


def _at_one_rank(results: ExperimentRuns, law: Series) -> pd.DataFrame:
    """The other adapters of the study beside a law of the rank, as rows of an `accuracy_table`, each `at_best_rate`."""
    runs = {name: at_best_rate(results, name, law.beside) for name in results.experiment.methods if name != law.method}
    adapters = {name: own for name, own in runs.items() if own and not METHODS[name].is_baseline}
    points = [Series(name, law.beside, (), {_rank(own[0].config): own}) for name, own in adapters.items()]
    table = accuracy_table(points)
    return table.assign(series=[title_of(name) for name in adapters])


def accuracy_cell(correct: pd.DataFrame) -> str:
    """Accuracy in per cent with its interval, as a cell of a table shows it."""
    found = accuracy_with_ends(correct)
    return f"{found['estimate']:.1f} [{found['low']:.1f}, {found['high']:.1f}]"


def four_bits(results: ExperimentRuns) -> None:
    """What changes where a method trains beside frozen weights in 4 bits; nothing where no study tries it."""
    series = [own for own in read_axis(results, "four_bit") if {*own.points} == {False, True}]
    if not series:
        return
    changes = {own.method: less(own.correct[True], own.correct[False]) for own in series}
    judged = contrasts(changes, judge_experiment(results).margin)
    rows = [
        {
            "Method": title_of(own.method),
            "As it is": accuracy_cell(own.correct[False]),
            "In 4 bits": accuracy_cell(own.correct[True]),
            "Change [95%]": signed_interval(judged[own.method].difference),
            "Base model (MB)": f"{own.points[False][0].result.bytes.base_model / 1e6:,.1f}",
            "In 4 bits (MB)": f"{own.points[True][0].result.bytes.base_model / 1e6:,.1f}",
        }
        for own in series
    ]
    show_table(pd.DataFrame(rows), say.four_bits_table(series[0]))
    show_markdown(say.four_bits_text(judged))


def planned_for(results: ExperimentRuns, factor: str) -> bool:
    """Whether the experiment has studies of `factor` for one of its methods; where it has, they are not finished."""
    studies = (study for study in results.experiment.studies.values() if study.varies[:1] == (factor,))
    return any(name in study.methods for study in studies for name in results.experiment.methods)


def _by_series(table: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
    """Series → its rows, as alt texts list them."""
    return {name: rows.to_dict("records") for name, rows in table.groupby("series", sort=False)}
