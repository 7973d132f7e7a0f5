"""What a comparison cannot compute from records, because it needs weights or a clock: measured once, and kept.

The workflow's step `measure` comes before chapter 06, which reads what the step found.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_utils.code_identity import code_behind, from_records
from course_utils.comparison.published import MEASURED, records_folder
from course_utils.errors import CourseError
from course_utils.paths import relative_to_project, runs_folder, write_whole
from course_utils.text import hash_of_json

if TYPE_CHECKING:
    from course_utils.comparison.results import ExperimentRuns

Measure = Callable[["ExperimentRuns"], Any]


def measurement(measure: Measure, optional: bool = False) -> Measure:
    """Decorate a function that measures an experiment's runs, so that what it finds is kept as JSON.

    For the same runs and code the function returns what was kept; where records are read, it returns what they hold.
    Where they lack it, it raises CourseError, or returns {} if it is `optional`. Frames become dicts by column, series
    dicts by index.
    """
    name = measure.__name__

    @wraps(measure)
    def find(results: ExperimentRuns) -> Any:
        if from_records():
            file = records_folder(results.experiment) / MEASURED
            if name not in (kept := _read(file)):
                if optional:
                    return {}
                raise CourseError(f"{relative_to_project(file)} lacks {name}; leave --from-records out to measure it.")
            return kept[name]["found"]
        file = runs_folder() / results.experiment.name / MEASURED
        runs = sorted([run.config.path, run.result.fingerprint, run.result.checksum or ""] for run in results.runs)
        of = hash_of_json([code_behind(measure.__module__), runs])
        if (kept := _read(file).get(name, {})).get("of") != of:
            kept = {"of": of, "found": json.loads(json.dumps(measure(results), default=lambda own: own.to_dict()))}
            measured = dict(sorted((_read(file) | {name: kept}).items()))  # read again: measuring took a while
            write_whole(file, json.dumps(measured, ensure_ascii=False, indent=1) + "\n")
        return kept["found"]

    return find


def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text("utf-8")) if file.is_file() else {}
