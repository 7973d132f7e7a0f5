"""What it costs to classify with a trained model: time and memory, which no run records."""

from __future__ import annotations

import time
from functools import partial
from multiprocessing import get_context

import pandas as pd

from course_utils.comparison.measurements import measurement
from course_utils.comparison.tables import ExperimentRuns
from course_utils.config import RunConfig
from course_utils.host import give_memory_back, has_gpu, map_large_blocks, memory_in_use, most_memory_since
from course_utils.runs import Run, load_model
from course_utils.training.evaluation import predict_as_trained

MERGED = "merged"


def evaluation_times(runs: dict[str, Run], sentences: int = 256, turns: int = 7) -> pd.DataFrame:
    """Milliseconds to classify one test sentence, measured here and now: one row per turn of all models.

    The column `MERGED` is a plain model. With ΔW added to W₀ every method is a model of the same layers and sizes, so
    one measurement serves all of them. The other columns are the `runs` with an adapter, with ΔW beside W₀.
    """
    config = next(iter(runs.values())).config
    frame = config.load_data().sets["test"].head(sentences)
    tokenizer = config.base.tokenizer()
    models = {name: load_model(run, merged) for name, (run, merged) in _timed(runs).items()}
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

    The bytes are the highest memory of a process less what the process held before the model was loaded. Temporary
    memory of the loading is not counted. On a CPU every model has a process of its own, a fork of this one: in a shared
    process a model would use the memory that another has freed, and too little would be counted.
    """
    import bitsandbytes  # noqa: F401  else the import would count for the first model that needs it
    import peft  # noqa: F401

    config = next(iter(runs.values())).config
    frame, tokenizer = config.load_data().sets["test"].head(sentences), config.base.tokenizer()
    models = _timed(runs)
    one = partial(_memory_of_one, config, frame, tokenizer)
    if has_gpu():
        return {name: one(model) for name, model in models.items()}
    with get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        return dict(zip(models, pool.map(one, models.values(), chunksize=1), strict=True))


def _timed(runs: dict[str, Run]) -> dict[str, tuple[Run, bool]]:
    """What is measured: name → a run, and whether its update is merged into the weights."""
    beside = {name: (run, False) for name, run in runs.items() if not run.method.is_baseline}
    return {MERGED: (next(iter(runs.values())), True)} | beside


def _memory_of_one(config: RunConfig, frame: pd.DataFrame, tokenizer, model: tuple[Run, bool]) -> int:
    import torch

    torch.set_num_threads(1)  # a fork has none of the threads that its parent may have computed with
    map_large_blocks()
    give_memory_back()
    before = memory_in_use()
    loaded = load_model(model[0], merged=model[1])
    give_memory_back()
    return max(most_memory_since(partial(predict_as_trained, config, loaded, tokenizer, frame)) - before, 0)


@measurement
def memory_of_first_runs(results: ExperimentRuns) -> dict[str, int]:
    """`evaluation_memory` of the first run of each method."""
    return evaluation_memory({run.config.method: run for run in results.first_of_each()})


@measurement
def times_of_first_runs(results: ExperimentRuns) -> pd.DataFrame:
    """`evaluation_times` of the first run of each method."""
    return evaluation_times({run.config.method: run for run in results.first_of_each()})
