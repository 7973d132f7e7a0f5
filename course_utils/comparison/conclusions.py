"""The conclusions that the statistics allow: what differs, what is equivalent, and what stays open."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

from course_utils import stats
from course_utils.comparison.agreement import variance_by_raters
from course_utils.comparison.axes import of_verdict
from course_utils.comparison.baselines import BASELINES, FITTED, MAJORITY, title_of
from course_utils.comparison.results import ExperimentRuns, MissingRun
from course_utils.comparison.robustness import seeds_apart, tuned
from course_utils.comparison.tables import by_method
from course_utils.methods import FLOOR, METHODS
from course_utils.text import counted, in_sentence, margin_points, signed_points, template

SIMULATED_SEEDS = (3, 5)
SPREADS = (1.0, 3.0)  # of seeds, in multiples of the observed spread


@dataclass(frozen=True)
class Judgement:
    """What the answers of an experiment's methods allow one to conclude, before it is put into words."""

    seeds: dict[str, int]  # of every method that has a run
    adapters: list[str]  # the adapter methods with enough seeds
    baselines: list[str]  # likewise
    best: str  # the most accurate adapter method; of those with few seeds where none has enough; empty where none ran
    accuracy: float  # mean accuracy of `best`
    margin: float  # within which two methods are equivalent
    pairs: list[stats.PairedComparison]  # of all methods with enough seeds

    @property
    def few(self) -> list[str]:
        """The methods with too few seeds."""
        return [name for name, seeds in self.seeds.items() if seeds < stats.MINIMUM_SEEDS]

    @property
    def not_compared(self) -> list[tuple[str, str]]:
        """Every two methods with enough seeds that share too few of them to be compared."""
        compared = {(pair.first, pair.second) for pair in self.pairs}
        enough = [name for name in self.seeds if name not in self.few]
        return [pair for pair in combinations(enough, 2) if pair not in compared]

    @property
    def among_adapters(self) -> list[stats.PairedComparison]:
        """The comparisons of two adapter methods."""
        return [pair for pair in self.pairs if {pair.first, pair.second} <= set(self.adapters)]

    def against(self, first: str, others: Collection[str]) -> list[stats.PairedComparison]:
        """The comparisons of the method `first` with those of `others`: first less other."""
        return [pair for pair in against(self.pairs, first) if pair.second in others]


def against(pairs: Iterable[stats.PairedComparison], first: str) -> list[stats.PairedComparison]:
    """Those of `pairs` that compare the method `first`: first less other."""
    turned = (pair if pair.first == first else pair.swapped() for pair in pairs)
    return [pair for pair in turned if pair.first == first]


def differing(pairs: Iterable[stats.PairedComparison]) -> list[stats.PairedComparison]:
    """Those of `pairs` that are shown to differ, the better method first; head only is left out."""
    return [pair.better_first() for pair in tuned(pairs) if pair.differs]


def judge(correct: Mapping[str, pd.DataFrame], by_raters: float = 0.0) -> Judgement:
    """Judge methods by their answers: `correct` maps a method to booleans (seeds, sentences).

    `by_raters` is the variance that other raters would give to an accuracy.
    """
    accuracy = {name: float(frame.to_numpy().mean()) for name, frame in correct.items()}
    enough = stats.with_enough_seeds(correct)
    adapters = [name for name in correct if not METHODS[name].is_baseline]
    judged = [name for name in adapters if name in enough]
    margin = stats.equivalence_margin(enough, by_raters)
    best = max(judged or adapters, key=lambda name: accuracy[name], default="")
    return Judgement(
        seeds={name: len(frame) for name, frame in correct.items()},
        adapters=judged,
        baselines=[name for name in enough if name not in adapters],
        best=best,
        accuracy=accuracy.get(best, 0.0),
        margin=margin,
        pairs=stats.compare_pairs(enough, margin),
    )


@cache
def judge_experiment(results: ExperimentRuns) -> Judgement:
    """`judge` the main runs of an experiment on the test set."""
    return judge(results.predictions.correct, variance_by_raters(results))


def experiment_verdicts(results: ExperimentRuns) -> list[str]:
    """The verdicts on the test set of the main runs that are there, and what fine-tuning gains."""
    missing = [run for run in results.missing if run.config.study == "main"]
    told = verdicts(results.predictions.correct, missing, variance_by_raters(results))
    return told + bought_sentences(results)


def above_majority(results: ExperimentRuns) -> dict[str, float]:
    """Accuracy of the fitted baselines whose 95% interval on the test texts lies above the majority class."""
    rows = by_method(results)
    fitted = [name for name, baseline in BASELINES.items() if baseline in FITTED and name in rows.index]
    least = rows["accuracy"].get(MAJORITY.name)
    return {name: rows.loc[name, "accuracy"] for name in fitted if rows.loc[name, "accuracy_low"] > least}


@dataclass(frozen=True)
class Bought:
    """What fine-tuning has over a baseline without it: the comparison, method less baseline, and seconds of both."""

    pair: stats.PairedComparison
    seconds: float
    seconds_of_baseline: float


@cache  # the sentences, the abstract and the advice ask for it
def over_baselines(results: ExperimentRuns) -> list[stats.PairedComparison]:
    """Every method with enough seeds against every fitted baseline on the test texts, as one family.

    A baseline has no seeds: every seed of the method is compared with the same answers.
    """
    found = results.predictions
    fitted = {name: own for name, own in found.correct_baselines.items() if BASELINES[name] in FITTED}
    return stats.compare_with_fixed(stats.with_enough_seeds(found.correct), fitted)


