"""The paired comparison of language models: bits per byte of every method, and what it forgot of other domains."""

from collections import defaultdict
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from course_utils import stats
from course_utils.comparison.conclusions import against, p_in_words
from course_utils.comparison.results import ExperimentRuns, evaluation_sets
from course_utils.methods import METHODS
from course_utils.tasks.language_modelling import LANGUAGE_METRICS, bits_of_texts
from course_utils.text import escape_markdown, signed_number

BITS_PER_BYTE = LANGUAGE_METRICS["bits_per_byte"]
IN_WORDS = {"above": "different", "below": "different", "equivalent": "equivalent", "open": "inconclusive"}  # verdicts


@lru_cache(maxsize=32)  # every table, figure and sentence asks for some of them
def bits_of_runs(results: ExperimentRuns, of: str = "test", column: str = "scores") -> dict[str, pd.DataFrame]:
    """Method → every text's share in the bits per byte on the set `of`: a row a seed, a column a text.

    The mean of a row is a run's bits per byte. With the `column` "scores_before" the shares are those of the plain base
    model, also of a method that trains beside a copy in four bits. Methods without a usable main run are left out.
    """
    shares: dict[str, dict[int, pd.Series]] = {}
    for method in results.experiment.methods:
        for run in results.of(method):
            table = run.predictions()
            rows = table[table["set"] == of].set_index("example_id").sort_index()
            scores = np.stack(rows[column].to_list())
            shares.setdefault(method, {})[run.config.seed] = pd.Series(
                bits_of_texts(scores, rows["bytes"].to_numpy()), index=rows.index
            )
    return {method: pd.DataFrame(seeds).T for method, seeds in shares.items()}


def judge_bits(shares: Mapping[str, pd.DataFrame]) -> tuple[float, list[stats.PairedComparison]]:
    """The margin of equivalence in bits per byte, and the comparison of every two methods with enough seeds.

    `shares` are those of `bits_of_runs`. The margin is the difference that two runs which differ in the seed alone
    stay within in 95% of cases, by the mean variance of all methods (`stats.equivalence_margin`): texts have no labels,
    and so no raters.
    """
    enough = stats.with_enough_seeds(shares)
    margin = stats.equivalence_margin(enough)
    return margin, stats.compare_pairs(enough, margin)


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
                signed_number(interval_of(shares - before[method])),
                _perplexity([run.result.metrics for run in runs]),
                f"{np.mean([run.result.parameters.trainable for run in runs]) / 1e3:,.1f}",
                f"{np.mean([run.result.bytes.adapter for run in runs]) / 1e6:,.2f}",
                f"{np.median([run.result.timing.step_ms_median for run in runs]):,.0f}",
            ]
        )
    return pd.DataFrame(rows, columns=columns).fillna("–")


def changes_elsewhere(results: ExperimentRuns) -> dict[str, dict[str, stats.Interval]]:
    """Method → title of a set of another domain, as Markdown → the change in bits per byte against the base model.

    Above zero, a method needs more bits: it forgot, or lost precision in four bits. 95% intervals draw seeds and texts.
    """
    found: dict[str, dict[str, stats.Interval]] = {}
    for of, title in [*evaluation_sets(results).items()][1:]:
        before = bits_of_runs(results, of, "scores_before")
        for method, shares in bits_of_runs(results, of).items():
            found.setdefault(method, {})[escape_markdown(title)] = interval_of(shares - before[method])
    return found


def change_by_domain(results: ExperimentRuns) -> pd.DataFrame:
    """`changes_elsewhere` as they are printed: a row a method, a column a set."""
    return pd.DataFrame(
        {"Method": METHODS[method].title} | {title: signed_number(change) for title, change in changes.items()}
        for method, changes in changes_elsewhere(results).items()
    )


def pairs_table(pairs: list[stats.PairedComparison]) -> pd.DataFrame:
    """The comparisons of `judge_bits` as they are printed."""
    return pd.DataFrame(
        [
            {
                "First": METHODS[pair.first].title,
                "Second": METHODS[pair.second].title,
                "First − second": signed_number(pair.difference),
                "p (Holm)": p_in_words(pair.p_holm),
                "Verdict": IN_WORDS[pair.verdict],
            }
            for pair in pairs
        ]
    )


class Best(NamedTuple):
    """The method with the lowest mean of bits per byte, and verdict on this method less another → such others."""

    name: str
    against: dict[str, list[str]]


def best_of(shares: Mapping[str, pd.DataFrame], pairs: list[stats.PairedComparison]) -> Best | None:
    """The best of the compared methods, `shares` and `pairs` as in `judge_bits`; None where no two are compared."""
    compared = dict.fromkeys(name for pair in pairs for name in (pair.first, pair.second))
    if not compared:
        return None
    best, found = min(compared, key=lambda name: shares[name].to_numpy().mean()), defaultdict[str, list[str]](list)
    for pair in against(pairs, best):
        found[pair.verdict].append(pair.second)
    return Best(best, found)


def base_interval(results: ExperimentRuns) -> stats.Interval:
    """Bits per byte of the base model as it was on the test set, with texts as the sample."""
    return interval_of(next(iter(bits_of_runs(results, column="scores_before").values()))[:1])


def interval_of(shares: pd.DataFrame) -> stats.Interval:
    """The mean of `shares`, a row a seed and a column a text, with its 95% interval."""
    return stats.CrossedBootstrap.draw(*shares.shape).mean_interval(shares.to_numpy(float))


def _perplexity(metrics: list[Any]) -> str:
    """The mean perplexity on the test set of the `metrics` that runs recorded."""
    return f"{np.mean([of_sets['test'].perplexity for of_sets in metrics]):.2f}"
