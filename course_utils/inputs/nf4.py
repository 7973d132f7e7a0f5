"""Weights in four bits: NF4 with double quantisation, and back (Dettmers et al. 2023, section 3)."""

from __future__ import annotations

from collections.abc import Iterator
from types import MethodType
from typing import TYPE_CHECKING

from course_utils.errors import explained

if TYPE_CHECKING:
    import torch
    import transformers
    from torch import nn


def check_four_bit_kernels() -> None:
    """Raise CourseError where bitsandbytes cannot quantise on this machine."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    remedy = "QLoRA needs them; python -m bitsandbytes says what is missing, and other methods work without them"
    with explained(f"bitsandbytes has no 4-bit kernels that work here on the device {device!r}", remedy):
        from bitsandbytes.functional import quantize_4bit

        quantize_4bit(torch.zeros(64, device=device), quant_type="nf4")


def nf4(skip: list[str], precision: str) -> transformers.BitsAndBytesConfig:
    """Configuration that quantises all linear layers but those in `skip`, to multiply in "bf16" or "fp32"."""
    import torch
    import transformers

    return transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if precision == "bf16" else torch.float32,
        llm_int8_skip_modules=skip,
    )


def four_bit_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Name and module of the bitsandbytes 4-bit linear layers of `model`."""
    for name, module in model.named_modules():
        if (type(module).__name__, type(module).__module__.partition(".")[0]) == ("Linear4bit", "bitsandbytes"):
            yield name, module  # PEFT's wrapper has the same name


def product_weight(layer: nn.Module) -> torch.Tensor:
    """Weight (out, in) of a linear layer as its product takes it: dequantised if it is kept in 4 bits."""
    if (state := getattr(layer.weight, "quant_state", None)) is None:
        return layer.weight
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(layer.weight, state).to(layer.compute_dtype)


def speed_up_four_bits(model: nn.Module) -> None:
    """Leave the products of 4-bit layers of `model` in their own precision, as any other layer's are, in place.

    bitsandbytes converts them back to that of the input, often 32 bits. On a CPU the dequantised weight is also kept
    from the forward to the backward pass; on a GPU dequantising and multiplying are one kernel. Exact.
    """
    import torch

    forward = _fused_forward if torch.cuda.is_available() else _dequantise_once_forward
    for _, layer in four_bit_layers(model):
        layer.forward = MethodType(forward, layer)


def _fused_forward(layer, x):
    from bitsandbytes import matmul_4bit

    kind = layer.compute_dtype
    return matmul_4bit(x.to(kind), layer.weight, bias=_bias(layer, kind), quant_state=layer.weight.quant_state)


def _dequantise_once_forward(layer, x):
    from torch.nn.functional import linear

    weight = product_weight(layer)
    return linear(x.to(weight.dtype), weight, _bias(layer, weight.dtype))


def _bias(layer, kind):
    return None if layer.bias is None else layer.bias.to(kind)


def plain_weight(layer: nn.Module) -> torch.Tensor:
    """Weight (out, in) of a linear layer in 32 bits, dequantised if it is kept in 4."""
    weight = layer.weight
    if (state := getattr(weight, "quant_state", None)) is not None:
        from bitsandbytes.functional import dequantize_4bit

        return dequantize_4bit(weight.data, state).float()
    return as_out_in(weight.detach().float(), layer)


def as_out_in(weight: torch.Tensor, layer: nn.Module) -> torch.Tensor:
    """A weight or an update of `layer` as (out, in); GPT-2's Conv1D keeps them the other way round."""
    from transformers.pytorch_utils import Conv1D

    return weight.T if isinstance(layer, Conv1D) else weight


def as_linear(layer: nn.Module) -> nn.Linear:
    """`layer` as a plain linear layer in 32 bits: dequantised where it is kept in 4, turned where it is a Conv1D."""
    from torch import nn

    weight = plain_weight(layer)
    plain = nn.Linear(weight.shape[1], weight.shape[0], bias=layer.bias is not None, device="meta")
    plain.weight = nn.Parameter(weight)
    if layer.bias is not None:
        plain.bias = nn.Parameter(layer.bias.detach().float())
    return plain


def dequantise(model: nn.Module) -> nn.Module:
    """`model` with every 4-bit layer replaced, in place, by a plain linear layer of its dequantised weights."""
    for name, layer in list(four_bit_layers(model)):
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, as_linear(layer))
    model.is_quantized = model.is_loaded_in_4bit = False
    model.hf_quantizer = None
    return model


def quantisation_error(four_bit: nn.Module, plain: nn.Module) -> dict[str, float]:
    """Layer name → ‖dequant(NF4(W₀)) − W₀‖ / ‖W₀‖ (Frobenius) of every 4-bit layer of `four_bit`, adapted or not."""
    layers = {name.removesuffix(".base_layer"): layer for name, layer in four_bit_layers(four_bit)}
    original = {name: plain_weight(plain.get_submodule(name)) for name in layers}
    return {
        name: ((plain_weight(layer).cpu() - original[name]).norm() / original[name].norm()).item()
        for name, layer in layers.items()
    }
