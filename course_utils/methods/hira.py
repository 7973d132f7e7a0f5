"""HiRA: the update is the frozen weight times a low-rank matrix, entry by entry (Huang et al. 2025, section 3)."""

from __future__ import annotations

from course_utils.methods.base import LowRankSettings, Method


class Hira(Method):
    name = "hira"
    title = "HiRA"
    citation = "huang2025hira"
    equation = r"W_0 \odot (1 + BA)"
    description = "The update is the Hadamard product of the frozen weight and BA, which can have full rank."
    marker = "^"
    color = "#d55e00"
    relative_cost = 0.95
    Settings = LowRankSettings

    def adapter_config(self, model, settings):
        from peft import HiraConfig

        from course_utils.inputs.bases import head_modules, target_modules

        return HiraConfig(
            task_type="SEQ_CLS",
            r=settings.rank,
            target_modules=list(settings.target_modules) or target_modules(model),
            modules_to_save=head_modules(model),
        )

    def delta_weight(self, layer):
        # PEFT's get_delta_weight returns BA; the update is W₀ ⊙ BA  (out, in)
        return layer.get_base_layer().weight * layer.get_delta_weight("default")


METHOD = Hira()
