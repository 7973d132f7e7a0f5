"""A run's folder: written whole or not at all, read back checked."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pandas as pd
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model

from course_utils.code_identity import code_of, differing, keeps_old_runs
from course_utils.config import RunConfig
from course_utils.errors import CourseError, explained
from course_utils.host import locked
from course_utils.methods import METHODS
from course_utils.methods.sizes import ParameterCount
from course_utils.paths import relative_to_project, runs_folder, sha256_of
from course_utils.tasks import TASKS
from course_utils.tasks.base import Task
from course_utils.tasks.classification import METRICS, scores_of
from course_utils.tasks.language_modelling import LANGUAGE_METRICS
from course_utils.text import hash_of, hash_of_json, is_class_name, plain_title

SCHEMA_VERSION = 2
SCHEMA_1_CLASSES = ("negative", "positive")  # of every record of schema 1
UPDATES = "updates.parquet"
CARD = "adapter/README.md"  # written again with the comparison, so that its recorded hash is not checked


def _plain(title: str) -> str:
    if title != plain_title(title):
        raise ValueError(f"{title!r} is no title")
    return title


def _class_name(name: str) -> str:
    if not is_class_name(name):
        raise ValueError(f"{name!r} is no name of a class")
    return name


# A copied run is a stranger's file: no markup gets into tables, captions and cards through its names.
Title = Annotated[str, AfterValidator(_plain)]
ClassName = Annotated[str, AfterValidator(_class_name)]


class Record(BaseModel):
    """Part of `result.json`; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DataRecord(Record):
    source: str
    sizes: dict[str, int]
    titles: dict[str, Title]
    class_names: tuple[ClassName, ...] = SCHEMA_1_CLASSES
    pairs: bool = False  # whether an example is two texts
    revision: str | None = None  # the commit of a data set of the hub
    fingerprint: str


class BaseModelRecord(Record):
    id: str
    fingerprint: str

    @property
    def revision(self) -> str | None:
        """The commit of a base model of the hub."""
        place, _, commit = self.fingerprint.rpartition("@")
        return commit if place.startswith("hub:") else None


class Bytes(Record):
    """Bytes on disk of what was trained, outside the head and in it, and of the base model in memory."""

    adapter: int
    head: int
    base_model: int


class Timing(Record):
    """Seconds in training steps (a resumed run's earlier part included), ms of a median step and per evaluated text."""

    train_seconds: float
    step_ms_median: float
    eval_ms_per_example: float


class Memory(Record):
    peak_bytes: int
    measured_as: Title


class Forgetting(Record):
    """How often a text's nearest neighbour is of the text's own domain, before fine-tuning and after it."""

    texts: int
    before: float
    after: float


if TYPE_CHECKING:
    Metrics = Any
    MetricsOfTask = Any
else:  # one field a metric of the task: adding one there is enough
    # None where a metric does not apply, or where an older record lacks the metric.
    fields = dict.fromkeys(METRICS, (float | None, None))
    Metrics = create_model("Metrics", __base__=Record, n=(int, ...), **fields)
    fields = dict.fromkeys(LANGUAGE_METRICS, (float, ...))
    MetricsOfTask = Metrics | create_model("LanguageMetrics", __base__=Record, n=(int, ...), **fields)


class Environment(Record):
    """Where the run was made: by how many processes of how many threads; 1-minute load average before and after."""

    versions: dict[str, str]
    processor: str
    threads: int
    processes: int = 1
    load: tuple[float, float]


class GitState(Record):
    """The commit that was checked out, and whether the package's code differed from it."""

    commit: str
    dirty: bool


class RunResult(Record):
    """`result.json`: everything that is known of a finished run."""

    schema_version: int = SCHEMA_VERSION
    config: RunConfig
    fingerprint: str
    data: DataRecord
    base_model: BaseModelRecord
    parameters: ParameterCount
    bytes: Bytes
    timing: Timing
    memory: Memory
    metrics: dict[Title, MetricsOfTask]
    # of the base model before the run, on the same sets; of runs whose task needs no trained head
    metrics_before: dict[Title, MetricsOfTask] | None = Field(None, exclude_if=lambda metrics: metrics is None)
    method: dict[str, Any]
    forgetting: Forgetting | None = None  # of main runs whose source has sets of other domains
    environment: Environment
    code: dict[str, str] = {}  # module or package → hash or version; older records have none
    git: GitState | None
    files: dict[str, str]  # file below the folder → sha256
    checksum: str | None = None  # SHA-256 of all other fields; older records have none

    @property
    def task(self) -> Task:
        """What the run learned."""
        return TASKS[self.config.task](self.data.class_names)


