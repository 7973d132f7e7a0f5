"""What a method costs beyond what its run records."""

from __future__ import annotations

import statistics
import time

import pandas as pd

from course_utils.runs import Run, load_model
from course_utils.training.evaluation import predict_as_trained


def evaluation_times(runs: dict[str, Run], sentences: int = 256, turns: int = 3) -> pd.DataFrame:
    """Milliseconds to classify one test sentence, with ΔW merged into W₀ and beside it: measured here and now.

    One row for each of `runs`, columns merged and unmerged: medians over `turns`, in each of which every model is
    asked in turn. A baseline has nothing to merge and the same value twice.
    """
    config = next(iter(runs.values())).config
    frame = config.load_data().sets["test"].head(sentences)
    tokenizer = config.base.tokenizer()
    models = {
        (name, form): load_model(run, merged=form == "merged")
        for name, run in runs.items()
        for form in ("merged", "unmerged")
        if form == "merged" or not run.method.is_baseline
    }
    times: dict[tuple[str, str], list[float]] = {key: [] for key in models}
    for turn in range(turns + 1):
        for key, model in models.items():
            asked = frame if turn else frame.head(8)  # the first turn warms up
            start = time.perf_counter()
            predict_as_trained(config, model, tokenizer, asked)
            if turn:
                times[key].append(1000 * (time.perf_counter() - start) / len(asked))
    found = pd.Series({key: statistics.median(own) for key, own in times.items()})
    medians = found.unstack().reindex(columns=["merged", "unmerged"])  # the second is missing where all are baselines
    return medians.assign(unmerged=medians["unmerged"].fillna(medians["merged"])).loc[list(runs)]
