"""Runs that nobody trained: whole folders with records and predictions of a wanted accuracy."""

import numpy as np
import pandas as pd

from course_utils import runs
from course_utils.code_identity import code_of
from course_utils.comparison.baselines import FROZEN
from course_utils.comparison.results import read_runs
from course_utils.config import load_experiment
from course_utils.tasks.classification import METRICS

SENTENCES = 200


def finished(accuracy, seeds=3, apart=0.0, lost=(), overrides=None, **more):
    """The results of `seeds` seeds of some methods of `smoke`: `accuracy` maps a method to the mean of its runs.

    The accuracies of successive seeds lie `apart`. Runs that are `lost`, (method, seed), are not there. `overrides` are
    further settings of the experiment, and `more` is handed to `write_run`.
    """
    chosen = {"seeds": seeds, "precision": "fp32", "methods": [*accuracy]} | (overrides or {})
    experiment = load_experiment("smoke", chosen)
    for config in experiment.configs():
        if (config.method, config.seed) not in lost:
            write_run(config, accuracy[config.method] + apart * (config.seed - (seeds - 1) / 2), **more)
    return read_runs(experiment)


def write_axes(experiment, accuracy, seeds=3, factors=None):
    """Runs of the axes of `experiment`, or of those of `factors`, and of what they stand beside.

    `accuracy` takes a configuration and gives its accuracy, seeds aside.
    """
    axes = [(name, study) for name, study in experiment.studies.items() if study.varies]
    read = {at for name, own in axes if not factors or own.varies[0] in factors for at in (name, own.beside)} | {"main"}
    written = []
    for config in experiment.configs():
        if config.study in read and config.seed < seeds:
            size = config.max_train
            shift = 0.01 * (config.seed - 1) + 0.005 * (len(config.method + config.study) % 3 - 1) * (config.seed - 1)
            written.append(write_run(config, accuracy(config) + shift, data=f"{size:064}", train=size, validated=True))
    return written


def make_up_baselines(monkeypatch):
    """The frozen base with a regression is right on 60% of the made-up texts, which no baseline can be fitted to."""
    right = {FROZEN.name: ("1" * 12 + "0" * 8) * (SENTENCES // 20)}
    made = {str(size): right for size in (500, 1_500, 3_500, 7_000)}
    monkeypatch.setattr("course_utils.comparison.axes.baselines_by_size", lambda results: made)


def write_run(config, accuracy, title="movie test", data="d" * 64, set_name="test", train=1_000, validated=False):
    """A whole run folder whose first sentences, as many as `accuracy` says, are classified correctly."""
    labels = np.tile([0, 1], SENTENCES // 2)
    right = np.arange(SENTENCES) < round(accuracy * SENTENCES)
    predicted = np.where(right, labels, 1 - labels)
    table = pd.DataFrame(
        {
            "set": set_name,
            "example_id": [f"sentence-{i}" for i in range(SENTENCES)],
            "label": labels,
            "scores": [[1.0 - label, 1.0 * label] for label in predicted],
        }
    )
    # Runs need not hold their sentences in the same order.
    table = table.sample(frac=1, random_state=config.seed)
    table = pd.concat([table, table.assign(set="validation")], ignore_index=True)
    with runs.held(config):
        folder = runs.workspace(config, "identity")
        table.to_parquet(folder / "predictions.parquet", index=False)
        metrics = {"n": SENTENCES} | dict.fromkeys(METRICS, 0.5) | {"accuracy": accuracy}
        result = {
            "config": config.model_dump(),
            "fingerprint": "f" * 64,
            "data": {
                "source": config.data,
                "sizes": {"train": train, "test": SENTENCES},
                "titles": {"train": "training", "validation": "validation", "test": title},
                "fingerprint": data,
            },
            "base_model": {"id": "embedded", "fingerprint": "b" * 64},
            "parameters": {
                "adapter": 1_000 + config.seed, "head": 500, "trainable": 1_500 + config.seed,
                "total": 20_000, "total_as_peft_counts": 20_500,
            },
            "bytes": {"adapter": 4_000, "head": 2_000, "base_model": 80_000},
            "timing": {"train_seconds": 9.0, "step_ms_median": 100.0 + config.seed, "eval_ms_per_example": 2.0},
            "memory": {"peak_bytes": 10**9, "measured_as": "peak resident set of the whole process"},
            "metrics": {set_name: metrics},
            "method": {},
            "code": code_of(config.method, config.task),
            "environment": {"versions": {}, "processor": "a processor", "threads": 1, "load": (0.0, 0.0)},
            "git": None,
            "files": {},
        }  # fmt: skip
        if validated:  # where validation chooses between two rates
            result["metrics"]["validation"] = metrics
        return runs.publish(folder, runs.RunResult.model_validate(result))
