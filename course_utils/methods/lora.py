"""LoRA: a frozen weight plus the product of two thin trained factors (Hu et al. 2022, section 4.1)."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from course_utils.methods.base import LoraSettings, Method


class ScaledLoraSettings(LoraSettings):
    """LoRA's settings, and how its scale depends on the rank (rsLoRA: Kalajdzievski 2023)."""

    use_rslora: bool = Field(False, description="scale the update by alpha / √rank instead of alpha / rank")


class Lora(Method):
    name = "lora"
    title = "LoRA"
    citation = "hu2022lora"
    equation = r"W_0 + s\,BA"
    description = "A low-rank update BA, scaled by s = alpha / rank, is added to frozen weights."
    marker = "o"
    color = "#0072b2"
    Settings: ClassVar[type[LoraSettings]] = ScaledLoraSettings

    def trained_numbers(self, out, into, settings):
        return settings.rank * (out + into)

    def adapter_config(self, model, settings):
        from peft import LoraConfig

        from course_utils.inputs.bases import head_modules, target_modules
        from course_utils.tasks import task_of

        return LoraConfig(
            task_type=task_of(model).peft_type,
            r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            use_rslora=getattr(settings, "use_rslora", False),  # Sparse LoRA lacks it: alpha keeps a layer's scale
            target_modules=target_modules(model, settings.target_modules),
            modules_to_save=head_modules(model) or None,
        )


METHOD = Lora()
