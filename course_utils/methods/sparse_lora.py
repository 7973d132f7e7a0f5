"""Sparse LoRA (SoRA): a gate on every rank of LoRA, driven to exact zeros (Ding et al. 2023, section 3).

Of the methods called "sparse LoRA" this is SoRA. It is neither SparseLoRA (Khaki et al. 2025), which skips
computation, nor SHiRA (Bhardwaj et al. 2024), which trains a sparse part of the weight itself.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from course_utils.methods.base import LoraSettings, Picture
from course_utils.methods.lora import Lora


class SparseLoraSettings(LoraSettings):
    """LoRA's settings and how strongly the gates are pulled to zero."""

    sparsity: float = Field(
        1.25,
        ge=0,
        le=10,
        description="how far the proximal steps of the whole run pull a gate down from 1: λ·Σηₜ",
    )
    gate_rate: float = Field(
        10.0, gt=0, le=1000, description="learning rate of the gates, as a multiple of learning_rate"
    )


class SparseLora(Lora):
    name = "sparse_lora"
    title = "Sparse LoRA"
    citation = "ding2023sora"
    equation = r"W_0 + s\,B\,\mathrm{diag}(g)\,A"
    description = (
        "LoRA with a gate on every rank; a proximal step sets gates to exact zeros, and what is left "
        "is saved as a plain, smaller LoRA adapter (SoRA)."
    )
    marker = "P"
    color = "#009e73"
    control = "lora"
    picture = Picture(gated=True)
    Settings: ClassVar[type[LoraSettings]] = SparseLoraSettings

    def trained_numbers(self, out, into, settings):
        return super().trained_numbers(out, into, settings) + settings.rank

    def adapt(self, model, settings):
        from course_utils.methods.gates import add_gates

        return add_gates(super().adapt(model, settings))

    def learning_rates(self, model, settings):
        # Adam moves a parameter by about η a step. At the adapter's η a gate could not leave its starting value in
        # a short run: all would be pulled down alike, whatever their gradients say.
        rate = settings.gate_rate * settings.learning_rate
        return {name: rate for name, _ in model.named_parameters() if name.endswith(".gate")}

    def callbacks(self, settings, warmup_steps, total_steps):
        from course_utils.methods.gates import ProximalStep

        return [ProximalStep(settings.sparsity, warmup_steps, total_steps)]

    def finish(self, model):
        from course_utils.methods.gates import fold_gates

        return fold_gates(model)

    def measurements(self, model, settings):
        ranks = model.surviving_ranks
        return {"ranks": ranks, "sparsity": 1 - sum(ranks.values()) / (settings.rank * len(ranks))}


METHOD = SparseLora()
