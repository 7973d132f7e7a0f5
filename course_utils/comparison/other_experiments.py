"""What other experiments conclude of the same methods: a report keeps its own, and other reports read them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict

from course_utils.comparison.conclusions import differing, judge_experiment
from course_utils.comparison.language import bits_of_runs, interval_of, judge_bits
from course_utils.comparison.learning_rates import on_edge, search_trials, trial_differences
from course_utils.comparison.results import ExperimentRuns
from course_utils.comparison.robustness import seeds_apart, tuned
from course_utils.comparison.tables import by_method
from course_utils.errors import explained
from course_utils.methods import FLOOR
from course_utils.paths import relative_to_project, reports_folder, write_whole
from course_utils.stats import Interval, PairedComparison

CONCLUSIONS = "conclusions.json"
Unit = Literal["accuracy", "bits per byte"]


class Score(BaseModel):
    """How good a method is on the test set: mean over its seeds with its 95% interval, and its learning rate.

    The score is an accuracy, or of a language model the bits per byte that its training saves; more is better.
    """

    score: Interval
    seeds: int
    learning_rate: float


class Conclusions(BaseModel):
    """What the main comparison of an experiment concludes, and on what; accuracies are shares, not per cent.

    `unit` is that of its scores and differences.
    """

    model_config = ConfigDict(extra="forbid")

    experiment: str
    title: str
    base_model: str
    test_set: str
    train: int
    epochs: int
    classes: int = 0  # none where a language model is trained
    unit: Unit = "accuracy"
    margin: float
    methods: dict[str, Score]
    pairs: list[PairedComparison]
    on_edge: list[str] = []  # methods whose best rate in the search lies on the edge of its grid
    trials_differ: str = ""  # in which settings a trial of the search differs from a main run
    apart: str = ""  # a method whose seeds lie so far apart that they widen all intervals
    hidden: list[tuple[str, str]] = []  # the pairs of which a difference is shown only without it, the better first


def conclude(results: ExperimentRuns) -> Conclusions:
    """The conclusions of an experiment's main runs on its test set; methods and pairs with enough seeds only."""
    judged = judge_experiment(results)
    rows = by_method(results)
    scores = {
        name: Interval(*rows.loc[name, ["accuracy", "accuracy_low", "accuracy_high"]])
        for name in [*judged.baselines, *judged.adapters]
    }
    return _concluded(results, "accuracy", judged.margin, scores, judged.pairs, results.predictions.correct)


def conclude_of_language(results: ExperimentRuns) -> Conclusions:
    """The conclusions on language models, by the bits per byte that training saves against the base model."""
    before = bits_of_runs(results, column="scores_before")
    saved = {name: before[name] - shares for name, shares in bits_of_runs(results).items()}
    margin, pairs = judge_bits(saved)
    compared = {name for pair in pairs for name in (pair.first, pair.second)}
    scores = {name: interval_of(shares) for name, shares in saved.items() if name in compared}
    return _concluded(results, "bits per byte", margin, scores, pairs, saved)


def _concluded(
    results: ExperimentRuns,
    unit: Unit,
    margin: float,
    scores: dict[str, Interval],
    pairs: list[PairedComparison],
    of_texts: Mapping[str, pd.DataFrame],
) -> Conclusions:
    """The conclusions from the `scores` of methods, made from those `of_texts` (seeds, texts)."""
    experiment, run, apart = results.experiment, results.runs[0].result, seeds_apart(of_texts)
    return Conclusions(
        experiment=experiment.name,
        title=experiment.profile.title,
        base_model=experiment.shared.base.facts.name,
        test_set=run.data.titles["test"],
        train=run.data.sizes["train"],
        epochs=experiment.shared.epochs,
        classes=len(run.data.class_names) if experiment.classifies else 0,
        unit=unit,
        margin=margin,
        methods={
            name: Score(
                score=score,
                seeds=len(results.of(name)),
                learning_rate=results.of(name)[0].config.settings.learning_rate,
            )
            for name, score in scores.items()
        },
        pairs=pairs,
        on_edge=on_edge(search_trials(results)),
        trials_differ=trial_differences(experiment),
        apart=apart.method if apart else "",
        hidden=[(pair.first, pair.second) for pair in differing(apart.without.differing)] if apart else [],
    )


