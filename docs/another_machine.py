"""Sets the same seeds of a report's main runs on two machines beside each other, with pandas (and pyarrow) and SciPy.

    python docs/another_machine.py reports/full reports/full/on_a_gpu

Printed are, in per cent, the accuracy of every method here and elsewhere, the difference with its 95% interval, and
`equal`, the share of equal outcomes: whether a text was classified rightly. `two_seeds` is this share between two seeds
here. A method whose settings are others there is left out, and named.
"""

import gzip
import json
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from recompute import outcomes, with_interval

COLUMNS = ["seeds", "here", "elsewhere", "difference", "low", "high", "equal", "two_seeds"]


def set_beside(correct: dict[str, pd.DataFrame], elsewhere: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """A row for each method of both, with `COLUMNS`, of the seeds that both have."""
    rows = {}
    for method in [name for name in correct if name in elsewhere]:
        here, there = correct[method].align(elsewhere[method], join="inner")
        here, there = here.to_numpy(), there[here.columns].to_numpy()
        between = [(one == other).mean() for one, other in combinations(here, 2)]
        equal = [100 * (here == there).mean(), 100 * np.mean(between)]
        rows[method] = [len(here), here.mean(), there.mean(), *with_interval(there - here), *equal]
    return pd.DataFrame.from_dict(rows, "index", columns=COLUMNS)


def by_text(folder: Path) -> dict[str, pd.DataFrame]:
    """`outcomes` of classifiers, with the ids of the texts as columns: another machine may have another order."""
    rows = pd.read_parquet(folder / "predictions.parquet", columns=["set", "example_id"])
    texts = rows.query("set == 'test'")["example_id"].to_numpy()
    return {method: own.set_axis(texts, axis=1) for method, own in outcomes(folder).items()}


def settings_of(folder: Path) -> dict[str, dict]:
    """Method → the settings of its main runs, as their records have them."""
    [file] = folder.glob("*.jsonl*")
    with (gzip.open if file.suffix == ".gz" else open)(file, "rt", encoding="utf-8") as lines:
        configs = [json.loads(line)["config"] for line in lines]
    of_all = ("base_model", "data", "epochs", "batch_size", "max_train")
    mains = [config for config in configs if config["study"] == "main"]
    return {config["method"]: config["settings"] | {name: config[name] for name in of_all} for config in mains}


if __name__ == "__main__":
    if len(sys.argv) != 3 or not all(Path(folder).is_dir() for folder in sys.argv[1:]):
        sys.exit(__doc__)
    report, elsewhere = map(Path, sys.argv[1:])
    signed = dict.fromkeys(["difference", "low", "high"], "{:+.3f}".format)
    here, there = settings_of(report / "records"), settings_of(elsewhere)
    alike = {name for name in here.keys() & there.keys() if here[name] == there[name]}
    beside = set_beside(
        {name: own for name, own in by_text(report / "records").items() if name in alike}, by_text(elsewhere)
    )
    print(beside.to_string(formatters=signed, float_format="%.3f"))
    for name in [name for name in there if name in here and name not in alike]:
        print(f"{name} is left out: its settings there are {there[name]}, and here {here[name]}")
