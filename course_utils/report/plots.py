"""Every figure of the book, in one style: a colour-blind palette, distinct markers, axes with units."""

from collections.abc import Collection, Mapping
from numbers import Number
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from course_utils.comparison.baselines import BASELINES, MAJORITY, Baseline, shown
from course_utils.comparison.costs import SURE, front_shares
from course_utils.methods import METHODS
from course_utils.methods.base import LowRankSettings, Method
from course_utils.tasks.classification import METRICS
from course_utils.text import in_sentence

ACCURACY = in_sentence(METRICS["accuracy"].heading)
WIDTH = 6.3  # inches: the text width of the PDF

STYLE: Any = {
    "figure.dpi": 110,
    "font.family": "DejaVu Sans",  # display.show_figure sets other fonts where a text needs them
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


def _figure(height: float = 2.8, **labels: Any):
    """A figure with one pair of axes, and what is written on these: title, xlabel, ylabel and the like."""
    plt.rcParams.update(STYLE)
    figure, axis = plt.subplots(figsize=(WIDTH, height))
    axis.set(**labels)
    return figure, axis


def _turn_labels(axis, degrees: int) -> None:
    """Turn the labels of the x axis so that each ends under its tick; of more than 16, every second one is shown."""
    plt.setp(axis.get_xticklabels(), rotation=degrees, ha="right", rotation_mode="anchor")
    plt.setp(axis.get_xticklabels()[1::2], visible=len(axis.get_xticklabels()) <= 16)


def _panels(number: int, across: int, height: float, **options: Any):
    """A figure with `number` panels, `across` in a row, each row `height` inches high, and all its axes in a row."""
    plt.rcParams.update(STYLE)
    columns = min(across, number)
    rows = -(-number // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(WIDTH, height * rows), squeeze=False, **options)
    for axis in axes.flat[number:]:
        axis.set_axis_off()
    return figure, axes.flat


def _with_legend(figure: Figure, *entries: Any, ncols: int = 3) -> Figure:
    """`figure` with a legend below it: of all that has a label there, or of these `entries`."""
    figure.legend(*entries, loc="outside lower center", ncols=ncols)
    return figure


def _line(method: Method | Baseline) -> dict:
    return {"color": method.color, "marker": method.marker, "label": method.title}


def _hollow(method: Method | Baseline) -> dict:
    """A marker that shows what it covers."""
    return _line(method) | {"ls": "", "mfc": "none", "mew": 1.2}


def _lines(axis, table: pd.DataFrame, x: str, y: str, **style: Any) -> None:
    """Draw column `y` of `table` against `x`, one line per method."""
    for name, rows in table.groupby("method", sort=False):
        axis.plot(rows[x], rows[y], **_line(METHODS[name]) | style)


def _span(of: Any) -> np.ndarray:
    """How far the ends of intervals lie below and above their estimates: (2, points), of one row or of several."""
    return np.reshape([of.estimate - of.low, of.high - of.estimate], (2, -1))


def _of_seed(seed: int, method: Method) -> dict:
    return {"color": method.color, "alpha": 0.4 + 0.6 * (seed == 0), "label": f"seed {seed}"}


def rating_histogram(ratings: pd.Series, threshold: float, title: str) -> Figure:
    """Distribution of the mean human `ratings`; the band that gets no label is shaded."""
    figure, axis = _figure()
    sns.histplot(x=ratings, bins=np.arange(-4, 4.01, 0.25), color="#0072b2", ax=axis)
    axis.axvspan(-threshold, threshold, color="#7f7f7f", alpha=0.3, label="no label")
    axis.set(title=title, xlabel="mean rating (−4 very negative … +4 very positive)", ylabel="sentences")
    axis.legend()
    return figure


def length_histogram(lengths: dict[str, np.ndarray], title: str) -> Figure:
    """Share of sentences by their number of tokens, one line per set."""
    figure, axis = _figure(title=title, xlabel="tokens in a sentence", ylabel="share of the set")
    bins = np.arange(0, 81, 5)
    shares = {name: np.histogram(np.clip(values, 0, 79), bins)[0] / len(values) for name, values in lengths.items()}
    wide = pd.DataFrame(shares, index=bins[:-1] + 2.5)
    sns.lineplot(wide, ax=axis, palette="colorblind", markers=True, dashes=False)
    return figure


def loss_curves(losses: pd.DataFrame, title: str) -> Figure:
    """Training loss by step, one line per column of `losses`."""
    figure, axis = _figure(title=title, xlabel="step", ylabel="training loss (nats)")
    sns.lineplot(losses, ax=axis, palette="colorblind", markers=True, dashes=False)
    return figure


def accuracy_by_setting(accuracies: pd.Series, title: str, xlabel: str) -> Figure:
    """Accuracies (%) by the values of a setting, evenly spaced, as a slider has them."""
    figure, axis = _figure(title=title, xlabel=xlabel, ylabel=ACCURACY)
    axis.plot([f"{value:g}" for value in accuracies.index], accuracies, marker="o", color="#0072b2")
    return figure


def _smoothed_loss(history: pd.DataFrame) -> pd.Series:
    return history["loss"].ewm(span=10).mean()


def ends_of_loss(history: pd.DataFrame) -> str:
    """Where the line of `training_curves` begins and ends, in words: "from 0.69 to 0.40"."""
    loss = _smoothed_loss(history)
    return f"from {loss.iloc[0]:.2f} to {loss.iloc[-1]:.2f}"


def training_curves(histories: dict[int, pd.DataFrame], method: Method, title: str) -> Figure:
    """Smoothed training loss by step, and validation accuracy after each epoch, one line per seed."""
    figure, (left, right) = _panels(2, 2, height=2.8)
    for seed, history in histories.items():
        epochs = history.dropna(subset=["validation_accuracy"])
        left.plot(history["step"], _smoothed_loss(history), lw=1, **_of_seed(seed, method))
        right.plot(epochs["epoch"], 100 * epochs["validation_accuracy"], marker=method.marker, **_of_seed(seed, method))
    left.set(title=title, xlabel="step", ylabel="training loss (nats)")
    right.set(xlabel="epoch", ylabel=f"validation {ACCURACY}")
    right.set_xlim(0.5, max(history["epoch"].max() for history in histories.values()) + 0.5)
    right.locator_params(axis="x", integer=True)
    if len(histories) > 1:
        right.legend()
    return figure


def spectra(values: dict[str, np.ndarray], title: str) -> Figure:
    """Singular values (logarithmic) by their index, one line per entry of `values`."""
    figure, axis = _figure(title=title, xlabel="index of the singular value", ylabel="singular value")
    wide = pd.DataFrame({name: pd.Series(np.asarray(series)) for name, series in values.items()})
    wide.index += 1
    sns.lineplot(wide.where(wide > 1e-7 * wide.iloc[0]), ax=axis, palette="colorblind")
    axis.set(yscale="log")
    return figure


def layer_bars(values: pd.Series, title: str, ylabel: str, color: str, ceiling: float) -> Figure:
    """One bar per layer; a dashed line at `ceiling`, a value to compare them with."""
    figure, axis = _figure(title=title, xlabel="layer", ylabel=ylabel)
    axis.bar(values.index.astype(str), values, color=color)
    axis.axhline(ceiling, color="black", lw=1, ls="--")
    _turn_labels(axis, 45)
    axis.grid(axis="x", visible=False)
    return figure


def bars(values: pd.Series, title: str, xlabel: str) -> Figure:
    """One horizontal bar per entry, the first at the top, with its number after it."""
    figure, axis = _figure(0.9 + 0.21 * len(values), title=title, xlabel=xlabel)
    axis.bar_label(axis.barh(values.index, values, color=sns.color_palette("colorblind")[0]), fmt="%.1f", padding=3)
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    return figure


def gate_history(histories: dict[int, pd.DataFrame], trained_ranks: int, method: Method, title: str) -> Figure:
    """Gates that are not zero by step, one line per seed, out of `trained_ranks`."""
    figure, axis = _figure(title=title, xlabel="step", ylabel="ranks with a gate ≠ 0", ylim=(0, trained_ranks * 1.05))
    for seed, history in histories.items():
        axis.plot(history["step"], history["active_ranks"], **_of_seed(seed, method))
    axis.axhline(trained_ranks, color="black", lw=1, ls="--")
    axis.legend()
    return figure


def byte_bars(parts: pd.DataFrame, title: str) -> Figure:
    """Stacked horizontal bars, one per row of `parts`, with the row's columns, in MB, side by side."""
    figure, axis = _figure(height=0.6 + 0.45 * len(parts))
    parts.plot.barh(stacked=True, ax=axis, color=sns.color_palette("colorblind"), edgecolor="white", width=0.8)
    axis.set(title=title, xlabel="megabytes (10⁶ bytes)", ylabel="")
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, -0.75), ncols=len(parts.columns))
    return figure


