"""The runs of an experiment and their predictions; a run that is missing or damaged is listed with its reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from course_utils.code_identity import counted, from_records, keeps_old_runs, reads_as_now
from course_utils.comparison.baselines import MAJORITY, read_baselines
from course_utils.comparison.published import PublishedRun, published_runs, run_name
from course_utils.comparison.strays import refuse_strays
from course_utils.config import Experiment, RunConfig
from course_utils.errors import CourseError
from course_utils.paths import runs_folder, sha256_of
from course_utils.runs import Run, read_run
from course_utils.tasks.classification import scores_of

OF_TEXTS = {
    *("task", "data", "text_column", "text_pair_column", "label_column", "class_names", "also_evaluate"),
    *("max_train", "max_validation", "max_test", "max_other"),
}  # the settings that decide which texts are read
NO_RECORD = "no record"  # why a run is missing, among published ones


@dataclass(frozen=True)
class MissingRun:
    """A run that the experiment wants and that cannot be used."""

    config: RunConfig
    reason: str


@dataclass(frozen=True, eq=False)
class ExperimentRuns:
    """The usable runs of an experiment, in its order, and the others.

    Raises CourseError where the runs of a study differ in more than method and seed: no exhibit can mix them.
    """

    experiment: Experiment
    runs: list[Run]
    missing: list[MissingRun]

    def __post_init__(self) -> None:
        for study in self.experiment.all_studies:
            refuse_strays(run for run in self.runs if run.config.study == study)

    def of(self, method: str, study: str = "main") -> list[Run]:
        """Usable runs of `method`, one per seed."""
        return [run for run in self.runs if (run.config.method, run.config.study) == (method, study)]

    @property
    def mains(self) -> list[Run]:
        """Usable main runs of all methods."""
        return [run for run in self.runs if run.config.study == "main"]

    def first_of_each(self) -> list[Run]:
        """The first main run of each method that has one."""
        return [own[0] for name in self.experiment.methods if (own := self.of(name))]

    @cached_property
    def baselines(self) -> pd.DataFrame | None:
        """What `make_baselines` computed for the experiment, None if nothing."""
        return read_baselines(self.experiment)

    @cached_property
    def predictions(self) -> Predictions:
        """`read_predictions` of the main runs on the test set."""
        return read_predictions(self)


@dataclass(frozen=True)
class Predictions:
    """Predicted classes that belong together: the same sentences, by method and seed.

    `labels` is indexed by example_id; `predicted` maps a method to a frame of classes, one row per seed, one
    column per sentence in the order of `labels`. Methods without a usable run are not in `predicted`. `baselines` maps
    a name of `BASELINES` to such a frame of one row: that of the most frequent of `labels`, and those of the baselines
    that were fitted to the same texts.
    """

    labels: pd.Series
    predicted: dict[str, pd.DataFrame]
    baselines: dict[str, pd.DataFrame] = field(default_factory=dict)

    @property
    def correct(self) -> dict[str, pd.DataFrame]:
        """Method → frame of booleans, shaped as in `predicted`."""
        return {method: frame == self.labels for method, frame in self.predicted.items()}

    @property
    def named(self) -> set[int]:
        """The classes that a run of a method names, for any sentence."""
        return {int(label) for frame in self.predicted.values() for label in np.unique(frame)}

    @property
    def correct_baselines(self) -> dict[str, pd.Series]:
        """Baseline → booleans, one for each sentence."""
        return {name: frame.iloc[0] == self.labels for name, frame in self.baselines.items()}


def read_runs(experiment: Experiment) -> ExperimentRuns:
    """All runs of `experiment`; one that cannot be used does not stop the others, and is listed with its reason.

    A run that is missing, damaged, or of other settings, data or base model is not used. Nor is a run of other code
    than today's, or than that of most runs where old runs are kept or records are read. So no mean is taken over runs
    of different code.
    Raises CourseError where published records are to be read that are missing or damaged.
    """
    if from_records():
        published = published_runs(experiment)
        found = [_find(config, published) for config in experiment.configs()]
    else:
        known: dict[str, str] = {}
        found = [_read(config, known) for config in experiment.configs()]
    runs = [run for run in found if isinstance(run, Run)]
    missing = [run for run in found if isinstance(run, MissingRun)]
    studies = experiment.all_studies
    inputs = {study: [_inputs(run) for run in runs if run.config.study == study] for study in studies}
    usual = {study: Counter(of_study).most_common(1)[0][0] for study, of_study in inputs.items() if of_study}
    code = _code_of_most(runs) if keeps_old_runs() or from_records() else None
    used = []
    for run in runs:
        if _inputs(run) != usual[run.config.study]:
            reason = "made from other data or another base model than the other runs"
        elif changed := _other_code(run, code):
            reason = f"made by other code ({', '.join(changed)})"
        else:
            used.append(run)
            continue
        missing.append(MissingRun(run.config, reason))
    return ExperimentRuns(experiment, used, missing)


def _code_of_most(runs: list[Run]) -> dict[str, str]:
    """The code of the largest group of runs that agree on every module that two of them have in common."""
    codes = Counter(frozenset(counted(run.result.code).items()) for run in runs)
    alike = {one: [other for other in codes if _agree(dict(one), dict(other))] for one in codes}
    most = max(alike.values(), key=lambda group: sum(codes[each] for each in group), default=[])
    return {name: value for each in sorted(most, key=codes.__getitem__) for name, value in each}


def _agree(one: dict[str, str], other: dict[str, str]) -> bool:
    return all(one[name] == other[name] for name in one.keys() & other.keys())


def _other_code(run: Run, usual: dict[str, str] | None) -> list[str]:
    """In what the code of `run` differs from `usual`, or from today's where that is None."""
    if usual is None:
        return run.changed_code
    return [name for name, value in counted(run.result.code).items() if value != usual.get(name)]


