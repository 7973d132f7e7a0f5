"""The model and the data of an experiment, fetched and checked before anything is trained."""

from __future__ import annotations

import json

from course_utils.config import Experiment, RunConfig
from course_utils.inputs.sources import find_source
from course_utils.methods.base import LowRankSettings
from course_utils.paths import runs_folder


def check_folders(config: RunConfig) -> None:
    """Raise CourseError where a folder of the reader's own is missing, or is none of a model; fetches nothing."""
    if not config.base.is_embedded:
        _ = config.base.location
    for setting in ("data", "also_evaluate"):
        if name := getattr(config, setting):
            find_source(name).check(setting)


def check_inputs(experiment: Experiment) -> dict:
    """What identifies the data and the base model of `experiment`, once both are there and fit its settings.

    Raises CourseError where one cannot be read, or an adapter does not fit the model.
    """
    from course_utils.inputs.bases import check_length, check_targets

    shared = experiment.shared
    data = shared.load_data()
    model = shared.base.without_weights(shared.task)
    shared.base.tokenizer()
    check_length(model, shared.max_length)
    for settings in (experiment.config(method).settings for method in experiment.methods):
        if isinstance(settings, LowRankSettings):
            check_targets(model, settings.target_modules, settings.rank)
    return {
        "data": {"fingerprint": data.fingerprint, "sizes": {name: len(frame) for name, frame in data.sets.items()}},
        "base_model": {"id": shared.base_model, "fingerprint": shared.base.fingerprint()},
    }


def write_inputs(experiment: Experiment) -> None:
    """Check the inputs of `experiment` and write what identifies them to runs/<experiment>/inputs.json."""
    text = json.dumps(check_inputs(experiment), indent=2)
    path = runs_folder() / experiment.name / "inputs.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".new").write_text(text + "\n", encoding="utf-8")
    path.with_suffix(".new").replace(path)
