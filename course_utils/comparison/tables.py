"""All runs of an experiment as tables; a run that is missing or damaged is listed with its reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from course_utils.config import Experiment, RunConfig
from course_utils.errors import CourseError
from course_utils.inputs.splits import SST2_VALIDATION
from course_utils.methods import METHODS
from course_utils.paths import reports_folder, runs_folder, sha256_of
from course_utils.runs import Run, keeps_old_runs, read_run
from course_utils.stats import CrossedBootstrap, wilson_interval
from course_utils.tasks.classification import METRICS

COLUMNS = {
    "study": "main, or the side study that the run belongs to",
    "method": "name of the method",
    "seed": "seed of head initialisation, data order and dropout, shared by all methods",
    "status": "finished, or why there is no usable run",
    "learning_rate": "peak learning rate of AdamW",
    "weight_decay": "decoupled weight decay of AdamW",
    "epochs": "passes over the training set",
    "precision": "bf16 or fp32: precision of the matrix products",
    "threads": "processor threads of the run",
    "parameters_adapter": "trained parameters outside the head",
    "parameters_head": "trained parameters of the classification head",
    "parameters_trainable": "all trained parameters",
    "parameters_total": "all parameters, the head counted once",
    "parameters_total_as_peft_counts": "all parameters as PEFT counts them, the head twice",
    "bytes_adapter": "bytes on disk of what was trained outside the head",
    "bytes_head": "bytes on disk of the head",
    "bytes_base_model": "bytes in memory of the base model",
    "train_seconds": "seconds in training steps",
    "step_ms_median": "median duration of a training step, in milliseconds",
    "eval_ms_per_example": "milliseconds to classify one sentence",
    "peak_memory_bytes": "peak memory in bytes",
    "peak_memory_measured_as": "what the peak memory is a measurement of",
    "fingerprint": "hash of settings, data, base model and code",
}
# For the set that the literature reports: (title, accuracy, F1, number of sentences).
PUBLISHED = {
    SST2_VALIDATION: [
        ("Published QLoRA card", 0.9220, 0.9220, 872),
        ("Published DistilBERT, fully fine-tuned", 0.913, np.nan, 872),
    ]
}


@dataclass(frozen=True)
class MissingRun:
    """A run that the experiment wants and that cannot be used."""

    config: RunConfig
    reason: str


@dataclass(frozen=True, eq=False)
class ExperimentRuns:
    """The usable runs of an experiment, in its order, and the others."""

    experiment: Experiment
    runs: list[Run]
    missing: list[MissingRun]

    def of(self, method: str, study: str = "main") -> list[Run]:
        """Usable runs of `method`, a seed each."""
        return [run for run in self.runs if (run.config.method, run.config.study) == (method, study)]

    @cached_property
    def predictions(self) -> Predictions:
        """`read_predictions` of the main runs on the test set."""
        return read_predictions(self)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """`summary_table` of the main runs on the test set."""
        return summary_table(self)


@dataclass(frozen=True)
class Predictions:
    """Predicted classes that belong together: the same sentences, by method and seed.

    `labels` is indexed by example_id; `predicted` maps a method to a frame of classes, a row a seed, a column a
    sentence in the order of `labels`. Methods without a usable run are not in it.
    """

    labels: pd.Series
    predicted: dict[str, pd.DataFrame]

    @property
    def correct(self) -> dict[str, pd.DataFrame]:
        """Method → frame of booleans, shaped as in `predicted`."""
        return {method: frame == self.labels for method, frame in self.predicted.items()}


def read_runs(experiment: Experiment) -> ExperimentRuns:
    """All runs of `experiment`; one that cannot be used does not stop the others, and is listed with its reason.

    What is missing, damaged, of other settings, data or base model is not used; nor what other code made than today's,
    or, where old runs are kept, than most of them. So no mean is taken over runs of different code.
    """
    found = [_read(config) for config in experiment.configs()]
    runs = [run for run in found if isinstance(run, Run)]
    missing = [run for run in found if isinstance(run, MissingRun)]
    studies = experiment.all_studies
    inputs = {study: [_inputs(run) for run in runs if run.config.study == study] for study in studies}
    usual = {study: Counter(of_study).most_common(1)[0][0] for study, of_study in inputs.items() if of_study}
    code = _usual_code(runs) if keeps_old_runs() else {}
    used = []
    for run in runs:
        if _inputs(run) != usual[run.config.study]:
            reason = "made from other data or another base model than the other runs"
        elif changed := _other_code(run, code):
            reason = f"made by other code ({', '.join(changed)})"
        else:
            used.append(run)
            continue
        missing.append(MissingRun(run.config, reason))
    return ExperimentRuns(experiment, used, missing)


def _usual_code(runs: list[Run]) -> dict[str, str]:
    """Module or package → the hash or version that most of `runs` were made with."""
    found: dict[str, list[str]] = {}
    for run in runs:
        for name, value in run.result.code.items():
            found.setdefault(name, []).append(value)
    return {name: Counter(values).most_common(1)[0][0] for name, values in found.items()}


def _other_code(run: Run, usual: dict[str, str]) -> list[str]:
    """In what the code of `run` differs from `usual`, or from today's where that is empty."""
    if not usual:
        return run.changed_code
    return [name for name, value in run.result.code.items() if value != usual[name]]


