"""All runs of an experiment as tables: a row for a run, a row for a method, and what their columns hold."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from course_utils.comparison.baselines import BASELINES
from course_utils.comparison.results import ExperimentRuns, Predictions, evaluation_sets, read_predictions
from course_utils.config import SharedSettings
from course_utils.inputs.splits import SST2_VALIDATION
from course_utils.methods import METHODS
from course_utils.paths import write_whole
from course_utils.runs import Run
from course_utils.stats import Interval, wilson_interval
from course_utils.tasks.base import Metric
from course_utils.tasks.classification import METRICS, metrics_of
from course_utils.tasks.language_modelling import LANGUAGE_METRICS


class Column(NamedTuple):
    """What a column of a `comparison_frame` holds and, where a summary has it, its aggregate and its readable form."""

    description: str
    over_seeds: str = ""  # mean or median
    title: str = ""
    unit: float = 1.0
    form: str = ""


COLUMNS = {
    "study": Column("main, or the side study that the run belongs to"),
    "method": Column("name of the method"),
    "seed": Column("seed of first weights, data order and dropout, shared by all methods"),
    "status": Column("finished, or why there is no usable run"),
    "learning_rate": Column("peak learning rate of AdamW"),
    "weight_decay": Column("decoupled weight decay of AdamW"),
    **{
        name: Column(field.description or "")
        for method in METHODS.values()
        for name, field in method.Settings.model_fields.items()
        if name not in ("learning_rate", "weight_decay")
    },
    **{name: Column(field.description or "") for name, field in SharedSettings.model_fields.items()},
    "parameters_adapter": Column("parameters trained and kept outside the head", "mean", "Adapter (k)", 1e3, ",.1f"),
    "parameters_head": Column("trained parameters of the classification head", "mean", "Head (k)", 1e3, ",.1f"),
    "parameters_trainable": Column("all parameters trained and kept, those of the head included", "mean"),
    "parameters_total": Column("all parameters, the head counted once", "mean", "Total (M)", 1e6, ",.2f"),
    "parameters_total_as_peft_counts": Column("all parameters as PEFT counts them, the head twice"),
    "bytes_adapter": Column("bytes on disk of what is kept outside the head", "mean", "Adapter (MB)", 1e6, ",.2f"),
    "bytes_head": Column("bytes on disk of the head", "mean", "Head (MB)", 1e6, ",.2f"),
    "bytes_base_model": Column("bytes in memory of the base model", "mean", "Base model (MB)", 1e6, ",.1f"),
    "train_seconds": Column("seconds in training steps", "median", "Training (s)", 1, ",.1f"),
    "step_ms_median": Column("median duration of a training step, in milliseconds", "median", "Step (ms)", 1, ",.0f"),
    "eval_ms_per_example": Column("milliseconds to evaluate one text"),
    "peak_memory_bytes": Column("peak memory in bytes", "median", "Peak memory (MB)", 1e6, ",.0f"),
    "peak_memory_measured_as": Column("how the peak memory was measured"),
    "fingerprint": Column("hash of settings, data, base model and code"),
    "forgetting_texts": Column("number of texts whose nearest neighbour was searched, before training and after it"),
    "forgetting_before": Column(
        "share of these texts whose nearest neighbour is of the text's own domain, before training"
    ),
    "forgetting_after": Column(
        "share of these texts whose nearest neighbour is of the text's own domain, after training"
    ),
}
OF_BASELINES = {
    "baseline": Column("name of a baseline that fine-tunes nothing"),
    "seconds": Column("seconds from the training texts to the classifier, the search for its penalty included"),
    "penalty": Column("scikit-learn's C, the inverse strength of the L2 penalty: the one of the best validation NLL"),
}
OVER_SEEDS = {name: column.over_seeds for name, column in COLUMNS.items() if column.over_seeds}
EVERY_METRIC = METRICS | LANGUAGE_METRICS
OF_CLASSES = {name: metric for name, metric in METRICS.items() if metric.over_seeds}
ENDS = {"estimate": "", "low": "_low", "high": "_high"}  # of an interval → how its column ends
SUMMARY_COLUMNS = [
    *("method", "title", "seeds", "seeds_planned", "n"),
    *(f"{name}{end}" for name in OF_CLASSES for end in ENDS.values()),
    *("learning_rate", *OVER_SEEDS),
]
# For the set that the literature reports: (title, accuracy, F1, number of sentences).
PUBLISHED = {
    SST2_VALIDATION: [
        ("Published QLoRA card", 0.9220, 0.9220, 872),
        ("Published DistilBERT, fully fine-tuned", 0.913, np.nan, 872),
    ]
}


MOSTLY_ONE_CLASS = 2 / 3  # of the test texts; then F1 of one class alone may hide the other


def confusion_matrix(predictions: Predictions, method: str, classes: int) -> pd.DataFrame:
    """Shares of each true class (a row) that `method` gave each class (a column), all its seeds together.

    A class without a text has a row of zeros.
    """
    from sklearn.metrics import confusion_matrix as counted

    answers = predictions.predicted[method]
    true = np.tile(predictions.labels.to_numpy(), len(answers))
    return pd.DataFrame(counted(true, answers.to_numpy().ravel(), labels=range(classes), normalize="true"))


@cache
def comparison_frame(results: ExperimentRuns) -> pd.DataFrame:
    """One row per run, side studies and missing runs included; `describe_columns` says what each column holds."""
    finished = {run.config.path: run for run in results.runs}
    reasons = {missing.config.path: missing.reason for missing in results.missing}
    rows = []
    for config in results.experiment.configs():
        row = {
            "study": config.study,
            "method": config.method,
            "seed": config.seed,
            "status": reasons.get(config.path, "finished"),
            **dict(config.settings),
            **{name: getattr(config, name) for name in SharedSettings.model_fields},
        }
        row = {name: ",".join(value) if isinstance(value, tuple) else value for name, value in row.items()}
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
        **({f"forgetting_{name}": value for name, value in result.forgetting} if result.forgetting else {}),
        **{f"{name}_{metric}": value for name, metrics in result.metrics.items() for metric, value in metrics},
    }


def finished_runs(results: ExperimentRuns) -> pd.DataFrame:
    """The rows of `comparison_frame` that are usable main runs."""
    return comparison_frame(results).query("study == 'main' and status == 'finished'")


def baseline_frame(results: ExperimentRuns) -> pd.DataFrame:
    """One row per baseline: its seconds, its penalty, and the metrics of its predicted classes on every set."""
    about = {"seconds": {}, "penalty": {}} if results.baselines is None else results.baselines.attrs
    rows: dict[str, dict] = {}
    for of in evaluation_sets(results):
        predictions = read_predictions(results, of=of)
        for name, answers in predictions.baselines.items():
            known = {column: about[column].get(name) for column in ("seconds", "penalty")}
            row = rows.setdefault(name, {"baseline": name} | known)
            scores = _scores(answers.to_numpy(), predictions.labels.to_numpy(), _classes(results))
            row |= {f"{of}_{metric}": value for metric, value in scores.items() if metric in ("n", *METRICS)}
    return pd.DataFrame(rows.values(), columns=None if rows else [*OF_BASELINES])


def _classes(results: ExperimentRuns) -> int:
    return max((len(run.task.class_names) for run in results.runs), default=2)


def describe_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns column, description: what the columns of a `comparison_frame` hold, units included."""
    return pd.DataFrame({"column": frame.columns, "description": map(_description, frame.columns)})


