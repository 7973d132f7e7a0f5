"""How long a sentence takes in evaluation, by method, with its update merged into the base model and beside it."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.tables import ADAPTERS, table
from course_utils.config import load_experiment
from course_utils.methods import FLOOR, METHODS, PLAIN
from course_utils.training import evaluation
from course_utils.training.speed import speed_up
from course_utils.training.trainer import adapted_model


def evaluations() -> str:
    """Evaluation, merged and not"""
    experiment = load_experiment("quick", {"methods": ADAPTERS})
    config = experiment.config(PLAIN.name)
    torch.set_num_threads(config.threads)
    frame = config.load_data().sets["test"].head(300)
    tokenizer = config.base.tokenizer()
    contenders = {"base model": speed_up(config.base.load(config.load_task()), FLOOR, config.precision)}
    for name in ADAPTERS:
        method, own = METHODS[name], experiment.config(name)

        def loaded(method=method):
            return method.load_base(config.base, config.load_task(), "fp32", config.settings)

        with tempfile.TemporaryDirectory() as folder:
            method.save(method.finish(adapted_model(own, loaded())), Path(folder))
            merged = method.load_merged(loaded(), Path(folder))
        contenders[f"{method.title}, not merged"] = adapted_model(own, loaded())
        contenders[f"{method.title}, merged"] = speed_up(merged, method, config.precision)
    times = {name: [] for name in contenders}
    for _ in range(5):
        for name, model in contenders.items():
            start = time.perf_counter()
            evaluation.predict(config, model, tokenizer, frame)
            times[name].append(1000 * (time.perf_counter() - start) / len(frame))
    median = {name: statistics.median(of_one) for name, of_one in times.items()}
    return table(
        {"model": name, "ms / sentence": f"{ms:.2f}", "of the base model's": f"{ms / median['base model']:.2f}"}
        for name, ms in median.items()
    )
