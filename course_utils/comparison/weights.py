"""What a method did to the weights: the size, spectrum and rank of ΔW, layer by layer."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from scipy.stats import entropy

from course_utils.runs import Run, load_model


def run_deltas(run: Run) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Layer name → (W₀, ΔW), both (out, in), of a finished `run`, read from what it saved."""
    return run.method.delta_weights(load_model(run, merged=False))


def common_deltas(runs: dict[str, Run]) -> dict[str, dict[str, tuple[torch.Tensor, torch.Tensor]]]:
    """Method → layer name → (W₀, ΔW), for the layers that all methods of `runs` change.

    Full fine-tuning thus keeps the adapted layers alone, and a layer in which Sparse LoRA shut every gate goes for all.
    A method that changes no layer (head only) is left out. The keys of `runs` may be other names than methods', such as
    "LoRA, seed 1".
    """
    changed = {
        name: {layer: pair for layer, pair in run_deltas(run).items() if pair[1].any()} for name, run in runs.items()
    }
    changed = {name: layers for name, layers in changed.items() if layers}
    first = next(iter(changed.values()), {})
    common = [layer for layer in first if all(layer in layers for layers in changed.values())]
    return {name: {layer: layers[layer] for layer in common} for name, layers in changed.items()}


def spectrum(delta: torch.Tensor) -> torch.Tensor:
    """Singular values of `delta`, the largest first."""
    return torch.linalg.svdvals(delta.detach().double())


def effective_rank(singular_values: torch.Tensor) -> float:
    """exp of the entropy of the normalised singular values: how many directions the matrix really uses.

    r equal singular values give r, a zero matrix 0.
    """
    return float(np.exp(entropy(singular_values))) if singular_values.any() else 0.0


def directions_needed(deltas: dict[str, tuple[torch.Tensor, torch.Tensor]], share: float = 0.99) -> dict[str, int]:
    """Layer → directions of its ΔW among the strongest of all layers that together hold `share` of Σ‖ΔW‖².

    Their sum is the effective size of an adapter: what is stored beyond it hardly adds to the update.
    """
    values = {name: spectrum(delta) for name, (_, delta) in deltas.items()}
    energies = torch.cat([own.square() for own in values.values()]).sort(descending=True).values
    number = int((energies.cumsum(0) < share * energies.sum()).sum()) + 1
    least = energies[number - 1].sqrt() if energies.any() else torch.inf
    return {name: int((own >= least).sum()) for name, own in values.items()}


def numerical_rank(singular_values: torch.Tensor) -> int:
    """Number of singular values above 1e-5 times the largest."""
    return int((singular_values > 1e-5 * singular_values[0]).sum())


def describe_deltas(deltas: dict[str, tuple[torch.Tensor, torch.Tensor]]) -> pd.DataFrame:
    """One row a layer: layer (short), relative norm ‖ΔW‖/‖W₀‖ (Frobenius), rank and effective rank of ΔW."""
    values = {name: spectrum(delta) for name, (_, delta) in deltas.items()}
    return pd.DataFrame(
        {
            "layer": short_layer_name(name),
            "relative norm": (delta.norm() / frozen.norm()).item(),
            "rank": numerical_rank(values[name]),
            "effective rank": effective_rank(values[name]),
        }
        for name, (frozen, delta) in deltas.items()
    )


def method_deltas(runs: dict[str, Run]) -> pd.DataFrame:
    """`describe_deltas` of all `runs` below each other, on their common layers: columns method, layer, relative norm,
    rank, effective rank."""
    frames = [describe_deltas(layers).assign(method=name) for name, layers in common_deltas(runs).items()]
    columns = ["method", "layer", "relative norm", "rank", "effective rank"]
    return pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)


def left_subspace(delta: torch.Tensor, directions: int) -> torch.Tensor:
    """Left singular vectors (out, k) of the `directions` largest singular values, or of all if `delta` has fewer."""
    U, values, _ = torch.linalg.svd(delta.detach().double(), full_matrices=False)
    return U[:, : min(directions, numerical_rank(values))]


def subspace_overlap(first: torch.Tensor, second: torch.Tensor) -> float:
    """Share of one subspace that lies in the other: 0 where they are orthogonal, 1 where one holds the other.

    Both are orthonormal bases (out, k₁) and (out, k₂); the measure is φ of Hu et al. 2022 (section 7.2).
    """
    cosines = first.T @ second  # U₁ᵀU₂  (k₁, k₂)
    return float(cosines.square().sum() / min(cosines.shape))  # ‖U₁ᵀU₂‖²_F / min(k₁, k₂)


def subspace_overlaps(runs: dict[str, Run], directions: int = 4) -> tuple[pd.DataFrame, float]:
    """Overlap of the methods' top left singular subspaces of ΔW, a mean over the common layers, and chance's.

    The frame is square, method × method, with ones on its diagonal. The number beside it is what two random subspaces
    of k = `directions` dimensions share on average, k / d_out; as a scale's other end compare two seeds of a method.
    """
    deltas = common_deltas(runs)
    bases = {
        name: [left_subspace(delta, directions) for _, delta in layers.values()] for name, layers in deltas.items()
    }
    overlaps = {
        name: {
            other: float(np.mean([subspace_overlap(*pair) for pair in zip(own, others, strict=True)]))
            for other, others in bases.items()
        }
        for name, own in bases.items()
    }
    chance = float(np.mean([directions / len(basis) for own in bases.values() for basis in own]))
    return pd.DataFrame(overlaps), chance


def short_layer_name(name: str) -> str:
    """The layer of a name in short: "distilbert.transformer.layer.3.attention.q_lin" → "3 q_lin"."""
    parts = name.split(".")
    number = next((part for part in parts if part.isdigit()), "")
    return f"{number} {parts[-1]}".strip()
