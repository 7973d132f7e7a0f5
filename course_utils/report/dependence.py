"""What the result depends on: one exhibit per factor, each computed, drawn and put into words.

An exhibit takes the runs of one declared factor (`comparison.axes`), which refuses runs that differ in anything else.
Its words are those of templates/dependence.md.jinja: each comparative one has a branch for each outcome.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple

import pandas as pd

from course_utils.comparison import sparsity
from course_utils.comparison.axes import (
    RATE,
    Contrast,
    Judge,
    Leaders,
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
from course_utils.report.display import TEMPLATES, show_figure, show_markdown, show_table, with_ends
from course_utils.stats import Judged, PairedComparison
from course_utils.text import and_joined, signed_interval, signed_points, template

QUERY_AND_VALUE, EVERYTHING = "query and value", "everything"
LAYERS: dict[tuple[str, ...], str] = {("query-value",): QUERY_AND_VALUE, ("all-linear",): "all linear layers"}

say: Any = template(TEMPLATES / "dependence.md.jinja", OF_CONTRASTS).make_module({"ceiling": CEILING.name})


def training_sizes(results: ExperimentRuns) -> None:
    """Accuracy of every method against the number of training texts, and whether the leader depends on it."""
    axis, others = (size_axis(results, judge) for judge in (validation_likelihood, validation_accuracy))
    if not axis or not others:  # of which one has the sizes of the other
        show_markdown(
            say.one_value_text("number of training texts", _sizes(results), planned_for(results, "max_train"))
        )
        return
    series, reference, changes = axis.series, axis.reference, axis.changes
    fitted = pd.DataFrame(
        {"method": name, "value": size} | accuracy_with_ends(correct)
        for name, of_sizes in axis.baselines.items()
        for size, correct in of_sizes.items()
    )
    table = pd.concat([accuracy_table(series), fitted]).sort_values("value", kind="stable")
    table["series"] = table["method"].map(title_of)
    figure = plots.accuracy_by_factor(table, say.sizes_title(axis.led), "training texts")
    rates = _other_rates(results, series, reference)
    show_figure(figure, say.sizes_figure(series[0].seeds, bool(rates), _processors(series)), say.alt(_by_series(table)))
    least = min((value for *_, value in changes), default=reference)
    shown = {pair[:2]: change for pair, change in changes.items() if pair[2] == least}
    if shown:
        show_table(_pairs(series, shown, least, reference), say.sizes_table(least, reference, len(changes)))
    largest = sum(rate == max(tried) for own in rates.values() for _, rate, tried in own if len(tried) > 1)
    show_markdown(say.sizes_text(axis.led, shown, least, reference, rates, largest))
    if axis.pairs:
        shown_at = {size: (pairs, differing(pairs)) for size, pairs in axis.pairs.items()}
        show_markdown(say.pairs_text(shown_at, series[0].seeds))
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
    series: list[Series]
    reference: int

    @property
    def tuned(self) -> list[Series]:
        """The series of the methods that train more than a head."""
        return [own for own in self.series if METHODS[own.method] is not FLOOR]

    @cached_property
    def changes(self) -> dict[tuple[str, str, int], Contrast]:
        """The `interactions` of these methods with the size."""
        return interactions(self.tuned, self.reference)

    @cached_property
    def led(self) -> Leaders | None:
        """Which adapter method leads at each size."""
        return leaders(self.series, self.changes, self.reference)

    @cached_property
    def pairs(self) -> dict[int, list[PairedComparison]]:
        """Training size → the pairs of these methods, judged there by the rule of the main comparison.

        Each size but that of the main runs is a family of its own.
        """
        sizes = sorted({size for own in self.series for size in own.points} - {self.reference})
        at_sizes = {size: {own.method: own.correct[size] for own in self.tuned if size in own.points} for size in sizes}
        return {size: pairs for size, correct in at_sizes.items() if (pairs := judge(correct).pairs)}

    @cached_property
    def baselines(self) -> dict[str, dict[int, pd.DataFrame]]:
        """Baseline that fine-tunes nothing → size → booleans (one row, test texts)."""
        return at_each_size(self.results, self.series)

    @cached_property
    def over_baselines(self) -> dict[tuple[str, int, str], Contrast]:
        """(method, size, baseline) → what the method gains on the baseline; corrected over all."""
        return against_baselines(self.tuned, self.baselines, judge_experiment(self.results).margin)


@cache  # the exhibit, the title page and the advice ask for it
def size_axis(results: ExperimentRuns, judge: Judge) -> SizeAxis | None:
    """What is known of the training size, at the learning rates that `judge` chooses; None where there is one size."""
    series, sizes = read_axis(results, "max_train", judge), _sizes(results)
    return SizeAxis(results, series, sizes[0]) if series and sizes else None


def _size_verdicts(axis: SizeAxis) -> dict[str, Judged]:
    """What is judged of the training size, by its label.

    These are the changes of differences, and at each size every method against the baselines and the other methods.
    """
    of_pairs = {(pair.first, size, pair.second): pair for size, pairs in axis.pairs.items() for pair in pairs}
    over_baselines = _labelled(axis.over_baselines, say.baseline_label)
    return _size_changes(axis) | over_baselines | _labelled(of_pairs, say.baseline_label)


def _size_changes(axis: SizeAxis) -> dict[str, Judged]:
    return _labelled(axis.changes, say.change_label, axis.reference)


def size_regime(results: ExperimentRuns, best: str) -> str:
    """Whether the lead of `best`, an adapter method, holds at other training sizes: sentences, or empty.

    `best` leads by all seeds of the main runs. The axis has the seeds that all sizes share, and by these another method
    may lead.
    """
    axis = size_axis(results, validation_likelihood)
    if not axis or not axis.led:
        return ""
    adapters = {
        size: [pair for pair in differing(pairs) if CEILING.name not in (pair.first, pair.second)]
        for size, pairs in axis.pairs.items()
    }
    return say.in_finding(axis.led, best, {size: pairs for size, pairs in adapters.items() if pairs}).strip()


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


def _processors(series: list[Series]) -> list[str]:
    runs = (run for own in series for of_point in own.points.values() for run in of_point)
    return sorted({run.result.environment.processor for run in runs})


def _other_rates(
    results: ExperimentRuns, series: list[Series], reference: int
) -> dict[int, list[tuple[str, float, list[float]]]]:
    """Size → the methods with another learning rate there than at the `reference`: the rate, and those tried."""
    found: dict[int, list[tuple[str, float, list[float]]]] = {}
    for own in series:
        rates = {size: rate_of(runs) for size, runs in own.points.items()}
        for size, rate in rates.items():
            if rate != rates.get(reference, rate):
                tried = _tried(results, own.points[size][0].config)
                found.setdefault(size, []).append((own.method, rate, tried))
    return dict(sorted(found.items()))


def _labelled(judged: Mapping[Any, Judged], label: Callable[..., str], *known: Any) -> dict[str, Judged]:
    """`judged` by what `label` says of each key, whose parts are told one by one, and of what is `known`."""
    told = {key: key if isinstance(key, tuple) else (key,) for key in judged}
    return {label(*told[key], *known).strip(): contrast for key, contrast in judged.items()}


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
    series, moved, _, before = chosen = read_placements(results)
    if not series:
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
    show_table(_with_rates(table.reset_index()), say.placements_rates(series[0]))
    others = read_placements(results, validation_accuracy)
    judged, by_accuracy = map(_placement_verdicts, (chosen, others))
    if judged:
        rows = [
            {"First against second": label[:1].upper() + label[1:]} | judged_cells(contrast)
            for label, contrast in judged.items()
        ]
        show_table(pd.DataFrame(rows), say.placements_table(judged))
    sizes = size_axis(results, validation_likelihood)
    among = sizes.pairs.get(series[0].training_texts, []) if sizes else []
    behind = [pair for pair in against(among, CEILING.name) if pair.second in before]
    if behind:
        show_markdown(say.among_all_text(behind, len(among)))
    show_by_accuracy(series, others.series, say.on_layers, judged, by_accuracy)


class Placements(NamedTuple):
    """Series of adapted and of trained layers; the adapters' change to all linear layers; the gaps to full fine-tuning.

    `gaps` are of the adapters on all linear layers, and of full fine-tuning of query and value alone; `before` are of
    the adapters on query and value.
    """

    series: list[Series]
    moved: dict[str, Contrast]
    gaps: dict[str, Contrast]
    before: dict[str, Contrast]


def _placement_verdicts(found: Placements) -> dict[str, Judged]:
    """All differences between placements by their labels."""
    said = ((found.moved, say.moved_label), (found.before, say.before_label), (found.gaps, say.gap_label))
    return {label: contrast for kind, told in said for label, contrast in _labelled(kind, told).items()}


def read_placements(results: ExperimentRuns, judge: Judge = validation_likelihood) -> Placements:
    """What is known of the adapted layers, at the learning rates that `judge` chooses."""
    # Where a setting gives the main runs other layers, there is no such pair of points.
    adapted = [own for own in read_axis(results, "target_modules", judge) if {*own.points} == {(), ("all-linear",)}]
    trained = [own for own in read_axis(results, "trained_modules", judge) if {*own.points} == {(), ("query-value",)}]
    if not (series := [*adapted, *trained]):
        return Placements([], {}, {}, {})
    margin = judge_experiment(results).margin
    changes = {own.method: less(own.correct[max(own.points)], own.correct[min(own.points)]) for own in adapted}
    usual = at_best_rate(results, CEILING.name, series[0].beside, judge)
    whole = trained[0].correct[()] if trained else answers(usual)
    last, first = ({own.method: own.correct[at(own.points)] for own in series} for at in (max, min))
    gaps = {name: less(frame, whole) for name, frame in last.items()} if len(whole) else {}
    before = {own.method: less(first[own.method], whole) for own in adapted} if len(whole) else {}
    return Placements(series, *(contrasts(found, margin) for found in (changes, gaps, before)))


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
        if not read_axis(results, "rank"):  # else those of other gates are told there
            show_one_value(results, "rank", "rank")
        return
    table = pd.concat([accuracy_table([own]).assign(series=_law_title(own)) for own in laws])
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
    if found:
        rows = [{"Law of the scale": law, "Rank": rank} | judged_cells(found[law, rank]) for law, rank in found]
        show_table(pd.DataFrame(rows), say.ranks_table(laws[0], found, usual))
    rates = {_law_title(own): chosen for own in laws if (chosen := _chosen_rates(results, own))}
    show_markdown(say.ranks_text(rates))
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
    tried = {rank: _tried(results, runs[0].config) for rank, runs in series.points.items()}
    return {rank: (rate_of(series.points[rank]), own) for rank, own in tried.items() if len(own) > 1}


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


def judged_cells(contrast: Judged | None) -> dict[str, str]:
    """A contrast as cells of a table: its interval, its p-value and its verdict; empty ones where there is none."""
    found = ("", "", "")
    if contrast:
        p = p_in_words(contrast.p_holm) if contrast.judged else "–"
        found = (signed_interval(contrast.difference), p, say.verdict_in_table(contrast).strip())
    return dict(zip(("Difference [95%]", "p (Holm)", "Verdict"), found, strict=True))


def accuracy_cell(correct: pd.DataFrame) -> str:
    """Accuracy in per cent with its interval, as a cell of a table shows it."""
    return with_ends(**accuracy_with_ends(correct))


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
            "Base model (MB)": f"{own.points[False][0].result.bytes.base_model / 1e6:,.1f}",
            "In 4 bits (MB)": f"{own.points[True][0].result.bytes.base_model / 1e6:,.1f}",
        }
        | judged_cells(judged[own.method])
        for own in series
    ]
    show_table(pd.DataFrame(rows), say.four_bits_table(series[0], judged))


def planned_for(results: ExperimentRuns, factor: str) -> bool:
    """Whether the experiment has studies of `factor` for one of its methods; where it has, they are not finished."""
    studies = (study for study in results.experiment.studies.values() if study.varies[:1] == (factor,))
    return any(name in study.methods for study in studies for name in results.experiment.methods)


def _by_series(table: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
    """Series → its rows, as alt texts list them."""
    return {name: rows.to_dict("records") for name, rows in table.groupby("series", sort=False)}
