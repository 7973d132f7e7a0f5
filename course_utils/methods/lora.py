"""LoRA: a frozen weight plus the product of two thin trained factors (Hu et al. 2022, section 4.1)."""

from __future__ import annotations

from typing import ClassVar

from course_utils.methods.base import LoraSettings, Method


class Lora(Method):
    name = "lora"
    title = "LoRA"
    citation = "hu2022lora"
    equation = r"W_0 + s\,BA"
    description = "A low-rank update BA, scaled by s = alpha / rank, is added to frozen weights."
    marker = "o"
    color = "#0072b2"
    Settings: ClassVar[type[LoraSettings]] = LoraSettings

    def trained_numbers(self, out, into, settings):
        return settings.rank * (out + into)

    def adapter_config(self, model, settings):
        from peft import LoraConfig

        from course_utils.inputs.bases import head_modules, target_modules

        return LoraConfig(
            task_type="SEQ_CLS",
            r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            target_modules=list(settings.target_modules) or target_modules(model),
            modules_to_save=head_modules(model),
        )


METHOD = Lora()