def intervals(table: pd.DataFrame, title: str, xlabel: str, reference: float | None) -> Figure:
    """One point with its interval per row of `table`; its columns are method, estimate, low, high.

    `method` is a name. A dashed line goes through the `reference`.
    """
    figure, axis = _figure(0.9 + 0.32 * len(table), title=title, xlabel=xlabel, ylim=(len(table) - 0.5, -0.5))
    for row, entry in enumerate(table.itertuples()):
        axis.errorbar(entry.estimate, row, xerr=_span(entry), ms=7, **_line(shown(entry.method)))
    if reference is not None:
        axis.axvline(reference, color="black", lw=1, ls="--")
    axis.set_yticks(range(len(table)), [shown(name).title for name in table["method"]])
    return figure


def accuracy_by_seconds(table: pd.DataFrame, title: str) -> Figure:
    """Accuracy (%) with its interval against seconds: columns method (a name), train_seconds, estimate, low, high.

    The majority class, which takes no time, is a line.
    """
    figure, axis = _figure(3.6, title=title, xlabel="seconds of training", ylabel=f"test {ACCURACY}", xscale="log")
    for entry in table[table["train_seconds"] > 0].itertuples():
        axis.errorbar(entry.train_seconds, entry.estimate, _span(entry), ms=7, **_hollow(shown(entry.method)))
    for entry in table[table["method"] == MAJORITY.name].itertuples():
        axis.axhline(entry.estimate, color=MAJORITY.color, lw=1, ls="--", label=MAJORITY.title)
    _plain_ticks(axis.xaxis, (1, 3))
    return _with_legend(figure)


