"""HiRA: the update is the frozen weight times a low-rank matrix, entry by entry (Huang et al. 2025, section 3)."""

from __future__ import annotations

from types import MethodType

from course_utils.inputs.nf4 import plain_weight, product_weight
from course_utils.methods.base import FourBits, LowRankSettings, Method, Picture


def one_product_forward(layer, x):
    """HiRA as x(W₀ ⊙ (1 + BA))ᵀ, one product of matrices where PEFT takes two; exact, as HiRA has no dropout here."""
    from torch.nn.functional import linear

    base = layer.get_base_layer()
    if layer.merged:
        return base(x)
    factor = layer.hira_B["default"] @ layer.hira_A["default"]
    weight = product_weight(base)
    return linear(x, weight + weight * factor, base.bias)  # W₀ + W₀ ⊙ BA  (out, in)


class HiraSettings(LowRankSettings):
    """HiRA's settings: those of two factors, and how the frozen weights are kept (QHiRA)."""

    four_bit: FourBits = False


class Hira(Method):
    name = "hira"
    title = "HiRA"
    citation = "huang2025hira"
    equation = r"W_0 \odot (1 + BA)"
    description = "The update is the Hadamard product of the frozen weight and BA; this product can have full rank."
    marker = "^"
    color = "#d55e00"
    control = "lora"
    peft_type = "HIRA"
    picture = Picture(multiplied=True)
    reads_frozen_weights = True  # the sum W₀ + W₀ ⊙ BA is rounded to bf16, not its terms
    relative_cost = 0.95
    Settings = HiraSettings

    def trained_numbers(self, out, into, settings):
        return settings.rank * (out + into)

    def adapter_config(self, model, settings):
        from peft import HiraConfig

        from course_utils.inputs.bases import head_modules, target_modules
        from course_utils.tasks import task_of

        return HiraConfig(
            task_type=task_of(model).peft_type,
            r=settings.rank,
            target_modules=target_modules(model, settings.target_modules),
            modules_to_save=head_modules(model) or None,
        )

    def speed_up(self, model):
        from peft.tuners.hira import HiraLayer
        from torch import nn

        super().speed_up(model)
        for layer in model.modules():
            if isinstance(layer, HiraLayer) and isinstance(layer.get_base_layer(), nn.Linear):
                layer.forward = MethodType(one_product_forward, layer)

    def delta_weight(self, layer):
        # PEFT's get_delta_weight returns BA; the update is W₀ ⊙ BA  (out, in)
        return plain_weight(layer.get_base_layer()) * super().delta_weight(layer)


METHOD = Hira()
