"""Texts of other domains than that of training: which method leads, what differs, and what was forgotten."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import pandas as pd

from course_utils import stats
from course_utils.comparison.axes import Contrast, contrasts, less, less_across_texts
from course_utils.comparison.conclusions import differing, judge_experiment
from course_utils.comparison.results import ExperimentRuns, evaluation_sets, read_predictions
from course_utils.comparison.robustness import OneLess, one_less, tuned
from course_utils.methods import CEILING, FLOOR, METHODS


@dataclass(frozen=True)
class Domain:
    """What the methods do on one evaluation set; `pairs` are those of `judge`, less those of the floor.

    `moved` maps an adapter method to how the lead of full fine-tuning over it changes from the test set to this set,
    judged among the changes of all sets; for the test set `moved` is empty. `over_baselines` compares the adapter
    methods with the baselines that fine-tune nothing, in one family on each set.
    """

    title: str
    accuracy: dict[str, float]  # of the adapter methods, means over seeds
    pairs: list[stats.PairedComparison]
    moved: dict[str, Contrast]
    baselines: dict[str, float]  # accuracy of those that fine-tune nothing
    over_baselines: list[stats.PairedComparison]

    @property
    def best(self) -> list[str]:
        """The adapter methods with the highest mean in per cent with one digit: several where they tie."""
        shown = {name: f"{100 * accuracy:.1f}" for name, accuracy in self.accuracy.items()}
        highest = max(self.accuracy.values())
        return [name for name, own in shown.items() if own == f"{100 * highest:.1f}"]

    @property
    def not_beaten(self) -> dict[str, float]:
        """The baselines that no adapter method is shown to be more accurate than, the best first."""
        beaten = {pair.second for pair in self.over_baselines if pair.above}
        left = [name for name in self.baselines if name not in beaten]
        return {name: self.baselines[name] for name in sorted(left, key=lambda name: -self.baselines[name])}

    @property
    def beaten(self) -> dict[str, list[str]]:
        """Adapter method → the baselines that it is shown to be more accurate than."""
        won = [(pair.first, pair.second) for pair in self.over_baselines if pair.above]
        return {name: [baseline for first, baseline in won if first == name] for name in self.accuracy}

    @property
    def beating(self) -> list[str]:
        """The adapter methods that are shown to be more accurate than every baseline."""
        return [name for name, beaten in self.beaten.items() if len(beaten) == len(self.baselines)]

    @property
    def below(self) -> dict[str, list[str]]:
        """Baseline → the adapter methods that are shown to be less accurate than it."""
        found: dict[str, list[str]] = {}
        for pair in (pair for pair in self.over_baselines if pair.verdict == "below"):
            found.setdefault(pair.second, []).append(pair.first)
        return found

    @property
    def differing(self) -> list[stats.PairedComparison]:
        """The pairs that are shown to differ, the better one first."""
        return differing(self.pairs)


@cache  # its exhibit and the advice ask for it
def read_domains(results: ExperimentRuns) -> list[Domain]:
    """The test set, then every further set of the main runs; empty without a further set or without two adapters."""
    titles = evaluation_sets(results)
    if len(titles) < 2:
        return []
    predictions = {of: read_predictions(results, of=of) for of in titles}
    correct = {of: stats.with_enough_seeds(found.correct) for of, found in predictions.items()}
    adapters = [name for name in correct["test"] if not METHODS[name].is_baseline]
    if len(adapters) < 2:
        return []
    changes = {
        (of, name): less_across_texts(*(less(correct[at][CEILING.name], correct[at][name]) for at in (of, "test")))
        for of in [*titles][1:]
        for name in adapters
        if CEILING.name in correct[of]
    }
    moved = contrasts(changes, alike=lambda key: key[0])
    judged = judge_experiment(results)
    pairs = {of: judged.pairs if of == "test" else stats.compare_pairs(correct[of], judged.margin) for of in titles}
    return [
        Domain(
            title,
            {name: float(correct[of][name].to_numpy().mean()) for name in adapters},
            tuned(pairs[of]),
            {name: found for (at, name), found in moved.items() if at == of},
            {name: float(answers.mean()) for name, answers in predictions[of].correct_baselines.items()},
            stats.compare_with_fixed({name: correct[of][name] for name in adapters}, predictions[of].correct_baselines),
        )
        for of, title in titles.items()
    ]


def one_less_by_set(results: ExperimentRuns) -> dict[str, list[OneLess]]:
    """Title of every set → `one_less` of the methods there."""
    titles = evaluation_sets(results)
    return {title: [*one_less(read_predictions(results, of=of).correct)] for of, title in titles.items()}


class NeverNamed(NamedTuple):
    """The classes that no main run names on any set."""

    classes: list[str]
    shares: dict[str, float]  # title of a set → the share of its texts that have one of them
    most_frequent: dict[str, str]  # title of a set → its most frequent class, where that is one of them


def never_named(results: ExperimentRuns) -> NeverNamed:
    """The classes that no main run names on any set, and where they occur."""
    titles, names = evaluation_sets(results), results.runs[0].task.class_names
    predictions = {of: read_predictions(results, of=of) for of in titles}
    named = {label for found in predictions.values() for label in found.named}
    left = [label for label in range(len(names)) if label not in named]
    most = {title: int(predictions[of].labels.mode()[0]) for of, title in titles.items()}
    return NeverNamed(
        [names[label] for label in left],
        {title: float(predictions[of].labels.isin(left).mean()) for of, title in titles.items()},
        {title: names[label] for title, label in most.items() if label in left},
    )


def forgetting_table(results: ExperimentRuns) -> pd.DataFrame:
    """What each method forgot: texts, before, after, change, low, high, p_holm, differs, four_bit; a row a method.

    Shares are in %, the change and its ends low and high in points. Means and t tests are over seeds. The methods that
    change the encoder, with two seeds or more, are one family: their intervals are simultaneous, and p_holm is adjusted
    over them. Other rows have nan there. `before` is of the plain base model; where `four_bit` is true, training
    started from a quantised copy. Empty where no run recorded forgetting.
    """
    rows, errors = [], {}
    for name in results.experiment.methods:
        found = [run.result.forgetting for run in results.of(name) if run.result.forgetting]
        if not found:
            continue
        changes = 100 * np.array([own.after - own.before for own in found])
        if len(changes) >= stats.MINIMUM_SEEDS and name != FLOOR.name:
            errors[name] = stats.error_over_seeds(changes, step=100 / found[0].texts)
        before, after = (100 * float(np.mean([getattr(own, when) for own in found])) for when in ("before", "after"))
        row = {"method": name, "texts": found[0].texts, "before": before, "after": after, "change": changes.mean()}
        rows.append(row | {"four_bit": METHODS[name].in_four_bits(results.experiment.config(name).settings)})
    columns = ["method", "texts", "before", "after", "change", "low", "high", "p_holm", "four_bit"]
    table = pd.DataFrame(rows, columns=columns).set_index("method")
    p_values = stats.holm(
        [min(1.0, 2 * error.beyond(abs(table.loc[name, "change"]))) for name, error in errors.items()]
    )
    for (name, error), p in zip(errors.items(), p_values, strict=True):
        change, width = table.loc[name, "change"], error.half_width(1 - stats.SIGNIFICANCE / len(errors))
        table.loc[name, ["low", "high", "p_holm"]] = change - width, change + width, p
    return table.assign(differs=table["p_holm"] < stats.SIGNIFICANCE).reset_index()