def _plain_ticks(axis, parts: tuple[int, ...]) -> None:
    """Label a logarithmic axis with plain numbers: `parts` of every power of ten."""
    axis.set_major_locator(LogLocator(subs=parts))
    axis.set_major_formatter("{x:,g}")
    axis.set_minor_formatter(NullFormatter())


def cost_scatter(
    table: pd.DataFrame,
    columns: dict[str, str],
    draws: dict[str, pd.DataFrame],
    title: str,
    baseline: Mapping[str, Any] | None,
) -> Figure:
    """Accuracy (%) against each cost, both with intervals: `columns` maps a column of `table` to its axis label.

    `draws` are those of `costs.cost_draws`, in the table's units. A line joins the methods that are on the Pareto front
    in 95% of them. A cost that spans more than a factor of 20 has a logarithmic axis, with room for zero. A dashed line
    and a band are the `baseline`, as in `accuracy_by_factor`.
    """
    shares = front_shares(draws)
    figure, axes = _panels(len(columns), 3, height=2.8, sharey=True)
    for axis, (column, label) in zip(axes, columns.items(), strict=False):
        costs = table[column].astype(float)
        front = table[table["method"].map(shares[column]) >= SURE].sort_values(column)
        axis.plot(front[column], front["estimate"], color="#b0b0b0", lw=1, zorder=0)
        for entry, cost in zip(table.itertuples(), costs, strict=True):
            ends = draws[column][entry.method].quantile([0.025, 0.975]).to_numpy()
            wide = np.clip([[cost - ends[0]], [ends[1] - cost]], 0, None)
            axis.errorbar(cost, entry.estimate, _span(entry), wide, lw=1, ms=6, **_hollow(METHODS[entry.method]))
        axis.set_xlabel(label, fontsize=8)
        _logarithmic(axis.set_xscale, costs)
        _level(axis, baseline)
    for axis in axes[::3]:
        axis.set(ylabel=f"test {ACCURACY}")
    axes[0].set_title(title)
    return _with_legend(figure, *axes[0].get_legend_handles_labels())


def _logarithmic(set_scale, values: pd.Series) -> None:
    """Make an axis logarithmic where its values span more than a factor of 20; zero stays on it."""
    positive = values[values > 0]
    if positive.max() > 20 * positive.min():
        set_scale("symlog", linthresh=10 ** np.floor(np.log10(positive.min())))


