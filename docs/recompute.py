"""Computes the main table of a report again from its published records, with pandas (and pyarrow) and SciPy.

    python docs/recompute.py reports/full

Printed are every method's accuracy on the test set in per cent, or bits per byte, with 95% intervals, and how pairs
differ, with interval and Holm's p-value. The exit status is 1 where a run is not as in comparison.csv.
"""

import sys
from itertools import combinations
from pathlib import Path

import numpy as np  # what pandas and SciPy are made of
import pandas as pd
from scipy.stats import norm, t


def outcomes(folder: Path) -> dict[str, pd.DataFrame]:
    """Method → a row a seed, a column a test text, of the main runs: 100 where it is right, or its bits per byte."""
    table = pd.read_parquet(folder / "predictions.parquet").query("set == 'test'")
    rows: dict[str, dict[int, np.ndarray]] = {}
    for name in dict.fromkeys(name.rpartition(":")[0] for name in table if name.startswith("main/")):
        scores = table.filter(regex=f"^{name}:").to_numpy(float)
        if "bytes" in table:  # the whole is a ratio of two sums: a text's share in it, to first order
            bits, size, order = scores[:, 0] / np.log(2), table["bytes"].to_numpy(), np.argsort(table["example_id"])
            own = (bits.sum() / size.sum() + (bits - bits.sum() / size.sum() * size) / size.mean())[order]
        else:  # "main/METHOD/seed-0:2" is the score of class 2 less that of class 0; the highest is the answer
            own = 100.0 * (np.column_stack([np.zeros(len(table)), scores]).argmax(axis=1) == table["label"])
        rows.setdefault(name.split("/")[1], {})[int(name.rpartition("-")[2])] = np.asarray(own)
    return {method: pd.DataFrame.from_dict(seeds, orient="index") for method, seeds in rows.items()}


def weights(seeds: int, texts: int, replicates: int = 2_000) -> list[np.ndarray]:
    """How often each seed, and each text, is drawn in every replicate, as shares."""
    random = np.random.default_rng(0)
    drawn = [random.integers(size, size=(replicates, size)) for size in (seeds, texts)]
    return [np.stack([np.bincount(row, minlength=rows.shape[1]) for row in rows]) / rows.shape[1] for rows in drawn]


def with_interval(values: np.ndarray) -> list[float]:
    """Mean of (seeds, texts) and its 95% interval: percentiles, expanded to the width of a t interval."""
    (of_seeds, of_texts), (error, degrees) = weights(*values.shape), standard_error(values)
    replicates = (values @ of_texts.T * of_seeds.T).sum(axis=0)
    spread, mean = norm.ppf(0.975) * replicates.std(), values.mean()
    expansion = t.ppf(0.975, degrees) * error / spread if spread else 0.0
    return [mean, *(mean + expansion * (np.quantile(replicates, (0.025, 0.975)) - mean))]


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
    return variance**0.5, max(variance**2 / spent, min(shared_degrees or seeds - 1, texts - 1)) if spent else np.inf


def compared(correct: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Difference of every pair with its simultaneous interval, and Holm's p-value of its t statistic."""
    values, rows = {}, {}
    for first, second in combinations([name for name, own in correct.items() if len(own) > 2], 2):
        one, other = correct[first].align(correct[second], join="inner", axis=0)
        values[first, second] = one.to_numpy() - other.to_numpy()
    own = np.array([correct[name].mean(axis=1).var() for name in {*sum(values, ())}])  # a method's, between seeds
    counted = 1 / max(((own / own.sum()) ** 2).sum(), 1 / len(own)) if own.any() else len(own)
    degrees = (min(map(len, values.values())) - 1) * max((len(own) - 1) / len(own) * counted, 1)
    shared = np.mean([difference.mean(axis=1).var(ddof=1) for difference in values.values()])
    for (first, second), difference in values.items():
        error, df = standard_error(difference, shared, degrees)
        mean, width = difference.mean(), t.ppf(1 - 0.025 / len(values), df) * error
        p = 2 * t.sf(abs(mean) / error, df) if error else float(mean == 0)
        rows[f"{first} - {second}"] = [mean, mean - width, mean + width, p]
    table = pd.DataFrame.from_dict(rows, "index", columns=["difference", "low", "high", "p"]).sort_values("p")
    return table.assign(p=(table["p"] * np.arange(len(table), 0, -1)).cummax().clip(upper=1))


def main(report: Path) -> int:
    found, fitted = outcomes(report / "records"), report / "records" / "baselines.parquet"
    said = pd.read_csv(report / "comparison.csv").query("study == 'main' and status == 'finished'")
    bits = "test_bits_per_byte" in said  # which are published in 32 bits
    metric, unit, digits, rounding = ("bits_per_byte", 1, 4, 1e-6) if bits else ("accuracy", 100, 2, 1e-9)
    for name, own in pd.read_parquet(fitted).query("set == 'test'").groupby("baseline") if fitted.is_file() else []:
        found[name] = pd.DataFrame([100.0 * (np.stack(own["scores"].to_list()).argmax(axis=1) == own["label"].array)])
    means = {method: [len(own), *with_interval(own.to_numpy())] for method, own in found.items()}
    table = pd.DataFrame.from_dict(means, "index", columns=["seeds", metric, "low", "high"])
    print(table.to_string(float_format=f"%.{digits}f"), end="\n\n")
    form = {name: f"{{:+.{digits}f}}".format for name in ("difference", "low", "high")} | {"p": "{:.4f}".format}
    print(compared(found).to_string(formatters=form) if sum(len(x) > 2 for x in found.values()) > 1 else "", end="\n\n")
    known = said[["method", "seed", f"test_{metric}"]].to_numpy()
    same = [abs(found[method].loc[seed].mean() / unit - score) < rounding for method, seed, score in known]
    print(f"agrees with comparison.csv: {sum(same)} of {len(same)} runs")
    return 0 if all(same) else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])) if len(sys.argv) == 2 and Path(sys.argv[1]).is_dir() else __doc__)
