"""What saves memory changes no number; what is kept of a long text is what the setting says."""

import json
import subprocess
import sys

import numpy as np
import pandas
import pytest
import torch
from small import ADAPTER, FULL, HEAD, QUANTISED, SENTIMENT, random_base

from course_utils.config import load_experiment
from course_utils.errors import CourseError
from course_utils.inputs.bases import Base
from course_utils.inputs.splits import load_data
from course_utils.paths import PROJECT
from course_utils.tasks.classification import scores_of
from course_utils.training.evaluation import batches_by_tokens
from course_utils.training.train import train
from course_utils.workflow import estimates
from course_utils.workflow.estimates import expected_memory

TWICE = {"gradient_checkpointing": True}  # what a method has to put up with
PARTS = [{"gradient_accumulation": 4}, {"tokens_at_once": 100}]  # how any batch is taken


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "settings"),
    [(ADAPTER, [TWICE, *PARTS]), (FULL, [TWICE]), (QUANTISED, [TWICE])],
    ids=[ADAPTER, FULL, QUANTISED],
)
def test_parts_of_a_batch_and_activations_computed_twice_give_the_same_run(still, runs_in, method, settings):
    usual = {"base_model": still.name, "methods": [method], "precision": "fp32", "max_train": 48, "max_test": 40}
    usual |= {"dropout": 0.0} if method != FULL else {}
    runs = [train(load_experiment("smoke", usual | setting).config(method)) for setting in ({}, *settings)]
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


@pytest.mark.parametrize(
    ("processes", "settings", "said"),
    [
        ("1", {"gradient_accumulation": 3}, "and gradient_accumulation=3 parts; type -p batch_size=18"),
        ("3", {}, "16 cannot be shared out equally among 3 processes and .* type -p batch_size=18"),
        ("1", {"batch_size": 128, "max_train": 96}, "128 is more than the 96 training examples; type -p batch_size=96"),
    ],
)
def test_a_batch_that_cannot_be_parted_or_filled_is_refused(processes, settings, said, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", processes)
    with pytest.raises(CourseError, match=f"^batch_size: .*{said}"):
        load_experiment("smoke", settings).shared.load_data()


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


PEAKS = """
import json, os, re, sys
from course_utils.config import load_experiment
from course_utils.training.train import train
for options in json.loads(sys.argv[1]):
    method = options["methods"][0]
    if not (child := os.fork()):
        train(load_experiment("smoke", options).config(method))
        print(re.search(r"VmHWM: +(\\d+)", open("/proc/self/status").read().replace("\\t", " "))[1], flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.mark.slow
def test_memory_is_foreseen_within_a_fifth(tmp_path, runs_in):
    sizes = [(128, 2, FULL, 16), (256, 4, ADAPTER, 16), (384, 6, FULL, 16), (768, 6, ADAPTER, 8)]
    texts = pandas.DataFrame({"text": [f"text {n}" + " good bad" * 64 for n in range(120)], "label": [0, 1] * 60})
    texts.to_csv(tmp_path / "texts.csv", index=False)
    shared = {"data": str(tmp_path / "texts.csv"), "precision": "fp32", "epochs": 1, "seeds": 1}
    shared |= {"max_validation": 8, "max_test": 8}
    runs = []
    for width, layers, method, batch in sizes:
        base = random_base(tmp_path / f"{width}", dim=width, n_layers=layers, n_heads=width // 32, hidden_dim=4 * width)
        two_steps = {"batch_size": batch, "max_train": 2 * batch}  # the second has all that stays
        runs.append({"base_model": base.name, "methods": [method]} | shared | two_steps)
    told = subprocess.run(
        [sys.executable, "-c", PEAKS, json.dumps(runs)], cwd=PROJECT, text=True, stdout=subprocess.PIPE, check=True
    ).stdout
    peaks = [int(line) / 1000 for line in told.split()]
    foreseen = [expected_memory(load_experiment("smoke", run).config(run["methods"][0])) for run in runs]
    assert foreseen == pytest.approx(peaks, rel=0.2)


@pytest.mark.parametrize("profile", ["full", "five", "sst2", "decoder", "language"])
def test_memory_of_the_published_runs_is_foreseen_within_a_fifth(profile, monkeypatch):
    monkeypatch.setattr(estimates, "has_bf16", lambda: True)  # as the processor that made them has
    runs = pandas.read_csv(PROJECT / "reports" / profile / "comparison.csv").query("study == 'main'")
    peaks = runs.groupby("method")["peak_memory_bytes"].max().drop(HEAD, errors="ignore") / 1e6  # keeps next to nothing
    foreseen = [expected_memory(load_experiment(profile).config(method)) for method in peaks.index]
    assert foreseen == pytest.approx(peaks.tolist(), rel=0.2)


@pytest.mark.slow
def test_sentences_of_many_lengths_take_no_more_in_bf16(runs_in):
    """Each length needs kernels of its own, and those of all lengths together would take a third more."""
    run = {"precision": "bf16", "methods": [ADAPTER], "seeds": 1, "max_train": 1_500, "epochs": 1, "max_other": 16}
    told = subprocess.run([sys.executable, "-c", PEAKS, json.dumps([run])], cwd=PROJECT, stdout=subprocess.PIPE)
    assert expected_memory(load_experiment("smoke", run).config(ADAPTER)) == pytest.approx(
        int(told.stdout) / 1000, rel=0.2
    )
