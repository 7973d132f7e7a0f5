"""The paired comparison of language models: bits per byte of every method, and what it forgot of other domains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from course_utils.comparison.conclusions import MINIMUM_SEEDS, p_in_words
from course_utils.comparison.tables import ExperimentRuns, evaluation_sets
from course_utils.config import command_of
from course_utils.errors import CourseError
from course_utils.methods import METHODS
from course_utils.runs import Run
from course_utils.stats import CrossedBootstrap, Interval, PairedComparison, compare_pairs, equivalence_margin
from course_utils.tasks.language_modelling import LANGUAGE_METRICS, bits_of_texts
from course_utils.text import and_joined, counted, escape_markdown

BITS_PER_BYTE = LANGUAGE_METRICS["bits_per_byte"]


@lru_cache(maxsize=32)  # every table, figure and sentence asks for some of them
def bits_of_runs(results: ExperimentRuns, of: str = "test", column: str = "scores") -> dict[str, pd.DataFrame]:
    """Method → every text's share in the bits per byte on the set `of`: a row a seed, a column a text.

    The mean of a row is a run's bits per byte. With the `column` "scores_before" the shares are those of the plain base
    model, also of a method that trains beside a copy in four bits. Methods without a usable main run are left out.
    """
    shares: dict[str, dict[int, pd.Series]] = {}
    for method in results.experiment.methods:
        for run in results.of(method):
            rows = _rows(run, of)
            scores = np.stack(rows[column].to_list())
            shares.setdefault(method, {})[run.config.seed] = pd.Series(
                bits_of_texts(scores, rows["bytes"].to_numpy()), index=rows.index
            )
    return {method: pd.DataFrame(seeds).T for method, seeds in shares.items()}


def judge_bits(shares: Mapping[str, pd.DataFrame]) -> tuple[float, list[PairedComparison]]:
    """The margin of equivalence in bits per byte, and the comparison of every two methods with enough seeds.

    `shares` are those of `bits_of_runs`. The margin is the difference that two runs which differ in the seed alone
    stay within in 95% of cases, by the mean variance of all methods (`stats.equivalence_margin`): texts have no labels,
    and so no raters.
    """
    enough = {method: frame for method, frame in shares.items() if len(frame) >= MINIMUM_SEEDS}
    margin = equivalence_margin(enough)
    return margin, compare_pairs(enough, margin)


def language_summary(results: ExperimentRuns) -> pd.DataFrame:
    """A row for the base model and for every method with runs, as it is printed; 95% intervals draw seeds and texts."""
    after, before = bits_of_runs(results), bits_of_runs(results, column="scores_before")
    first = results.first_of_each()[0]
    columns = ["Model", "Seeds", "Bits per byte", "Change", "Perplexity", "Kept (k)", "Stored (MB)", "Step (ms)"]
    base = BITS_PER_BYTE.exact_interval(base_interval(results))
    rows = [[escape_markdown(first.config.base.facts.name), "–", base, "–", _perplexity([first.result.metrics_before])]]
    for method, shares in after.items():
        runs = results.of(method)
        rows.append(
            [
                METHODS[method].title,
                str(len(runs)),
                BITS_PER_BYTE.exact_interval(interval_of(shares)),
                signed(interval_of(shares - before[method])),
                _perplexity([run.result.metrics for run in runs]),
                f"{np.mean([run.result.parameters.trainable for run in runs]) / 1e3:,.1f}",
                f"{np.mean([run.result.bytes.adapter for run in runs]) / 1e6:,.2f}",
                f"{np.median([run.result.timing.step_ms_median for run in runs]):,.0f}",
            ]
        )
    return pd.DataFrame(rows, columns=columns).fillna("–")


def changes_elsewhere(results: ExperimentRuns) -> dict[str, dict[str, Interval]]:
    """Method → title of a set of another domain, as Markdown → the change in bits per byte against the base model.

    Above zero, a method needs more bits: it forgot, or lost precision in four bits. 95% intervals draw seeds and texts.
    """
    found: dict[str, dict[str, Interval]] = {}
    for of, title in [*evaluation_sets(results).items()][1:]:
        before = bits_of_runs(results, of, "scores_before")
        for method, shares in bits_of_runs(results, of).items():
            found.setdefault(method, {})[escape_markdown(title)] = interval_of(shares - before[method])
    return found


def change_by_domain(results: ExperimentRuns) -> pd.DataFrame:
    """`changes_elsewhere` as they are printed: a row a method, a column a set."""
    return pd.DataFrame(
        {"Method": METHODS[method].title} | {title: signed(change) for title, change in changes.items()}
        for method, changes in changes_elsewhere(results).items()
    )


def forgetting_sentence(results: ExperimentRuns) -> str:
    """On which sets of other domains each method is shown to forget, and on which to gain."""
    said = []
    for method, changes in changes_elsewhere(results).items():
        forgot = [title for title, change in changes.items() if change.low > 0]
        gained = [title for title, change in changes.items() if change.high < 0]
        kinds = [f"needs more bits than before on {and_joined(forgot)}"] if forgot else []
        kinds += [f"needs fewer bits than before on {and_joined(gained)}"] if gained else []
        said.append(f"{METHODS[method].title} {' and '.join(kinds) or 'is not shown to change on any set'}")
    return f"Judged by the interval of each change alone: {'; '.join(said)}."


def pairs_table(pairs: list[PairedComparison]) -> pd.DataFrame:
    """The comparisons of `judge_bits` as they are printed."""
    return pd.DataFrame(
        [
            {
                "First": METHODS[pair.first].title,
                "Second": METHODS[pair.second].title,
                "First − second": signed(pair.difference),
                "p (Holm)": p_in_words(pair.p_holm),
                "Verdict": _verdict(pair),
            }
            for pair in pairs
        ]
    )


def _verdict(pair: PairedComparison) -> str:
    return "different" if pair.differs else "equivalent" if pair.equivalent else "inconclusive"


Written = Callable[[pd.DataFrame, str], str]  # a table and its caption, as Markdown


def comparison_of_bits(results: ExperimentRuns, table: Written | None = None) -> str:
    """The comparison of an experiment's main runs as Markdown; CourseError where there is none yet.

    `table` writes a table under its caption; by default the caption is a paragraph before it.
    """
    table = table or _captioned
    shares = bits_of_runs(results)
    if not shares:
        experiment = results.experiment
        raise CourseError(f"{experiment.name} has no finished run; type {command_of(experiment)}.")
    margin, pairs = judge_bits(shares)
    first = results.first_of_each()[0]
    sizes, base = first.result.data.sizes, escape_markdown(first.config.base.facts.name)
    few = [METHODS[method].title for method, frame in shares.items() if len(frame) < MINIMUM_SEEDS]
    missing = sum(run.config.study == "main" for run in results.missing)
    parts = [
        f"# Language modelling: {results.experiment.name}",
        f"{base} is trained on {sizes['train']:,} texts to predict the next token, and is judged on the"
        f" {sizes['test']:,} texts of the set *{escape_markdown(first.result.data.titles['test'])}*."
        f" Bits per byte are Σ nll / (ln 2 · Σ bytes of UTF-8); fewer are better. Perplexity is that of a token of the"
        f" tokenizer of {base}.",
        table(
            language_summary(results),
            "Bits per byte on the test set with 95% intervals that draw seeds and texts (of the base model, texts"
            " alone), and their change against the base model before training. *Kept (k)*: thousands of parameters"
            " that were trained and kept. *Stored*: what a file of them takes. *Step*: the median training step."
            f"{in_four_bits_sentence(results)}",
        ),
        "## Differences",
        sentence_of_best(pairs, shares),
    ]
    if pairs:
        parts += [
            f"The margin of equivalence is {margin:.4f} bits per byte: by the mean variance between the seeds of all"
            " methods, two runs that differ in their seed alone should stay within it in 95% of cases. Intervals"
            " are simultaneous; p-values are adjusted by Holm"
            f" over {counted(len(pairs), 'pair')}; seeds and texts are both samples. {sentence_of_seeds(shares)}",
            table(pairs_table(pairs), "Differences in bits per byte; below zero, the first method is better."),
        ]
    if few:
        parts.append(f"No difference is judged for methods with fewer than {MINIMUM_SEEDS} seeds: {and_joined(few)}.")
    if missing:
        parts.append(f"Planned main runs that are missing or cannot be used: {missing}.")
    if len(evaluation_sets(results)) > 1:
        parts += [
            "## Forgetting",
            forgetting_sentence(results),
            table(
                change_by_domain(results),
                "Change in bits per byte against the base model on texts of other domains, with 95% intervals. Above"
                f" zero, more bits are needed than before.{in_four_bits_sentence(results)}",
            ),
        ]
    return "\n\n".join(parts) + "\n"


def in_four_bits_sentence(results: ExperimentRuns) -> str:
    """What a change holds beside training for the methods whose base model is in four bits; empty without such."""
    copies = [run.method.title for run in results.first_of_each() if run.in_four_bits]
    if not copies:
        return ""
    trains = "trains" if len(copies) == 1 else "train"
    return (
        f" {and_joined(copies)} {trains} beside a copy of the base model in four bits, and the change is against the"
        " base model as it is: it holds the loss of quantisation and what training changed."
    )


def sentence_of_seeds(shares: Mapping[str, pd.DataFrame]) -> str:
    """Whose seeds lie farthest apart, and that this counts in every pair."""
    spread = {name: frame.mean(axis=1).std() for name, frame in shares.items() if len(frame) >= MINIMUM_SEEDS}
    widest = max(spread, key=lambda name: spread[name])
    others = max(own for name, own in spread.items() if name != widest)
    return (
        f"The seeds of {METHODS[widest].title} lie farthest apart: their standard deviation is {spread[widest]:.4f},"
        f" and at most {others:.4f} for another method. Every pair is judged by its own variance between seeds or by"
        " the mean of all pairs, whichever is larger; so one method whose seeds lie far apart widens all intervals."
    )


def _captioned(frame: pd.DataFrame, caption: str) -> str:
    return f"{caption}\n\n{as_markdown(frame)}"


def signed(interval: Interval) -> str:
    """A difference in bits per byte: "−0.0312 [−0.0401, −0.0224]"."""
    low, high = interval.ends
    return f"{interval.estimate:+.4f} [{low:+.4f}, {high:+.4f}]".replace("-", "−")


def sentence_of_best(pairs: list[PairedComparison], shares: Mapping[str, pd.DataFrame]) -> str:
    """Which method has the lowest mean of bits per byte, and from which others it is shown to differ."""
    if not pairs:
        return f"Fewer than two methods have {MINIMUM_SEEDS} finished seeds that they share, so nothing is concluded."
    compared = dict.fromkeys(name for pair in pairs for name in (pair.first, pair.second))
    best = min(compared, key=lambda name: shares[name].to_numpy().mean())
    against = [pair if pair.first == best else pair.swapped() for pair in pairs if best in (pair.first, pair.second)]
    kinds = {
        "different": "shown to be below that of",
        "equivalent": "equivalent to that of",
        "inconclusive": "not shown to differ from that of",
    }
    others = {kind: [METHODS[pair.second].title for pair in against if _verdict(pair) == kind] for kind in kinds}
    said = [f"{relation} {and_joined(others[kind])}" for kind, relation in kinds.items() if others[kind]]
    return f"{METHODS[best].title} has the lowest mean of bits per byte. Its mean is {'; '.join(said)}."


def _rows(run: Run, of: str) -> pd.DataFrame:
    frame = run.predictions()
    return frame[frame["set"] == of].set_index("example_id").sort_index()


def base_interval(results: ExperimentRuns) -> Interval:
    """Bits per byte of the base model as it was on the test set, with texts as the sample."""
    return interval_of(next(iter(bits_of_runs(results, column="scores_before").values()))[:1])


def interval_of(shares: pd.DataFrame) -> Interval:
    """The mean of `shares`, a row a seed and a column a text, with its 95% interval."""
    return CrossedBootstrap.draw(*shares.shape).mean_interval(shares.to_numpy(float))


def _perplexity(metrics: list[Any]) -> str:
    """The mean perplexity on the test set of the `metrics` that runs recorded."""
    return f"{np.mean([of_sets['test'].perplexity for of_sets in metrics]):.2f}"


def as_markdown(table: pd.DataFrame) -> str:
    """A frame of text as a table of Markdown."""
    lines = [list(table.columns), ["--"] * len(table.columns), *table.to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
