"""The model and the data of an experiment, fetched and checked before anything is trained."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from course_utils.assets import base_model_fingerprint, find_base_model, find_folder, locate_data
from course_utils.config import Experiment, RunConfig
from course_utils.paths import runs_folder


def source_files(config: RunConfig) -> list[Path]:
    """Files of the reader's own folders that a run reads: a change to one means that it must be done again."""
    patterns = {config.base_model: ("config.json", "*.safetensors"), config.data: ("*.tsv",)}
    if config.also_evaluate:
        patterns[config.also_evaluate] = ("*.tsv",)
    return sorted(
        file
        for name, globs in patterns.items()
        if name not in ("embedded", "sst2") and (folder := find_folder(name))
        for pattern in globs
        for file in folder.glob(pattern)
        if os.path.isfile(file)
    )


def check_folders(config: RunConfig) -> None:
    """Raise CourseError where a folder of the reader's own is missing, or is none of a model; fetches nothing."""
    if config.base_model != "embedded":
        find_base_model(config.base_model)
    for setting in ("data", "also_evaluate"):
        if (name := getattr(config, setting)) not in (None, "embedded", "sst2"):
            locate_data(setting, name)


def check_sources(experiment: Experiment) -> dict:
    """What identifies the data and the base model of `experiment`, once both are there and fit its settings.

    Raises CourseError where one cannot be read, or an adapter does not fit the model.
    """
    from course_utils.training import load_run_data

    configs = [experiment.config(method) for method in experiment.methods]
    data = load_run_data(configs[0])
    _check_model(configs)
    return {
        "data": {"fingerprint": data.fingerprint, "sizes": {name: len(frame) for name, frame in data.sets.items()}},
        "base_model": {"id": configs[0].base_model, "fingerprint": base_model_fingerprint(configs[0].base_model)},
    }


def _check_model(configs: list[RunConfig]) -> None:
    from course_utils.models import check_length, check_targets, classifier_without_weights, load_tokenizer

    model = classifier_without_weights(configs[0].base_model)
    load_tokenizer(configs[0].base_model)
    check_length(model, configs[0].max_length)
    for config in configs:
        if hasattr(config.settings, "rank"):
            check_targets(model, config.settings.target_modules, config.settings.rank)


def main(arguments: list[str]) -> None:
    """Write runs/<experiment>/sources.json."""
    from course_utils.__main__ import chosen_experiment, experiment_arguments

    parser = argparse.ArgumentParser(prog="python -m course_utils.sources")
    experiment_arguments(parser)
    experiment = chosen_experiment(parser.parse_args(arguments))
    text = json.dumps(check_sources(experiment), indent=2)
    path = runs_folder() / experiment.name / "sources.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".new").write_text(text + "\n", encoding="utf-8")
    path.with_suffix(".new").replace(path)


if __name__ == "__main__":
    from course_utils.__main__ import exit_status

    sys.exit(exit_status(main, sys.argv[1:]))
