"""What fine-tuning changes in the base model's states: whether texts of one domain still lie close together."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import nn

from course_utils.config import RunConfig
from course_utils.inputs.splits import Data
from course_utils.runs import Forgetting
from course_utils.training.evaluation import MeanPooled, predict

TEXTS = 150  # of each domain


def measure_forgetting(config: RunConfig, base: nn.Module, trained: nn.Module, tokenizer, data: Data) -> Forgetting:
    """How often the nearest neighbour of a text is of the text's own domain, before training and after it.

    The domains are the test set and the source's sets of other domains, an equal number of texts from each. The nearest
    neighbour is the text with the greatest cosine between mean-pooled states. No method is trained for this, so a lower
    share means that something was forgotten.
    """
    domains = ["test", *data.domains]
    size = min(TEXTS, *(len(data.sets[name]) for name in domains))
    texts = pd.concat([data.sets[name].head(size) for name in domains], ignore_index=True)
    truth = np.repeat(domains, size)
    shares = []
    for model in (base, trained):
        if torch.cuda.is_available():
            model.cuda()
        shares.append(share_of_own(predict(config, MeanPooled(model.base_model), tokenizer, texts), truth))
        model.cpu()  # so that a GPU never holds both
    return Forgetting(texts=len(texts), before=shares[0], after=shares[1])


def share_of_own(states: np.ndarray, groups: np.ndarray) -> float:
    """Share of the rows of `states` (n, width) whose nearest other row, by cosine, is of the same one of `groups`."""
    directions = states / np.linalg.norm(states, axis=1, keepdims=True)
    cosines = directions @ directions.T
    np.fill_diagonal(cosines, -np.inf)
    return float(np.mean(groups[cosines.argmax(axis=1)] == groups))
