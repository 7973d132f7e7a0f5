"""What the audit of model cards finds, and what it misses, in cards whose truth is known."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from benchmarks.tables import table
from course_utils.paths import PROJECT


def audit() -> str:
    """The audit of cards: truths that it refutes, lies that it finds"""
    sys.path.insert(0, str(PROJECT / "tests" / "audit"))
    from corpus import rows

    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        found = rows(Path(folder))
    return (
        "Cards beside adapters that PEFT made on tiny random bases, each once truthful and once with one planted lie; "
        f"made and audited twice in {time.perf_counter() - start:.0f} s.\n\n{table(found)}"
    )
