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

from course_utils.config import RunConfig
from course_utils.methods import METHODS
from course_utils.tasks import TASKS
from course_utils.tasks.base import Task
from course_utils.training.speed import speed_up

# Tokens of a batch, padding included: on a CPU the fastest number for one core, on a GPU 64 texts of full length.
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
    """Scores of `model` for the texts of `frame`, in the frame's order, in the precision of `config`.

    Scores are those of the task: logits (n, classes), or summed negative log-likelihoods and tokens (n, 2).
    "bf16" multiplies matrices in bfloat16, as a run in that precision did in training.
    """
    task = TASKS[config.task]
    dataset = task.tokenize(frame, tokenizer, config.max_length, config.truncation)
    device = next(model.parameters()).device
    tokens = config.tokens_at_once or (TOKENS_CPU if device.type == "cpu" else TOKENS_GPU)
    batches = batches_by_tokens(np.asarray(dataset["length"]), tokens)
    inputs = dataset.select_columns([name for name in dataset.column_names if name not in ("label", "length")])
    loader = DataLoader(inputs, batch_sampler=batches, collate_fn=task.collator(tokenizer))
    found: list[np.ndarray] = []
    model.eval()
    mixed = torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16")
    with torch.inference_mode(), mixed:
        for batch in loader:
            labels = batch.to(device).pop("labels", None)
            found.append(task.scores(model(**batch).logits, labels).cpu().numpy())
    scores = np.empty((len(frame), found[0].shape[1]), dtype=np.float32)
    scores[np.concatenate(batches)] = np.concatenate(found)
    return scores


def make_ready(config: RunConfig, model: nn.Module) -> None:
    """Prepare a plain or adapted `model`, in place, for `predict` as a run of `config` does it.

    It runs on the GPU if there is one, with the run's number of threads (another number changes the last bits).
    """
    torch.set_num_threads(config.threads)
    if torch.cuda.is_available():
        model.cuda()
    if config.speedups:
        speed_up(model, METHODS[config.method], config.precision)


def predict_as_trained(config: RunConfig, model: nn.Module, tokenizer, frame: pd.DataFrame) -> np.ndarray:
    """`predict` as a run of `config` does it, by a `model` that is then ready for more."""
    make_ready(config, model)
    return predict(config, model, tokenizer, frame)


class MeanPooled(nn.Module):
    """A base model that answers with the mean of its last hidden states over all tokens but padding."""

    def __init__(self, base: nn.Module):
        super().__init__()
        self.base = base

    def forward(self, attention_mask: torch.Tensor, **tokens: torch.Tensor) -> SimpleNamespace:
        states = self.base(attention_mask=attention_mask, **tokens).last_hidden_state.float()  # (texts, tokens, width)
        weights = attention_mask.unsqueeze(-1)  # (texts, tokens, 1)
        return SimpleNamespace(logits=(states * weights).sum(dim=1) / weights.sum(dim=1))


class TaskMetrics(evaluate.Metric):
    """A task's metrics as an `evaluate` metric of its scores (n, …) and the truth (n,); no hub is asked for it."""

    def __init__(self, task: Task):
        self.task = task
        super().__init__(keep_in_memory=True)

    def _build_data_dir(self):
        return None  # everything stays in memory: a folder in the home, which may be read-only, is not needed

    def _info(self):
        scores, truth = datasets.Sequence(datasets.Value("float32")), datasets.Value("int64")
        features = datasets.Features({"predictions": scores, "references": truth})
        descriptions = "; ".join(metric.description for metric in self.task.metrics.values())
        return evaluate.MetricInfo(description=descriptions, citation="", features=features)

    def _compute(self, predictions, references):
        return self.task.score(np.asarray(predictions), np.asarray(references))
