"""Controls: what a method achieves without the idea that gives it its name."""

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from transformers import TrainerCallback, set_seed

from course_utils.comparison.measurements import measurement
from course_utils.comparison.results import ExperimentRuns
from course_utils.comparison.weights import short_layer_name
from course_utils.config import RunConfig
from course_utils.inputs.nf4 import as_out_in, dequantise, quantisation_error
from course_utils.methods import FLOOR, METHODS
from course_utils.methods.gates import lora_layers
from course_utils.runs import Run
from course_utils.training.evaluation import predict_as_trained
from course_utils.training.trainer import make_trainer


@torch.no_grad()
def cut_directions(model: nn.Module, keep: int) -> None:
    """Keep, in place, the `keep` strongest directions of a LoRA `model`'s updates: the largest singular values of ΔW.

    The directions of all layers compete, as the gates of Sparse LoRA do. Of all matrices of so many directions, the cut
    ones are the nearest to the updates (Eckart and Young 1936).
    """
    layers = lora_layers(model).values()
    updates = [as_out_in(layer.get_delta_weight("default"), layer.get_base_layer()) for layer in layers]
    parts = [torch.linalg.svd(update, full_matrices=False) for update in updates]
    strengths = torch.cat([values for _, values, _ in parts])
    least = strengths.sort(descending=True).values[keep - 1] if keep else torch.inf
    for layer, (U, values, V) in zip(layers, parts, strict=True):
        A, B = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        kept = (values * (values >= least))[: len(A)] / layer.scaling["default"]
        B.copy_(U[:, : len(A)] * kept)  # ΔW = s·(U·diag(σ)/s)·V  (out, in)
        A.copy_(V[: len(A)] * (kept > 0)[:, None])  # where both factors are zero no gradient brings a direction back


@torch.no_grad()
def keep_random_ranks(model: nn.Module, keep: int, seed: int) -> None:
    """Keep, in place, `keep` ranks of a LoRA `model` that are drawn by lot, and set all others to zero."""
    factors = [layer.lora_B["default"].weight for layer in lora_layers(model).values()]  # each (out, r)
    total = sum(B.shape[1] for B in factors)
    kept = torch.zeros(total)
    kept[torch.randperm(total, generator=torch.Generator().manual_seed(seed))[:keep]] = 1
    for B, mask in zip(factors, kept.split([B.shape[1] for B in factors]), strict=True):
        B.mul_(mask.to(B))


@torch.no_grad()
def prune_entries(model: nn.Module, share: float) -> None:
    """Set to zero, in place, the `share` of a LoRA `model`'s entries of A and B that are smallest in magnitude."""
    layers = lora_layers(model).values()
    for side in ("lora_A", "lora_B"):  # A and B apart: B begins at zero and stays smaller
        factors = [getattr(layer, side)["default"].weight for layer in layers]
        least = torch.cat([factor.abs().flatten() for factor in factors]).quantile(share)
        for factor in factors:
            factor.mul_(factor.abs() >= least)


class PruneGradually(TrainerCallback):
    """Prunes entries after each step, to `share` of them: after t of T steps, share·(1 − (1 − t/T)³).

    T is two thirds of the steps; the last third trains what is left (Zhu and Gupta 2017, section 3).
    """

    def __init__(self, share: float):
        self.share = share

    def on_step_end(self, args, state, control, model, **rest):
        """Set the smallest entries to zero; an entry that a step moved away from zero can be set to zero again."""
        done = min(1.0, state.global_step / (2 / 3 * state.max_steps))
        prune_entries(model, self.share * (1 - (1 - done) ** 3))


def train_on(run: Run, model: nn.Module, share: float, callbacks: Sequence[TrainerCallback] = ()) -> None:
    """Train a loaded adapter `model` of `run` further, in place, for `share` of the run's steps, as the run began.

    The learning rate warms up and decays again, the optimiser is new, and the texts are the first texts of the run.
    """
    passes, texts = share * run.config.epochs, run.result.data.sizes["train"]
    epochs = ceil(passes)
    config = run.config.model_copy(update={"epochs": epochs, "max_train": round(passes / epochs * texts)})
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name or "modules_to_save" in name)
    torch.set_num_threads(config.threads)
    set_seed(config.seed)
    with TemporaryDirectory() as folder:
        trainer = make_trainer(config, model, config.base.tokenizer(), config.load_data(), Path(folder))
        for callback in callbacks:
            trainer.add_callback(callback)
        trainer.train()
    model.eval()


def quantised_base_accuracy(run: Run) -> dict[str, Any]:
    """What the base model loses by quantisation: the head of a head-only `run` on the plain and on the NF4 encoder.

    The head was trained on the plain encoder, and nothing adapts to the error; QLoRA's training can make up for it.
    `plain` and `quantised` are accuracies; `lost` counts the sentences that only the plain encoder gets right, `won`
    those that only the NF4 encoder gets right; `errors` holds ‖dequant(NF4(W₀)) − W₀‖ / ‖W₀‖ by layer.
    """
    config, test = run.config, FinalSet(run.config)
    plain, four_bit = config.base.load(config.load_task()), config.base.load(config.load_task(), four_bit=True)
    errors = pd.Series(quantisation_error(four_bit, plain)).rename(short_layer_name)
    before, after = (test.correct(run.method.load(base, run.folder)) for base in (plain, dequantise(four_bit)))
    return {
        "plain": float(before.mean()),
        "quantised": float(after.mean()),
        "lost": int(sum(before & ~after)),
        "won": int(sum(after & ~before)),
        "errors": errors,
    }


@measurement
def quantised_base(results: ExperimentRuns) -> dict[str, Any] | None:
    """`quantised_base_accuracy` of the first head-only run; None without one, or without a method on four bits."""
    head = results.of(FLOOR.name)[:1]
    quantised = any(METHODS[name].four_bit_base for name in results.experiment.methods)
    return quantised_base_accuracy(head[0]) if head and quantised else None


class FinalSet:
    """The test sentences of a run of `config`, to be answered as the run answered them."""

    def __init__(self, config: RunConfig):
        self.config = config
        self.frame = config.load_data().sets["test"]
        self.tokenizer = config.base.tokenizer()

    def correct(self, model: nn.Module) -> np.ndarray:
        """Which sentences a plain classifier gets right: booleans (n,); `model` is sped up in place."""
        logits = predict_as_trained(self.config, model, self.tokenizer, self.frame)
        return logits.argmax(axis=1) == self.frame["label"].to_numpy()

    def correct_of(self, adapted: nn.Module) -> pd.Series:
        """Which sentences an `adapted` model gets right, by their example_id; its update is merged in place."""
        return pd.Series(self.correct(adapted.merge_and_unload()), index=self.frame["example_id"])
