"""Computes the main table of a report again from its published records, with pandas and SciPy alone.

    python docs/recompute.py reports/full

Nothing of the project is imported. Printed are the accuracy of every method on the test set with its 95% interval, and
for every pair of methods the difference with its interval and Holm's p-value, in per cent. The exit status is 1 where
the accuracy of a run is not the one in comparison.csv.
"""

import sys
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np  # what pandas and SciPy are made of
import pandas as pd
from scipy.signal import convolve
from scipy.stats import binom, norm, t


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


def standard_error(values: np.ndarray) -> tuple[float, float]:
    """Of the mean of a two-way layout with random effects, with Satterthwaite's degrees of freedom."""
    seeds, texts = values.shape
    by_text = values.mean(axis=0).var(ddof=1) / texts
    if seeds == 1:
        return by_text**0.5, texts - 1
    by_seed = values.mean(axis=1).var(ddof=1) / seeds
    residual = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + values.mean()
    variance = by_text + max(by_seed - (residual**2).sum() / ((seeds - 1) * (texts - 1)) / values.size, 0.0)
    degrees = variance**2 / (by_seed**2 / (seeds - 1) + by_text**2 / (texts - 1)) if variance else np.inf
    return variance**0.5, degrees


def sign_flip(difference: np.ndarray) -> float:
    """Exact two-sided p-value that the signs of the differences (seeds, texts), summed by text, are fair coins."""
    by_text = difference.sum(axis=0).astype(int)
    distribution = np.ones(1)
    for size, count in zip(*np.unique(np.abs(by_text[by_text != 0]), return_counts=True), strict=True):
        part = np.zeros(size * count + 1)
        part[::size] = binom.pmf(np.arange(count + 1), count, 0.5)
        distribution = convolve(distribution, part, method="direct")
    sums = 2 * np.arange(len(distribution)) - np.abs(by_text).sum()
    return min(1.0, distribution[np.abs(sums) >= abs(by_text.sum())].sum())


def main(report: Path) -> int:
    correct = correct_answers(report / "records")
    means = {method: [len(own), *with_interval(own.to_numpy(float))] for method, own in correct.items()}
    table = pd.DataFrame.from_dict(means, "index", columns=["seeds", "accuracy", "low", "high"])
    print(table.to_string(float_format="%.2f"), end="\n\n")
    pairs = {}
    for first, second in combinations(correct, 2):
        one, other = correct[first].align(correct[second], join="inner", axis=0)
        difference = one.to_numpy(float) - other.to_numpy(float)
        pairs[f"{first} - {second}"] = [*with_interval(difference), sign_flip(difference)]
    table = pd.DataFrame.from_dict(pairs, "index", columns=["difference", "low", "high", "p"]).sort_values("p")
    table["p"] = (table["p"] * np.arange(len(table), 0, -1)).cummax().clip(upper=1)  # Holm's
    form = dict.fromkeys(table, "{:+.2f}".format) | {"p": "{:.4f}".format}
    print(table.to_string(formatters=form), end="\n\n")
    said = pd.read_csv(report / "comparison.csv").query("study == 'main' and status == 'finished'")
    same = [abs(correct[run.method].loc[run.seed].mean() - run.test_accuracy) < 1e-9 for run in said.itertuples()]
    print(f"agrees with comparison.csv: {sum(same)} of {len(same)} runs")
    return 0 if all(same) else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
