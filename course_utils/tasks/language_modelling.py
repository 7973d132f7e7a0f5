"""Language modelling: a decoder predicts every next token of a text; runs are judged by bits per byte of text."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING, Any

import numpy as np

from course_utils.errors import CourseError
from course_utils.stats import CrossedBootstrap, Interval
from course_utils.tasks.base import Metric, Task

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

    from course_utils.inputs.bases import Base

NOT_PREDICTED = -100  # the label that torch's cross-entropy leaves out
BITS = 1 / log(2)  # in a nat


@dataclass(frozen=True)
class LanguageModelling(Task):
    """The task of a decoder: the probability of each token, given those before it.

    The first token of a text is not predicted, because nothing stands before it, and padding is not predicted either.
    The scores of a text are its summed negative log-likelihood in nats and the number of tokens that it is a sum of;
    the truth is how many bytes of UTF-8 the text has, as far as it is read.
    """

    name = "language_modelling"
    truth = "bytes"
    peft_type = "CAUSAL_LM"
    hub_type = "text-generation"
    searched_by = ("bits_per_byte",)
    counts_tokens = True
    has_head = False

    @property
    def metrics(self) -> dict[str, Metric]:
        """Name → metric of scores (n, 2) against bytes (n,)."""
        return LANGUAGE_METRICS

    def check(self, base: Base) -> None:
        """Raise CourseError where `base` is no decoder, by its type in transformers."""
        from course_utils.inputs.bases import is_decoder

        if not is_decoder(kind := base.config().model_type):
            raise CourseError(
                f"base_model={base.name}: a model of the type {kind!r} is no decoder, and task={self.name} predicts the"
                " next token; type base_model=embedded-decoder."
            )

    def auto_model(self) -> type[AutoModelForCausalLM]:
        """The class of transformers that loads a decoder with its own output layer."""
        from transformers import AutoModelForCausalLM

        return AutoModelForCausalLM

    @staticmethod
    def tokenize(
        frame: pd.DataFrame, tokenizer: PreTrainedTokenizerBase, max_length: int, truncation: str = "head"
    ) -> Dataset:
        """A datasets.Dataset of input_ids, attention_mask and length (tokens), truncated but not padded."""
        from datasets import Dataset

        tokens = tokenizer(frame.text.tolist(), truncation=True, max_length=max_length, return_token_type_ids=False)
        return Dataset.from_dict({**tokens, "length": [len(ids) for ids in tokens["input_ids"]]})

    @staticmethod
    def collator(tokenizer: PreTrainedTokenizerBase) -> NextTokens:
        """What makes a padded batch of tokenised texts."""
        return NextTokens(tokenizer)

    @staticmethod
    def scores(logits: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """Summed negative log-likelihood in nats, and tokens, of every text: (n, 2).

        Of `logits` (n, tokens, vocabulary), each predicts the next of `labels` (n, tokens).
        """
        import torch
        from torch.nn.functional import cross_entropy

        assert labels is not None
        wanted = labels[:, 1:]
        losses = cross_entropy(
            logits[:, :-1].float().transpose(1, 2), wanted, ignore_index=NOT_PREDICTED, reduction="none"
        )
        return torch.stack([losses.sum(dim=1), (wanted != NOT_PREDICTED).sum(dim=1).float()], dim=1)

    @staticmethod
    def truths(frame: pd.DataFrame, tokenizer: PreTrainedTokenizerBase, max_length: int) -> np.ndarray:
        """The bytes of UTF-8 of each text of `frame` (n,), of a longer text those of its first `max_length` tokens."""
        read = []
        for text, ids in zip(frame.text, tokenizer(frame.text.tolist())["input_ids"], strict=True):
            if len(ids) > max_length:
                text = tokenizer.decode(ids[:max_length], skip_special_tokens=True)
            read.append(len(text.encode()))
        return np.array(read)


@dataclass(frozen=True)
class NextTokens:
    """Pads tokenised texts to a batch; labels are the tokens, but for padding and the first token of a text."""

    tokenizer: PreTrainedTokenizerBase

    def __call__(self, examples: list[dict[str, Any]]) -> Any:
        from transformers import DataCollatorWithPadding

        batch = DataCollatorWithPadding(self.tokenizer)(examples)
        # the padding token can occur in a text, and so padding is known by the mask
        is_text = batch["attention_mask"].bool()
        batch["labels"] = batch["input_ids"].masked_fill(~(is_text & (is_text.cumsum(1) > 1)), NOT_PREDICTED)
        return batch


# ---------------------------------------------------------------- metrics


def bits_of_texts(scores: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Every text's share in the bits per byte of one run, of which the mean over texts is the bits per byte (n,).

    Bits per byte are a ratio of two sums, Σ nll / (ln 2 · Σ bytes), and so the share of a text, which is what the
    bootstrap and the standard error need, is taken to first order. `scores` are (n, 2), `sizes` are bytes (n,).
    """
    bits = BITS * scores[:, 0].astype(np.float64)
    ratio = bits.sum() / sizes.sum()
    return ratio + (bits - ratio * sizes) / sizes.mean()


def bits_per_byte(scores: np.ndarray, sizes: np.ndarray) -> float:
    """Σ nll / (ln 2 · Σ bytes), over texts of `scores` (n, 2) and bytes `sizes` (n,)."""
    return float(BITS * scores[:, 0].astype(np.float64).sum() / sizes.sum())


def change_in_bits(scores: np.ndarray, before: np.ndarray, sizes: np.ndarray) -> Interval:
    """How many bits per byte more `scores` take than those `before`, on the same texts, with its 95% interval."""
    change = bits_of_texts(scores, sizes) - bits_of_texts(before, sizes)
    return CrossedBootstrap.draw(1, len(sizes)).mean_interval(change[None])


def _interval_of_bits(scores: np.ndarray, sizes: np.ndarray) -> Interval:
    return CrossedBootstrap.draw(1, len(sizes)).mean_interval(bits_of_texts(scores, sizes)[None])


def perplexity(scores: np.ndarray, sizes: np.ndarray) -> float:
    """exp(Σ nll / Σ tokens); models with different tokenizers cannot be compared by it."""
    return float(np.exp(scores[:, 0].astype(np.float64).sum() / scores[:, 1].sum()))


def _interval_of_perplexity(scores: np.ndarray, sizes: np.ndarray) -> Interval:
    nats = scores[:, 0].astype(np.float64)
    ratio = nats.sum() / scores[:, 1].sum()
    shares = ratio + (nats - ratio * scores[:, 1]) / scores[:, 1].mean()
    found = CrossedBootstrap.draw(1, len(nats)).mean_interval(shares[None])
    return Interval(*(float(np.exp(nats_a_token)) for nats_a_token in (found.estimate, *found.ends)))


LANGUAGE_METRICS = {
    "bits_per_byte": Metric(
        "Bits per byte", "summed negative log-likelihood in bits, for each byte of UTF-8",
        bits_per_byte, _interval_of_bits, higher_is_better=False, largest=float("inf"), decimals=4,
    ),
    "perplexity": Metric(
        "Perplexity", "exp of the mean negative log-likelihood of a token of the base model's tokenizer",
        perplexity, _interval_of_perplexity, higher_is_better=False, largest=float("inf"), decimals=2,
    ),
}  # fmt: skip
