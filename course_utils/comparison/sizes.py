"""Baselines that fine-tune nothing, with as many training texts as each point of the axis of training sizes."""

from typing import Any

import numpy as np
import pandas as pd

from course_utils.comparison.axes import Contrast, Series, contrasts, less, read_axis
from course_utils.comparison.baselines import FITTED, fitted
from course_utils.comparison.measurements import measurement
from course_utils.comparison.tables import ExperimentRuns


@measurement
def baselines_by_size(results: ExperimentRuns) -> dict[str, dict[str, str]]:
    """Number of training texts → baseline → its answers to the runs' test texts: a one for each that is right.

    The size of the main runs is left out: `predictions.baselines` are fitted to as many.
    """
    axis = read_axis(results, "max_train")
    configs = {size: runs[0].config for own in axis for size, runs in own.points.items()}
    configs = {size: config for size, config in configs.items() if config.study != "main"}
    found: dict[str, dict[str, str]] = {}
    for size, config in sorted(configs.items()):
        data = config.load_data()
        sets = {name: data.sets[name] for name in ("train", "validation", "test")}
        for baseline in FITTED:
            answers, *_ = fitted(baseline, config, sets)
            right = np.stack(answers["scores"].to_list()).argmax(axis=1) == answers["label"]
            right = right.set_axis(answers["example_id"])[_texts(axis)]
            found.setdefault(str(size), {})[baseline.name] = "".join("1" if each else "0" for each in right)
    return found


def at_each_size(results: ExperimentRuns, series: list[Series]) -> dict[str, dict[Any, pd.DataFrame]]:
    """Baseline → training size → booleans (one row, test texts), at the sizes of `series`."""
    found: dict[str, dict[Any, pd.DataFrame]] = {}
    for size in sorted({size for own in series for size in own.points}):
        for name, right in with_texts(results, size, _texts(series)).items():
            found.setdefault(name, {})[size] = right
    return found


def with_texts(results: ExperimentRuns, size: int, texts: pd.Index) -> dict[str, pd.DataFrame]:
    """Baseline → booleans (one row, test `texts`), of those that are fitted to `size` training texts.

    Empty where neither the main runs nor a point of the axis of training sizes have as many.
    """
    found: dict[str, list[bool]]
    if size in {run.result.data.sizes["train"] for run in results.runs if run.config.study == "main"}:
        mains = results.predictions.correct_baselines
        found = {own.name: [*mains[own.name][texts]] for own in FITTED if own.name in mains}
    else:
        kept = baselines_by_size(results).get(str(size), {})
        found = {name: [each == "1" for each in right] for name, right in kept.items()}
    return {name: pd.DataFrame([right], columns=texts) for name, right in found.items()}


def _texts(series: list[Series]) -> pd.Index:
    """The test texts, by example_id, in the order of the runs."""
    return next(iter(series[0].correct.values())).columns


def against_baselines(
    series: list[Series], baselines: dict[str, dict[Any, pd.DataFrame]], margin: float
) -> dict[tuple[str, Any, str], Contrast]:
    """(method, size, baseline) → the method's accuracy less the baseline's with as many texts; corrected over all."""
    values = {}
    for own in series:
        for size, correct in own.correct.items():
            for name, of_sizes in baselines.items():
                if size in of_sizes:
                    same = pd.concat([of_sizes[size]] * len(correct)).set_axis(correct.index)
                    values[own.method, size, name] = less(correct, same)
    return contrasts(values, margin)
