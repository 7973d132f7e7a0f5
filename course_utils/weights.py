"""What a method did to the weights: the size, spectrum and rank of ΔW, layer by layer."""

from __future__ import annotations

import pandas as pd
import torch

from course_utils.runs import Run, load_model


def run_deltas(run: Run) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Layer name → (W₀, ΔW), both (out, in), of a finished `run`, read from what it saved."""
    return run.method.delta_weights(load_model(run, merged=False))


def spectrum(delta: torch.Tensor) -> torch.Tensor:
    """Singular values of `delta`, the largest first."""
    return torch.linalg.svdvals(delta.detach().double())


def effective_rank(singular_values: torch.Tensor) -> float:
    """exp of the entropy of the normalised singular values: how many directions the matrix really uses.

    """
    if not singular_values.any():
        return 0.0
    share = singular_values / singular_values.sum()
    share = share[share > 0]
    return float(torch.exp(-(share * share.log()).sum()))


def numerical_rank(singular_values: torch.Tensor, tolerance: float = 1e-5) -> int:
    """Number of singular values above `tolerance` times the largest."""
    return int((singular_values > tolerance * singular_values[0]).sum())


def describe_deltas(deltas: dict[str, tuple[torch.Tensor, torch.Tensor]]) -> pd.DataFrame:
    """One row a layer: layer (short), relative norm ‖ΔW‖/‖W₀‖ (Frobenius), rank and effective rank of ΔW."""
    rows = []
    for name, (frozen, delta) in deltas.items():
        values = spectrum(delta)
        rows.append(
            {
                "layer": short_layer_name(name),
                "relative norm": float(delta.norm() / frozen.norm()),
                "rank": numerical_rank(values),
                "effective rank": effective_rank(values),
            }
        )
    return pd.DataFrame(rows)


def short_layer_name(name: str) -> str:
    """"distilbert.transformer.layer.3.attention.q_lin" → "3 q_lin"."""
    parts = name.split(".")
    number = next((part for part in parts if part.isdigit()), "")
    return f"{number} {parts[-1]}".strip()
