"""Every figure of the book, in one style: a colour-blind palette, distinct markers, axes with units."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from course_utils.methods import METHODS
from course_utils.methods.base import Method

WIDTH = 6.3  # inches: the text width of the PDF

STYLE = {
    "figure.dpi": 110,
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


def _figure(rows: int = 1, columns: int = 1, height: float = 2.8, **options):
    plt.rcParams.update(STYLE)
    return plt.subplots(rows, columns, figsize=(WIDTH, height), **options)


def _line(method: Method) -> dict:
    return {"color": method.color, "marker": method.marker, "label": method.title}


def rating_histogram(ratings: pd.Series, threshold: float, title: str) -> Figure:
    """Distribution of the mean human `ratings`; the band that gets no label is shaded."""
    figure, axis = _figure()
    sns.histplot(x=ratings, bins=np.arange(-4, 4.01, 0.25), color="#0072b2", ax=axis)
    axis.axvspan(-threshold, threshold, color="#7f7f7f", alpha=0.3, label="no label")
    axis.set(title=title, xlabel="mean rating (−4 very negative … +4 very positive)", ylabel="sentences")
    axis.legend()
    return figure


def length_histogram(lengths: dict[str, np.ndarray], title: str) -> Figure:
    """Share of sentences by their number of tokens, a line a set."""
    figure, axis = _figure()
    markers = "o^sDvPX*"
    for (name, values), color, marker in zip(
        lengths.items(), sns.color_palette("colorblind"), markers, strict=False
    ):
        bins = np.arange(0, 81, 5)
        share, _ = np.histogram(np.clip(values, 0, 79), bins)
        axis.plot(bins[:-1] + 2.5, share / len(values), color=color, marker=marker, ms=4, label=name)
    axis.set(title=title, xlabel="tokens in a sentence", ylabel="share of the set")
    axis.legend()
    return figure


def training_curves(histories: dict[int, pd.DataFrame], method: Method, title: str) -> Figure:
    """Training loss by step, and validation accuracy after each epoch, a line a seed."""
    figure, (left, right) = _figure(1, 2)
    for seed, history in histories.items():
        smooth = history["loss"].ewm(span=10).mean()
        left.plot(history["step"], smooth, color=method.color, alpha=0.4 + 0.6 * (seed == 0), lw=1)
        epochs = history.dropna(subset=["validation_accuracy"])
        right.plot(
            epochs["epoch"], 100 * epochs["validation_accuracy"], color=method.color, marker=method.marker,
            alpha=0.4 + 0.6 * (seed == 0), label=f"seed {seed}",
        )  # fmt: skip
    left.set(title=title, xlabel="step", ylabel="training loss (nats)")
    right.set(xlabel="epoch", ylabel="validation accuracy (%)")
    right.locator_params(axis="x", integer=True)
    right.legend()
    return figure


def spectra(values: dict[str, np.ndarray], title: str, colors: dict[str, str] | None = None) -> Figure:
    """Singular values (logarithmic) by their index, a line an entry of `values`."""
    figure, axis = _figure()
    styles = ["-", "--", ":", "-."]
    for index, (name, series) in enumerate(values.items()):
        color = (colors or {}).get(name, sns.color_palette("colorblind")[index])
        series = np.asarray(series)
        series = series[series > 1e-7 * series[0]]
        axis.semilogy(np.arange(1, len(series) + 1), series, styles[index % 4], color=color, label=name)
    axis.set(title=title, xlabel="index of the singular value", ylabel="singular value")
    axis.legend()
    return figure


def layer_bars(values: pd.Series, title: str, ylabel: str, color: str, ceiling: float | None = None) -> Figure:
    """One bar a layer; `ceiling` draws the value that a layer could have had."""
    figure, axis = _figure()
    axis.bar(values.index.astype(str), values, color=color)
    if ceiling is not None:
        axis.axhline(ceiling, color="black", lw=1, ls="--")
    axis.set(title=title, xlabel="layer", ylabel=ylabel)
    axis.tick_params(axis="x", rotation=45)
    axis.grid(axis="x", visible=False)
    return figure


def gate_history(histories: dict[int, pd.DataFrame], trained_ranks: int, method: Method, title: str) -> Figure:
    """Gates that are not zero by step, a line a seed, out of `trained_ranks`."""
    figure, axis = _figure()
    for seed, history in histories.items():
        axis.plot(
            history["step"], history["active_ranks"], color=method.color,
            alpha=0.4 + 0.6 * (seed == 0), label=f"seed {seed}",
        )  # fmt: skip
    axis.set(title=title, xlabel="step", ylabel="ranks with a gate ≠ 0", ylim=(0, trained_ranks * 1.05))
    axis.axhline(trained_ranks, color="black", lw=1, ls="--")
    axis.legend()
    return figure


def byte_bars(parts: pd.DataFrame, title: str) -> Figure:
    """Stacked horizontal bars: a row of `parts` each, its columns in MB side by side."""
    figure, axis = _figure(height=0.6 + 0.45 * len(parts))
    left = np.zeros(len(parts))
    for name, color in zip(parts.columns, sns.color_palette("colorblind"), strict=False):
        axis.barh(parts.index, parts[name], left=left, color=color, label=name, edgecolor="white")
        left += parts[name].to_numpy()
    axis.set(title=title, xlabel="megabytes (10⁶ bytes)")
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, -0.75), ncols=len(parts.columns))
    return figure


def intervals(
    table: pd.DataFrame, title: str, xlabel: str, reference: float | None = None, reference_label: str = ""
) -> Figure:
    """Point and interval a method: `table` has columns method (a name), estimate, low, high, in per cent."""
    figure, axis = _figure(height=0.9 + 0.32 * len(table))
    for row, (_, entry) in enumerate(table.iterrows()):
        method = METHODS[entry["method"]]
        axis.plot([entry["low"], entry["high"]], [row, row], color=method.color, lw=1.5)
        axis.plot(entry["estimate"], row, marker=method.marker, color=method.color, ms=7)
    if reference is not None:
        axis.axvline(reference, color="black", lw=1, ls="--")
        axis.annotate(
            reference_label, (reference, 1), xycoords=("data", "axes fraction"), xytext=(3, 2),
            textcoords="offset points", fontsize=8,
        )  # fmt: skip
    axis.set_yticks(range(len(table)), [METHODS[name].title for name in table["method"]])
    axis.set(title=title, xlabel=xlabel, ylim=(len(table) - 0.5, -0.5))
    return figure


def cost_scatter(table: pd.DataFrame, columns: dict[str, str], title: str) -> Figure:
    """Accuracy (%) with its interval against each cost: `columns` maps a column of `table` to its axis label."""
    figure, axes = _figure(1, len(columns), sharey=True, squeeze=False)
    for axis, (column, label) in zip(axes[0], columns.items(), strict=True):
        for _, entry in table.iterrows():
            method = METHODS[entry["method"]]
            span = [[entry["estimate"] - entry["low"]], [entry["high"] - entry["estimate"]]]
            axis.errorbar(entry[column], entry["estimate"], yerr=span, ls="", ms=6, **_line(method))
        axis.set(xlabel=label)
        if table[column].min() > 0 and table[column].max() / table[column].min() > 20:
            axis.set_xscale("log")
    axes[0][0].set(ylabel="test accuracy (%)")
    axes[0][0].set_title(title)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def accuracy_by_set(table: pd.DataFrame, title: str) -> Figure:
    """Accuracy (%) of every method on every set: `table` has columns set, method (a name), accuracy."""
    figure, axis = _figure()
    sets = list(dict.fromkeys(table["set"]))
    names = [name for name in METHODS if name in set(table["method"])]
    for index, name in enumerate(names):
        rows = table[table["method"] == name].set_index("set").reindex(sets)
        offset = (index - (len(names) - 1) / 2) * 0.1
        axis.plot(np.arange(len(sets)) + offset, rows["accuracy"], ls="", ms=6, **_line(METHODS[name]))
    axis.set_xticks(range(len(sets)), sets)
    axis.set(title=title, ylabel="accuracy (%)")
    axis.grid(axis="x", visible=False)
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def quantisation_levels(values: np.ndarray, levels: np.ndarray, title: str) -> Figure:
    """Distribution of weights divided by their block's maximum, with the levels that 4 bits can name."""
    figure, axis = _figure()
    axis.hist(values, bins=np.linspace(-1, 1, 81), density=True, color="#0072b2", alpha=0.7, label="weights")
    for index, level in enumerate(levels):
        axis.axvline(level, color="black", lw=1, label="levels" if index == 0 else None)
    axis.set(title=title, xlabel="weight divided by the largest magnitude of its block", ylabel="density")
    axis.legend()
    return figure
