"""Trackers: what a run logs is sent to TensorBoard, trackio, MLflow or Weights & Biases as well, by Trainer itself."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from course_utils.errors import CourseError
from course_utils.paths import runs_folder
from course_utils.text import and_joined

if TYPE_CHECKING:
    from course_utils.config import RunConfig

TRACKERS = ("tensorboard", "trackio", "mlflow", "wandb")  # each a package of that name, which the reader installs


def checked_tracker(name: Any) -> str | None:
    """`name` of a tracker whose package is installed, or None; CourseError otherwise."""
    if name in (None, "none"):
        return None
    if name not in TRACKERS:
        raise CourseError(f"track: {name!r} is no tracker; type -p track=NAME with one of {and_joined([*TRACKERS])}.")
    if find_spec(name) is None:
        raise CourseError(f"track: {name} is not installed; type .venv/bin/python -m pip install {name}.")
    return name


def tracker(config: RunConfig) -> dict[str, Any]:
    """Arguments of `TrainingArguments` for the tracker of `config`; in the tracker a run is named by its path.

    Without settings of the reader's own in the environment, logs stay on this machine, in COURSE_RUNS/tracked.
    """
    if config.track is None:
        return {"report_to": "none"}
    folder = runs_folder() / "tracked"
    folder.mkdir(parents=True, exist_ok=True)
    places: dict[str, dict[str, str]] = {
        "tensorboard": {},
        "trackio": {"TRACKIO_DIR": str(folder / "trackio")},
        "mlflow": {
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
            "MLFLOW_EXPERIMENT_NAME": config.experiment,
        },
        "wandb": {"WANDB_MODE": "offline", "WANDB_DIR": str(folder), "WANDB_PROJECT": config.experiment},
    }
    for name, value in places[config.track].items():
        os.environ.setdefault(name, value)
    if config.track == "tensorboard":
        os.environ["TENSORBOARD_LOGGING_DIR"] = str(folder / "tensorboard" / config.path)  # a run's own
    return {"report_to": config.track, "run_name": config.path, "project": config.experiment.replace("+", "-")}