def _description(column: str) -> str:
    if known := (COLUMNS | OF_BASELINES).get(column):
        return known.description
    metric = max(
        (name for name in EVERY_METRIC if column.endswith(f"_{name}")), key=len, default="n"
    )  # macro_f1, not f1
    set_name = column.removesuffix(f"_{metric}")
    if metric == "n":
        return f"number of sentences, on the set {set_name}"
    measure = EVERY_METRIC[metric]
    unit = f", in {measure.unit}" if measure.unit not in ("", "%") else ""  # here it is a share
    better = "higher" if measure.higher_is_better else "lower"
    return f"{measure.description}{unit}, on the set {set_name}; {better} is better"


def write_comparison(results: ExperimentRuns) -> Path:
    """Write comparison.csv, baselines.csv and the dictionary of each (…_columns.csv) into the report's folder."""
    folder = results.experiment.report_folder
    frames = {"comparison": comparison_frame(results)}
    if results.experiment.classifies:
        frames["baselines"] = baseline_frame(results)
    described = {f"{name}_columns": describe_columns(frame) for name, frame in frames.items()}
    for name, table in (described | frames).items():
        write_whole(folder / f"{name}.csv", table.to_csv(index=False))
    return folder / "comparison.csv"


@cache
def summary_table(results: ExperimentRuns, study: str = "main") -> pd.DataFrame:
    """One row per method, after the baselines that fine-tune nothing; a method without usable runs has an empty row.

    Metrics of the predicted classes are means over seeds with 95% intervals of the crossed bootstrap; parameters and
    bytes are means, times (ms, s) and peak memory medians over seeds. Published figures follow where the set has some.
    Columns: method, title, seeds, seeds_planned, n, accuracy, accuracy_low, accuracy_high, likewise F1 and any
    other of these metrics, learning_rate, and the columns of `COLUMNS` that have an aggregate.
    """
    predictions = read_predictions(results, study)
    labels = predictions.labels.to_numpy()
    frame = comparison_frame(results).query("study == @study")
    of_method = frame.groupby("method", sort=False)
    finished = frame[frame["status"] == "finished"].groupby("method")
    table = pd.DataFrame(
        {
            "seeds": finished.size().reindex(of_method.groups, fill_value=0),
            "seeds_planned": of_method.size(),
            "learning_rate": of_method["learning_rate"].first(),
        }
    ).join(finished.agg(OVER_SEEDS).astype(float))
    table.insert(0, "title", [METHODS[name].title for name in table.index])
    classes = _classes(results)
    scores = {name: _scores(answers.to_numpy(), labels, classes) for name, answers in predictions.predicted.items()}
    rows = [row | scores.get(row["method"], {}) for row in table.rename_axis("method").reset_index().to_dict("records")]
    seconds = {} if results.baselines is None else results.baselines.attrs["seconds"]
    rows[:0] = [
        {"method": name, "title": BASELINES[name].title, "train_seconds": seconds.get(name)}
        | _scores(answers.to_numpy(), labels, classes)
        for name, answers in predictions.baselines.items()
    ]
    titles = dict.fromkeys(run.result.data.titles.get("test", "") for run in results.runs)
    for title, accuracy, f1, n in (row for name in titles for row in PUBLISHED.get(name, [])):
        low, high = wilson_interval(round(accuracy * n), n)
        interval = {"accuracy": accuracy, "accuracy_low": low, "accuracy_high": high}
        rows.append({"method": "published", "title": title, "n": n, "f1": f1} | interval)
    return pd.DataFrame(rows).reindex(columns=SUMMARY_COLUMNS)


