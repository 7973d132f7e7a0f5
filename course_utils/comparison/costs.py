"""Costs: what it takes to classify with a trained model, what seeds show of a difference, and Pareto fronts."""

import time
from collections.abc import Iterable
from functools import partial
from math import inf
from multiprocessing import get_context

import numpy as np
import pandas as pd

from course_utils.comparison.measurements import measurement
from course_utils.comparison.results import ExperimentRuns
from course_utils.comparison.tables import finished_runs
from course_utils.config import RunConfig
from course_utils.host import give_memory_back, has_gpu, map_large_blocks, memory_in_use, most_memory_since
from course_utils.runs import Run, load_model
from course_utils.stats import MINIMUM_SEEDS, SIGNIFICANCE, CrossedBootstrap, Interval, error_over_seeds, shared_seeds
from course_utils.training.evaluation import predict_as_trained

MERGED = "merged"
SURE = 0.95  # least share of draws at which a method counts as being on a front
OF_RUNS = ["parameters_adapter", "bytes_adapter", "bytes_base_model", "peak_memory_bytes", "step_ms_median"]


def cost_draws(results: ExperimentRuns, times: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Accuracy and each cost of every method in every draw: quantity → frame, one row per draw, one column per method.

    Of the seeds that all methods have, the test texts and the turns of `times` (as `evaluation_times` returns them),
    as many are drawn with replacement, the same ones for all methods. A cost is a median over the seeds or turns of the
    draw. Empty where the methods share no seed.
    """
    correct = results.predictions.correct
    if not (seeds := shared_seeds(correct)):
        return {}
    runs = finished_runs(results).set_index(["method", "seed"])
    turns = CrossedBootstrap.draw(1, len(times), random_seed=1).sentences
    bootstrap = CrossedBootstrap.draw(len(seeds), len(results.predictions.labels))
    draws: dict[str, dict[str, np.ndarray]] = {}
    for method, frame in correct.items():
        own = runs.loc[method].loc[seeds, OF_RUNS].astype(float)
        found = {"accuracy": bootstrap.means(frame.loc[seeds].to_numpy())}
        found |= {name: medians(values.to_numpy(), bootstrap.seeds) for name, values in own.items()}
        found["unmerged"] = medians(times[method if method in times else MERGED].to_numpy(), turns)
        for name, values in found.items():
            draws.setdefault(name, {})[method] = values
    return {name: pd.DataFrame(of_methods) for name, of_methods in draws.items()}


def medians(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The lower median of `values` (n,) in every draw: (draws,); `weights` (draws, n) are the values' shares in it."""
    order = values.argsort()
    reached = weights[:, order].cumsum(axis=1) >= 0.5 - 1e-9
    return values[order][reached.argmax(axis=1)]


def median_interval(values: pd.Series) -> Interval:
    """Median of a model's turns, or of a cost of a method's runs, with the 95% interval of its bootstrap."""
    weights = CrossedBootstrap.draw(1, len(values), random_seed=1).sentences
    low, high = np.quantile(medians(values.to_numpy(), weights), (0.025, 0.975))
    return Interval(float(values.median()), float(low), float(high))


def front_shares(draws: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """In which share of `cost_draws` a method is on the Pareto front of accuracy and a cost: one row per method.

    A method is on the front if no other is at least as cheap and at least as accurate, and better in one of the two.
    """
    accuracy = draws["accuracy"]
    return pd.DataFrame(
        {
            name: on_front(costs.to_numpy(), accuracy.to_numpy()).mean(axis=0)
            for name, costs in draws.items()
            if name != "accuracy"
        },
        index=accuracy.columns,
    )


def on_front(costs: np.ndarray, accuracy: np.ndarray) -> np.ndarray:
    """Which methods are on the Pareto front of each draw; all are (draws, methods)."""
    dearer = costs[:, :, None] >= costs[:, None, :]  # (draw, method, other): the other costs no more
    worse = accuracy[:, :, None] <= accuracy[:, None, :]
    dominated = dearer & worse & ~(dearer & worse).swapaxes(1, 2)
    return np.logical_not(dominated.any(axis=2))


def not_shown_above(costs: pd.DataFrame, lowest: str, step: float = 0.0) -> list[str]:
    """The methods whose cost is not shown to be above that of the method `lowest`.

    A method is left out, too, if its mean is above that of one that is shown to be above. `costs` has a row for each
    seed and a column for each method, nan where a run is missing. Two-sided *t* tests of the differences at shared
    seeds, since the same costs chose the lowest, each at `SIGNIFICANCE` over their number. `step` is that of
    `error_over_seeds`.
    """
    differences = {name: (costs[name] - costs[lowest]).dropna().to_numpy() for name in costs if name != lowest}
    each = SIGNIFICANCE / max(len(differences), 1)
    above = [
        own.mean()
        for own in differences.values()
        if len(own) >= MINIMUM_SEEDS and 2 * error_over_seeds(own, step).beyond(own.mean()) < each
    ]
    return [name for name, own in differences.items() if not len(own) or own.mean() < min(above, default=inf)]


def mean_loads(results: ExperimentRuns) -> pd.Series:
    """Method → the mean load of the machine at the start and the end of its main runs."""
    loads = {name: [run.result.environment.load for run in results.of(name)] for name in results.experiment.methods}
    return pd.Series({name: float(np.mean(own)) for name, own in loads.items() if own})


def processors(runs: Iterable[Run]) -> list[str]:
    """Names of the processors that made `runs`; times of several are not times of one machine."""
    return sorted({run.result.environment.processor for run in runs})


def is_uneven(loads: pd.Series) -> bool:
    """Whether a difference between two methods' times may come from these loads of the machine."""
    return bool(loads.max() > 1.25 * loads.min())


# ---------------------------------------------------------------- measured here and now: no run records it


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
