"""The benchmarks run: their code, not their times, which no test depends on."""

import pytest
from transformers import DistilBertConfig, LlamaConfig

from benchmarks import shapes
from benchmarks.__main__ import SECTIONS
from benchmarks.tables import ADAPTERS
from benchmarks.workflow_times import spans_of_jobs

TINY = DistilBertConfig(dim=64, n_layers=2, n_heads=2, hidden_dim=128, vocab_size=2000)
TINY_DECODER = LlamaConfig(
    hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2, vocab_size=2000, pad_token_id=0
)


@pytest.mark.parametrize("method", ADAPTERS)
@pytest.mark.parametrize("shape", [TINY, TINY_DECODER], ids=["encoder", "decoder"])
def test_every_method_takes_steps_on_random_weights(method, shape):
    with shapes.written(shape) as folder:
        step = shapes.step_of(method, folder, tokens=8, steps=2, rank="4")
    assert step["ms"] > 0 and step["peak_mb"] is None  # the suite sees no GPU


def test_without_a_gpu_its_table_says_so():
    assert SECTIONS["gpu"]().startswith("Not measured")


def test_stages_are_read_from_snakemakes_log():
    log = """[Tue Nov 24 00:10:51 2026]
Job 1: Train LoRA, seed 0 (main)
[Tue Nov 24 00:12:01 2026]
Finished jobid: 1 (Rule: train_lora)
"""
    ((title, (start, end)),) = spans_of_jobs(log).items()
    assert title.startswith("Train LoRA") and end - start == 70
