"""The arithmetic of a training step, counted on the meta device: no weight is loaded, nothing is multiplied."""

from math import nan
from typing import Any

import pandas as pd
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from course_utils.comparison.measurements import measurement
from course_utils.comparison.tables import ExperimentRuns
from course_utils.config import RunConfig
from course_utils.methods import METHODS
from course_utils.methods.sizes import count_parameters

TOKENS = 26  # of a text: the median of the embedded sentences
MOMENTS = 2  # that AdamW keeps for a trained number


def model_in_training(config: RunConfig) -> nn.Module:
    """The adapted model of `config` as a training step meets it, on the meta device."""
    base = config.base.without_weights(config.load_task())
    return METHODS[config.method].adapt(base, config.settings).to("meta").train()


def work_of_a_text(config: RunConfig, tokens: int = TOKENS) -> dict[str, float]:
    """What a training step computes and keeps for a text of `tokens` tokens, in a batch of such texts.

    `forward` and `backward` are the floating-point operations of the matrix products, as PyTorch counts them while the
    adapted model computes on the meta device, without our speed-ups; putting four bits back into a matrix is no
    product, and not counted. `activations` are the bytes, in 32 bits, that the forward pass keeps for the backward
    one, weights apart. All are nan for the few architectures whose forward pass reads the value of a tensor: a tensor
    on the meta device has none.
    """
    model = model_in_training(config)
    texts = torch.zeros(config.batch_size, tokens, dtype=torch.long, device="meta")
    with FlopCounterMode(display=False) as counter:
        try:
            output, stored = kept_by_forward(model, input_ids=texts, labels=texts[:, 0])
        except RuntimeError:
            return {"forward": nan, "backward": nan, "activations": nan}
        forward = counter.get_total_flops()
        output.loss.backward()
        both = counter.get_total_flops()
    found = {"forward": forward, "backward": both - forward, "activations": stored}
    return {name: value / len(texts) for name, value in found.items()}


def kept_by_forward(model: nn.Module, **inputs: torch.Tensor) -> tuple[Any, int]:
    """The output of `model`, and the bytes that its forward pass keeps for the backward one, weights apart."""
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(saved: torch.Tensor) -> torch.Tensor:
        kept[saved.untyped_storage()._cdata] = saved.untyped_storage()
        return saved

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved):
        output = model(**inputs)
    weights = {weight.untyped_storage()._cdata for weight in (*model.parameters(), *model.buffers())}
    return output, sum(storage.nbytes() for place, storage in kept.items() if place not in weights)


@measurement
def work_by_method(results: ExperimentRuns) -> dict[str, dict[str, float]]:
    """Method with runs → `work_of_a_text` of its first run."""
    return {run.config.method: work_of_a_text(run.config) for run in results.first_of_each()}


def step_table(results: ExperimentRuns) -> pd.DataFrame:
    """One row per method with runs: what a step computes and keeps.

    Columns: forward, backward (operations per text), activations (bytes per text), weights, gradients, moments (bytes),
    step (ms). Gradients and moments are of all numbers that the first run trained, in 32 bits, those that its method
    dropped at the end included; the step is the runs' median.
    """
    counted = work_by_method(results)
    trained = {run.config.method: count_parameters(model_in_training(run.config)) for run in results.first_of_each()}
    summary = results.summary.set_index("method")
    rows = {
        name: counted[name]
        | {
            "weights": summary.loc[name, "bytes_base_model"],
            "gradients": 4 * trained[name].trainable,
            "moments": 4 * MOMENTS * trained[name].trainable,
            "step": summary.loc[name, "step_ms_median"],
        }
        for name in counted
    }
    return pd.DataFrame.from_dict(rows, orient="index").astype(float).rename_axis("method")
