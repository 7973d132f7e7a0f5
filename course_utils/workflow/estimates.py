"""What the Snakefile asks of a step: what it depends on, takes and is given; times are guesses, for order alone."""

from __future__ import annotations

import hashlib
import json
import os
from math import ceil
from pathlib import Path

from course_utils.code_identity import code_of, keeps_old_runs, summary
from course_utils.config import Experiment, RunConfig
from course_utils.errors import CourseError
from course_utils.host import at_once, has_gpu
from course_utils.inputs.bases import Base
from course_utils.methods import CEILING, METHODS
from course_utils.paths import PROJECT
from course_utils.workflow.notebooks import notebook_names

OTHER_SECONDS = 25  # a step that is no training: a notebook, the report
SST2_SIZE = 67_349
EMBEDDED_PARAMETERS = 22_600_000  # of the base model that durations were measured with
USUAL_PARAMETERS = 67_000_000  # DistilBERT's, where nothing is known
BYTES_A_PARAMETER = 8  # the weights, and once more where the trained ones are loaded again to be evaluated
BYTES_A_TRAINED_PARAMETER = 12  # its gradient and AdamW's two averages


def code_digest() -> str:
    """Hash of the package's code and templates: notebooks and report, not runs, are made again when it changes."""
    suffixes = {".py", ".toml", ".bib", ".lua", ".typ", ".css", ".html", ".md", ".jinja"}
    return content(*(path for path in sorted((PROJECT / "course_utils").rglob("*")) if path.suffix in suffixes))


def training_code(record: Path, method: str) -> str:
    """Hash of the code that a run of `method` depends on: today's, or, where old runs are kept, that of its record."""
    kept = keeps_old_runs() and record.is_file()
    return summary(json.loads(record.read_bytes()).get("code", {}) if kept else code_of(method))


def content(*files: Path) -> str:
    """Hash of what is in `files`: a file that was replaced by an older one is noticed by it, not by its date."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def processes_a_run() -> int:
    """How many processes train each run together: COURSE_PROCESSES, or one."""
    return _number("COURSE_PROCESSES", 1)


def gpus_a_run() -> int:
    """How many GPUs each training asks a cluster for: COURSE_GPUS, or none."""
    return _number("COURSE_GPUS", 0)


def _number(variable: str, least: int) -> int:
    text = os.environ.get(variable) or str(least)
    if text not in map(str, range(least, 65)):
        raise CourseError(f"{variable}: {text!r} is not allowed; set a whole number from {least} to 64.")
    return int(text)


def training_priority(method: str) -> int:
    """Longest first, so that no long run is left alone at the end; any run before a notebook."""
    return ceil(10 * METHODS[method].relative_cost)


def expected_seconds(config: RunConfig) -> float:
    """Rough duration of a run: to order steps and to guess at the time that is left, for nothing else."""
    examples = min(config.max_train or SST2_SIZE, 7_000 if config.data == "embedded" else SST2_SIZE)
    step = 0.16 * METHODS[config.method].relative_cost * _parameters(config.base) / EMBEDDED_PARAMETERS
    start_and_evaluation = 20
    return start_and_evaluation + config.epochs * ceil(examples / config.batch_size) * step / (20 if has_gpu() else 1)


def expected_memory(experiment: Experiment, method: str) -> int:
    """Rough peak memory of a run of `method`, in MB: that of the profile, and what a larger base model adds."""
    usual = Base(experiment.profile.settings.get("base_model", "embedded"))
    more = max(0, _parameters(experiment.shared.base) - _parameters(usual))
    trained = BYTES_A_TRAINED_PARAMETER if METHODS[method] is CEILING else 0
    return ceil(1000 * experiment.profile.memory_gb + more * (BYTES_A_PARAMETER + trained) / 1e6)


def _parameters(base: Base) -> int:
    return base.parameters or USUAL_PARAMETERS


def expected_total(experiment: Experiment, cores: int) -> float:
    """Rough duration, in seconds, of the whole workflow with nothing done before."""
    training = sum(expected_seconds(config) for config in experiment.configs()) / at_once(cores)
    return training + OTHER_SECONDS * (3 + len(notebook_names(experiment.methods)) / cores)