def accuracy_by_set(table: pd.DataFrame, title: str) -> Figure:
    """Accuracy (%) of every baseline and method on every set, as `tables.accuracy_by_set` has it."""
    figure, axis = _figure(3.4, title=title, ylabel=ACCURACY)
    sets, names = table["set"].unique(), [name for name in (*BASELINES, *METHODS) if name in set(table["method"])]
    for index, name in enumerate(names):
        rows = table[table["method"] == name].set_index("set").reindex(sets)
        place = np.arange(len(sets)) + (index - (len(names) - 1) / 2) * 0.8 / len(names)
        axis.errorbar(place, rows["estimate"], yerr=_span(rows), ls="", lw=1, ms=5, **_line(shown(name)))
    axis.set_xticks(range(len(sets)), sets)
    axis.grid(axis="x", visible=False)
    return _with_legend(figure)


def quantisation_levels(values: np.ndarray, levels: np.ndarray, title: str) -> Figure:
    """Distribution of weights divided by their block's maximum, with the levels that 4 bits can encode."""
    figure, axis = _figure(title=title, xlabel="weight divided by the largest magnitude of its block", ylabel="density")
    axis.hist(values, bins=np.linspace(-1, 1, 81), density=True, color="#0072b2", alpha=0.7, label="weights")
    for index, level in enumerate(levels):
        axis.axvline(level, color="black", lw=1, label="levels" if index == 0 else None)
    return _with_legend(figure, ncols=2)


def method_layers(table: pd.DataFrame, column: str, title: str, ylabel: str) -> Figure:
    """One `column` of a `weights.method_deltas` table by layer, one line per method."""
    figure, axis = _figure(title=title, xlabel="layer", ylabel=ylabel)
    _lines(axis, table, "layer", column, lw=1, ms=5)
    _logarithmic(axis.set_yscale, table[column])
    _turn_labels(axis, 45)
    return _with_legend(figure)


def overlap_map(overlaps: pd.DataFrame, title: str, label: str = "overlap") -> Figure:
    """A square table of shares, such as that of `weights.subspace_overlaps`, as a heat map with its numbers."""
    titles = {name: method.title for name, method in METHODS.items()}
    figure, axis = _heat_map(
        overlaps.rename(index=titles, columns=titles), 0.9 + 0.42 * len(overlaps), label, ".2f", vmin=0, vmax=1
    )
    axis.set(title=title, xlabel="", ylabel="")
    _turn_labels(axis, 30)
    return figure


def confusion_map(shares: pd.DataFrame, title: str) -> Figure:
    """Shares of each true class (a row) that were given each class (a column), in per cent, as a heat map."""
    plain = {name: str(name).replace("$", r"\$") for name in shares}  # no formula
    shown = 100 * shares.rename(index=plain, columns=plain)
    figure, axis = _heat_map(shown, 1.2 + 0.36 * len(shares), "share (%)", ".0f", vmin=0, vmax=100)
    axis.set(title=title.replace("$", r"\$"), xlabel="predicted class", ylabel="true class")
    _turn_labels(axis, 30)
    axis.tick_params(axis="y", rotation=0)
    return figure


def rank_map(ranks: pd.DataFrame, title: str, ylabel: str) -> Figure:
    """Ranks left, as a heat map with numbers: one row per setting (the index of `ranks`), one column per layer."""
    figure, axis = _heat_map(ranks, 1.3 + 0.3 * len(ranks), "ranks left", ".0f", vmin=0)
    axis.set(title=title, xlabel="layer", ylabel=ylabel)
    _turn_labels(axis, 45)
    axis.tick_params(axis="y", rotation=0)
    return figure


def _heat_map(values: pd.DataFrame, height: float, label: str, form: str, **limits: float):
    figure, axis = _figure(height)
    sns.heatmap(
        values.astype(float), ax=axis, annot=True, fmt=form, annot_kws={"size": 8}, cmap="cividis", linewidths=0.5,
        cbar_kws={"label": label}, **limits,
    )  # fmt: skip
    axis.grid(visible=False)
    return figure, axis