def write_conclusions(results: ExperimentRuns) -> Path:
    """Write conclusions.json into the report's folder, where the reports of other experiments find it."""
    file = results.experiment.report_folder / CONCLUSIONS
    found = (conclude if results.experiment.classifies else conclude_of_language)(results)
    return write_whole(file, found.model_dump_json(indent=1) + "\n")


def others(results: ExperimentRuns) -> list[Conclusions]:
    """The conclusions of other experiments whose reports lie beside this one, in the order of their names.

    An experiment without two methods of three seeds concludes nothing and is left out. Raises CourseError where a file
    cannot be read.
    """
    found = []
    for file in sorted(reports_folder().glob(f"*/{CONCLUSIONS}")):
        if file.parent.name != results.experiment.name:
            with explained(f"{relative_to_project(file)} cannot be read", "delete it, or bind that report again"):
                found.append(Conclusions.model_validate_json(file.read_bytes()))
    return [conclusions for conclusions in found if conclusions.pairs]


Pairs = list[tuple[PairedComparison, PairedComparison]]  # of the same two methods, in two experiments


def disagreements(ours: Conclusions, theirs: Conclusions) -> tuple[Pairs, Pairs]:
    """The pairs of methods on which two experiments disagree, and those on which they agree: (ours, theirs).

    Head only is left out. Two experiments agree where both show a difference of one sign, or neither shows any.
    """
    judged = {(pair.first, pair.second): pair for pair in theirs.pairs}
    judged |= {(pair.second, pair.first): pair.swapped() for pair in theirs.pairs}
    both = [(pair, judged[at]) for pair in tuned(ours.pairs) if (at := (pair.first, pair.second)) in judged]
    alike = [(one, other) for one, other in both if (one.differs, one.above) == (other.differs, other.above)]
    return [pairs for pairs in both if pairs not in alike], alike


@dataclass(frozen=True)
class Shown:
    """What experiments show of one pair of methods.

    `above` and `below` name the experiments that show the first method to be better or worse; `judged` names all that
    judge the pair.
    """

    first: str
    second: str
    above: list[str]
    below: list[str]
    judged: list[str]


def shown_across(experiments: list[Conclusions]) -> list[Shown]:
    """What is shown of every pair of methods that two or more of the experiments judge; head only is left out.

    The first method of a pair is the one that more experiments show to be better.
    """
    verdicts: dict[tuple[str, str], dict[str, PairedComparison]] = {}
    for own in experiments:
        for pair in tuned(own.pairs):
            pair = pair.swapped() if (pair.second, pair.first) in verdicts else pair
            verdicts.setdefault((pair.first, pair.second), {})[own.experiment] = pair
    found = []
    for (first, second), judged in verdicts.items():
        above = [name for name, pair in judged.items() if pair.verdict == "above"]
        below = [name for name, pair in judged.items() if pair.verdict == "below"]
        if len(above) < len(below):
            first, second, above, below = second, first, below, above
        if len(judged) > 1:
            found.append(Shown(first, second, above, below, [*judged]))
    return found


def sole_leaders(experiments: list[Conclusions]) -> tuple[dict[str, int], int]:
    """In how many experiments a method alone has the highest mean score, the most frequent first; and of how many.

    Head only is left out, and so are experiments with fewer than two other methods.
    """
    scores = [
        {name: own.score.estimate for name, own in each.methods.items() if name != FLOOR.name} for each in experiments
    ]
    scores = [own for own in scores if len(own) > 1]
    best = [[name for name, score in own.items() if score == max(own.values())] for own in scores]
    alone = Counter(names[0] for names in best if len(names) == 1)
    return dict(alone.most_common()), len(scores)
