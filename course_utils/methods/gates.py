"""The gates of Sparse LoRA: added, driven to zero, folded into B (Ding et al. 2023, section 3)."""

from __future__ import annotations

from math import ceil

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import nn
from torch.nn.utils import parametrize
from transformers import TrainerCallback

SMALLEST = 0.01  # least size of a surviving rank, as a share of the largest rank's


class Gate(nn.Module):
    """Replaces B by B·diag(g); g starts at one, so that the gated layer starts as LoRA."""

    def __init__(self, rank: int):
        super().__init__()
        self.gate = nn.Parameter(torch.ones(rank))

    def forward(self, B: torch.Tensor) -> torch.Tensor:
        return B * self.gate  # (out, r) · (r,) = B·diag(g)


def soft_threshold(gate: torch.Tensor, threshold: float) -> torch.Tensor:
    """Proximal map of threshold·‖g‖₁: sign(g)·max(|g| − threshold, 0)."""
    return gate.sign() * (gate.abs() - threshold).clamp(min=0)


def lora_layers(model: nn.Module) -> dict[str, LoraLayer]:
    """Layer name in the base model → LoRA layer."""
    return {
        name.removeprefix("base_model.model."): module
        for name, module in model.named_modules()
        if isinstance(module, LoraLayer)
    }


def gates(model: nn.Module) -> dict[str, nn.Parameter]:
    """Layer name → its gate g (r,)."""
    return {name: layer.lora_B["default"].parametrizations.weight[0].gate for name, layer in lora_layers(model).items()}


def add_gates(model: PeftModel) -> PeftModel:
    """Put a trainable gate on every rank of every LoRA layer of `model`."""
    for layer in lora_layers(model).values():
        B = layer.lora_B["default"]
        parametrize.register_parametrization(B, "weight", Gate(B.in_features).to(B.weight.device))
    return model


def pulling_rates(warmup_steps: int, total_steps: int) -> list[float]:
    """Learning rate of each step that pulls gates, the first two thirds of a run, as a share of the highest rate."""
    warmup = [step / warmup_steps for step in range(warmup_steps)]
    decay = [(total_steps - step) / (total_steps - warmup_steps) for step in range(warmup_steps, total_steps)]
    return (warmup + decay)[: ceil(2 * total_steps / 3)]


class ProximalStep(TrainerCallback):
    """After each optimiser step of the first two thirds of a run, g ← max(g − τₜ, 0); a gate at zero stays there.

    This is the proximal map of τₜ‖g‖₁ over gates that are not negative. τₜ = ληₜ follows the linear schedule with
    warm-up. `strength` is Σₜτₜ, the distance by which a gate without gradient is pulled in the whole run; so it means
    the same at every learning rate and number of steps. After two thirds of the run the gates that are left are trained
    further without a pull. At the end of the run, a gate is shut if its rank adds less to ΔW than `SMALLEST` of what
    the largest rank adds. A shut gate is zero in the weights, so that a checkpoint records which gates are shut.
    """

    def __init__(self, strength: float, warmup_steps: int, total_steps: int):
        rates = pulling_rates(warmup_steps, total_steps)
        self.thresholds = [strength * rate / sum(rates) for rate in rates]  # τₜ

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        self.gates = list(gates(model).values())

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        self.open = [gate != 0 for gate in self.gates]

    @torch.no_grad()
    def on_optimizer_step(self, args, state, control, **kwargs):
        step = state.global_step
        threshold = self.thresholds[step] if step < len(self.thresholds) else 0.0
        for gate, was_open in zip(self.gates, self.open, strict=True):
            gate.copy_(was_open * (gate - threshold).clamp(min=0))

    @torch.no_grad()
    def on_train_end(self, args, state, control, model=None, **kwargs):
        sizes = torch.stack([*rank_sizes(model).values()])  # (layers, r)
        for gate, counts in zip(self.gates, sizes >= SMALLEST * sizes.max(), strict=True):
            gate.mul_(counts)

    def on_log(self, args, state, control, **kwargs):
        state.log_history[-1]["active_ranks"] = sum(int(gate.count_nonzero()) for gate in self.gates)


def rank_sizes(model: nn.Module) -> dict[str, torch.Tensor]:
    """Layer name → size s·|gᵢ|·‖bᵢ‖·‖aᵢ‖ of what each rank adds to ΔW (r,)."""
    return {
        name: layer.scaling["default"]
        * layer.lora_B["default"].weight.norm(dim=0)
        * layer.lora_A["default"].weight.norm(dim=1)
        for name, layer in lora_layers(model).items()
    }


@torch.no_grad()
def fold_gates(model: PeftModel) -> PeftModel:
    """Drop the ranks whose gate is zero and fold the others into B: a plain LoRA model, equal in every output.

    The scale s of a layer stays: rank_pattern and alpha_pattern record its smaller rank. A layer without
    ranks loses its adapter; if no rank survives anywhere, one all-zero rank is kept, since PEFT wants a target.
    """
    config, layers = model.peft_config["default"], lora_layers(model)
    keep = {name: gate.detach() != 0 for name, gate in gates(model).items()}
    model.surviving_ranks = {name: int(mask.sum()) for name, mask in keep.items()}
    if not any(model.surviving_ranks.values()):
        next(iter(keep.values()))[0] = True
    for name, layer in layers.items():
        A, B = layer.lora_A["default"], layer.lora_B["default"]
        parametrize.remove_parametrizations(B, "weight", leave_parametrized=True)
        rank = int(keep[name].sum())
        if rank == 0:
            parent, _, child = name.rpartition(".")
            setattr(model.base_model.model.get_submodule(parent), child, layer.get_base_layer())
            continue
        A.weight = nn.Parameter(A.weight[keep[name]])  # (r', in)
        B.weight = nn.Parameter(B.weight[:, keep[name]])  # (out, r')
        A.out_features = B.in_features = layer.r["default"] = rank
        layer.lora_alpha["default"] = layer.scaling["default"] * rank
        config.rank_pattern[name] = rank
        config.alpha_pattern[name] = layer.lora_alpha["default"]
    config.target_modules = set(config.rank_pattern)
    config.r = max(config.rank_pattern.values())
    return model