def bought(results: ExperimentRuns) -> list[Bought]:
    """The most accurate method that trains more than a head, against every fitted baseline: of `over_baselines`.

    Empty where no such method has enough seeds.
    """
    names = dict.fromkeys(pair.first for pair in over_baselines(results) if pair.first != FLOOR.name)
    correct, seconds = results.predictions.correct, by_method(results)["train_seconds"]
    best = max(names, key=lambda name: correct[name].to_numpy().mean(), default="")
    pairs = [pair for pair in over_baselines(results) if pair.first == best]
    return [Bought(pair, seconds[best], seconds[pair.second]) for pair in pairs]


def bought_sentences(results: ExperimentRuns) -> list[str]:
    """What `bought` says of the cost and the gain of fine-tuning, on one line; no line where it is empty."""
    text = template(Path(__file__).with_name("bought.txt.jinja"), OF_CONTRASTS).render(bought=bought(results))
    return [line for line in text.splitlines() if line]


def unsized(pair: stats.Judged) -> str:
    """What a sentence on a difference adds where its size is not shown."""
    return "; which of the two is more accurate is shown, but not by how much" if pair.unsized else ""


def verdicts(
    correct: Mapping[str, pd.DataFrame], missing: Sequence[MissingRun] = (), by_raters: float = 0.0
) -> list[str]:
    """What may be said of methods with these answers, in sentences; arguments as `judge` takes them.

    For an inconclusive pair the sentence says which differences the design would have detected. The last sentences give
    the design's power, and how often the rule finds a difference where there is none. A method with fewer than three
    seeds is left out of every conclusion, and a sentence says so.
    """
    judged = judge(correct, by_raters)
    told = tuned(judged.pairs) or judged.pairs
    filters = OF_CONTRASTS | {"sight": _sight, "typical": _typical}
    text = template(Path(__file__).with_name("verdicts.txt.jinja"), filters).render(
        judged=judged,
        missing=missing,
        few=[f"{METHODS[name].title} ({counted(judged.seeds[name], 'seed')})" for name in judged.few],
        seen=[
            f"of {_points(size)} in {_typical([pair.power.of_difference[size] for pair in told], '%')}"
            for size in stats.DIFFERENCES
            if told
        ],
        told=told,
        minimum_seeds=stats.MINIMUM_SEEDS,
        margin=margin_points(judged.margin),
        apart=seeds_apart(correct, by_raters),
        left=len(tuned(judged.pairs)) > 1,  # pairs without that method
        errors=error_rates({name: frame for name, frame in correct.items() if name not in judged.few}),
        level=stats.SIGNIFICANCE,
    )
    return [line for line in text.splitlines() if line]


def error_rates(correct: Mapping[str, pd.DataFrame]) -> dict[int, list[float]]:
    """How often the rule finds a difference where there is none: number of seeds → a share for each of `SPREADS`.

    The first is the number of seeds that all methods of `correct` share; then come those of `SIMULATED_SEEDS`. Empty
    where they share fewer than two, which show no variance between seeds.
    """
    if len(correct) < 2 or len(seeds := stats.shared_seeds(correct)) < 2:
        return {}
    columns = next(iter(correct.values())).columns
    answers = np.stack([frame.loc[seeds, columns].to_numpy(float) for frame in correct.values()])
    numbers = dict.fromkeys([len(seeds), *SIMULATED_SEEDS])
    return {number: [stats.family_wise_error(answers, number, times) for times in SPREADS] for number in numbers}


def p_in_words(p: float) -> str:
    """A p-value as tables show it: "0.049"; "< 0.001" where it would read as zero, "0.0496" where as the level."""
    return "< 0.001" if p < 0.001 else f"{p:.4f}" if f"{p:.3f}" == f"{stats.SIGNIFICANCE:.3f}" else f"{p:.3f}"


def named(name: str) -> str:
    """The title of a method or baseline within a sentence; that of the majority class has an article."""
    return "the majority class" if name == MAJORITY.name else in_sentence(title_of(name))


def in_points(pair: stats.PairedComparison) -> str:
    """The difference of a pair with its simultaneous interval: "+1.4 points, 95% interval +0.6 to +2.1"."""
    estimate, low, high = map(signed_points, (pair.difference.estimate, *pair.difference.ends))
    return f"{estimate} points, 95% interval {low} to {high}"


# The filters of templates that speak of contrasts.
OF_CONTRASTS: dict[str, Callable[..., Any]] = {
    "titled": title_of,
    "named": named,
    "p_in_words": p_in_words,
    "of_verdict": of_verdict,
    "unsized": unsized,
    "in_points": in_points,
}


def _typical(shares: list[float], unit: str, digits: int = 0) -> str:
    """The median of `shares`, in per cent, with the least and the greatest where they differ from it."""
    low, middle, high = (f"{100 * share:.{digits}f}" for share in (min(shares), median(shares), max(shares)))
    return f"{middle}{unit}" + (f" ({low} to {high})" if low != high else "")


def _sight(powers: list[stats.Power]) -> str:
    """How often the design would detect a true difference of two points in pairs of these `powers`."""
    size = stats.DIFFERENCES[-1]
    found = _typical([power.of_difference[size] for power in powers], "%")
    return f"this design would detect a true difference of {_points(size)} in {found} of cases"


def _points(difference: float) -> str:
    return f"{100 * difference:g} point{'s' if difference != 0.01 else ''}"
