"""Training on a GPU: steps, rivals, where a step goes, memory by size, runs side by side.

Each function is a table, but for the last, which is the section of all of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from statistics import median
from unittest.mock import patch

import torch

from benchmarks import parts, shapes
from benchmarks.contenders import contender
from benchmarks.rivals import COMPILED, OURS, WITH_GRAPHS, measure, turn
from benchmarks.tables import table
from course_utils.comparison.training_step import REST
from course_utils.methods import CEILING, METHODS, PLAIN
from course_utils.paths import PROJECT
from course_utils.training import trainer

ENCODER, DECODER = "distilbert-base", "Llama 3.2 1B"  # of the published recipe, and of a billion
FOUR_BIT = next(name for name, method in METHODS.items() if method.four_bit_base)
BYTES_IF_ALL_IS_TRAINED = 16  # of a number in 32 bits: itself, its gradient, two averages
PARTS_SHOWN = [CEILING.name, PLAIN.name, FOUR_BIT]
MULTIPLIED = next(name for name, method in METHODS.items() if method.picture.multiplied)
IDLE = "no kernel runs"


def steps_by_method() -> Iterator[dict[str, str]]:
    """The step of every method on movie sentences, in batches of 32 on an encoder and of 16 on a decoder."""
    for name, batch, methods in (
        (ENCODER, 32, [*METHODS]),
        (DECODER, 16, [CEILING.name, PLAIN.name, FOUR_BIT, MULTIPLIED]),
    ):
        with shapes.written(shapes.SIZES[name], tokenizer=True) as folder:
            found = {}
            for method in methods:
                shapes.free_gpu()
                times, *_ = contender(method, {"base_model": folder, "batch_size": batch, "max_train": 1600}, 90)()
                found[method] = median(times[45:]), torch.cuda.max_memory_allocated() / 1e6
        for method, (ms, peak) in found.items():
            yield {
                "random weights of": name,
                "method": METHODS[method].title,
                "ms / step": f"{ms:.1f}",
                f"of {PLAIN.title}'s": f"{ms / found[PLAIN.name][0]:.2f}",
                "peak, MB": f"{peak:.0f}",
            }


def rivals() -> Iterator[dict[str, str]]:
    """Our trainer against Trainer's own ways to be fast, on movie sentences; the ms of a step, GPU memory in MB."""
    three = ["plain script", "with bf16", "bf16 and grouped"]
    for base, method, batch, texts, asked in (
        (ENCODER, PLAIN.name, 32, 3200, [*three, COMPILED, WITH_GRAPHS]),
        (ENCODER, CEILING.name, 32, 3200, three),
        (DECODER, PLAIN.name, 16, 640, three),
        (DECODER, CEILING.name, 16, 640, three),
    ):
        with shapes.written(shapes.SIZES[base], tokenizer=True) as folder:
            overrides = {"base_model": folder, "batch_size": batch, "max_train": texts}
            found = {}
            for name in (*asked, OURS):
                shapes.free_gpu()
                # what compiles has a process of its own, since it would compile all that comes after it
                compiles = name in (COMPILED, WITH_GRAPHS)
                found[name] = (
                    measure(name, method, overrides, dict(os.environ)) if compiles else turn(name, method, overrides)
                )
            for name, one in found.items():
                failed = {"ms / step": one} if isinstance(one, str) else {}
                figures = failed or {
                    "ms / step": f"{one['ms']:.1f}",
                    "times as long as ours": f"{one['ms'] / found[OURS]['ms']:.2f}",
                    "first epoch, s more": f"{one['first']:.1f}",
                    "peak, MB": f"{one['peak_mb']:.0f}",
                }
                yield {"random weights of": base, "method": METHODS[method].title, "rival": name} | figures


