"""What a run did to the weights: size, spectrum, rank and leading directions of ΔW, to be read without weights."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from scipy.stats import entropy

DIRECTIONS = 4  # leading left singular vectors that are kept


def layer_facts(deltas: dict[str, tuple[torch.Tensor, torch.Tensor]]) -> pd.DataFrame:
    """Facts of ΔW for layer name → (W₀, ΔW), one row per layer, as `updates.parquet` holds them.

    Columns: layer; relative_norm, ‖ΔW‖/‖W₀‖ (Frobenius); rank; effective_rank; singular_values, as many as the rank;
    directions, the left singular vectors (k, out) of the k = `DIRECTIONS` largest of these, or of all. Directions
    are kept in 16 bits, because more bits would not change a share of a subspace by 0.001.
    """
    columns = ["layer", "relative_norm", "rank", "effective_rank", "singular_values", "directions"]
    return pd.DataFrame([_facts(layer, *weights) for layer, weights in deltas.items()], columns=columns)


def _facts(layer: str, frozen: torch.Tensor, delta: torch.Tensor) -> tuple:
    U, values, _ = torch.linalg.svd(delta.detach().double(), full_matrices=False)
    rank = numerical_rank(values)
    kept, leading = values[:rank].float().numpy(), U[:, : min(rank, DIRECTIONS)].T.half().numpy()
    return layer, (delta.norm() / frozen.norm()).item(), rank, effective_rank(values), kept, list(leading)


def spectrum(delta: torch.Tensor) -> torch.Tensor:
    """Singular values of `delta`, the largest first."""
    return torch.linalg.svdvals(delta.detach().double())


def effective_rank(singular_values: torch.Tensor) -> float:
    """exp of the entropy of the normalised singular values: how many directions the matrix really uses.

    r equal singular values give r, a zero matrix 0.
    """
    return float(np.exp(entropy(singular_values))) if singular_values.any() else 0.0


def numerical_rank(singular_values: torch.Tensor) -> int:
    """Number of singular values above 1e-5 times the largest."""
    return int((singular_values > 1e-5 * singular_values[0]).sum())
