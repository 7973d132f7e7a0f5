"""QLoRA: LoRA on a base whose frozen weights are kept in 4 bits (Dettmers et al. 2023, section 3)."""

from __future__ import annotations

from course_utils.methods.base import base_again
from course_utils.methods.lora import Lora


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
    four_bit_base = True
    relative_cost = 1.1

    def adapt(self, model, settings):
        from peft import prepare_model_for_kbit_training

        # Recomputing activations would make this method alone pay for memory that none of them lacks.
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
        return super().adapt(model, settings)

    def load_merged(self, base, folder):
        # ΔW is added to the dequantised weights: merging into 4 bits would round it away.
        from course_utils.inputs.nf4 import dequantise

        return super().load_merged(dequantise(base), folder)

    def measurements(self, model, settings):
        from course_utils.inputs.nf4 import quantisation_error

        base = model.get_base_model()
        return {"quantisation_error": quantisation_error(base_again(base, four_bit=True), base_again(base))}


METHOD = Qlora()
