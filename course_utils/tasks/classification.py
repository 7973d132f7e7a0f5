"""Classification: the head and its initial weights, the tokenised texts, and every metric of the predictions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from course_utils.stats import CrossedBootstrap, Interval, wilson_interval
from course_utils.tasks.base import IntervalOf, Metric, Task, ValueOf

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from datasets import Dataset
    from torch import nn
    from transformers import (
        AutoModelForSequenceClassification,
        DataCollatorWithPadding,
        PreTrainedTokenizerBase,
    )

CALIBRATION_BINS = 15


@dataclass(frozen=True)
class Classification(Task):
    """The task of classification: the label of a class is its place in `class_names`."""

    name = "classification"
    truth = "label"
    peft_type = "SEQ_CLS"
    hub_type = "text-classification"
    searched_by = ("nll", "accuracy")

    @property
    def metrics(self) -> dict[str, Metric]:
        """Name → metric of logits (n, classes) against labels (n,), of those that apply to so many classes."""
        return metrics_of(len(self.class_names))

    def auto_model(self) -> type[AutoModelForSequenceClassification]:
        """The class of transformers that loads a base with this task's head."""
        from transformers import AutoModelForSequenceClassification

        return AutoModelForSequenceClassification

    def head_options(self) -> dict[str, Any]:
        """What `from_pretrained` needs to know of the head."""
        return {
            "num_labels": len(self.class_names),
            "problem_type": "single_label_classification",
            "id2label": self.labels,
            "label2id": {name: label for label, name in self.labels.items()},
        }

    @staticmethod
    def initialise_head(model: nn.Module, seed: int) -> None:
        """Draw the head's weights from N(0, initializer_range²) by `seed` alone, so that all methods start alike."""
        import torch

        from course_utils.inputs.bases import head_modules

        generator = torch.Generator().manual_seed(seed)
        for name in head_modules(model):
            for layer in model.get_submodule(name).modules():
                if isinstance(layer, torch.nn.Linear):
                    weight = torch.empty(layer.weight.shape)
                    weight.normal_(0.0, model.config.initializer_range, generator=generator)
                    layer.weight.data.copy_(weight)
                    if layer.bias is not None:
                        layer.bias.data.zero_()

    @staticmethod
    def tokenize(
        frame: pd.DataFrame, tokenizer: PreTrainedTokenizerBase, max_length: int, truncation: str = "head"
    ) -> Dataset:
        """A datasets.Dataset of input_ids, attention_mask, label and length (tokens), truncated but not padded.

        Pairs bring token_type_ids where the tokenizer has them; the longer of two texts is cut first. `truncation`
        "head_and_tail" keeps a quarter of the tokens from the beginning of a longer text and the rest from its end
        (sun2019finetune).
        """
        from datasets import Dataset

        pairs = frame.text_pair.tolist() if "text_pair" in frame else None
        tokens = tokenizer(
            frame.text.tolist(),
            pairs,
            truncation=truncation == "head",
            max_length=max_length,
            return_token_type_ids=None if pairs else False,
        )
        if truncation != "head":
            head = max_length // 4
            tokens = {
                name: [row if len(row) <= max_length else row[:head] + row[head - max_length :] for row in rows]
                for name, rows in tokens.items()
            }
        lengths = [len(ids) for ids in tokens["input_ids"]]
        return Dataset.from_dict({**tokens, "label": frame.label.tolist(), "length": lengths})

    @staticmethod
    def collator(tokenizer: PreTrainedTokenizerBase) -> DataCollatorWithPadding:
        """What makes a padded batch of tokenised examples."""
        from transformers import DataCollatorWithPadding

        return DataCollatorWithPadding(tokenizer)

    @staticmethod
    def scores(logits: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """The scores of an example are its logits (n, classes)."""
        return logits.float()

    @staticmethod
    def truths(frame: pd.DataFrame, tokenizer: PreTrainedTokenizerBase, max_length: int) -> np.ndarray:
        """The labels of the texts of `frame` (n,)."""
        return frame.label.to_numpy()


def kept_of_longer(truncation: str, pairs: bool) -> str:
    """What is read of a text, or of one of `pairs` of texts, that is longer than `max_length`: a clause."""
    if pairs:
        return "the longer of the two texts loses its end"
    if truncation == "head":
        return "the beginning is read"
    return "the first quarter of what is read is from its beginning, and the rest from its end"


# ---------------------------------------------------------------- metrics


def metrics_of(classes: int) -> dict[str, Metric]:
    """Those of `METRICS` that apply to so many classes."""
    return {name: metric for name, metric in METRICS.items() if classes == 2 or not metric.two_classes}


def scores_of(predictions: pd.DataFrame) -> np.ndarray:
    """The column scores of a run's predictions as logits (n, classes)."""
    return np.stack(predictions["scores"].to_list())


def score(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """n, and every metric that applies, of `logits` (n, classes) against `labels` (n,)."""
    return Classification(("",) * logits.shape[1]).score(logits, labels)


def sentence_losses(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For every sentence: the probabilities (n, classes), the NLL in nats (n,), the Brier score (n,).

    The Brier score is half the squared distance from the probabilities to the right class (Brier 1950), from 0 to 1;
    with two classes it is the squared error of either's probability.
    """
    from scipy.special import log_softmax

    log_probabilities = log_softmax(logits.astype(np.float64), axis=1)
    probabilities, right = np.exp(log_probabilities), np.eye(logits.shape[1])[labels]
    return (
        probabilities,
        -log_probabilities[np.arange(len(labels)), labels],
        ((probabilities - right) ** 2).sum(axis=1) / 2,
    )


def calibration_bins(probabilities: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    """Predictions in `CALIBRATION_BINS` equal bins of confidence, empty ones left out.

    Columns n, confidence and accuracy (means), of `probabilities` (n, classes) and `labels` (n,) (Guo et al. 2017,
    section 2).
    """
    import pandas as pd

    confidence, right, its_bin = _confidences(probabilities, labels)
    grouped = pd.DataFrame({"confidence": confidence, "accuracy": right}).groupby(its_bin)
    return grouped.mean().assign(n=grouped.size())[["n", "confidence", "accuracy"]].reset_index(drop=True)


def _confidences(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For every sentence: the confidence in the predicted class, whether the class is right, and the bin."""
    confidence = probabilities.max(axis=1)
    its_bin = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    return confidence, probabilities.argmax(axis=1) == labels, its_bin


def _accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    return float((logits.argmax(axis=1) == labels).mean())


def _accuracy_interval(logits: np.ndarray, labels: np.ndarray) -> Interval:
    correct = int((logits.argmax(axis=1) == labels).sum())
    return Interval(correct / len(labels), *wilson_interval(correct, len(labels)))


def _accuracy_over_seeds(predicted: np.ndarray, labels: np.ndarray) -> Interval:
    return CrossedBootstrap.draw(*predicted.shape).mean_interval(predicted == labels)


def _f1_of(average: str) -> tuple[ValueOf, IntervalOf, IntervalOf]:
    """Value, interval and interval over seeds of F1: of the second class ("binary"), or its mean over the classes."""

    def value(logits: np.ndarray, labels: np.ndarray) -> float:
        from sklearn.metrics import f1_score

        return float(f1_score(labels, logits.argmax(axis=1), average=average, zero_division=0))

    def interval(logits: np.ndarray, labels: np.ndarray) -> Interval:
        return over_seeds(logits.argmax(axis=1)[None], labels)

    def over_seeds(predicted: np.ndarray, labels: np.ndarray) -> Interval:
        classes: Iterable[int] = (1,) if average == "binary" else np.union1d(predicted, labels)
        return CrossedBootstrap.draw(*predicted.shape).f1_interval(predicted, labels, classes)

    return value, interval, over_seeds


def _ece(logits: np.ndarray, labels: np.ndarray) -> float:
    binned = calibration_bins(sentence_losses(logits, labels)[0], labels)
    return float((binned["n"] * (binned["accuracy"] - binned["confidence"]).abs()).sum() / len(labels))


def _ece_interval(logits: np.ndarray, labels: np.ndarray) -> Interval:
    confidence, right, its_bin = _confidences(sentence_losses(logits, labels)[0], labels)
    return CrossedBootstrap.draw(1, len(labels)).ece_interval(confidence - right, its_bin)


def _mean_of_losses(place: int) -> tuple[ValueOf, IntervalOf]:
    """Value and interval of a metric that is the mean of one of the `sentence_losses`."""

    def value(logits: np.ndarray, labels: np.ndarray) -> float:
        return float(sentence_losses(logits, labels)[place].mean())

    def interval(logits: np.ndarray, labels: np.ndarray) -> Interval:
        return CrossedBootstrap.draw(1, len(labels)).mean_interval(sentence_losses(logits, labels)[place][None])

    return value, interval


METRICS = {
    "accuracy": Metric(
        "Accuracy", "share of sentences classified correctly",
        _accuracy, _accuracy_interval, _accuracy_over_seeds, unit="%",
    ),
    "f1": Metric("F1", "F1 of the second class", *_f1_of("binary"), unit="%", two_classes=True),
    "macro_f1": Metric("Macro F1", "mean over the classes of their F1", *_f1_of("macro"), unit="%", instead="f1"),
    "nll": Metric(
        "NLL", "mean negative log-likelihood",
        *_mean_of_losses(1), higher_is_better=False, unit="nats", largest=float("inf"),
    ),
    "brier": Metric(
        "Brier score", "half the squared distance from the probabilities to the right class (Brier 1950)",
        *_mean_of_losses(2), higher_is_better=False,
    ),
    "ece": Metric(
        "ECE", f"expected calibration error, {CALIBRATION_BINS} bins (Guo et al. 2017, section 2)",
        _ece, _ece_interval, higher_is_better=False,
    ),
}  # fmt: skip
