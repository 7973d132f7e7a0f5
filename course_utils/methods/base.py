"""The interface of a fine-tuning method: what the rest of the project may ask of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from course_utils.errors import CourseError, explained
from course_utils.paths import relative_to_project

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import TrainerCallback

    from course_utils.inputs.bases import Base
    from course_utils.tasks.base import Task


def _split_names(value: Any) -> Any:
    return [name for part in value.split(",") if (name := part.strip())] if isinstance(value, str) else value


Baseline = Literal["floor", "ceiling"] | None
FourBits = Annotated[
    bool,
    Field(exclude_if=lambda chosen: not chosen, description="keep the frozen weights in 4 bits, as QLoRA does"),
]
Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_split_names)]


class Settings(BaseModel):
    """Settings that every method has; a method adds its own."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    learning_rate: float = Field(gt=0, le=1, description="peak learning rate of AdamW")
    weight_decay: float = Field(0.01, ge=0, lt=1, description="AdamW's decoupled weight decay")


class LowRankSettings(Settings):
    """Settings of the methods that train two factors, B (out, rank) and A (rank, in)."""

    rank: int = Field(8, ge=1, le=4096, description="rank r of the factors")
    target_modules: Names = Field(
        (), description="names of the adapted linear layers, comma-separated, or all-linear; empty: query and value"
    )


class LoraSettings(LowRankSettings):
    """Settings of LoRA and of the methods built on it; the update is scaled by s = alpha / rank."""

    alpha: float = Field(16.0, gt=0, le=4096, description="numerator of the scale s = alpha / rank")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout on the input of the adapter")


@dataclass(frozen=True)
class Picture:
    """What a drawing of the adapted weight shows beside the frozen weight and the product of two thin factors.

    `multiplied`: the product multiplies the frozen weight entry by entry instead of being added; `gated`: a gate
    stands on every rank; `four_bit`: the frozen weight is kept in 4 bits; `magnitude`: every row of the sum is scaled
    to a trained length.
    """

    multiplied: bool = False
    gated: bool = False
    four_bit: bool = False
    magnitude: bool = False


def base_again(model: nn.Module) -> nn.Module:
    """The model that `model` was before it was trained, loaded anew in 32 bits."""
    from course_utils.inputs.bases import base_of
    from course_utils.tasks import task_of

    return base_of(model).load(task_of(model))


