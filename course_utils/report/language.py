"""The report of an experiment on language models: one chapter, made from its runs; the notebooks classify texts."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from course_utils.comparison.baselines import title_of
from course_utils.comparison.language import (
    as_markdown,
    base_interval,
    bits_of_runs,
    comparison_of_bits,
    in_four_bits_sentence,
    interval_of,
    judge_bits,
    sentence_of_best,
    sentence_of_seeds,
    signed,
)
from course_utils.comparison.learning_rates import search_sentences, search_trials
from course_utils.comparison.tables import ExperimentRuns
from course_utils.methods import METHODS
from course_utils.report import plots
from course_utils.report.display import drawn
from course_utils.text import escape_markdown

FIGURE = "bits.svg"


def language_chapter(results: ExperimentRuns, folder: Path) -> str:
    """The comparison of an experiment's language models as a chapter, Markdown; its figure is written to `folder`."""
    opening, rest = comparison_of_bits(results, _table).split("\n\n## ", 1)
    return "\n\n".join([opening, _figure(results, folder), _search(results), f"## {rest}"])


def language_front(results: ExperimentRuns) -> dict[str, str]:
    """The finding on the title page, and the abstract."""
    shares = bits_of_runs(results)
    before = bits_of_runs(results, column="scores_before")
    margin, pairs = judge_bits(shares)
    finding = sentence_of_best(pairs, shares)
    first = results.first_of_each()[0]
    changes = {name: signed(interval_of(own - before[name])) for name, own in shares.items()}
    said = "; ".join(f"{METHODS[name].title} {change}" for name, change in changes.items())
    base, sizes = escape_markdown(first.config.base.facts.name), first.result.data.sizes
    abstract = (
        f"{base} is trained on {sizes['train']:,} texts to predict the next token, and is judged by its bits per byte"
        f" on {sizes['test']:,} other texts. Before training, these are {base_interval(results).estimate:.4f}."
        f" The change by method, with 95% intervals: {said}.{in_four_bits_sentence(results)} The margin of equivalence"
        f" is {margin:.4f} bits per byte. {finding}"
    )
    if pairs:
        abstract += f" {sentence_of_seeds(shares)}"
    return {"finding": finding, "abstract": abstract}


def _table(frame: pd.DataFrame, caption: str) -> str:
    return f"::::: table\n{as_markdown(frame)}\n\n{caption}\n:::::"


def _figure(results: ExperimentRuns, folder: Path) -> str:
    base = base_interval(results)
    found = {name: interval_of(shares) for name, shares in bits_of_runs(results).items()}
    table = pd.DataFrame({"method": name, **vars(interval)} for name, interval in found.items())
    figure = plots.intervals(table, "Bits per byte by method", "bits per byte; fewer are better", base.estimate)
    (folder / FIGURE).write_bytes(drawn(figure, "svg"))
    plots.plt.close(figure)
    listed = "; ".join(f"{METHODS[name].title} {own.estimate:.3f}" for name, own in found.items())
    caption = "Bits per byte on the test set, with 95% intervals. The dashed line is the base model before training."
    alt = f"Bits per byte: {listed}. The base model: {base.estimate:.3f}."
    return f"::::: figure\n![{alt}]({FIGURE})\n\n{caption}\n:::::"


def _search(results: ExperimentRuns) -> str:
    """What the search for learning rates found, as a section; a sentence where the experiment has none."""
    heading, trials = "## Learning rates", search_trials(results)
    if trials.empty:
        return f"{heading}\n\nThis experiment has no finished trial of a search; its rates are those of its profile."
    trials["shown"] = [
        f"{trial.learning_rate:g}: {trial.bits_per_byte:.4f}{' (best)' if trial.best else ''}"
        for trial in trials.itertuples()
    ]
    by_method = trials.groupby("method")["shown"].agg("; ".join).reindex(METHODS).dropna()
    table = by_method.rename(index=title_of).rename_axis("Method").reset_index(name="Rate: bits per byte")
    caption = "What a run at each learning rate reached on the validation texts, which alone choose the rate."
    return "\n\n".join([heading, _table(table, caption), " ".join(search_sentences(trials, results.experiment))])
