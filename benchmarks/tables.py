"""What the sections of python -m benchmarks share: the environment of what they start, names, tables."""

from __future__ import annotations

import os
from collections.abc import Iterable

import pandas as pd

from course_utils.methods import METHODS
from course_utils.paths import PROJECT
from course_utils.workflow.start import MARK, variables

SST2 = os.environ.get("COURSE_SST2", "../shared/data/SST-2")
# That of the workflow's jobs, without the mark: the workflow ends marked processes that an earlier start has left.
ENVIRONMENT = {name: value for name, value in variables().items() if name != MARK} | {"OMP_NUM_THREADS": "1"}
ADAPTERS = [name for name, method in METHODS.items() if not method.is_baseline]


def title(name: str) -> str:
    """A contender as tables name it."""
    return METHODS[name].title if name in METHODS else name


def has_sst2() -> bool:
    """Whether the real SST-2 is here; without it its rows are missing, and say so."""
    return (PROJECT / SST2 / "train.tsv").is_file()


def table(rows: Iterable[dict[str, str]]) -> str:
    """Rows (column → text) as Markdown."""
    return pd.DataFrame(rows).to_markdown(index=False)
