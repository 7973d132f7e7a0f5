"""python -m benchmarks [SECTION…] measures what the project claims about speed and writes benchmarks/RESULTS.md.

Contenders take turns in one process, and a figure is a median over the turns. In the sections rivals and memory each
contender has a process of its own; in the section gpu contenders are measured one after another.
Sections that are not named keep what they held.
"""

from __future__ import annotations

import os
from datetime import datetime
from enum import Enum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.accuracy import accuracy
from benchmarks.audit_of_cards import audit
from benchmarks.evaluation_times import evaluations
from benchmarks.gpu import gpu
from benchmarks.memory_and_growth import growth, memory
from benchmarks.step_times import parts, rivals, steps, tricks
from benchmarks.workflow_times import many, stages, starts
from course_utils.training.provenance import processor_name

RESULTS = Path(__file__).with_name("RESULTS.md")
SECTIONS = {
    f.__name__: f
    for f in (steps, rivals, parts, tricks, evaluations, memory, starts, stages, growth, accuracy, many, gpu, audit)
}


Section = Enum("Section", {name: name for name in SECTIONS})  # type: ignore[misc]  # mypy wants to read the names


def main(sections: Annotated[list[Section], typer.Argument()] = list(Section)) -> None:  # noqa: B006, B008
    """Measure the named sections, or all, and write RESULTS.md."""
    held = _held()
    for name in (section.value for section in sections):
        load, body = os.getloadavg()[0], SECTIONS[name]()
        packages = ", ".join(f"{p} {version(p)}" for p in ("torch", "transformers", "peft", "bitsandbytes"))
        made = (
            f"*{processor_name()}, {os.cpu_count()} cores; {packages}; load {load:.1f} before, "
            f"{os.getloadavg()[0]:.1f} after; {datetime.now():%Y-%m-%d}: `python -m benchmarks {name}`*"
        )
        held[name] = f"## {SECTIONS[name].__doc__}\n\n{body}\n\n{made}\n"
        print(held[name], flush=True)
        RESULTS.write_text(
            "# What was measured\n\nWritten by `python -m benchmarks`; what was tried and why is in README.md.\n\n"
            + "\n".join(held[n] for n in SECTIONS if n in held),
            encoding="utf-8",
        )


def _held() -> dict[str, str]:
    """The sections that RESULTS.md holds."""
    parts = RESULTS.read_text(encoding="utf-8").split("\n## ")[1:] if RESULTS.is_file() else []
    names = {f.__doc__: name for name, f in SECTIONS.items()}
    return {names[p.partition("\n")[0]]: f"## {p.rstrip()}\n" for p in parts if p.partition("\n")[0] in names}


if __name__ == "__main__":
    typer.run(main)
