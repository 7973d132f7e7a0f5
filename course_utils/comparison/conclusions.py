"""The sentences that the statistics allow, no other: what differs, what is equivalent, what stays open."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import pandas as pd

from course_utils.comparison.baselines import BASELINES, FITTED, shown
from course_utils.methods import FLOOR, METHODS
from course_utils.stats import DIFFERENCES, MARGIN, PairedComparison, Power, compare_pairs
from course_utils.text import counted, in_sentence, signed_points, template

if TYPE_CHECKING:
    from course_utils.comparison.tables import ExperimentRuns, MissingRun

MINIMUM_SEEDS = 3


@dataclass(frozen=True)
class Judgement:
    """What the answers of an experiment's methods allow one to conclude, before it is put into words."""

    seeds: dict[str, int]  # of every method that has a run
    adapters: list[str]  # the adapter methods with enough seeds
    baselines: list[str]  # likewise
    best: str  # the most accurate adapter method; of those with few seeds where none has enough; empty where none ran
    accuracy: float  # its mean
    pairs: list[PairedComparison]  # of all methods with enough seeds

    @property
    def few(self) -> list[str]:
        """The methods with too few seeds."""
        return [name for name, seeds in self.seeds.items() if seeds < MINIMUM_SEEDS]

    @property
    def among_adapters(self) -> list[PairedComparison]:
        """The comparisons of two adapter methods."""
        return [pair for pair in self.pairs if {pair.first, pair.second} <= set(self.adapters)]

    def against(self, first: str, others: Collection[str]) -> list[PairedComparison]:
        """The comparisons of the method `first` with those of `others`: first less other."""
        turned = [pair if pair.first == first else pair.swapped() for pair in self.pairs]
        return [pair for pair in turned if pair.first == first and pair.second in others]


def judge(correct: Mapping[str, pd.DataFrame]) -> Judgement:
    """Judge methods by their answers: `correct` maps a method to booleans, a row a seed, a column a sentence."""
    accuracy = {name: float(frame.to_numpy().mean()) for name, frame in correct.items()}
    enough = {name: frame for name, frame in correct.items() if len(frame) >= MINIMUM_SEEDS}
    adapters = [name for name in correct if not METHODS[name].is_baseline]
    judged = [name for name in adapters if name in enough]
    best = max(judged or adapters, key=lambda name: accuracy[name], default="")
    return Judgement(
        seeds={name: len(frame) for name, frame in correct.items()},
        adapters=judged,
        baselines=[name for name in enough if name not in adapters],
        best=best,
        accuracy=accuracy.get(best, 0.0),
        pairs=compare_pairs(enough),
    )


def experiment_verdicts(results: ExperimentRuns) -> list[str]:
    """The verdicts on the test set of the main runs, as far as these are there, and what fine-tuning buys."""
    missing = [run for run in results.missing if run.config.study == "main"]
    return verdicts(results.predictions.correct, missing) + bought_sentences(results)


@dataclass(frozen=True)
class Bought:
    """What fine-tuning has over a baseline without it: the comparison, method less baseline, and seconds of both."""

    pair: PairedComparison
    seconds: float
    seconds_of_baseline: float


def bought(results: ExperimentRuns) -> list[Bought]:
    """The most accurate method that trains more than a head, against every fitted baseline, on the same test texts.

    A baseline has no seeds: all seeds of the method meet the same answers. Empty where no such method has enough seeds.
    """
    correct, baselines = results.predictions.correct, results.predictions.baselines
    tuned = {name: frame for name, frame in correct.items() if name != FLOOR.name and len(frame) >= MINIMUM_SEEDS}
    fitted = [name for name in baselines if BASELINES[name] in FITTED]
    if not tuned or not fitted:
        return []
    best = max(tuned, key=lambda name: tuned[name].to_numpy().mean())
    seconds = results.summary.set_index("method")["train_seconds"]
    answers = {
        name: pd.concat([baselines[name] == results.predictions.labels] * len(tuned[best])).set_axis(tuned[best].index)
        for name in fitted
    }
    pairs = compare_pairs({best: tuned[best]} | answers)
    return [Bought(pair, seconds[best], seconds[pair.second]) for pair in pairs if pair.first == best]


def bought_sentences(results: ExperimentRuns) -> list[str]:
    """A sentence for each of `bought`."""
    sentences = []
    for found in bought(results):
        pair = found.pair
        method, baseline = shown(pair.first).title, in_sentence(shown(pair.second).title)
        relation = "more accurate than" if pair.above else "less accurate than"
        relation = relation if pair.differs else "not shown to differ in accuracy from"
        sentences.append(
            f"What fine-tuning buys: {method}, the most accurate of the methods that train more than a head, is"
            f" {relation} {baseline} ({difference_in_points(pair)}). Its"
            f" training took {found.seconds:,.0f} s a run; {baseline} took {found.seconds_of_baseline:,.1f} s."
        )
    return sentences


def verdicts(correct: Mapping[str, pd.DataFrame], missing: Sequence[MissingRun] = ()) -> list[str]:
    """What may be said of methods with these answers, a sentence each.

    `correct` maps a method to a frame of booleans, a row a seed, a column a sentence. Differences count where they
    are significant after Holm's correction and their crossed-bootstrap interval excludes zero; equivalence
    where the 90% interval lies within ±`MARGIN`. What stays inconclusive comes with the differences that the design
    would have seen, and the last sentence gives the design's power. A method with fewer than three seeds is left out
    of every conclusion, and a sentence says so.
    """
    judged = judge(correct)
    filters: dict[str, Any] = {"in_points": difference_in_points, "sight": _sight, "typical": _typical}
    filters |= {"titled": lambda name: METHODS[name].title}
    text = template(Path(__file__).with_name("verdicts.txt.jinja"), filters).render(
        judged=judged,
        missing=missing,
        few=[f"{METHODS[name].title} ({counted(judged.seeds[name], 'seed')})" for name in judged.few],
        seen=[
            f"of {_points(size)} in {_typical([pair.power.of_difference[size] for pair in judged.pairs], '%')}"
            for size in DIFFERENCES
            if judged.pairs
        ],
        minimum_seeds=MINIMUM_SEEDS,
        margin=_points(MARGIN),
    )
    return [line for line in text.splitlines() if line]


def difference_in_points(pair: PairedComparison) -> str:
    """The difference of a pair with its interval: "+1.4 points, 95% interval +0.6 to +2.1"."""
    estimate, low, high = map(signed_points, (pair.difference.estimate, *pair.difference.ends))
    return f"{estimate} points, 95% interval {low} to {high}"


def _typical(shares: list[float], unit: str, digits: int = 0) -> str:
    """The median of `shares`, in per cent, with the least and the greatest where they differ from it."""
    low, middle, high = (f"{100 * share:.{digits}f}" for share in (min(shares), median(shares), max(shares)))
    return f"{middle}{unit}" + (f" ({low} to {high})" if low != high else "")


def _sight(power: Power) -> str:
    """Which of 1, 1.5 and 2 points the design would see four times out of five, and which not."""
    seen = [difference for difference in DIFFERENCES if power.sees(difference)]
    unseen = [difference for difference in DIFFERENCES if difference not in seen]
    if not seen:
        return f"this design would not see even {_points(unseen[-1])}"
    return f"this design would see {_points(seen[0])}" + (f", not {100 * unseen[-1]:g}" if unseen else "")


def _points(difference: float) -> str:
    return f"{100 * difference:g} point{'s' if difference != 0.01 else ''}"
