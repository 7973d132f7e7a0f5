"""Times training steps, each contender's in turn, and sets them against the matrix products alone."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn.functional import linear
from torch.utils.flop_counter import FlopCounterMode
from transformers import TrainerCallback

from benchmarks.plain import plain_trainer
from course_utils.comparison.training_step import short_training
from course_utils.config import load_experiment
from course_utils.methods import PLAIN
from course_utils.training.trainer import StepTimes

SCRIPT = "plain script"


@dataclass
class Steps:
    """An average step: its duration in ms, tokens (padding not counted) and products of matrices in GFLOP."""

    milliseconds: float
    tokens: float
    gflop: float

    @property
    def tokens_per_second(self) -> float:
        return 1000 * self.tokens / self.milliseconds

    @property
    def gflop_per_second(self) -> float:
        return 1000 * self.gflop / self.milliseconds


class _Sizes(TrainerCallback):
    """Tokens of every batch that the model trains on: `tokens` without padding, `shapes` with padding."""

    def __init__(self, model):
        self.tokens: list[int] = []
        self.shapes: list[int] = []
        model.register_forward_pre_hook(self._see, with_kwargs=True)

    def _see(self, module, arguments, inputs):
        if module.training:
            self.tokens.append(int(inputs["attention_mask"].sum()))
            self.shapes.append(inputs["input_ids"].numel())


def contender(name: str, overrides: dict, steps: int) -> Callable[[], tuple]:
    """A function that trains `steps` steps of `name`, a method or the plain script: (ms of each, `_Sizes`, trainer)."""
    method = PLAIN.name if name == SCRIPT else name
    config = load_experiment("quick", {"max_validation": 16, "methods": [method], **overrides}).config(method)
    data = config.load_data()

    def run():
        torch.set_num_threads(config.threads)
        with tempfile.TemporaryDirectory() as folder:
            if name == SCRIPT:
                trainer = plain_trainer(config, data, folder, max_steps=steps, logging_steps=steps)
                trainer.add_callback(StepTimes())
            else:
                trainer = short_training(config, data, Path(folder), steps)
            sizes = _Sizes(trainer.model)
            trainer.train()
        return [t for entry in trainer.state.log_history for t in entry.get("step_ms", [])], sizes, trainer

    return run


def gflop_per_step(trainer, sizes: _Sizes) -> float:
    """GFLOP of the matrix products of an average step, counted on one batch and scaled by tokens, padding included."""
    batch = next(iter(trainer.get_train_dataloader()))
    batch = {name: tensor for name, tensor in batch.items() if name in ("input_ids", "attention_mask", "labels")}
    trainer.model.train()
    with FlopCounterMode(display=False) as counter:
        trainer.model(**batch).loss.backward()
    return counter.get_total_flops() / 1e9 * statistics.mean(sizes.shapes) / batch["input_ids"].numel()


def product_rate(rows: int, model: torch.nn.Module, dtype: torch.dtype) -> float:
    """GFLOP/s of this machine now, on the products of the linear layers of `model` for `rows` tokens."""
    layers = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
    shapes = {
        (layer.in_features, layer.out_features) for layer in layers if layer.out_features > 64 < layer.in_features
    }
    operands = [(torch.randn(rows, i).to(dtype), torch.randn(o, i).to(dtype)) for i, o in shapes]
    flop = sum(2 * rows * i * o for i, o in shapes)
    turns, start = 0, time.perf_counter()
    while time.perf_counter() < start + 0.3:
        for x, weight in operands:
            linear(x, weight)
        turns += 1
    return turns * flop / (time.perf_counter() - start) / 1e9


def compare_steps(names: list[str], overrides: dict, steps: int, repetitions: int) -> tuple[dict[str, Steps], float]:
    """Name → its steps, all on their own batches of one data set, each contender's turn after another's.

    Also the rate of the machine in GFLOP/s on the same products, the median of one measurement a repetition.
    """
    contenders = {name: contender(name, overrides, steps) for name in names}
    durations: dict[str, list[list[float]]] = {name: [] for name in names}
    found, rates = {}, []
    for _ in range(repetitions):
        for name, run in contenders.items():
            times, sizes, trainer = run()
            durations[name].append(times)
            if name not in found:
                found[name] = sizes, gflop_per_step(trainer, sizes)
        sizes, _ = found[names[-1]]
        dtype = torch.bfloat16 if trainer.args.bf16 else torch.float32
        rates.append(product_rate(round(statistics.mean(sizes.shapes)), trainer.model, dtype))
    result = {}
    for name, (sizes, gflop) in found.items():
        of_each_batch = [statistics.median(times) for times in zip(*durations[name], strict=True)]
        result[name] = Steps(statistics.mean(of_each_batch), statistics.mean(sizes.tokens), gflop)
    return result, statistics.median(rates)
