"""Predictions and what they are worth: accuracy, F1, likelihood and calibration on any set."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import datasets
import evaluate
import numpy as np
import pandas as pd
import torch
from scipy.special import log_softmax
from sklearn.metrics import f1_score
from torch import nn
from torch.utils.data import DataLoader
from transformers import DataCollatorWithPadding

from course_utils.data import tokenize
from course_utils.speed import speed_up

if TYPE_CHECKING:
    from course_utils.config import RunConfig

CALIBRATION_BINS = 15


def predict(
    model: nn.Module,
    tokenizer,
    frame: pd.DataFrame,
    *,
    max_length: int = 128,
    precision: str = "fp32",
    batch_size: int = 64,
) -> np.ndarray:
    """Logits (n, 2) of `model` for the sentences in `frame.text`, in the frame's order.

    precision: "bf16" multiplies matrices in bfloat16, as a run in that precision did in training.
    """
    dataset = tokenize(frame, tokenizer, max_length)
    order = np.argsort(dataset["length"], kind="stable")[::-1]
    inputs = dataset.select_columns(["input_ids", "attention_mask"]).select(order)
    loader = DataLoader(inputs, batch_size=batch_size, collate_fn=DataCollatorWithPadding(tokenizer))
    device = next(model.parameters()).device
    logits = np.empty((len(frame), 2), dtype=np.float32)
    model.eval()
    mixed = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
    with torch.inference_mode(), mixed:
        batches = [model(**batch.to(device)).logits.float().cpu().numpy() for batch in loader]
    logits[order] = np.concatenate(batches)
    return logits


def predict_as_trained(config: RunConfig, model: nn.Module, tokenizer, frame: pd.DataFrame) -> np.ndarray:
    """Logits (n, 2) for the sentences in `frame.text` as a run of `config` computes them.

    On the GPU if there is one, with the run's threads (another number gives other last bits) and precision; a plain
    or adapted `model` is sped up in place.
    """
    torch.set_num_threads(config.threads)
    if torch.cuda.is_available():
        model.cuda()
    if config.speedups:
        speed_up(model, config.precision)
    return predict(model, tokenizer, frame, max_length=config.max_length, precision=config.precision)


class SentimentMetrics(evaluate.Metric):
    """Every metric of a two-class prediction, from logits; needs no hub, unlike `evaluate.load`."""

    def _build_data_dir(self):
        return None  # everything stays in memory: a folder in the home, which may be read-only, is not needed

    def _info(self):
        return evaluate.MetricInfo(
            description="Accuracy, F1 of the positive class, NLL in nats, Brier score, ECE.",
            citation="",
            features=datasets.Features(
                {
                    "predictions": datasets.Sequence(datasets.Value("float32")),
                    "references": datasets.Value("int64"),
                }
            ),
        )

    def _compute(self, predictions, references):
        return score(np.asarray(predictions), np.asarray(references))


def score(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Metrics of `logits` (n, 2) against `labels` (n,): n, accuracy, f1, nll, brier, ece.

    F1 is that of the positive class. NLL is in nats. The Brier score is the mean squared error of the
    positive class's probability. ECE has 15 equal bins of confidence (Guo et al. 2017, section 2).
    """
    positive, nll, brier = sentence_losses(logits, labels)
    predicted = logits.argmax(axis=1)
    return {
        "n": len(labels),
        "accuracy": float((predicted == labels).mean()),
        "f1": float(f1_score(labels, predicted, zero_division=0)),
        "nll": float(nll.mean()),
        "brier": float(brier.mean()),
        "ece": expected_calibration_error(positive, labels),
    }


def sentence_losses(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For every sentence: the positive class's probability, the NLL in nats, the Brier score; each (n,)."""
    log_probabilities = log_softmax(logits.astype(np.float64), axis=1)
    positive = np.exp(log_probabilities[:, 1])
    return positive, -log_probabilities[np.arange(len(labels)), labels], (positive - labels) ** 2


def expected_calibration_error(
    positive: np.ndarray, labels: np.ndarray, bins: int = CALIBRATION_BINS
) -> float:
    """Mean gap between confidence and accuracy over equal `bins` of confidence, weighted by their share."""
    binned = calibration_bins(positive, labels, bins)
    return float((binned["n"] * (binned["accuracy"] - binned["confidence"]).abs()).sum() / len(labels))


def calibration_bins(positive: np.ndarray, labels: np.ndarray, bins: int = CALIBRATION_BINS) -> pd.DataFrame:
    """Predictions in equal `bins` of confidence, empty ones left out: columns n, confidence, accuracy (means).

    `positive` (n,) is the positive class's probability, `labels` (n,) the class (Guo et al. 2017, section 2).
    """
    confidence, right, its_bin = confidences(positive, labels, bins)
    grouped = pd.DataFrame({"confidence": confidence, "accuracy": right}).groupby(its_bin)
    return grouped.mean().assign(n=grouped.size())[["n", "confidence", "accuracy"]].reset_index(drop=True)


def confidences(
    positive: np.ndarray, labels: np.ndarray, bins: int = CALIBRATION_BINS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For every sentence: the confidence in its predicted class, whether that is right, and the bin it falls in."""
    confidence = np.maximum(positive, 1 - positive)
    return confidence, (positive > 0.5) == labels, np.minimum((confidence * bins).astype(int), bins - 1)


def classifier(run) -> Callable[[list[str]], list[tuple[str, str, float]]]:
    """The trained model of `run`, loaded once: a function from texts to (text, class name, its probability)."""
    from course_utils.models import LABELS, load_tokenizer
    from course_utils.runs import load_model

    model, tokenizer = load_model(run), load_tokenizer(run.config.base_model)

    def classify(texts: list[str]) -> list[tuple[str, str, float]]:
        frame = pd.DataFrame({"text": texts, "label": 0})
        logits = predict_as_trained(run.config, model, tokenizer, frame)
        probabilities = np.exp(log_softmax(logits, axis=1))
        return [
            (text, LABELS[int(row.argmax())], float(row.max()))
            for text, row in zip(texts, probabilities, strict=True)
        ]

    return classify
