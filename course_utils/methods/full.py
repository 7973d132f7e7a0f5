"""Full fine-tuning: every weight is trained. It is the ceiling, the upper baseline of the comparison."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from course_utils.methods.base import Baseline, Names, Settings, base_again
from course_utils.methods.head import Head


class FullSettings(Settings):
    """The settings of every method, and which layers are trained: all, or only those that the adapters change."""

    trained_modules: Names = Field(
        (),
        description="linear layers whose weights alone are trained beside the head: names, comma-separated,"
        " query-value or all-linear; empty: every parameter",
    )


class Full(Head):
    name = "full"
    title = "Full fine-tuning"
    citation = "devlin2019bert"
    equation = r"W_0 + \Delta W"
    description = "Every parameter of the base model and of the head is trained."
    marker = "s"
    color = "#000000"
    baseline: ClassVar[Baseline] = "ceiling"
    relative_cost = 1.7
    Settings: ClassVar[type[Settings]] = FullSettings

    def trained_numbers(self, out, into, settings):
        return out * into

    def adapt(self, model, settings):
        from course_utils.inputs.bases import check_targets, head_modules, in_head, target_modules

        if not settings.trained_modules:
            return model.requires_grad_(True)
        check_targets(model, settings.trained_modules, rank=1, setting="trained_modules")
        weights = tuple(f".{name}.weight" for name in target_modules(model, settings.trained_modules))
        heads = head_modules(model)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.endswith(weights) or in_head(name, heads))
        return model

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
