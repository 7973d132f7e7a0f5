"""What other experiments conclude of the same methods: a report keeps its conclusions, and others read them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from course_utils.comparison.conclusions import judge_experiment
from course_utils.errors import explained
from course_utils.methods import FLOOR
from course_utils.paths import relative_to_project, reports_folder
from course_utils.stats import Interval, PairedComparison

if TYPE_CHECKING:
    from course_utils.comparison.tables import ExperimentRuns

CONCLUSIONS = "conclusions.json"


class Accuracy(BaseModel):
    """The accuracy of a method on the test set: mean over its seeds with its 95% interval, and its learning rate."""

    accuracy: Interval
    seeds: int
    learning_rate: float


class Conclusions(BaseModel):
    """What the main comparison of an experiment concludes, and on what; shares, not per cent."""

    model_config = ConfigDict(extra="forbid")

    experiment: str
    title: str
    base_model: str
    test_set: str
    train: int
    epochs: int
    margin: float
    methods: dict[str, Accuracy]
    pairs: list[PairedComparison]


def conclude(results: ExperimentRuns) -> Conclusions:
    """The conclusions of an experiment's main runs on its test set; methods and pairs with enough seeds only."""
    judged, run = judge_experiment(results), results.runs[0].result
    rows = results.summary.set_index("method")
    return Conclusions(
        experiment=results.experiment.name,
        title=results.experiment.profile.title,
        base_model=results.experiment.shared.base.facts.name,
        test_set=run.data.titles["test"],
        train=run.data.sizes["train"],
        epochs=results.experiment.shared.epochs,
        margin=judged.margin,
        methods={
            name: Accuracy(
                accuracy=Interval(*rows.loc[name, ["accuracy", "accuracy_low", "accuracy_high"]]),
                seeds=judged.seeds[name],
                learning_rate=rows.learning_rate[name],
            )
            for name in [*judged.baselines, *judged.adapters]
        },
        pairs=judged.pairs,
    )


def write_conclusions(results: ExperimentRuns) -> Path:
    """Write conclusions.json into the report's folder, where the reports of other experiments find it."""
    file = reports_folder() / results.experiment.name / CONCLUSIONS
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{CONCLUSIONS}.new")
    new.write_text(conclude(results).model_dump_json(indent=1) + "\n", encoding="utf-8")
    return new.replace(file)


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
    """The pairs of methods on which two experiments do not say the same, and those on which they do: ours and theirs.

    Head only is left out. They say the same where both show a difference of one sign, or where neither shows any.
    """
    judged = {(pair.first, pair.second): pair for pair in theirs.pairs}
    judged |= {(pair.second, pair.first): pair.swapped() for pair in theirs.pairs}
    both = [(pair, judged[pair.first, pair.second]) for pair in ours.pairs if (pair.first, pair.second) in judged]
    both = [pairs for pairs in both if FLOOR.name not in (pairs[0].first, pairs[0].second)]
    alike = [(one, other) for one, other in both if (one.differs, one.above) == (other.differs, other.above)]
    return [pairs for pairs in both if pairs not in alike], alike


@dataclass(frozen=True)
class Shown:
    """What experiments say of one pair of methods: the names of those that show the first to be more accurate, …

    … of those that show the second to be, and of all that judge the pair.
    """

    first: str
    second: str
    above: list[str]
    below: list[str]
    judged: list[str]


def shown_across(experiments: list[Conclusions]) -> list[Shown]:
    """What is shown of every pair of methods that two of the experiments judge; head only is left out.

    The first method of a pair is the one that more of them show to be ahead.
    """
    verdicts: dict[tuple[str, str], dict[str, PairedComparison]] = {}
    for own in experiments:
        for pair in own.pairs:
            if FLOOR.name not in (pair.first, pair.second):
                swapped = (pair.second, pair.first) in verdicts
                pair = pair.swapped() if swapped else pair
                verdicts.setdefault((pair.first, pair.second), {})[own.experiment] = pair
    found = []
    for (first, second), judged in verdicts.items():
        above = [name for name, pair in judged.items() if pair.differs and pair.above]
        below = [name for name, pair in judged.items() if pair.differs and not pair.above]
        if len(above) < len(below):
            first, second, above, below = second, first, below, above
        if len(judged) > 1:
            found.append(Shown(first, second, above, below, [*judged]))
    return found


def leaders(experiments: list[Conclusions]) -> Counter[str]:
    """In how many experiments a method has the highest mean accuracy, head only left out; the most frequent first."""
    trained = [{name: own for name, own in each.methods.items() if name != FLOOR.name} for each in experiments]
    best = [max(own, key=lambda name: own[name].accuracy.estimate) for own in trained if own]
    return Counter(dict(Counter(best).most_common()))
