"""Controls: what a method achieves without the part that it is named for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import nn

from course_utils.comparison.weights import short_layer_name
from course_utils.config import RunConfig
from course_utils.errors import CourseError
from course_utils.inputs.nf4 import dequantise, quantisation_error
from course_utils.methods.gates import lora_layers
from course_utils.runs import Run, load_model
from course_utils.training.evaluation import predict_as_trained


@torch.no_grad()
def prune_ranks(model: nn.Module, keep: int) -> dict[str, int]:
    """Set to zero, in place, all ranks of a LoRA `model` but the `keep` largest; layer name → ranks that are left.

    A rank is as large as the matrix that it adds, ‖bᵢaᵢ‖ = ‖bᵢ‖·‖aᵢ‖ (Frobenius), and ranks of all layers compete: the
    freedom that the gates of Sparse LoRA have. Raises CourseError where the model has fewer ranks than `keep`.
    """
    layers = lora_layers(model)
    sizes = {
        name: layer.lora_B["default"].weight.norm(dim=0) * layer.lora_A["default"].weight.norm(dim=1)  # (r,)
        for name, layer in layers.items()
    }
    everything = torch.cat(list(sizes.values()))
    if keep > len(everything):
        raise CourseError(f"The adapter has {len(everything)} ranks; {keep} cannot be kept.")
    kept = torch.zeros_like(everything)
    kept[everything.argsort(descending=True)[:keep]] = 1
    masks = kept.split([len(size) for size in sizes.values()])
    for layer, mask in zip(layers.values(), masks, strict=True):
        layer.lora_B["default"].weight.mul_(mask)  # (out, r) · (r,)
    return {name: int(mask.sum()) for name, mask in zip(layers, masks, strict=True)}


def pruned_accuracy(run: Run, ranks: Sequence[int]) -> pd.DataFrame:
    """Test accuracy of a finished LoRA `run` of which only so many ranks are kept, without any retraining.

    The control for Sparse LoRA: one row for each number in `ranks`, columns ranks and accuracy. With all ranks the
    accuracy is the run's own.
    """
    test = FinalSet(run.config)
    rows = []
    for keep in ranks:
        model = load_model(run, merged=False)
        prune_ranks(model, keep)
        rows.append({"ranks": keep, "accuracy": test.correct(model.merge_and_unload()).mean()})
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class QuantisedBase:
    """What NF4 alone costs: accuracies of one head on both encoders, and where the encoder lost precision.

    `p_value` is McNemar's exact one for the two accuracies; `errors` holds ‖dequant(NF4(W₀)) − W₀‖ / ‖W₀‖ by layer.
    """

    plain: float
    quantised: float
    p_value: float
    errors: pd.Series


def quantised_base_accuracy(run: Run) -> QuantisedBase:
    """What the base model loses by quantisation: the head of a head-only `run` on the plain and on the NF4 encoder.

    The head was trained on the plain encoder, and nothing adapts to the error: what QLoRA's training can make up for.
    """
    from statsmodels.stats.contingency_tables import mcnemar

    config, test = run.config, FinalSet(run.config)
    plain, four_bit = config.base.load(config.task), config.base.load(config.task, four_bit=True)
    errors = pd.Series(quantisation_error(four_bit, plain)).rename(short_layer_name)
    before, after = (test.correct(run.method.load(base, run.folder)) for base in (plain, dequantise(four_bit)))
    answers = [[sum(before & after), sum(before & ~after)], [sum(~before & after), sum(~before & ~after)]]
    return QuantisedBase(float(before.mean()), float(after.mean()), mcnemar(answers, exact=True).pvalue, errors)


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
