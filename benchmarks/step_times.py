"""How long a training step takes: beside the plain script and rivals, by part, and without each of our tricks."""

from __future__ import annotations

import statistics
from unittest.mock import patch

import pandas as pd
import torch
from torch.nn.functional import dropout

from benchmarks import shapes
from benchmarks.contenders import SCRIPT, compare_steps, contender
from benchmarks.parts import memory_by_part, shares_by_part
from benchmarks.rivals import OURS, SCRIPTS, WITH_GRAPHS, measure
from benchmarks.tables import ADAPTERS, ENVIRONMENT, SST2, has_sst2, table, title
from course_utils.comparison.training_step import PARTS
from course_utils.inputs import nf4
from course_utils.methods import CEILING, METHODS, PLAIN
from course_utils.training import speed


def steps() -> str:
    """Training steps against the plain script and the machine"""
    parts = []
    for source, overrides, turns in (
        ("Movie sentences", {}, {"steps": 20, "repetitions": 5}),
        ("SST-2", {"data": SST2, "max_train": 3000}, {"steps": 20, "repetitions": 5}),
        ("Movie sentences, SmolLM2-135M", {"base_model": "embedded-decoder"}, {"steps": 6, "repetitions": 3}),
    ):
        if "data" in overrides and not has_sst2():
            parts.append(f"**SST-2**: not measured, it is not at {SST2} (set COURSE_SST2).")
            continue
        found, machine = compare_steps([SCRIPT, *METHODS], overrides, **turns)
        rows = [
            {
                "contender": title(name),
                "ms / step": f"{step.milliseconds:.0f}",
                "steps / s": f"{1000 / step.milliseconds:.1f}",
                "tokens / s": f"{step.tokens_per_second:,.0f}",
                "times the plain script": f"{found[SCRIPT].milliseconds / step.milliseconds:.2f}",
                f"of {PLAIN.title}'s step": f"{step.milliseconds / found[PLAIN.name].milliseconds:.2f}",
                "share of the machine's product rate": f"{step.gflop_per_second / machine:.0%}",
            }
            for name, step in found.items()
        ]
        parts.append(
            f"**{source}**, batches of 16, one thread each; the machine multiplies the step's own shapes at "
            f"{machine:.0f} GFLOP/s in the run's precision.\n\n{table(rows)}"
        )
    return "\n\n".join(parts)


def rivals() -> str:
    """Rivals: other ways to make training fast"""
    parts = []
    with shapes.written(shapes.SIZES["distilbert-base"], tokenizer=True) as folder:
        cases = {
            "MiniLM's shape, movie sentences": ({"max_train": 192}, 2),
            "distilbert-base's shape, random weights": ({"max_train": 96, "base_model": folder}, 1),
            "SmolLM2-135M": ({"max_train": 64, "base_model": "embedded-decoder"}, 1),
        }
        for case, (overrides, turns) in cases.items():
            for method in (PLAIN.name, CEILING.name):
                parts.append(f"**{case}, {title(method)}**\n\n{_rivals(method, overrides, turns)}")
    return (
        "Each rival in a process of its own, one thread, turn after turn: ms a step over the second epoch of the same "
        "texts, the seconds that the first epoch took longer (compiling, first kernels), and the peak memory of the "
        "process; medians over the turns. The allocators are oneTBB's and mimalloc, from the package index.\n\n"
        + "\n\n".join(parts)
    )


def _rivals(method: str, overrides: dict, turns: int) -> str:
    found: dict[str, list[dict[str, float]]] = {name: [] for name in (*SCRIPTS, OURS) if name != WITH_GRAPHS}
    failed: dict[str, str] = {}
    for _ in range(turns):
        for name in (name for name in found if name not in failed):
            one = measure(name, method, overrides, ENVIRONMENT)
            if isinstance(one, str):
                failed[name] = one
            else:
                found[name].append(one)
    medians = {name: pd.DataFrame(own).median() for name, own in found.items() if own}
    rows = [
        {
            "rival": name,
            "ms / step": f"{own['ms']:.0f}",
            "times as long as ours": f"{own['ms'] / medians[OURS]['ms']:.2f}",
            "first epoch, s more": f"{own['first']:.1f}",
            "peak, MB": f"{own['peak_mb']:.0f}",
        }
        for name, own in medians.items()
    ]
    return table(rows) + "".join(f"\n\n{name}: {why}" for name, why in failed.items())


def parts() -> str:
    """Where a step goes: time and memory by part"""
    torch.set_num_threads(1)
    shown = [CEILING.name, PLAIN.name, *(name for name in ADAPTERS if METHODS[name].four_bit_base)]
    found, _ = compare_steps(shown, {}, steps=20, repetitions=3)
    shares = {name: shares_by_part(name, 20) for name in shown}
    times = [
        {"part": part} | {title(name): f"{shares[name][part] * found[name].milliseconds:.0f} ms" for name in shown}
        for part in PARTS
    ]
    times.append({"part": "**a step**"} | {title(name): f"{found[name].milliseconds:.0f} ms" for name in shown})
    kept = {name: memory_by_part(name, {}) for name in shown}
    sizes = [
        {"part": part} | {title(name): f"{kept[name][part]:.1f} MB" for name in shown} for part in kept[PLAIN.name]
    ]
    return (
        "Movie sentences, batches of 16, one thread. The shares are those of a profile, which itself costs time, and "
        f"the steps were timed without it.\n\n{table(times)}\n\nWhat a step keeps, of one batch; activations are what "
        f"the forward pass keeps for the backward one.\n\n{table(sizes)}"
    )


def tricks() -> str:
    """What each trick of course_utils/training/speed.py, and of the methods themselves, pays"""
    general = {
        "the last block for one token": ("TransformerBlock", type(None)),
        "masks from SFC64": ("dropout_mask", lambda x, rate: dropout(torch.ones_like(x), rate)),
        "attention in bf16": ("SHORT_ATTENTION", "sdpa"),
        "frozen matrices in bf16": ("keep_frozen_matrices_in_bf16", lambda model, method: None),
    }
    left_out = {name: (PLAIN.name, patch.object(speed, *instead)) for name, instead in general.items()}
    for name, method in METHODS.items():
        if "speed_up" in vars(type(method)):
            left_out[f"{method.title}'s own"] = (name, patch.object(type(method), "speed_up", lambda self, model: None))
    four_bit = next(name for name, method in METHODS.items() if method.four_bit_base)
    left_out["4-bit weights once a step"] = (four_bit, patch.object(nf4, "speed_up_four_bits", lambda model: None))
    rows = []
    for name, (method, without_it) in left_out.items():
        with_all, turns = contender(method, {}, steps=20), []
        for _ in range(3):
            times, *_ = with_all()
            with without_it:
                without, *_ = with_all()
            turns.append((sum(times), sum(without)))
        ours, without = (statistics.median(turn) for turn in zip(*turns, strict=True))
        rows.append({"left out": name, "of": title(method), "step with it / without it": f"{ours / without:.2f}"})
    return table(rows)