class Method:
    """One way to fine-tune; a subclass is a module of `course_utils.methods`.

    The defaults describe a method that PEFT implements: a subclass then needs little more than `adapter_config` and
    `trained_numbers`. The two baselines override how weights are saved and loaded.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    citation: ClassVar[str]  # key in references.bib
    equation: ClassVar[str]  # the adapted weight, in TeX
    description: ClassVar[str]  # one sentence for cards and tables
    marker: ClassVar[str]  # matplotlib marker
    color: ClassVar[str]
    baseline: ClassVar[Baseline] = None  # what the others are measured against
    control: ClassVar[str | None] = None  # the method that is left without the idea in this one's name
    peft_type: ClassVar[str] = "LORA"  # what adapter_config.json says
    picture: ClassVar[Picture] = Picture()
    four_bit_base: ClassVar[bool] = False
    reads_frozen_weights: ClassVar[bool] = False  # uses W₀ otherwise than as a factor of a product with x
    relative_cost: ClassVar[float] = 1.0  # duration of a step next to LoRA's; orders jobs, nothing else
    Settings: ClassVar[type[Settings]] = LoraSettings

    @property
    def is_baseline(self) -> bool:
        """Whether the method is a floor or a ceiling, and has no adapter."""
        return self.baseline is not None

    def trained_numbers(self, out: int, into: int, settings: Any) -> int:
        """How many numbers the method trains for a linear layer of weight (out, into)."""
        raise NotImplementedError

    def in_four_bits(self, settings: Any) -> bool:
        """Whether the frozen weights are kept in 4 bits: always with this method, or because `settings` say so."""
        return self.four_bit_base or getattr(settings, "four_bit", False)

    def load_base(self, base: Base, task: Task, precision: str, settings: Any) -> nn.Module:
        """The model that this method adapts, its head not yet initialised."""
        return base.load(task, four_bit=self.in_four_bits(settings), precision=precision)

    def adapter_config(self, model: nn.Module, settings: Any):
        """PEFT configuration of the adapter for `model`."""
        raise NotImplementedError

    def adapt(self, model: nn.Module, settings: Any) -> nn.Module:
        """`model` with exactly this method's parameters trainable; its outputs stay the same."""
        from peft import get_peft_model, prepare_model_for_kbit_training

        if self.in_four_bits(settings):
            # Recomputing activations would slow these runs alone, and save memory that is not scarce.
            model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
        return get_peft_model(model, self.adapter_config(model, settings))

    def speed_up(self, model: nn.Module) -> None:
        """Make the adapted `model` compute the same with less work, in place; tests check that it is exact."""
        from course_utils.inputs.nf4 import speed_up_four_bits

        speed_up_four_bits(model)

    def learning_rates(self, model: nn.Module, settings: Any, warmup_steps: int, total_steps: int) -> dict[str, float]:
        """Parameter name → peak learning rate, where it is not the run's."""
        return {}

    def callbacks(self, settings: Any, warmup_steps: int, total_steps: int) -> list[TrainerCallback]:
        """What happens during training besides the gradient step."""
        return []

    def finish(self, model: nn.Module) -> nn.Module:
        """The trained `model` in the form in which it is saved."""
        return model

    def save(self, model: nn.Module, folder: Path) -> None:
        """Write what was trained below `folder`: an adapter that PEFT loads."""
        from course_utils.inputs.bases import base_of, name_for_adapters

        config, base = model.peft_config["default"], base_of(model.get_base_model())
        config.base_model_name_or_path = name_for_adapters(base)
        config.revision = base.revision  # the commit of a base on the hub
        # Embeddings are never adapted; left to itself, PEFT would ask the hub whether they were.
        model.save_pretrained(folder / "adapter", save_embedding_layers=False)

    def load(self, base: nn.Module, folder: Path) -> nn.Module:
        """`base` with what `save` wrote below `folder`, ready to predict."""
        from peft import PeftModel

        if not (folder / "adapter" / "adapter_model.safetensors").is_file():  # PEFT would take a pickle instead
            raise CourseError(
                f"{relative_to_project(folder)} lacks adapter/adapter_model.safetensors; make the run again."
            )
        failure = f"PEFT cannot load the adapter in {relative_to_project(folder)}"
        with explained(failure, "delete the folder and make the run again"):  # the adapter may be a stranger's
            return PeftModel.from_pretrained(base, folder / "adapter").eval()

    def load_merged(self, base: nn.Module, folder: Path) -> nn.Module:
        """The trained model without an adapter: ΔW is added to W₀.

        Weights in 4 bits are dequantised first: merging into them would round ΔW away.
        """
        from course_utils.inputs.nf4 import dequantise

        return self.merge(self.load(dequantise(base), folder))

    def merge(self, model: nn.Module) -> nn.Module:
        """The trained `model` without its adapter, in place: ΔW is added to W₀."""
        return model.merge_and_unload()

    def delta_weights(self, model: nn.Module) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Layer name → (W₀, ΔW), both (out, in), 32-bit and on the CPU, for every layer that the method changes."""
        from course_utils.inputs.nf4 import plain_weight

        return {
            name.removeprefix("base_model.model."): (
                plain_weight(layer.get_base_layer()).cpu(),
                self.delta_weight(layer).detach().float().cpu(),
            )
            for name, layer in model.named_modules()
            if hasattr(layer, "get_delta_weight")
        }

    def delta_weight(self, layer: nn.Module) -> torch.Tensor:
        """ΔW (out, in) of one adapted `layer`."""
        from course_utils.inputs.nf4 import as_out_in

        return as_out_in(layer.get_delta_weight("default"), layer.get_base_layer())

    def wrote(self, adapter_config: dict[str, Any]) -> bool:
        """Whether an adapter_config.json is of this method's kind."""
        return adapter_config.get("peft_type") == self.peft_type and not adapter_config.get("use_dora")

    def measurements(self, model: nn.Module, settings: Any) -> dict[str, Any]:
        """What this method alone measures, for `result.json`: name → value, or name → layer → value."""
        from course_utils.inputs.nf4 import quantisation_error

        if not self.in_four_bits(settings):
            return {}
        base = model.get_base_model()
        return {"quantisation_error": quantisation_error(base, base_again(base))}
