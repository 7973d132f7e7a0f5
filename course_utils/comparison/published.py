"""Published records: what is known of every run of an experiment, without its weights, beside its report.

With these records the report can be bound, and its numbers computed again, without training. `docs/contract.md`
describes the files.
"""

from __future__ import annotations

import gzip
import json
import shutil
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from course_utils.code_identity import from_records, keeps_old_runs
from course_utils.config import Experiment, RunConfig
from course_utils.errors import CourseError, explained
from course_utils.methods import METHODS, PLAIN
from course_utils.paths import relative_to_project, runs_folder, sha256_of
from course_utils.runs import UPDATES, Run, RunResult, checksum_of, find_run, fingerprint, held, publish, workspace
from course_utils.tasks.classification import scores_of

if TYPE_CHECKING:
    from course_utils.comparison.results import ExperimentRuns

RUN_RECORDS = "records.jsonl.gz"  # a line a run: its result.json
PREDICTIONS = "predictions.parquet"  # a row per evaluated text, a column per run and column of `_scores_of`
OF_ALL = "updates.parquet"  # the runs' own files of that name, below each other
BASELINE_PREDICTIONS = "baselines.parquet"  # as the workflow computed them
MEASURED = "measured.json"  # what the comparison measured with weights or a clock
CHAPTERS = "notebooks"  # executed chapters about one method, which load its weights
SUMS = "SHA256SUMS"
OF_LANGUAGE = ("nll", "tokens", "nll_before")  # the scores of a language model, and the base model's


def records_folder(experiment: Experiment) -> Path:
    """Where the records of `experiment` are published."""
    return experiment.report_folder / "records"


def run_name(config: RunConfig) -> str:
    """A run's name among the records: the end of its folder's, such as "main/METHOD/seed-0"."""
    return config.path.removeprefix(f"{config.experiment}/")


def _text(run: Run) -> list[str]:
    """The columns that name an evaluated text; the text itself is not published."""
    return ["set", "example_id", run.task.truth]


def _columns(run: Run) -> list[str]:
    parts = range(1, len(run.task.class_names)) if run.task.has_head else OF_LANGUAGE
    return [f"{run_name(run.config)}:{part}" for part in parts]


def _scores_of(run: Run, table: pd.DataFrame) -> np.ndarray:
    """What is published of the scores in `table`, the predictions of `run`: (n, columns)."""
    scores = scores_of(table)
    if run.task.has_head:
        return (scores - scores[:, :1])[:, 1:]  # all that classes and probabilities depend on, in half the bytes
    return np.column_stack([scores, np.stack(table["scores_before"].to_list())[:, 0]])


@lru_cache(maxsize=1)
def _predictions_of_all(file: Path, written: int) -> pd.DataFrame:
    return pd.read_parquet(file)


@dataclass(frozen=True)
class PublishedRun(Run):
    """A run of which only the record is there; `folder` is the folder of all records."""

    def predictions(self) -> pd.DataFrame:
        """As any run's, but from the score of every class that of the first class is subtracted."""
        text, columns, file = _text(self), _columns(self), self.folder / PREDICTIONS
        table = _predictions_of_all(file, file.stat().st_mtime_ns)[[*text, *columns]].dropna()
        found = table[columns].to_numpy()
        if self.task.has_head:
            return table[text].assign(scores=list(np.column_stack([np.zeros(len(table), np.float32), found])))
        return table[text].assign(scores=list(found[:, :2]), scores_before=list(found[:, [2, 1]]))

    def updates(self) -> pd.DataFrame | None:
        own = [("run", "==", run_name(self.config))]
        table = pd.read_parquet(self.folder / OF_ALL, filters=own).drop(columns="run")
        return table if len(table) or self.method.baseline == "floor" else None


# ---------------------------------------------------------------- writing


