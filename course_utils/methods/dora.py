"""DoRA: LoRA's sum, every row of it scaled to a trained length (Liu et al. 2024, section 4).

The paper writes W as (in, out) and scales its columns; PEFT keeps weights as (out, in) and scales rows.
"""

from __future__ import annotations

from course_utils.inputs.nf4 import plain_weight
from course_utils.methods.base import Picture
from course_utils.methods.lora import Lora


class Dora(Lora):
    name = "dora"
    title = "DoRA"
    citation = "liu2024dora"
    equation = r"m \, \frac{W_0 + s\,BA}{\lVert W_0 + s\,BA \rVert}"
    description = "Every row of LoRA's sum is scaled to a trained length, which starts as the length of the row of W₀."
    marker = "X"
    color = "#56b4e9"
    control = "lora"
    picture = Picture(magnitude=True)
    reads_frozen_weights = True  # for the lengths of its rows
    relative_cost = 1.4

    def trained_numbers(self, out, into, settings):
        return super().trained_numbers(out, into, settings) + out  # one length a row

    def adapter_config(self, model, settings):
        config = super().adapter_config(model, settings)
        config.use_dora = True
        return config

    def delta_weight(self, layer):
        frozen = plain_weight(layer.get_base_layer())
        turned = frozen + super().delta_weight(layer)  # W₀ + s·BA  (out, in)
        length = layer.lora_magnitude_vector["default"].weight  # m  (out,)
        return (length / turned.norm(dim=1))[:, None] * turned - frozen

    def wrote(self, adapter_config):
        return bool(adapter_config.get("use_dora"))


METHOD = Dora()
