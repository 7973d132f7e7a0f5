"""Head only: the encoder stays frozen and a classifier is trained on top. It is the floor, the lower baseline."""

from __future__ import annotations

from typing import ClassVar

from course_utils.methods.base import Baseline, Method, Settings


class Head(Method):
    name = "head"
    title = "Head only"
    citation = "devlin2019bert"
    equation = r"W_0"
    description = "Only the classification head is trained; the base model stays frozen."
    marker = "v"
    color = "#7f7f7f"
    baseline: ClassVar[Baseline] = "floor"
    relative_cost = 0.45
    Settings: ClassVar[type[Settings]] = Settings

    def trained_numbers(self, out, into, settings):
        return 0

    def adapt(self, model, settings):
        from course_utils.inputs.bases import head_modules

        heads = head_modules(model)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.split(".")[0] in heads)
        return model

    def save(self, model, folder):
        from safetensors.torch import save_file

        trained = {n: p.detach().contiguous() for n, p in model.named_parameters() if p.requires_grad}
        save_file(trained, folder / "weights.safetensors", metadata={"format": "pt"})

    def load(self, base, folder):
        from safetensors.torch import load_file

        base.load_state_dict(load_file(folder / "weights.safetensors"), strict=False)
        return base.eval()

    def merge(self, model):
        return model

    def delta_weights(self, model):
        return {}


METHOD = Head()