def accuracy_by_factor(
    table: pd.DataFrame, title: str, xlabel: str, baseline: Mapping[str, Any] | None = None
) -> Figure:
    """Accuracy (%) with its interval at each value of a factor, one line per series; values are evenly spaced.

    Columns series, method, value, estimate, low, high; values stand in the order of the rows. `method` gives a series
    its colour and marker; further series of a method are dashed, their markers hollow. A dashed line and a band are the
    `baseline`: its method (a name), estimate, low and high.
    """
    figure, axis = _figure(3.2, title=title, xlabel=xlabel, ylabel=f"test {ACCURACY}")
    places = {value: place for place, value in enumerate(table["value"].unique())}
    beside = {value: [*names] for value, names in table.groupby("value", sort=False)["series"].unique().items()}
    shift = 0.4 / table["series"].nunique()
    for style, rows in _styles(table):
        aside = [beside[value].index(style["label"]) - (len(beside[value]) - 1) / 2 for value in rows["value"]]
        at = rows["value"].map(places) + shift * np.array(aside)
        axis.errorbar(at, rows["estimate"], yerr=_span(rows), lw=1, ms=6, **style)
    axis.set_xticks(range(len(places)), [f"{value:,}" if isinstance(value, Number) else value for value in places])
    axis.grid(axis="x", visible=False)
    _level(axis, baseline)
    return _with_legend(figure)


def _level(axis, baseline: Mapping[str, Any] | None) -> None:
    """Draw the accuracy of a `baseline` as a dashed line with its interval as a band; nothing without one."""
    if baseline:
        own = shown(baseline["method"])
        axis.axhspan(baseline["low"], baseline["high"], color=own.color, alpha=0.12, lw=0)
        axis.axhline(baseline["estimate"], color=own.color, lw=1, ls="--", label=own.title)


def accuracy_by_numbers(table: pd.DataFrame, title: str, xlabel: str, baseline: Mapping[str, Any] | None) -> Figure:
    """Accuracy (%) with its interval against a size: columns series, method, numbers, estimate, low, high.

    A dashed line and a band are the `baseline`, as in `accuracy_by_factor`.
    """
    figure, axis = _figure(3.6, title=title, xlabel=xlabel, ylabel=f"test {ACCURACY}", xscale="log")
    for place, (style, rows) in enumerate(_styles(table)):
        rows = rows.sort_values("numbers")
        style["zorder"] = 3 - place / 10  # the first series, which the others are compared with, covers them
        axis.errorbar(rows["numbers"] / 1e3, rows["estimate"], yerr=_span(rows), lw=1, ms=6, **style)
    _plain_ticks(axis.xaxis, (1, 2, 5))
    _level(axis, baseline)
    return _with_legend(figure, ncols=2)


def _styles(table: pd.DataFrame):
    """The style and the rows of each series of `table`; further series of a method have other tones of its colour."""
    again: list[dict[str, Any]] = [
        {},
        {"ls": "--", "mfc": "white"},
        {"ls": ":", "mfc": "white", "marker": "v", "tone": 0.35},
        {"ls": "-.", "tone": 0.55},
        {"ls": "--", "marker": "x", "tone": -0.45},
        {"ls": "", "marker": "+", "mew": 2, "tone": -0.45},
        {"ls": "", "marker": "*", "tone": -0.45},
    ]
    seen: list[str] = []
    for (name, method), rows in table.groupby(["series", "method"], sort=False):
        own = dict(again[seen.count(method) % len(again)])
        tone, color = own.pop("tone", 0.0), shown(method).color
        toned = sns.blend_palette([color, "white" if tone > 0 else "black"], 101)[round(100 * abs(tone))]
        yield _line(shown(method)) | {"color": toned, "label": name} | own, rows
        seen.append(method)


def reliability_diagram(bins: pd.DataFrame, title: str) -> Figure:
    """Accuracy against confidence before and after temperature scaling: `bins` as `calibration.reliability` returns."""
    figure, axes = _panels(2, 2, height=3.2, sharey=True)
    in_per_cent = bins.assign(confidence=100 * bins["confidence"], accuracy=100 * bins["accuracy"])
    least = min(50.0, in_per_cent["confidence"].min())
    for axis, (stage, of_stage) in zip(axes, in_per_cent.groupby("stage", sort=False), strict=True):
        axis.plot([least, 100], [least, 100], color="black", lw=1, ls="--")
        _lines(axis, of_stage, "confidence", "accuracy", lw=1, ms=4)
        axis.set(xlabel=f"confidence {stage} scaling (%)")
    axes[0].set(ylabel=ACCURACY, title=title)
    return _with_legend(figure, *axes[0].get_legend_handles_labels())


