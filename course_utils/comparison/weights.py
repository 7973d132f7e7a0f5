"""What methods did to the weights: size, rank and directions of ΔW on the layers that all methods change."""

import numpy as np
import pandas as pd
import torch

from course_utils.runs import Run, load_model
from course_utils.training.updates import layer_facts, spectrum


def run_deltas(run: Run) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Layer name → (W₀, ΔW), both (out, in), of a finished `run`, read from what it saved."""
    return run.method.delta_weights(load_model(run, merged=False))


def has_updates(run: Run) -> bool:
    """Whether `updates_of` finds something: a record of ΔW, or weights to compute it from."""
    return run.updates() is not None or any(run.folder.glob("**/*.safetensors"))


def updates_of(run: Run) -> pd.DataFrame:
    """`layer_facts` of a finished `run`: as it recorded them, or else from its weights.

    Raises CourseError where there is neither.
    """
    recorded = run.updates()
    return layer_facts(run_deltas(run)) if recorded is None else recorded


def common_updates(runs: dict[str, Run]) -> dict[str, pd.DataFrame]:
    """Method → its `layer_facts`, indexed by layer, for the layers that all methods of `runs` change.

    So of full fine-tuning only the adapted layers are kept, and a layer in which Sparse LoRA shut every gate is left
    out for all methods. A method that changes no layer (head only) is left out. The keys of `runs` may be other names
    than those of methods, such as "LoRA, seed 1".
    """
    facts = {name: updates_of(run).query("relative_norm > 0").set_index("layer") for name, run in runs.items()}
    facts = {name: own for name, own in facts.items() if len(own)}
    first = next(iter(facts.values()), pd.DataFrame())
    common = [layer for layer in first.index if all(layer in own.index for own in facts.values())]
    return {name: own.loc[common] for name, own in facts.items()}


def described(facts: pd.DataFrame) -> pd.DataFrame:
    """`layer_facts` as tables show them: columns layer (short), relative norm, rank, effective rank."""
    shown = facts[["layer", "relative_norm", "rank", "effective_rank"]]
    return shown.assign(layer=facts["layer"].map(short_layer_name)).rename(columns=lambda name: name.replace("_", " "))


def directions_needed(deltas: dict[str, tuple[torch.Tensor, torch.Tensor]], share: float = 0.99) -> dict[str, int]:
    """Layer → directions of its ΔW among the strongest of all layers that together hold `share` of Σ‖ΔW‖².

    Their sum is the effective size of an adapter: further directions add no more than 1 − `share` of Σ‖ΔW‖².
    """
    values = {name: spectrum(delta) for name, (_, delta) in deltas.items()}
    energies = torch.cat([own.square() for own in values.values()]).sort(descending=True).values
    number = int((energies.cumsum(0) < share * energies.sum()).sum()) + 1
    least = energies[number - 1].sqrt() if energies.any() else torch.inf
    return {name: int((own >= least).sum()) for name, own in values.items()}


def describe_deltas(deltas: dict[str, tuple[torch.Tensor, torch.Tensor]]) -> pd.DataFrame:
    """One row per layer: layer (short), relative norm ‖ΔW‖/‖W₀‖ (Frobenius), rank and effective rank of ΔW."""
    return described(layer_facts(deltas))


def method_deltas(runs: dict[str, Run]) -> pd.DataFrame:
    """The updates of all `runs` below each other, on their common layers.

    Columns: method, layer, relative norm, rank, effective rank.
    """
    frames = [described(facts.reset_index()).assign(method=name) for name, facts in common_updates(runs).items()]
    columns = ["method", "layer", "relative norm", "rank", "effective rank"]
    return pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)


def subspace_overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Share of one subspace that lies in the other: 0 where they are orthogonal, 1 where one holds the other.

    Both are orthonormal rows (k₁, out) and (k₂, out); the measure is φ of Hu et al. 2022 (section 7.2).
    """
    cosines = first @ second.T  # U₁ᵀU₂  (k₁, k₂)
    return float(np.square(cosines).sum() / min(cosines.shape))  # ‖U₁ᵀU₂‖²_F / min(k₁, k₂)


def subspace_overlaps(runs: dict[str, Run], directions: int = 4) -> tuple[pd.DataFrame, float]:
    """Overlap of the methods' top left singular subspaces of ΔW, a mean over the common layers, and that of chance.

    The frame is square, method × method, with ones on its diagonal. The number is what two random subspaces of
    k = `directions` dimensions share on average, k / d_out: the lower end of a scale, whose upper end are two seeds of
    one method. `directions` is at most the number of directions that a run records.
    """
    bases = {
        name: [np.stack(leading)[:directions].astype(float) for leading in facts["directions"]]
        for name, facts in common_updates(runs).items()
    }
    overlaps = {
        name: {
            other: float(np.mean([subspace_overlap(*pair) for pair in zip(own, others, strict=True)]))
            for other, others in bases.items()
        }
        for name, own in bases.items()
    }
    chance = float(np.mean([directions / basis.shape[1] for own in bases.values() for basis in own]))
    return pd.DataFrame(overlaps), chance


def short_layer_name(name: str) -> str:
    """The layer of a name in short: "distilbert.transformer.layer.3.attention.q_lin" → "3 q_lin"."""
    parts = name.split(".")
    number = next((part for part in parts if part.isdigit()), "")
    return f"{number} {parts[-1]}".strip()
