"""How many parameters an adapted model has and trains, and how many bytes it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ParameterCount:
    """Parameters of a model; `adapter` are the trained ones outside the head, the head is counted once.

    `total_as_peft_counts` is what PEFT's print_trainable_parameters calls "all params": it holds the head
    twice, the frozen original and the trained copy.
    """

    adapter: int
    head: int
    trainable: int
    total: int
    total_as_peft_counts: int


def count_parameters(model: nn.Module) -> ParameterCount:
    """Count the parameters of `model`, adapted or not, on any device, the meta device included."""
    from course_utils.inputs.bases import head_modules, in_head

    trainable = {name: p.numel() for name, p in model.named_parameters() if p.requires_grad}
    everything = sum(_numel(p) for p in model.parameters())
    twin = sum(p.numel() for name, p in model.named_parameters() if ".original_module." in name)
    heads = head_modules(plain_model(model))
    head = sum(n for name, n in trainable.items() if in_head(name, heads))
    return ParameterCount(
        adapter=sum(trainable.values()) - head,
        head=head,
        trainable=sum(trainable.values()),
        total=everything - twin,
        total_as_peft_counts=everything,
    )


def plain_model(model: nn.Module) -> nn.Module:
    """The transformers model inside `model`, which PEFT may have wrapped."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


def _numel(parameter: nn.Parameter) -> int:
    state = getattr(parameter, "quant_state", None)
    return state.shape.numel() if state is not None else parameter.numel()


def weight_bytes(model: nn.Module) -> int:
    """Bytes that `model`'s parameters and buffers take in memory, quantisation constants included."""
    from course_utils.inputs.nf4 import four_bit_layers

    tensors = {t.data_ptr(): t for t in [*model.parameters(), *model.buffers()]}
    for _, layer in four_bit_layers(model):
        state = layer.weight.quant_state
        constants = [state.absmax, state.code, state.offset]
        if state.nested:
            constants += [state.state2.absmax, state.state2.code]
        tensors |= {t.data_ptr(): t for t in constants if t is not None}
    return sum(t.numel() * t.element_size() for t in tensors.values())