def accuracy_by_rating(table: pd.DataFrame, title: str) -> Figure:
    """Accuracy of every method and agreement of one human rater by strength of the rating.

    `table` is that of `agreement.accuracy_by_rating`; the human rater is drawn dashed.
    """
    figure, axis = _figure()
    for name, rows in table.groupby("method", sort=False):
        person = {"color": "#8c510a", "marker": "*", "ls": "--", "label": "one rater with the others"}
        style = _line(METHODS[name]) if name in METHODS else person
        axis.plot(rows["rating"].astype(str), 100 * rows["accuracy"], lw=1, ms=6, **style)
    counts = table.drop_duplicates("rating")
    ticks = [f"{row.rating}\n(n = {row.sentences:,})" for row in counts.itertuples()]
    axis.set_xticks(range(len(ticks)), ticks)
    axis.set(title=title, xlabel="absolute mean rating (number of sentences)", ylabel="accuracy or agreement (%)")
    return _with_legend(figure, ncols=4)


def search_curves(trials: pd.DataFrame, title: str) -> Figure:
    """Validation accuracy against learning rate, one panel per method, its best filled; `trials` of `search_trials`."""
    names = [name for name in METHODS if name in set(trials["method"])]
    figure, axes = _panels(len(names), 3, height=1.9, sharex=True, sharey=True)
    trials = trials.assign(accuracy=100 * trials["accuracy"])
    for axis, name in zip(axes, names, strict=False):
        of_one = trials[trials["method"] == name]
        _lines(axis, of_one, "learning_rate", "accuracy", lw=1, ms=6, mfc="white")
        _lines(axis, of_one[of_one["best"]], "learning_rate", "accuracy", ms=8)
        axis.set(xscale="log")
        axis.set_title(METHODS[name].title, fontsize=9)
    figure.suptitle(title, x=0, ha="left", fontsize=10)
    figure.supxlabel("learning rate", fontsize=9)
    figure.supylabel(f"validation {ACCURACY}", fontsize=9)
    return figure


def block_picture(layers: Mapping[str, tuple[int, int]], adapted: Collection[str], rank: int, title: str) -> Figure:
    """The linear `layers` of a block, name → (out, in), to scale, with factors of `rank` at the `adapted` ones."""
    from matplotlib.patches import Rectangle

    gap = max(0.25 * min(into for _, into in layers.values()), 4 * rank)  # the factors of a layer fit into it
    tallest, whole = max(out for out, _ in layers.values()), sum(into + gap for _, into in layers.values())
    figure, axis = _figure(0.8 + WIDTH * 1.25 * tallest / whole)
    axis.set(title=title, aspect="equal", xlim=(-gap, whole), ylim=(1.25 * tallest, -gap))
    axis.set_axis_off()
    first = next((name for name in layers if name in adapted), None)
    frozen: Any = {"fc": "#e6e6e6", "ec": "#8c8c8c", "hatch": "///"}
    trained: Any = {"color": "black"}
    left = 0.0
    for name, (out, into) in layers.items():
        axis.add_patch(Rectangle((left, 0), into, out, label="" if left else "frozen", **frozen))
        words = "\n".join([*name.split("."), f"{out} × {into}"])
        axis.text(left + into / 2, out + 0.04 * tallest, words, ha="center", va="top", fontsize=7)
        if name in adapted:
            label = "factors $B$ and $A$, trained" if name == first else ""
            axis.add_patch(Rectangle((left - 2 * rank, 0), rank, out, label=label, **trained))
            axis.add_patch(Rectangle((left, -2 * rank), into, rank, **trained))
        left += into + gap
    return _with_legend(figure, ncols=2)


def verdicts_picture(title: str) -> Figure:
    """What the interval of a difference says in three invented cases, by zero and by a margin of equivalence M."""
    cases = {"different": (1.6, 0.9), "equivalent": (-0.2, 0.6), "inconclusive": (0.7, 1.3)}
    figure, axis = _figure(2.0, title=title, xlabel="difference of two accuracies", ylim=(len(cases) - 0.5, -0.5))
    axis.axvspan(-1, 1, color="#e6e6e6")
    axis.axvline(0, color="black", lw=1)
    for row, (middle, half) in enumerate(cases.values()):
        axis.errorbar(middle, row, xerr=half, fmt="o", color="black", capsize=3)
    axis.set_xticks([-1, 0, 1], ["−M", "0", "M"])
    axis.set_yticks(range(len(cases)), list(cases))
    return figure