def _read(config: RunConfig) -> Run | MissingRun:
    folder = runs_folder() / config.path
    if not folder.is_dir():
        return MissingRun(config, "not run, or failed")
    try:
        run = read_run(folder)
    except CourseError as error:
        return MissingRun(config, f"damaged: {error}")
    if run.config != config:
        return MissingRun(config, "made with other settings")
    if sha256_of(folder / "predictions.parquet") != run.result.files["predictions.parquet"]:
        return MissingRun(config, "damaged: its predictions are not those that it recorded")
    return run


def _inputs(run: Run) -> tuple[str, str]:
    return run.result.data.fingerprint, run.result.base_model.fingerprint


def read_predictions(results: ExperimentRuns, study: str = "main", set_name: str = "test") -> Predictions:
    """Predictions of every usable run of `study` on one set, aligned on example_id."""
    labels = pd.Series(dtype=int)
    predicted: dict[str, dict[int, pd.Series]] = {}
    for method in results.experiment.methods:
        for run in results.of(method, study):
            frame = run.predictions()
            frame = frame[frame["set"] == set_name].set_index("example_id")
            if len(frame):
                labels = frame["label"]
                classes = (frame["logit_1"] > frame["logit_0"]).astype(int)
                predicted.setdefault(method, {})[run.config.seed] = classes
    return Predictions(labels, {method: pd.DataFrame(seeds).T[labels.index] for method, seeds in predicted.items()})


def comparison_frame(results: ExperimentRuns) -> pd.DataFrame:
    """One row a run, side studies and missing runs included; `describe_columns` says what each column holds."""
    finished = {run.config.path: run for run in results.runs}
    reasons = {missing.config.path: missing.reason for missing in results.missing}
    rows = []
    for config in results.experiment.configs():
        row = {
            "study": config.study,
            "method": config.method,
            "seed": config.seed,
            "status": reasons.get(config.path, "finished"),
            "learning_rate": config.settings.learning_rate,
            "weight_decay": config.settings.weight_decay,
            "epochs": config.epochs,
            "precision": config.precision,
            "threads": config.threads,
        }
        rows.append(row | (_measured(finished[config.path]) if config.path in finished else {}))
    frame = pd.DataFrame(rows)
    counts = frame.columns[frame.columns.str.fullmatch("(parameters|bytes)_.*|.*_(n|bytes)")]
    frame[counts] = frame[counts].astype("Int64")  # whole numbers, even where a run is missing
    return frame.reindex(columns=[*COLUMNS, *(name for name in frame.columns if name not in COLUMNS)])


def _measured(run: Run) -> dict:
    result = run.result
    return {
        **{f"parameters_{name}": value for name, value in vars(result.parameters).items()},
        **{f"bytes_{name}": value for name, value in result.bytes},
        **dict(result.timing),
        "peak_memory_bytes": result.memory.peak_bytes,
        "peak_memory_measured_as": result.memory.measured_as,
        "fingerprint": result.fingerprint,
        **{f"{name}_{metric}": value for name, metrics in result.metrics.items() for metric, value in metrics},
    }


def describe_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns column, description: what the columns of a `comparison_frame` hold, units included."""
    return pd.DataFrame({"column": frame.columns, "description": map(_description, frame.columns)})


def _description(column: str) -> str:
    if column in COLUMNS:
        return COLUMNS[column]
    set_name, _, metric = column.rpartition("_")
    described = "number of sentences" if metric == "n" else METRICS[metric].description
    return f"{described}, on the set {set_name}"


def write_comparison(results: ExperimentRuns) -> Path:
    """Write comparison.csv and comparison_columns.csv, its dictionary, into the experiment's report folder."""
    folder = reports_folder() / results.experiment.name
    folder.mkdir(parents=True, exist_ok=True)
    frame = comparison_frame(results)
    for name, table in {"comparison_columns.csv": describe_columns(frame), "comparison.csv": frame}.items():
        table.to_csv(folder / f".{name}.new", index=False)
        (folder / f".{name}.new").replace(folder / name)
    return folder / "comparison.csv"


