"""Sparse LoRA (SoRA): a gate on every rank of LoRA, driven to exact zeros (Ding et al. 2023, section 3).

Of the methods called "sparse LoRA" this is SoRA. It is neither SparseLoRA (Khaki et al. 2025), which skips
computation, nor SHiRA (Bhardwaj et al. 2024), which trains a sparse part of the weight itself.

The method departs from the paper, and from the code released with the paper, in five points:

1. Gates start at one and are never negative. In the code gates start from a normal distribution, with either sign.
2. A gate that was shut stays shut. The original may open it again, and under AdamW noise alone opens it.
3. The pull ends after two thirds of the run. In the original it goes on to the last step.
4. Strength and learning rate of the gates are given as distances over the run. The original has λ and a rate;
   the threshold of a step is ηλ in the paper and a constant in the code, which adds the penalty to the loss as well.
5. Ranks that add less than 1% of what the largest adds to ΔW are dropped after the last step. The original keeps them.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field, model_validator

from course_utils.methods.base import FourBits, LoraSettings, Picture
from course_utils.methods.lora import Lora


class SparseLoraSettings(LoraSettings):
    """LoRA's settings and how strongly the gates are pulled to zero."""

    sparsity: float = Field(
        1.75,
        ge=0,
        le=10,
        description="how far the proximal steps of a run pull a gate down from 1, in the first two thirds: λ·Σηₜ",
    )
    gate_reach: float = Field(
        5.0, gt=0, le=1000, description="how far AdamW can move a gate in these steps: the sum of its learning rates"
    )
    four_bit: FourBits = False

    @model_validator(mode="before")
    @classmethod
    def _of_earlier_versions(cls, values: Any) -> Any:
        return {name: value for name, value in values.items() if name != "gate_rate"}  # which older records hold


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

    def learning_rates(self, model, settings, warmup_steps, total_steps):
        from course_utils.methods.gates import pulling_rates

        # AdamW moves a gate by about its learning rate a step, whatever the size of its gradient. Pull and reach are
        # distances of the whole run, so that their ratio, which decides, depends on neither the rate nor the steps.
        rate = settings.gate_reach / sum(pulling_rates(warmup_steps, total_steps))
        return {name: rate for name, _ in model.named_parameters() if name.endswith(".gate")}

    def callbacks(self, settings, warmup_steps, total_steps):
        from course_utils.methods.gates import ProximalStep

        return [ProximalStep(settings.sparsity, warmup_steps, total_steps)]

    def finish(self, model):
        from course_utils.methods.gates import fold_gates

        return fold_gates(model)

    def measurements(self, model, settings):
        ranks = model.surviving_ranks
        own = {"ranks": ranks, "sparsity": 1 - sum(ranks.values()) / (settings.rank * len(ranks))}
        return super().measurements(model, settings) | own


METHOD = SparseLora()
