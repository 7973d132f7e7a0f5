"""Computes the main table of a report again from its published records, with pandas and SciPy alone.

    python docs/recompute.py reports/full

Printed are, in per cent, the accuracy of every method on the test set with its 95% interval, and how pairs differ,
with interval and Holm's p-value. The exit status is 1 where the accuracy of a run is not the one in comparison.csv.
"""

import sys
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np  # what pandas and SciPy are made of
import pandas as pd
from scipy.stats import norm, t


def correct_answers(folder: Path) -> dict[str, pd.DataFrame]:
    """Method → booleans, a row a seed, a column a test text, of the main runs."""
    table = pd.read_parquet(folder / "predictions.parquet").query("set == 'test'")
    # "main/METHOD/seed-0:2" is the score of class 2 less that of class 0; the highest is the answer
    names = [name.rpartition(":")[0] for name in table if name.startswith("main/")]
    rows: dict[str, dict[int, np.ndarray]] = {}
    for name in dict.fromkeys(names):
        scores = table.filter(regex=f"^{name}:").to_numpy()
        answers = np.column_stack([np.zeros(len(table)), scores]).argmax(axis=1)
        _, method, seed = name.split("/")
        rows.setdefault(method, {})[int(seed.removeprefix("seed-"))] = answers == table["label"].to_numpy()
    return {method: pd.DataFrame.from_dict(seeds, orient="index") for method, seeds in rows.items()}


@cache
def weights(seeds: int, texts: int, replicates: int = 2_000) -> list[np.ndarray]:
    """How often each seed, and each text, is drawn in every replicate, as shares."""
    random = np.random.default_rng(0)
    drawn = [random.integers(size, size=(replicates, size)) for size in (seeds, texts)]
    return [np.stack([np.bincount(row, minlength=rows.shape[1]) for row in rows]) / rows.shape[1] for rows in drawn]


def with_interval(values: np.ndarray) -> list[float]:
    """Mean of (seeds, texts) in per cent and its 95% interval: percentiles, expanded to the width of a t interval."""
    of_seeds, of_texts = weights(*values.shape)
    replicates = (values @ of_texts.T * of_seeds.T).sum(axis=0)
    error, degrees = standard_error(values)
    spread = norm.ppf(0.975) * replicates.std()
    expansion = t.ppf(0.975, degrees) * error / spread if spread else 0.0
    ends = values.mean() + expansion * (np.quantile(replicates, (0.025, 0.975)) - values.mean())
    return [100 * values.mean(), *(100 * ends)]


def standard_error(values: np.ndarray, shared: float = 0.0, shared_degrees: float = 0.0) -> tuple[float, float]:
    """Of the mean of a two-way layout with random effects, a variance between seeds perhaps shared by several means."""
    seeds, texts = values.shape
    by_text = values.mean(axis=0).var(ddof=1) / texts
    if seeds == 1:
        return by_text**0.5, texts - 1
    by_seed = max(values.mean(axis=1).var(ddof=1), shared) / seeds
    residual = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + values.mean()
    variance = by_text + max(by_seed - (residual**2).sum() / ((seeds - 1) * (texts - 1)) / values.size, 0.0)
    spent = by_seed**2 / (shared_degrees or seeds - 1) + by_text**2 / (texts - 1)
    least = min(shared_degrees or seeds - 1, texts - 1)
    return variance**0.5, max(variance**2 / spent, least) if spent else np.inf


def compared(correct: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Difference of every pair with its simultaneous interval, in per cent, and Holm's p-value of its t statistic."""
    values = {}
    for first, second in combinations([name for name, own in correct.items() if len(own) > 2], 2):
        one, other = correct[first].align(correct[second], join="inner", axis=0)
        values[first, second] = one.to_numpy(float) - other.to_numpy(float)
    own = np.array([correct[name].mean(axis=1).var() for name in {*sum(values, ())}])  # a method's, between seeds
    counted = 1 / max(((own / own.sum()) ** 2).sum(), 1 / len(own)) if own.any() else len(own)
    degrees = (min(map(len, values.values())) - 1) * max((len(own) - 1) / len(own) * counted, 1)
    shared = np.mean([difference.mean(axis=1).var(ddof=1) for difference in values.values()])
    rows = {}
    for (first, second), difference in values.items():
        error, df = standard_error(difference, shared, degrees)
        mean, width = difference.mean(), t.ppf(1 - 0.025 / len(values), df) * error
        p = 2 * t.sf(abs(mean) / error, df) if error else float(mean == 0)
        rows[f"{first} - {second}"] = [100 * mean, 100 * (mean - width), 100 * (mean + width), p]
    table = pd.DataFrame.from_dict(rows, "index", columns=["difference", "low", "high", "p"]).sort_values("p")
    return table.assign(p=(table["p"] * np.arange(len(table), 0, -1)).cummax().clip(upper=1))


def main(report: Path) -> int:
    correct = correct_answers(report / "records")
    means = {method: [len(own), *with_interval(own.to_numpy(float))] for method, own in correct.items()}
    table = pd.DataFrame.from_dict(means, "index", columns=["seeds", "accuracy", "low", "high"])
    print(table.to_string(float_format="%.2f"), end="\n\n")
    form = dict.fromkeys(["difference", "low", "high"], "{:+.2f}".format) | {"p": "{:.4f}".format}
    print(compared(correct).to_string(formatters=form), end="\n\n")
    said = pd.read_csv(report / "comparison.csv").query("study == 'main' and status == 'finished'")
    same = [abs(correct[run.method].loc[run.seed].mean() - run.test_accuracy) < 1e-9 for run in said.itertuples()]
    print(f"agrees with comparison.csv: {sum(same)} of {len(same)} runs")
    return 0 if all(same) else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
