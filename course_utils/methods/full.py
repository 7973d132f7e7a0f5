"""Full fine-tuning: every weight is trained. The ceiling that the others are measured against."""

from __future__ import annotations

from typing import ClassVar

from course_utils.methods.base import Baseline, base_again
from course_utils.methods.head import Head


class Full(Head):
    name = "full"
    title = "Full fine-tuning"
    citation = "devlin2019bert"
    equation = r"W_0 + \Delta W"
    description = "Every parameter of the encoder and of the head is trained."
    marker = "s"
    color = "#000000"
    baseline: ClassVar[Baseline] = "ceiling"
    relative_cost = 1.7

    def trained_numbers(self, out, into, settings):
        return out * into

    def adapt(self, model, settings):
        return model.requires_grad_(True)

    def delta_weights(self, model):
        """The linear layers' difference to the base model that the run started from."""
        from course_utils.inputs.bases import linear_layers
        from course_utils.inputs.nf4 import plain_weight

        frozen = {name: plain_weight(layer) for name, layer in linear_layers(base_again(model)).items()}
        trained = {name: plain_weight(layer) for name, layer in linear_layers(model).items()}
        return {
            f"{model.base_model_prefix}.{name}": (weight, trained[name] - weight) for name, weight in frozen.items()
        }


METHOD = Full()
