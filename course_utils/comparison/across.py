"""What other experiments conclude of the same methods: a report keeps its conclusions, and others read them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from course_utils.comparison.conclusions import judge_experiment
from course_utils.errors import explained
from course_utils.methods import FLOOR
from course_utils.paths import relative_to_project, reports_folder

if TYPE_CHECKING:
    from course_utils.comparison.tables import ExperimentRuns

CONCLUSIONS = "conclusions.json"


class Accuracy(BaseModel):
    """The accuracy of a method on the test set: mean over its seeds, ends of its 95% interval, learning rate."""

    mean: float
    low: float
    high: float
    seeds: int
    learning_rate: float


class Verdict(BaseModel):
    """The difference in accuracy of two methods, first less second, its simultaneous interval, and what is shown."""

    first: str
    second: str
    difference: float
    low: float
    high: float
    p_holm: float
    differs: bool
    equivalent: bool

    @property
    def shown(self) -> int:
        """1 or −1, the sign of a difference that is shown; 0 where none is."""
        return (1 if self.difference > 0 else -1) * self.differs

    def overlaps(self, other: Verdict) -> bool:
        """Whether the intervals of two experiments have a difference in common."""
        return self.low <= other.high and other.low <= self.high


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
    pairs: list[Verdict]

    def of(self, first: str, second: str) -> Verdict | None:
        """The verdict on a pair of methods, in either order of the two; None where there is none."""
        for pair in self.pairs:
            if (pair.first, pair.second) == (first, second):
                return pair
            if (pair.first, pair.second) == (second, first):
                turned = {"difference": -pair.difference, "low": -pair.high, "high": -pair.low}
                return pair.model_copy(update={"first": first, "second": second} | turned)
        return None


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
                mean=rows.accuracy[name],
                low=rows.accuracy_low[name],
                high=rows.accuracy_high[name],
                seeds=judged.seeds[name],
                learning_rate=rows.learning_rate[name],
            )
            for name in [*judged.baselines, *judged.adapters]
        },
        pairs=[
            Verdict(
                first=pair.first,
                second=pair.second,
                difference=pair.difference.estimate,
                low=pair.difference.low,
                high=pair.difference.high,
                p_holm=pair.p_holm,
                differs=pair.differs,
                equivalent=pair.equivalent,
            )
            for pair in judged.pairs
        ],
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


def disagreements(ours: Conclusions, theirs: Conclusions) -> tuple[list[tuple[Verdict, Verdict]], int]:
    """Pairs of methods on which two experiments do not say the same, ours and theirs, and how many both have judged.

    Head only is left out. They say the same where both show a difference of one sign, or where neither shows any.
    """
    both = [(pair, other) for pair in ours.pairs if (other := theirs.of(pair.first, pair.second))]
    both = [pairs for pairs in both if FLOOR.name not in (pairs[0].first, pairs[0].second)]
    return [(one, other) for one, other in both if one.shown != other.shown], len(both)