def parts_of_a_step() -> Iterator[dict[str, str]]:
    """Where a step of an encoder goes, movie sentences in batches of 32: ms of kernels by part, MB that it keeps."""
    with shapes.written(shapes.SIZES[ENCODER], tokenizer=True) as folder:
        overrides = {"base_model": folder, "batch_size": 32, "max_train": 1000}
        found, kept = {}, {}
        for method in PARTS_SHOWN:
            recorded = median(contender(method, overrides, 90)()[0][45:])
            with patch.object(trainer, "can_record", lambda config, model: False):
                started = median(contender(method, overrides, 45)()[0][15:])
                kernels = parts.kernels_by_part(method, overrides, 30)
                kept[method] = parts.memory_by_part(method, overrides)
            kernels["all other kernels"] = kernels.pop(REST)
            found[method] = kernels | {
                IDLE: max(recorded - sum(kernels.values()), 0.0),
                "**a step**": recorded,
                "a step whose kernels Python starts": started,
            }
    for part in found[PLAIN.name]:
        yield {"part": part} | {METHODS[m].title: f"{found[m][part]:.2f} ms" for m in PARTS_SHOWN}
    for part in kept[PLAIN.name]:
        yield {"part": f"kept: {part}"} | {METHODS[m].title: f"{kept[m][part]:.1f} MB" for m in PARTS_SHOWN}


def memory_by_size() -> Iterator[dict[str, str]]:
    """The most memory that training takes on the GPU, by the size of the base; batches of 16 × 64 tokens, 3 steps."""
    room = torch.cuda.get_device_properties(0).total_memory
    for name, shape in shapes.SIZES.items():
        with shapes.written(shape) as folder:
            found = {method: shapes.step_of(method, folder, 64, steps=3) for method in (PLAIN.name, FOUR_BIT)}
            numbers = found[PLAIN.name]["parameters"]
            if BYTES_IF_ALL_IS_TRAINED * numbers < 0.9 * room:
                found[CEILING.name] = shapes.step_of(CEILING.name, folder, 64, steps=3)
        lora, four_bit = found[PLAIN.name], found[FOUR_BIT]
        full = f"{found[CEILING.name]['peak_mb']:,.0f}" if CEILING.name in found else "does not fit"
        yield {
            "random weights of": name,
            "parameters, M": f"{numbers / 1e6:,.0f}",
            f"{CEILING.title}, MB": full,
            f"{PLAIN.title}, MB": f"{lora['peak_mb']:,.0f}",
            f"{METHODS[FOUR_BIT].title}, MB": f"{four_bit['peak_mb']:,.0f}",
            f"of {PLAIN.title}'s": f"{four_bit['peak_mb'] / lora['peak_mb']:.2f}",
        }


def runs_side_by_side() -> Iterator[dict[str, str]]:
    """Whole runs of LoRA in `quick` that share the GPU, each a process of its own, start and evaluation included."""
    alone = 0.0
    for count in (1, 8):
        with tempfile.TemporaryDirectory() as folder:
            train = [sys.executable, "-m", "course_utils", "train", "--method", PLAIN.name, "-p", f"seeds={count}"]
            environment = os.environ | {"COURSE_RUNS": folder, "OMP_NUM_THREADS": "1"}
            start = time.perf_counter()
            runs = [
                subprocess.Popen([*train, "--seed", str(seed)], cwd=PROJECT, env=environment, stdout=subprocess.DEVNULL)
                for seed in range(count)
            ]
            failed = any([run.wait() for run in runs])
            seconds = time.perf_counter() - start
        if failed:
            raise SystemExit("benchmarks: a training run failed; its error is above")
        alone = alone or seconds / count
        yield {
            "runs at once": str(count),
            "s for all of them": f"{seconds:.0f}",
            "runs a minute": f"{60 * count / seconds:.1f}",
            "times as many as one after another": f"{count * alone / seconds:.1f}",
        }


TABLES = (steps_by_method, rivals, parts_of_a_step, memory_by_size, runs_side_by_side)


def gpu() -> str:
    """On a GPU"""
    if not torch.cuda.is_available():
        return "Not measured: this machine has none. `python -m benchmarks gpu` fills this in where there is one."
    shown = [f"{torch.cuda.get_device_name()}, bf16."]
    for measured in TABLES:
        shown.append(f"**{measured.__doc__}**\n\n{table(measured())}")
        print(shown[-1], flush=True)  # what was measured is not lost if the machine goes
    return "\n\n".join(shown)
