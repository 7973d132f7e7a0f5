"""Where a training step goes: its time by part, from a profile, and its memory by part, from what is kept."""

from __future__ import annotations

import torch
from torch.profiler import ProfilerActivity

from benchmarks.contenders import contender
from course_utils.comparison.training_step import PARTS, kept_by_forward, shares, time_spent


def shares_by_part(name: str, steps: int) -> dict[str, float]:
    """Part → its share of `steps` profiled steps of the method `name` on a CPU."""
    train = contender(name, {}, steps)
    train()  # builds the kernels
    return shares(train)


def kernels_by_part(name: str, overrides: dict, steps: int) -> dict[str, float]:
    """Part → ms that a GPU's kernels take in an average step of the method `name`; a profile does not slow kernels."""
    of_kernels = "self_device_time_total"  # of those that an operation starts
    train = contender(name, overrides, steps)
    train()  # builds the kernels
    spent = time_spent(train, of_kernels, ProfilerActivity.CPU, ProfilerActivity.CUDA)
    return {part: spent[part] / 1000 / steps for part in PARTS}


def memory_by_part(name: str, overrides: dict) -> dict[str, float]:
    """Part → MB, after a step of the method `name` on its first batch: temporary tensors are not counted."""
    *_, trainer = contender(name, overrides, 2)()
    model, optimizer = trainer.model, trainer.optimizer.optimizer
    weights = [*model.parameters(), *model.buffers()]
    states = [getattr(weight, "quant_state", None) for weight in model.parameters()]
    constants = [state.absmax for state in states if state is not None]
    batch = next(iter(trainer.get_train_dataloader()))
    device = model.device.type
    batch = {key: batch[key].to(device) for key in ("input_ids", "attention_mask", "labels")}
    with torch.autocast(device, torch.bfloat16):
        output, activations = kept_by_forward(model.train(), **batch)
    output.loss.backward()
    moments = [value for state in optimizer.state.values() for value in state.values() if value.numel() > 1]
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    return {
        "weights": _mb([*weights, *constants]),
        "gradients": _mb(gradients),
        "moments": _mb(moments),
        "activations": activations / 1e6,
    }


def _mb(tensors: list[torch.Tensor]) -> float:
    return sum({tensor.data_ptr(): tensor.numel() * tensor.element_size() for tensor in tensors}.values()) / 1e6