def _read(config: RunConfig, known: dict[str, str]) -> Run | MissingRun:
    folder = runs_folder() / config.path
    if not folder.is_dir():
        return MissingRun(config, "not run, or failed")
    try:
        run = read_run(folder)
    except CourseError as error:
        return MissingRun(config, f"damaged: {error}")
    if run.config != config:
        return MissingRun(config, "made with other settings")
    if not (keeps_old_runs() or reads_as_now(run.result.code)) and (
        _fingerprint_now(config, known) != run.result.data.fingerprint
    ):
        return MissingRun(config, "made from other texts than are read now")
    if sha256_of(folder / "predictions.parquet") != run.result.files["predictions.parquet"]:
        return MissingRun(config, "damaged: its predictions are not those that it recorded")
    return run


def _fingerprint_now(config: RunConfig, known: dict[str, str]) -> str:
    """The fingerprint of the texts of `config` as they are read now, "" where they cannot be; `known` keeps it."""
    of = config.model_dump_json(include=OF_TEXTS)
    if of not in known:
        try:
            known[of] = config.load_data().fingerprint
        except CourseError:
            known[of] = ""
    return known[of]


def _find(config: RunConfig, published: dict[str, PublishedRun]) -> Run | MissingRun:
    if not (run := published.get(run_name(config))):
        return MissingRun(config, NO_RECORD)
    if run.config != config.model_copy(update={"precision": run.config.precision}):  # auto depends on the processor
        return MissingRun(config, "made with other settings")
    return run


def _inputs(run: Run) -> tuple[str, str]:
    return run.result.data.fingerprint, run.result.base_model.fingerprint


def read_predictions(results: ExperimentRuns, study: str = "main", of: str = "test") -> Predictions:
    """Predictions of every usable run of `study`, and of the baselines, on the set `of`, aligned on example_id."""
    labels = pd.Series(dtype=int)
    predicted: dict[str, dict[int, pd.Series]] = {}
    for method in results.experiment.methods:
        for run in results.of(method, study):
            frame = run.answers[run.answers["set"] == of].set_index("example_id")
            if len(frame):
                labels = frame["label"]
                predicted.setdefault(method, {})[run.config.seed] = frame["predicted"]
    methods = {method: pd.DataFrame(seeds).T[labels.index] for method, seeds in predicted.items()}
    return Predictions(labels, methods, _of_baselines(results, study, of, labels) if len(labels) else {})


def _of_baselines(results: ExperimentRuns, study: str, of: str, labels: pd.Series) -> dict[str, pd.DataFrame]:
    answers = {MAJORITY.name: pd.Series(labels.mode()[0], labels.index)}
    fitted = results.baselines
    inputs = next(_inputs(run) for run in results.runs if run.config.study == study)
    if fitted is not None and (fitted.attrs["data"], fitted.attrs["base_model"]) == inputs:
        for name, rows in fitted[fitted["set"] == of].groupby("baseline", sort=False):
            answers[name] = pd.Series(scores_of(rows).argmax(axis=1), rows["example_id"])[labels.index]
    return {name: predicted.to_frame().T for name, predicted in answers.items()}


def evaluation_sets(results: ExperimentRuns) -> dict[str, str]:
    """Name → title of the sets that the main runs were judged on, the test set first."""
    main = [run.result for run in results.mains]
    return {name: main[0].data.titles[name] for name in main[0].metrics if name != "validation"} if main else {}