def summary_table(results: ExperimentRuns, study: str = "main", set_name: str = "test") -> pd.DataFrame:
    """One row a method, after the majority class; a method without usable runs keeps its row, without numbers.

    Accuracy and F1 are means over seeds with 95% intervals of the crossed bootstrap; parameters and bytes are
    means, times (ms, s) and peak memory medians over seeds. Published figures follow where the set has some.
    Columns: method, title, seeds, seeds_planned, status, n, accuracy, accuracy_low, accuracy_high, f1, f1_low,
    f1_high and those of `COLUMNS` from learning_rate on.
    """
    predictions = read_predictions(results, study, set_name)
    frame = comparison_frame(results).query("study == @study")
    labels = predictions.labels.to_numpy()
    rows = []
    if len(labels):
        majority = np.full((1, len(labels)), int(labels.mean() >= 0.5))
        rows.append({"method": "majority", "title": "Majority class", **_scores(majority, labels)})
    for method, own in frame.groupby("method", sort=False):
        finished = own[own["status"] == "finished"]
        row = {
            "method": method,
            "title": METHODS[method].title,
            "seeds": len(finished),
            "seeds_planned": len(own),
            "status": "; ".join(dict.fromkeys(own["status"])),
            "learning_rate": own["learning_rate"].iloc[0],
        }
        if method in predictions.predicted:
            row |= _scores(predictions.predicted[method].to_numpy(), labels)
        if len(finished):
            row |= {name: finished[name].mean() for name in COLUMNS if name.startswith(("parameters_", "bytes_"))}
            timings = ("train_seconds", "step_ms_median", "eval_ms_per_example", "peak_memory_bytes")
            row |= {name: finished[name].median() for name in timings}
        rows.append(row)
    titles = {run.result.data.titles.get(set_name, "") for run in results.runs}
    for title, accuracy, f1, n in (row for name in titles for row in PUBLISHED.get(name, [])):
        low, high = wilson_interval(round(accuracy * n), n)
        rows.append(
            {"method": "published", "title": title, "n": n, "accuracy": accuracy, "accuracy_low": low,
             "accuracy_high": high, "f1": f1}
        )  # fmt: skip
    return pd.DataFrame(rows).reindex(columns=SUMMARY_COLUMNS)


SUMMARY_COLUMNS = [
    "method", "title", "seeds", "seeds_planned", "status", "n",
    "accuracy", "accuracy_low", "accuracy_high", "f1", "f1_low", "f1_high", "learning_rate",
    *(name for name in COLUMNS if name.startswith(("parameters_", "bytes_"))),
    "train_seconds", "step_ms_median", "eval_ms_per_example", "peak_memory_bytes",
]  # fmt: skip


def _scores(predicted: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    bootstrap = CrossedBootstrap.draw(*predicted.shape)
    accuracy = bootstrap.mean_interval(predicted == labels)
    f1 = bootstrap.f1_interval(predicted, labels)
    return {
        "n": len(labels),
        **{"accuracy": accuracy.estimate, "accuracy_low": accuracy.low, "accuracy_high": accuracy.high},
        **{"f1": f1.estimate, "f1_low": f1.low, "f1_high": f1.high},
    }


def readable_summary(summary: pd.DataFrame) -> pd.DataFrame:
    """A `summary_table` as it is printed: percentages with intervals, thousands of parameters, MB, ms."""
    million, thousand = 1e6, 1e3
    table = {
        "Method": summary["title"],
        "Seeds": [_seeds(row) for _, row in summary.iterrows()],
        "Accuracy (%)": [_with_interval(row, "accuracy") for _, row in summary.iterrows()],
        "F1 (%)": [_with_interval(row, "f1") for _, row in summary.iterrows()],
        "Adapter (k)": _printed(summary["parameters_adapter"] / thousand, ",.1f"),
        "Head (k)": _printed(summary["parameters_head"] / thousand, ",.1f"),
        "Total (M)": _printed(summary["parameters_total"] / million, ",.2f"),
        "Adapter (MB)": _printed(summary["bytes_adapter"] / million, ",.2f"),
        "Head (MB)": _printed(summary["bytes_head"] / million, ",.2f"),
        "Base model (MB)": _printed(summary["bytes_base_model"] / million, ",.1f"),
        "Step (ms)": _printed(summary["step_ms_median"], ",.0f"),
        "Training (s)": _printed(summary["train_seconds"], ",.0f"),
        "Peak memory (MB)": _printed(summary["peak_memory_bytes"] / million, ",.0f"),
    }
    return pd.DataFrame(table).reset_index(drop=True)


def accuracy_in_per_cent(summary: pd.DataFrame) -> pd.DataFrame:
    """The rows of a `summary_table` that we trained, with estimate, low and high in per cent, as figures take them."""
    columns = {"estimate": "accuracy", "low": "accuracy_low", "high": "accuracy_high"}
    trained = summary[summary["seeds"] > 0]
    return trained.assign(**{name: 100 * trained[column] for name, column in columns.items()})


def _seeds(row: pd.Series) -> str:
    if pd.isna(row["seeds_planned"]):
        return "–"
    done = f"{row['seeds']:.0f}"
    return done if row["seeds"] == row["seeds_planned"] else f"{done} of {row['seeds_planned']:.0f}"


def _with_interval(row: pd.Series, metric: str) -> str:
    if pd.isna(row[metric]):
        return "missing" if row["seeds"] == 0 else "–"
    value, low, high = (100 * row[name] for name in (metric, f"{metric}_low", f"{metric}_high"))
    return f"{value:.1f}" if pd.isna(low) or low == high else f"{value:.1f} [{low:.1f}, {high:.1f}]"


def _printed(column: pd.Series, form: str) -> list[str]:
    return ["–" if pd.isna(value) else format(value, form) for value in column]
