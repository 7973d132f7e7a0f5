"""How much memory training takes, and how time and memory grow with examples, length and width."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import torch

from benchmarks import shapes
from benchmarks.contenders import SCRIPT
from benchmarks.tables import ENVIRONMENT, SST2, has_sst2, table, title
from course_utils.methods import METHODS, PLAIN
from course_utils.paths import PROJECT


def memory() -> str:
    """Peak memory over a process that does nothing"""
    train = "from benchmarks.contenders import contender; contender({!r}, {{}}, 30)()"
    idle = _peak_mb("import benchmarks.contenders")
    over = {name: _peak_mb(train.format(name)) - idle for name in [SCRIPT, *METHODS]}
    rows = [
        {"contender": title(name), "MB over idle": f"{mb:.0f}", f"of {PLAIN.title}'s": f"{mb / over[PLAIN.name]:.2f}"}
        for name, mb in over.items()
    ]
    return f"A process that has imported everything and does nothing peaks at {idle:.0f} MB.\n\n{table(rows)}"


def _peak_mb(code: str) -> float:
    """Peak resident set of a process that runs `code`; what its parent held before does not count."""
    code += "; from course_utils.host import status_of_process; print('peak', status_of_process('VmHWM'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"benchmarks: this failed: {code}")
    return int(done.stdout.rpartition("peak ")[2]) / 2**20


def growth() -> str:
    """Growth with examples, length and width"""
    parts = [_growth_with_examples()] if has_sst2() else []
    torch.set_num_threads(1)
    variants = {"plain": {"speedups": "false", "precision": "fp32"}, "ours": {}}
    cases = {f"384 wide, {tokens} tokens": (shapes.of_width(384), tokens) for tokens in (16, 32, 64, 128)}
    cases |= {f"{width} wide, 32 tokens": (shapes.of_width(width), 32) for width in (192, 768)}
    rows = []
    for name, (shape, tokens) in cases.items():
        with shapes.written(shape) as folder:
            turns = [
                {v: shapes.step_of(PLAIN.name, folder, tokens, **o)["ms"] for v, o in variants.items()}
                for _ in range(3)
            ]
        plain, ours = (statistics.median(turn[variant] for turn in turns) for variant in variants)
        rows.append(
            {
                f"{PLAIN.title}, batches of 16": name,
                "libraries' code in 32 bits, ms": f"{plain:.0f}",
                "ours, ms": f"{ours:.0f}",
                "ratio": f"{plain / ours:.2f}",
            }
        )
    return "\n\n".join([*parts, table(rows)])


def _growth_with_examples() -> str:
    settings = "{{'data': {!r}, 'max_train': {}}}"
    code = f"from benchmarks.contenders import contender; contender({PLAIN.name!r}, {settings}, 20)()"
    rows = []
    for examples in (1000, 10_000, 67_000):
        start = time.perf_counter()
        peak = _peak_mb(code.format(SST2, examples))
        seconds = time.perf_counter() - start
        rows.append(
            {
                "SST-2 phrases": f"{examples:,}",
                "20 steps and all before them, s": f"{seconds:.0f}",
                "peak, MB": f"{peak:.0f}",
            }
        )
    return table(rows)
