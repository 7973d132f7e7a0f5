"""QLoRA: LoRA on a base whose frozen weights are kept in 4 bits (Dettmers et al. 2023, section 3)."""

from __future__ import annotations

from types import MethodType

from course_utils.inputs.nf4 import dequantise, four_bit_layers, quantisation_error
from course_utils.methods.base import Picture, base_again
from course_utils.methods.lora import Lora


def dequantise_once_forward(layer, x):
    """A 4-bit layer whose dequantised weight is kept from the forward to the backward pass; exact.

    The output is in the precision of the product, as in any other layer; bitsandbytes converts it back to 32 bits.
    """
    from bitsandbytes.functional import dequantize_4bit
    from torch.nn.functional import linear

    weight = dequantize_4bit(layer.weight, layer.weight.quant_state).to(layer.compute_dtype)
    bias = None if layer.bias is None else layer.bias.to(weight.dtype)
    return linear(x.to(weight.dtype), weight, bias)


class Qlora(Lora):
    name = "qlora"
    title = "QLoRA"
    citation = "dettmers2023qlora"
    equation = r"\mathrm{dequant}(\mathrm{NF4}(W_0)) + s\,BA"
    description = (
        "LoRA on frozen weights that are stored as 4-bit NormalFloat with double quantisation "
        "and dequantised when they are used."
    )
    marker = "D"
    color = "#cc79a7"
    control = "lora"
    picture = Picture(four_bit=True)
    four_bit_base = True
    relative_cost = 1.1

    def adapt(self, model, settings):
        from peft import prepare_model_for_kbit_training

        # Recomputing activations would make this method alone pay for memory that none of them lacks.
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
        return super().adapt(model, settings)

    def speed_up(self, model):
        import torch

        if not torch.cuda.is_available():  # where dequantising and multiplying are one kernel
            for _, layer in four_bit_layers(model):
                layer.forward = MethodType(dequantise_once_forward, layer)

    def load_merged(self, base, folder):
        # ΔW is added to the dequantised weights: merging into 4 bits would round it away.
        return super().load_merged(dequantise(base), folder)

    def measurements(self, model, settings):
        base = model.get_base_model()
        return {"quantisation_error": quantisation_error(base_again(base, four_bit=True), base_again(base))}


METHOD = Qlora()
