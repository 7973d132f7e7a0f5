"""What saves memory changes no number; what is kept of a long text is what the setting says."""

import numpy as np
import pandas
import pytest
import torch
from small import ADAPTER, FULL, QUANTISED, SENTIMENT, tiny_base
from transformers import AutoModel

from course_utils.config import load_experiment
from course_utils.errors import CourseError
from course_utils.inputs.bases import Base
from course_utils.inputs.splits import load_data
from course_utils.tasks.classification import scores_of
from course_utils.training.evaluation import batches_by_tokens
from course_utils.training.train import train


@pytest.fixture(scope="module")
def still(tmp_path_factory):
    """The tiny base without dropout: a batch in parts would otherwise draw other masks."""
    base = tiny_base(tmp_path_factory.mktemp("still") / "base")
    model = AutoModel.from_pretrained(base.location)
    for name in ("dropout", "attention_dropout", "seq_classif_dropout"):
        setattr(model.config, name, 0.0)
    model.config.save_pretrained(base.location)
    return base


@pytest.mark.slow
@pytest.mark.parametrize("method", [ADAPTER, FULL, QUANTISED])
def test_parts_of_a_batch_and_activations_computed_twice_give_the_same_run(still, runs_in, method):
    usual = {"base_model": still.name, "methods": [method], "precision": "fp32", "max_train": 48, "max_test": 40}
    usual |= {"dropout": 0.0} if method != FULL else {}
    runs = [
        train(load_experiment("smoke", usual | setting).config(method))
        for setting in ({}, {"gradient_accumulation": 4}, {"gradient_checkpointing": True}, {"tokens_at_once": 100})
    ]
    expected, *found = (scores_of(run.predictions()) for run in runs)
    assert len({len(run.history()) for run in runs}) == 1
    for scores in found:
        np.testing.assert_allclose(scores, expected, atol=2e-5)


def test_batches_by_tokens_hold_every_text_once_and_no_more_than_they_may():
    lengths = np.random.default_rng(0).integers(1, 300, 1000)
    lengths[:2] = 5_000
    batches = batches_by_tokens(lengths, 1024)
    assert sorted(np.concatenate(batches)) == list(range(1000))
    for batch in batches:
        assert len(batch) * lengths[batch].max() <= 1024 or len(batch) == 1
    padded = sum(len(batch) * lengths[batch].max() for batch in batches)
    assert padded < 1.1 * lengths.sum()


def test_a_batch_that_cannot_be_parted_is_refused():
    with pytest.raises(CourseError, match="gradient_accumulation=3 parts; type -p batch_size=18"):
        load_experiment("smoke", {"gradient_accumulation": 3, "batch_size": 16}).shared.load_data()


def test_head_and_tail_keep_the_beginning_and_the_end():
    tokenizer = Base("embedded").tokenizer()
    frame = pandas.DataFrame({"text": [" ".join(map(str, range(10, 90))), "a short one"], "label": [0, 1]})
    whole, short = SENTIMENT.tokenize(frame, tokenizer, 512)["input_ids"]
    cut, same = SENTIMENT.tokenize(frame, tokenizer, 16, "head_and_tail")["input_ids"]
    assert cut == whole[:4] + whole[-12:] and same == short
    assert cut[0] == tokenizer.cls_token_id and cut[-1] == tokenizer.sep_token_id


def test_pairs_are_cut_at_the_longer_text(tmp_path):
    pandas.DataFrame(
        {"sentence1": "x", "sentence2": [f"y {n}" for n in range(40)], "label": [0, 1] * 20}
    ).to_csv(tmp_path / "data.csv")  # fmt: skip
    with pytest.raises(CourseError, match="truncation=head"):
        load_experiment("smoke", {"data": str(tmp_path), "truncation": "head_and_tail"}).shared.load_data()
    frame = load_data(str(tmp_path)).sets["train"].assign(text_pair="long " * 60)
    tokenizer = Base("embedded").tokenizer()
    ids = torch.tensor(SENTIMENT.tokenize(frame, tokenizer, 32)["input_ids"])
    assert ids.shape[1] == 32 and (ids == tokenizer.sep_token_id).sum(dim=1).eq(2).all()