def checksum_of(record: dict[str, Any]) -> str:
    """The `checksum` of the other fields of a record as read from JSON: an edited number does not fit it."""
    return hash_of_json({name: value for name, value in record.items() if name != "checksum"})


@dataclass(frozen=True)
class Run:
    """A finished run."""

    folder: Path
    result: RunResult

    @property
    def changed_code(self) -> list[str]:
        """Modules and packages that have changed since the run was made, so that its numbers may change, too."""
        return differing(self.result.code, code_of(self.config.method, self.config.task))

    @property
    def config(self) -> RunConfig:
        return self.result.config

    @property
    def task(self) -> Task:
        """What the run learned."""
        return self.result.task

    @property
    def method(self):
        """The `Method` that the run used."""
        return METHODS[self.config.method]

    @property
    def in_four_bits(self) -> bool:
        """Whether the frozen weights were kept in 4 bits during training."""
        return self.method.in_four_bits(self.config.settings)

    @property
    def name(self) -> str:
        """The run's folder, as written from the project's root."""
        return relative_to_project(self.folder)

    def predictions(self) -> pd.DataFrame:
        """Columns set, example_id, label, scores (a list of one logit per class); one row per evaluated text.

        For language modelling set, example_id, bytes, scores and scores_before (each summed nll and tokens).
        """
        table = pd.read_parquet(self.folder / "predictions.parquet")
        if "logit_0" in table:  # schema 1
            table["scores"] = list(table[["logit_0", "logit_1"]].to_numpy())
            table = table.drop(columns=["logit_0", "logit_1"])
        return table

    @cached_property
    def answers(self) -> pd.DataFrame:
        """The predictions without their scores: columns set, example_id, label, predicted (a class). Read once."""
        table = self.predictions()
        return table[["set", "example_id", "label"]].assign(predicted=scores_of(table).argmax(axis=1))

    def history(self) -> pd.DataFrame:
        """What was logged during training: step, epoch, loss, learning_rate, validation accuracy…"""
        return pd.read_csv(self.folder / "history.csv")

    def updates(self) -> pd.DataFrame | None:
        """Facts of ΔW, one row per layer (`training.updates`); None for a trial of a search and for an older record."""
        file = self.folder / UPDATES
        return pd.read_parquet(file) if file.is_file() else None

    def resources(self) -> pd.DataFrame:
        """What the run took, trained and stored: columns quantity, value."""
        result, million = self.result, 1e6
        trained = result.data.sizes["train"] * self.config.epochs
        rows = {
            "parameters trained and kept outside the head": f"{result.parameters.adapter:,}",
            "trained parameters of the head": f"{result.parameters.head:,}",
            "parameters in all": f"{result.parameters.total:,}",
            "stored outside the head (MB)": f"{result.bytes.adapter / million:.2f}",
            "stored for the head (MB)": f"{result.bytes.head / million:.2f}",
            "base model in memory (MB)": f"{result.bytes.base_model / million:.1f}",
            "median step (ms)": f"{result.timing.step_ms_median:.0f}",
            "training texts a second": f"{trained / result.timing.train_seconds:.0f}",
            "all training steps (s)": f"{result.timing.train_seconds:.0f}",
            f"{result.memory.measured_as} (MB)": f"{result.memory.peak_bytes / million:,.0f}",
        }
        return pd.DataFrame({"quantity": rows.keys(), "value": rows.values()})

    def card(self) -> str:
        """The model card, Markdown with a YAML head."""
        return (self.folder / CARD).read_text(encoding="utf-8")


def fingerprint(config: RunConfig, data: str, base_model: str, code: dict[str, str]) -> str:
    """Hash of all that decides a run's numbers: configuration, data, base model and code (`code_of`)."""
    return hash_of("\n".join([config.digest, data, base_model, hash_of_json(code)]))