def publish_records(results: ExperimentRuns) -> Path:
    """Write the records of all usable runs, whole or not at all, and with them what the comparison measured."""
    folder = records_folder(results.experiment)
    new = folder.with_name(".records.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    lines = [json.dumps(json.loads((run.folder / "result.json").read_bytes())) + "\n" for run in results.runs]
    (new / RUN_RECORDS).write_bytes(gzip.compress("".join(lines).encode(), mtime=0))
    _write_floats(_scores(results.runs), new / PREDICTIONS)
    facts = [own for run in results.runs if len(own := _facts(run))] or [pd.DataFrame({"run": pd.Series(dtype=str)})]
    _write_floats(pd.concat(facts, ignore_index=True), new / OF_ALL)
    for name in (MEASURED, BASELINE_PREDICTIONS):
        if (file := runs_folder() / results.experiment.name / name).is_file():
            shutil.copy(file, new)
    (new / CHAPTERS).mkdir()
    for chapter in (folder.parent / "notebooks").glob("*.ipynb"):
        if chapter.stem.partition("_")[2] in METHODS:
            (new / CHAPTERS / f"{chapter.name}.gz").write_bytes(gzip.compress(chapter.read_bytes(), mtime=0))
    files = sorted(path for path in new.rglob("*") if path.is_file())
    (new / SUMS).write_text("".join(f"{sha256_of(path)}  {path.relative_to(new).as_posix()}\n" for path in files))
    shutil.rmtree(folder, ignore_errors=True)
    return new.rename(folder)


def _facts(run: Run) -> pd.DataFrame:
    """What `run` recorded of its update; spectrum and directions, most of the bytes, only where a report needs them."""
    if (own := run.updates()) is None:
        return pd.DataFrame()
    # Directions are compared with another method's of the same seed, and with another seed's of the plain method.
    first, again = (run.config.study == "main" and run.config.seed == seed for seed in (0, 1))
    return own.assign(
        run=run_name(run.config),
        singular_values=own["singular_values"] if first else None,
        directions=own["directions"] if first or (again and run.method is PLAIN) else None,
    )


def _scores(runs: list[Run]) -> pd.DataFrame:
    tables = [run.predictions() for run in runs]
    columns = {}
    for run, table in zip(runs, tables, strict=True):
        published, text = _scores_of(run, table), _text(run)
        for name, values in zip(_columns(run), published.T, strict=True):
            columns[name] = pd.Series(values.astype(np.float32), pd.MultiIndex.from_frame(table[text]))
    order = pd.concat([table[text] for table in tables]).drop_duplicates()
    return pd.DataFrame(columns).loc[pd.MultiIndex.from_frame(order)].reset_index()


def _write_floats(table: pd.DataFrame, file: Path) -> None:
    """Write 32-bit floats split by byte, the first bytes of all together: this compresses better and loses nothing."""
    encoding = {name: "BYTE_STREAM_SPLIT" for name, kind in table.dtypes.items() if kind == np.float32}
    options: Any = {"column_encoding": encoding, "use_dictionary": False}
    table.to_parquet(file, index=False, compression="zstd", compression_level=19, **options)


# ---------------------------------------------------------------- reading


def published_runs(experiment: Experiment) -> dict[str, PublishedRun]:
    """Name → run, of every run in the records of `experiment`; CourseError where they are missing or damaged."""
    folder = records_folder(experiment)
    check_files(folder)
    found = {}
    with explained(f"{relative_to_project(folder)} cannot be read", _again(folder)):
        for line in gzip.decompress((folder / RUN_RECORDS).read_bytes()).decode().splitlines():
            read = json.loads(line)
            result = RunResult.model_validate(read)
            if result.checksum not in (None, checksum_of(read)):
                raise CourseError(f"{relative_to_project(folder)}: a record was changed; {_again(folder)}.")
            found[run_name(result.config)] = PublishedRun(folder, result)
    return found


def check_files(folder: Path) -> None:
    """Raise CourseError unless every file of published records in `folder` is the one that was written."""
    name = relative_to_project(folder)
    if not (folder / SUMS).is_file():
        raise CourseError(f"{name} holds no published records; ./run_all.sh without --from-records makes the runs.")
    listed = dict(line.split("  ", 1)[::-1] for line in (folder / SUMS).read_text("utf-8").splitlines() if "  " in line)
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    if unlisted := sorted((there | {RUN_RECORDS, PREDICTIONS}) - {*listed, SUMS}):
        raise CourseError(f"{name}/{SUMS} has no line for {unlisted[0]}; {_again(folder)}.")
    for file, recorded in listed.items():
        if not (folder / file).is_file():
            raise CourseError(f"{name} lacks {file}; {_again(folder)}.")
        if sha256_of(folder / file) != recorded:
            raise CourseError(f"{name}/{file} is damaged; {_again(folder)}.")


def _again(folder: Path) -> str:
    return f"restore it: git checkout {relative_to_project(folder)}"


def published_chapter(experiment: Experiment, name: str) -> bytes | None:
    """The executed copy of the chapter `name`, where records are read and hold one."""
    copy = records_folder(experiment) / CHAPTERS / f"{name}.ipynb.gz"
    return gzip.decompress(copy.read_bytes()) if from_records() and copy.is_file() else None


# ---------------------------------------------------------------- going on from records


def restore_runs(experiment: Experiment) -> list[RunConfig]:
    """Put every run of `experiment` that the published records hold among the runs, without its weights.

    Returns what was restored. A run must have today's settings, data and base model, and today's code unless old runs
    are kept. Not restored are runs that are there already, and runs whose weights a chapter or the comparison reads.
    Raises CourseError where the records are missing or damaged.
    """
    restored = []
    published = published_runs(experiment)
    inputs: dict[str, tuple[str, str]] = {}  # a study's data and base model
    for config in experiment.configs():
        run = published.get(run_name(config))
        if run is None or run.config != config or _weights_are_read(experiment, config):
            continue
        if run.changed_code and not keeps_old_runs():
            continue
        if config.study not in inputs:
            inputs[config.study] = config.load_data().fingerprint, config.base.fingerprint()
        if run.result.fingerprint == fingerprint(config, *inputs[config.study], run.result.code):
            with held(config):
                if not find_run(config):
                    _restore(run)
                    restored.append(config)
    return restored


def _restore(run: PublishedRun) -> None:
    folder = workspace(run.config, run.result.fingerprint)
    run.predictions().to_parquet(folder / "predictions.parquet", index=False)
    if run.config.final and (own := run.updates()) is not None:
        own.to_parquet(folder / UPDATES, index=False)
    publish(folder, run.result)


def _weights_are_read(experiment: Experiment, config: RunConfig) -> bool:
    """Whether a run's weights are needed: a chapter shows the run, or the comparison cuts its update."""
    sized: set[tuple[str, str]] = set()  # method and study of runs whose effective size is compared
    controls: set[str] = set()
    for name, study in experiment.studies.items():
        for method in study.methods if study.varies[:1] == ("sparsity",) else ():
            control = METHODS[method].control or ""
            controls.add(control)
            sized |= {(method, name), (method, study.beside), (control, study.beside)}
    for name, study in experiment.studies.items():
        if study.varies == ("rank", "alpha"):  # the scale of the update may be that of the runs beside
            sized |= {(method, name) for method in study.methods if method in controls}
    return (config.study, config.seed) == ("main", 0) or (config.method, config.study) in sized