def by_method(results: ExperimentRuns) -> pd.DataFrame:
    """The `summary_table` by the name of the method or baseline; of published figures the first."""
    return summary_table(results).drop_duplicates("method").set_index("method")


def _scores(predicted: np.ndarray, labels: np.ndarray, classes: int) -> dict[str, float]:
    scores: dict[str, float] = {"n": len(labels)}
    for name, metric in metrics_of(classes).items():
        if metric.over_seeds:
            found = _over_seeds(metric, predicted, labels)
            scores |= {f"{name}{column}": getattr(found, end) for end, column in ENDS.items()}
    return scores


def _over_seeds(metric: Metric, predicted: np.ndarray, labels: np.ndarray) -> Interval:
    """The metric's value over seeds, with an interval that ends where the metric does."""
    found = metric.over_seeds(predicted, labels)  # type: ignore[misc]  # asked of metrics that have it
    return Interval(found.estimate, max(found.low, 0.0), min(found.high, metric.largest))


def readable_summary(summary: pd.DataFrame) -> pd.DataFrame:
    """A `summary_table` as it is printed: percentages with intervals, thousands of parameters, MB, ms."""
    rows = [row for _, row in summary.iterrows()]
    table = {
        "Method": summary["title"].to_list(),
        "Seeds": list(map(_seeds, rows)),
        **{OF_CLASSES[name].heading: [_with_interval(row, name) for row in rows] for name in metrics_shown(summary)},
    }
    shown = {name: column for name, column in COLUMNS.items() if column.title}
    for name, (_, _, title, unit, form) in shown.items():
        table[title] = ["–" if pd.isna(value) else format(value / unit, form) for value in summary[name]]
    return pd.DataFrame(table)


def metrics_shown(summary: pd.DataFrame) -> list[str]:
    """The metrics of classes that a table shows.

    A metric with `instead` is shown where the other one has no value, or is that of one class where most texts are of
    one class.
    """
    there = [name for name in OF_CLASSES if summary[name].notna().any() or name == "accuracy"]
    one_sided = (summary.loc[summary["method"] == "majority", "accuracy"] > MOSTLY_ONE_CLASS).any()
    return [name for name in there if OF_CLASSES[name].instead not in there or one_sided]


def accuracy_in_per_cent(summary: pd.DataFrame) -> pd.DataFrame:
    """The rows of a `summary_table` that are not published figures, with estimate, low and high in per cent."""
    ours = summary[(summary["seeds"] > 0) | summary["method"].isin(BASELINES)]
    return ours.assign(**{end: 100 * ours[f"accuracy{column}"] for end, column in ENDS.items()})


def accuracy_by_set(results: ExperimentRuns) -> pd.DataFrame:
    """Accuracy of every baseline and method on every set, in per cent with 95% intervals.

    Columns method, set (its title), estimate, low, high. The majority class is that of the set itself.
    """
    rows = []
    for of, title in evaluation_sets(results).items():
        predictions = read_predictions(results, of=of)
        for name, answers in (predictions.baselines | predictions.predicted).items():
            found = _over_seeds(METRICS["accuracy"], answers.to_numpy(), predictions.labels.to_numpy())
            rows.append({"method": name, "set": title} | {end: 100 * getattr(found, end) for end in ENDS})
    return pd.DataFrame(rows, columns=["method", "set", *ENDS])


def _seeds(row: pd.Series) -> str:
    if pd.isna(row["seeds_planned"]):
        return "–"
    done = f"{row['seeds']:.0f}"
    return done if row["seeds"] == row["seeds_planned"] else f"{done} of {row['seeds_planned']:.0f}"


def _with_interval(row: pd.Series, metric: str) -> str:
    if pd.isna(row[metric]):
        return "missing" if row["seeds"] == 0 else "–"
    low, high = (row[f"{metric}_{end}"] for end in ("low", "high"))
    value, *ends = map(OF_CLASSES[metric].short, (row[metric], low, high))
    return value if pd.isna(low) or low == high else f"{value} [{', '.join(ends)}]"
