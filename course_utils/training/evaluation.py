"""The predictions of a trained model, computed as in its run."""

from __future__ import annotations

from types import SimpleNamespace

import datasets
import evaluate
import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import DataCollatorWithPadding

from course_utils.config import RunConfig
from course_utils.methods import METHODS
from course_utils.tasks.classification import METRICS, Classification, score
from course_utils.training.speed import speed_up

# Tokens of a batch, padding included: what was fastest on a core, and 64 texts of the greatest length.
TOKENS_CPU, TOKENS_GPU = 1024, 32_768


def batches_by_tokens(lengths: np.ndarray, tokens: int) -> list[np.ndarray]:
    """Indices of all texts in batches of similar length, longest first, none above `tokens` with its padding.

    `lengths` (n,) in tokens; a text that is longer than `tokens` is a batch of its own.
    """
    order = np.argsort(-lengths, kind="stable")
    batches = []
    while len(order):
        fit = max(1, tokens // int(lengths[order[0]]))
        batches.append(order[:fit])
        order = order[fit:]
    return batches


def predict(config: RunConfig, model: nn.Module, tokenizer, frame: pd.DataFrame) -> np.ndarray:
    """Logits (n, classes) of `model` for the texts of `frame`, in the frame's order, in the precision of `config`.

    "bf16" multiplies matrices in bfloat16, as a run in that precision did in training.
    """
    dataset = Classification.tokenize(frame, tokenizer, config.max_length, config.truncation)
    device = next(model.parameters()).device
    tokens = config.tokens_at_once or (TOKENS_CPU if device.type == "cpu" else TOKENS_GPU)
    batches = batches_by_tokens(np.asarray(dataset["length"]), tokens)
    inputs = dataset.remove_columns(["label", "length"])
    loader = DataLoader(inputs, batch_sampler=batches, collate_fn=DataCollatorWithPadding(tokenizer))
    logits = np.empty((len(frame), model.config.num_labels), dtype=np.float32)
    model.eval()
    mixed = torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16")
    with torch.inference_mode(), mixed:
        for rows, batch in zip(batches, loader, strict=True):
            logits[rows] = model(**batch.to(device)).logits.float().cpu().numpy()
    return logits


def predict_as_trained(config: RunConfig, model: nn.Module, tokenizer, frame: pd.DataFrame) -> np.ndarray:
    """`predict` as a run of `config` does it.

    It runs on the GPU if there is one, with the run's number of threads (another number changes the last bits). A plain
    or adapted `model` is sped up in place.
    """
    torch.set_num_threads(config.threads)
    if torch.cuda.is_available():
        model.cuda()
    if config.speedups:
        speed_up(model, METHODS[config.method], config.precision)
    return predict(config, model, tokenizer, frame)


class MeanPooled(nn.Module):
    """A base model that answers with the mean of its last hidden states over all tokens but padding."""

    def __init__(self, base: nn.Module):
        super().__init__()
        self.base = base
        self.config = SimpleNamespace(num_labels=base.config.hidden_size)  # how many numbers `predict` is given

    def forward(self, attention_mask: torch.Tensor, **tokens: torch.Tensor) -> SimpleNamespace:
        states = self.base(attention_mask=attention_mask, **tokens).last_hidden_state.float()  # (texts, tokens, width)
        weights = attention_mask.unsqueeze(-1)  # (texts, tokens, 1)
        return SimpleNamespace(logits=(states * weights).sum(dim=1) / weights.sum(dim=1))


class ClassificationMetrics(evaluate.Metric):
    """The task's metrics as an `evaluate` metric of logits (n, classes) and labels; no hub is asked for it."""

    def _build_data_dir(self):
        return None  # everything stays in memory: a folder in the home, which may be read-only, is not needed

    def _info(self):
        logits, label = datasets.Sequence(datasets.Value("float32")), datasets.Value("int64")
        features = datasets.Features({"predictions": logits, "references": label})
        descriptions = "; ".join(metric.description for metric in METRICS.values())
        return evaluate.MetricInfo(description=descriptions, citation="", features=features)

    def _compute(self, predictions, references):
        return score(np.asarray(predictions), np.asarray(references))
