"""What a method costs beyond what its run records."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import pandas as pd

from course_utils.comparison.measurements import measurement
from course_utils.host import give_memory_back, memory_in_use, most_memory_since
from course_utils.runs import Run, load_model
from course_utils.training.evaluation import predict_as_trained

if TYPE_CHECKING:
    from course_utils.comparison.tables import ExperimentRuns

MERGED = "merged"


def evaluation_times(runs: dict[str, Run], sentences: int = 256, turns: int = 7) -> pd.DataFrame:
    """Milliseconds to classify one test sentence, measured here and now: one row per turn of all models.

    The column `MERGED` is a plain model. With ΔW added to W₀ every method is a model of the same layers and sizes, so
    one measurement serves all of them. The other columns are the `runs` with an adapter, with ΔW beside W₀.
    """
    config = next(iter(runs.values())).config
    frame = config.load_data().sets["test"].head(sentences)
    tokenizer = config.base.tokenizer()
    beside = {name: load_model(run, merged=False) for name, run in runs.items() if not run.method.is_baseline}
    models = {MERGED: load_model(next(iter(runs.values())))} | beside
    for model in models.values():  # warms up
        predict_as_trained(config, model, tokenizer, frame.head(8))
    rows = []
    for _ in range(turns):
        row = {}
        for name, model in models.items():
            start = time.perf_counter()
            predict_as_trained(config, model, tokenizer, frame)
            row[name] = 1000 * (time.perf_counter() - start) / len(frame)
        rows.append(row)
    return pd.DataFrame(rows)


def evaluation_memory(runs: dict[str, Run], sentences: int = 256) -> dict[str, int]:
    """Model, of those of `evaluation_times` → the bytes that it and its work take while it classifies; 0 if unknown.

    They are the highest memory of the process less what it held before the model was loaded. What loading takes beside
    that for a moment is not counted.
    """
    config = next(iter(runs.values())).config
    frame = config.load_data().sets["test"].head(sentences)
    tokenizer = config.base.tokenizer()
    beside = {name: partial(load_model, run, merged=False) for name, run in runs.items() if not run.method.is_baseline}
    found = {}
    for name, load in ({MERGED: partial(load_model, next(iter(runs.values())))} | beside).items():
        give_memory_back()
        before = memory_in_use()
        model = load()
        give_memory_back()
        predict = partial(predict_as_trained, config, model, tokenizer, frame)
        found[name] = max(most_memory_since(predict) - before, 0)
        del model, predict
    return found


@measurement
def memory_of_first_runs(results: ExperimentRuns) -> dict[str, int]:
    """`evaluation_memory` of the first run of each method."""
    return evaluation_memory({run.config.method: run for run in results.first_of_each()})


@measurement
def times_of_first_runs(results: ExperimentRuns) -> pd.DataFrame:
    """`evaluation_times` of the first run of each method."""
    return evaluation_times({run.config.method: run for run in results.first_of_each()})