def method_picture(method: Method, shape: tuple[int, int], settings: LowRankSettings, title: str) -> Figure:
    """The adapted weight of a `method`, drawn to scale for a layer of `shape` (out, in) and factors of its rank.

    `method.picture` says what is drawn, and `method.trained_numbers` how many numbers are trained.
    """
    from matplotlib.patches import Rectangle

    picture, rank = method.picture, settings.rank
    height, width = (side / max(shape) for side in shape)
    thin, gap = rank / max(shape), 0.03
    left = width + (0.8 if picture.multiplied or picture.gated else 0.65)  # where the product begins; B before, A above
    edge = left - gap - thin
    start = -0.3 if picture.magnitude else -0.02

    frozen = {"fc": "#e6e6e6", "ec": "#8c8c8c", "hatch": "++++" if picture.four_bit else "///"}
    trained = {"fc": method.color, "ec": method.color, "lw": 0.5}
    empty = {"fc": "white", "ec": "black", "lw": 0.8}
    figure, axis = _figure(3.0)
    axis.set(title=title, aspect="equal", xlim=(start, left + width + 0.15), ylim=(height + 0.02, -0.22))
    axis.set_axis_off()

    def box(x, y, wide, high, **style):
        axis.add_patch(Rectangle((x, y), wide, high, **style))

    def write(x, y, text, **options):
        background = {"facecolor": "white", "edgecolor": "none", "pad": 2}
        axis.text(x, y, text, **{"ha": "center", "va": "center", "bbox": background} | options)

    out, into = shape
    stored = r"dequant(NF4($W_0$))" if picture.four_bit else "$W_0$"
    box(0, 0, width, height, label="frozen, kept as 4-bit codes" if picture.four_bit else "frozen", **frozen)
    write(width / 2, height / 2, f"{stored}\n{out} × {into}")
    operator = r"$\odot\;\;(\,1\;+$" if picture.multiplied else r"$+\;\;s\;\cdot$"
    write(width + 0.28, height * (0.6 if picture.gated else 0.5), operator, fontsize=15, bbox=None)
    numbers = method.trained_numbers(out, into, settings)
    box(edge, 0, thin, height, label=f"trained: {numbers:,} numbers", **trained)
    box(left, -gap - thin, width, thin, **trained)
    write(edge - 0.08, height / 2, f"$B$   {out} × {rank}", rotation=90, bbox=None)
    write(left + width / 2, -0.12, f"$A$   {rank} × {into}", bbox=None)
    box(left, 0, width, height, label=f"product, of rank at most {rank}", ls="--", **empty)
    product = r"$B\,\mathrm{diag}(g)\,A$" if picture.gated else "$BA$"
    write(left + width / 2, height / 2, f"{product}\n{out} × {into}")
    if picture.multiplied:
        write(left + width + 0.08, height / 2, "$)$", fontsize=15, bbox=None)
    if picture.magnitude:
        box(-0.16, 0, 0.02, height, label="trained: the length of every row", **trained)
        write(-0.23, height / 2, f"$m$   {out}", rotation=90, bbox=None)
        write(-0.06, height / 2, "$(\\|$", fontsize=15, bbox=None)
        write(left + width + 0.08, height / 2, "$\\|)$", fontsize=15, bbox=None)
    if picture.gated:  # diag(g) fills the corner between B and A, too small to see: it is drawn again, magnified
        side = 0.36
        start, cell = width + 0.08, side / rank
        box(edge, -gap - thin, thin, thin, **empty)
        axis.plot([start, edge], [0, -gap - thin], [start + side, edge + thin], [side, -gap], color="black", lw=0.5)
        box(start, 0, side, side, **empty)
        for index in range(rank):
            shut = index % 4 == 3  # any would do
            label = {0: "gate, trained", 3: "gate that is zero"}.get(index)
            style = {**empty, "hatch": "xxxxxx"} if shut else trained
            box(start + index * cell, index * cell, cell, cell, label=label, **style)
        write(start + side / 2, -0.12, f"diag$(g)$   {rank} × {rank}", bbox=None)
    return _with_legend(figure)