def read_run(folder: Path | str) -> Run:
    """The finished run in `folder`; CourseError if there is none or its record is damaged."""
    folder = Path(os.path.realpath(folder))
    if folder.name == "adapter" and not (folder / "result.json").is_file():  # a run's part stands for the run
        folder = folder.parent
    record = folder / "result.json"
    if not os.path.isfile(record):
        raise CourseError(
            f"{relative_to_project(folder)} holds no finished run (no result.json); "
            "type ./run_all.sh, or python -m course_utils train, to make it."
        )
    damaged = f"{relative_to_project(record)} is damaged, unreadable or of another version"
    with explained(damaged, "delete its folder and run again"):
        read = json.loads(record.read_bytes())
        result = RunResult.model_validate(read)
    if result.checksum not in (None, checksum_of(read)):
        raise CourseError(
            f"{relative_to_project(record)} was changed after the run wrote it; delete its folder and run again."
        )
    run = Run(folder, result)
    for name in result.files:
        if not (folder / name).is_file():
            raise CourseError(f"{run.name} lacks {name}; delete the folder and run again.")
    return run


def find_run(config: RunConfig) -> Run | None:
    """The finished run of `config`, if its folder holds one with unchanged files that today's code made."""
    run = _whole_run(config)
    if run and run.config == config and (keeps_old_runs() or not run.changed_code) and is_unchanged(run):
        return run
    return None


def changed_code_of(config: RunConfig) -> list[str]:
    """Modules and packages that changed since the run in the folder of `config` was made; empty if none."""
    run = _whole_run(config)
    return run.changed_code if run else []


def _whole_run(config: RunConfig) -> Run | None:
    try:
        return read_run(runs_folder() / config.path)
    except CourseError:
        return None


def is_unchanged(run: Run) -> bool:
    """Whether the files of `run`, its card aside, are those that it recorded."""
    return all(sha256_of(run.folder / name) == recorded for name, recorded in run.result.files.items() if name != CARD)


def held(config: RunConfig) -> AbstractContextManager:
    """A lock against other processes that would make the run of `config`; freed when this process ends in any way."""
    target = runs_folder() / config.path
    target.parent.mkdir(parents=True, exist_ok=True)
    return locked(target.parent / f".{target.name}.lock")


def workspace(config: RunConfig, identity: str) -> Path:
    """Folder in which the run of `config` is made; only the holder of the run may ask for it.

    It survives a kill, so that the next attempt finds its checkpoints; what was left there by a run of
    another `identity` (fingerprint) is thrown away.
    """
    target = runs_folder() / config.path
    folder = target.with_name(f".{target.name}.unfinished")
    mark = folder / "fingerprint"
    if not mark.is_file() or mark.read_text() != identity:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        mark.write_text(identity)
    return folder


def publish(folder: Path, result: RunResult) -> Run:
    """Turn the complete `folder` of a run into the run: record its files, then rename it into place."""
    (folder / "fingerprint").unlink()
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    hashes = {p.relative_to(folder).as_posix(): sha256_of(p) for p in files}
    record = result.model_copy(update={"files": hashes}).model_dump(mode="json")
    text = json.dumps(record | {"checksum": checksum_of(record)}, indent=2, ensure_ascii=False)
    (folder / "result.json").write_text(text + "\n", encoding="utf-8")
    target = runs_folder() / result.config.path
    shutil.rmtree(target, ignore_errors=True)
    os.rename(folder, target)
    return read_run(target)


def load_model(run: Run, merged: bool = True):
    """The trained model of `run`, ready to predict; `merged`: ΔW added to W₀.

    Raises CourseError where the base model is no longer the one that the run was trained on.
    """
    method, config = run.method, run.config
    if config.base.fingerprint() != run.result.base_model.fingerprint:
        raise CourseError(
            f"{run.name} was trained on another {config.base_model} than is there now; put the base model back as it"
            " was, or make the run again."
        )
    base = method.load_base(config.base, run.task, "fp32", config.settings)
    return (method.load_merged if merged else method.load)(base, run.folder)
