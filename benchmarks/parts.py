"""Where a training step goes: its time by part, from a profile, and its memory by part, from what is kept."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from unittest.mock import patch

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function
from transformers import Trainer

from benchmarks.contenders import contender
from course_utils.comparison.arithmetic import kept_by_forward
from course_utils.training import speed

PRODUCTS, FOUR_BITS, ATTENTION, DROPOUT, POINTWISE, PRECISION, EMBEDDINGS, OPTIMISER, REST = PARTS = (
    "products with weights", "4 bits back into matrices", "attention", "dropout masks", "GELU, normalisation, sums",
    "changes of precision", "embeddings and their gradient", "optimiser, length of the gradient", "Python, all else",
)  # fmt: skip
KINDS = {  # part of the step → parts of operations' names
    PRODUCTS: ("::mm", "::addmm", "mkldnn_linear", "::linear"),
    FOUR_BITS: ("bitsandbytes::", "dequantize"),
    ATTENTION: ("::bmm", "::baddbmm", "softmax", "attention"),
    DROPOUT: ("native_dropout",),
    POINTWISE: ("gelu", "silu", "layer_norm", "::mul", "::add", "::sum", "::rsqrt", "::pow", "::mean"),
    PRECISION: ("::copy_", "::_to_copy", "::to"),
    EMBEDDINGS: ("embedding", "::index_select", "::fill_", "::zero_"),
}
STEP = "course.step"
MARKS = {"course.dropout": DROPOUT, "Optimizer.step#AdamW.step": OPTIMISER, "course.clip": OPTIMISER}


def time_by_part(name: str, steps: int) -> dict[str, float]:
    """Part → its share of `steps` profiled steps of the method `name` on a CPU."""
    spent = _spent(name, {}, steps, "self_cpu_time_total", ProfilerActivity.CPU)
    whole = sum(spent.values())
    return {part: spent[part] / whole for part in PARTS}


def kernels_by_part(name: str, overrides: dict, steps: int) -> dict[str, float]:
    """Part → ms that a GPU's kernels take in an average step of the method `name`; a profile does not slow kernels."""
    of_kernels = "self_device_time_total"  # of those that an operation starts
    spent = _spent(name, overrides, steps, of_kernels, ProfilerActivity.CPU, ProfilerActivity.CUDA)
    return {part: spent[part] / 1000 / steps for part in PARTS}


def _spent(name: str, overrides: dict, steps: int, measure: str, *activities: ProfilerActivity) -> Counter[str]:
    """Part → microseconds, the sum of this `measure` of its operations in a profile of `steps` steps."""
    run = contender(name, overrides, steps)
    run()  # builds the kernels
    with ExitStack() as marks:
        for place, function, mark in (
            (speed, "dropout_mask", "course.dropout"),
            (torch.nn.utils, "clip_grad_norm_", "course.clip"),
            (Trainer, "training_step", STEP),
        ):
            marks.enter_context(patch.object(place, function, _marked(getattr(place, function), mark)))
        profiler = marks.enter_context(profile(activities=activities))
        run()
    spent = Counter(dict.fromkeys(PARTS, 0.0))
    for event in profiler.events():
        if event.device_type == DeviceType.CPU and (part := _part(event)):
            spent[part] += getattr(event, measure)
    return spent


def _marked(function, mark: str):
    def call(*arguments, **named):
        with record_function(mark):
            return function(*arguments, **named)

    return call


def _part(event) -> str | None:
    """The part of the step that an event of a profile belongs to; None outside of the steps."""
    above, names = event, []
    while above is not None:
        names.append(above.name)
        above = above.cpu_parent
    if marked := next((MARKS[name] for name in names if name in MARKS), None):
        return marked
    if STEP not in names and not names[-1].startswith("autograd::engine"):  # a GPU's backward pass has its own thread
        return None
    return next((part for part, kinds in KINDS.items() if any(kind in event.name for kind in kinds)), REST)


def memory_by_part(name: str, overrides: dict | None = None) -> dict[str, float]:
    """Part → MB, after a step of the method `name` on its first batch: temporary tensors are not counted."""
    *_, trainer = contender(name, overrides or {}, 2)()
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
