"""What every task is: the head of a model, the batches, the scores of an example, and the metrics of many scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from course_utils.stats import Interval

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from datasets import Dataset
    from torch import nn
    from transformers import PreTrainedTokenizerBase

    from course_utils.inputs.bases import Base

ValueOf = Callable[[np.ndarray, np.ndarray], float]  # of scores (n, …) and the truth (n,)
IntervalOf = Callable[[np.ndarray, np.ndarray], Interval]


@dataclass(frozen=True)
class Metric:
    """A metric of scores (n, …) against the truth (n,): its name, how it is computed, and how it is written.

    In classification the scores are logits (n, classes) and the truth is labels. `value` computes the metric,
    `interval` its 95% interval with the sentences as the sample. `over_seeds` is the interval of its mean over seeds,
    from predicted classes (seeds, n); None where it needs more than the class. `largest` is a bound on the metric, to
    which an expanded interval is cut. Some metrics are for `two_classes` alone. A metric with `instead` is shown in
    tables only where the metric of that name does not apply. `decimals` are those of the plain number in a table; a
    metric with the unit "%" is written in per cent there, with two decimals fewer.
    """

    title: str
    description: str
    value: ValueOf
    interval: IntervalOf
    over_seeds: IntervalOf | None = None
    higher_is_better: bool = True
    unit: str = ""
    decimals: int = 3
    largest: float = 1.0
    two_classes: bool = False
    instead: str = ""

    @property
    def heading(self) -> str:
        """The title with the unit, for a column or an axis."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    def short(self, value: float) -> str:
        """`value` as a table writes it, the unit being in the heading: "92.2"."""
        return f"{100 * value:.{self.decimals - 2}f}" if self.unit == "%" else f"{value:.{self.decimals}f}"

    def exact(self, value: float, sign: str = "") -> str:
        """`value` as a plain number with one decimal more: "0.9220"; for a difference `sign` is "+"."""
        return f"{value:{sign}.{self.decimals + 1}f}"

    def exact_interval(self, interval: Interval) -> str:
        """`interval` in plain numbers, as cards state it: "0.9220 [0.902, 0.938]"."""
        low, high = (f"{end:.{self.decimals}f}" for end in interval.ends)
        return f"{self.exact(interval.estimate)} [{low}, {high}]"


@dataclass(frozen=True)
class Task:
    """What a model learns: the one object through which training and evaluation know it.

    `class_names` are those of the data; a task without classes leaves them unread. `truth` is the column of a run's
    predictions that its metrics compare the scores with. `peft_type` is PEFT's name of the task, `hub_type` the hub's.
    The loss of a task that `counts_tokens` is a mean over tokens, not over examples. A search goes by the first of the
    metrics `searched_by`, of equals by the next. Where a task has no head (`has_head`), no method trains one, labels
    are not read, and a run is compared with the base model before it.
    """

    class_names: tuple[str, ...] = ()

    name: ClassVar[str]
    truth: ClassVar[str]
    peft_type: ClassVar[str]
    hub_type: ClassVar[str]
    searched_by: ClassVar[tuple[str, ...]]
    counts_tokens: ClassVar[bool] = False
    has_head: ClassVar[bool] = True

    @property
    def labels(self) -> dict[int, str]:
        """Label → name of the class."""
        return dict(enumerate(self.class_names))

    @property
    def metrics(self) -> dict[str, Metric]:
        """Name → metric; the first one is what runs are judged by."""
        raise NotImplementedError

    def check(self, base: Base) -> None:
        """Raise CourseError, naming what to type instead, where `base` cannot learn the task."""

    def auto_model(self) -> Any:
        """The class of transformers that loads a base with this task's head."""
        raise NotImplementedError

    def head_options(self) -> dict[str, Any]:
        """What `from_pretrained` needs to know of the head."""
        return {}

    @staticmethod
    def initialise_head(model: nn.Module, seed: int) -> None:
        """Draw the head's weights by `seed` alone, so that all methods start alike."""

    @staticmethod
    def tokenize(
        frame: pd.DataFrame, tokenizer: PreTrainedTokenizerBase, max_length: int, truncation: str = "head"
    ) -> Dataset:
        """A datasets.Dataset of what the model reads of each text, truncated but not padded, and length (tokens)."""
        raise NotImplementedError

    @staticmethod
    def collator(tokenizer: PreTrainedTokenizerBase) -> Callable[[list[dict[str, Any]]], Any]:
        """What makes a padded batch of tokenised examples."""
        raise NotImplementedError

    @staticmethod
    def scores(logits: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """Scores (n, …) of a batch's examples, from the model's `logits` and the batch's `labels`."""
        raise NotImplementedError

    @staticmethod
    def truths(frame: pd.DataFrame, tokenizer: PreTrainedTokenizerBase, max_length: int) -> np.ndarray:
        """What the scores of each text of `frame` are compared with (n,), the column `truth` of predictions."""
        raise NotImplementedError

    def score(self, scores: np.ndarray, truth: np.ndarray) -> dict[str, float]:
        """n, and every metric, of `scores` (n, …) against `truth` (n,)."""
        return {"n": len(truth)} | {name: metric.value(scores, truth) for name, metric in self.metrics.items()}

    def intervals(self, scores: np.ndarray, truth: np.ndarray) -> dict[str, Interval]:
        """Every metric with its 95% interval, sentences as the sample."""
        found = {name: metric.interval(scores, truth) for name, metric in self.metrics.items()}
        return {
            name: Interval(of.estimate, max(of.low, 0.0), min(of.high, self.metrics[name].largest))
            for name, of in found.items()
        }
