"""The table of bases is held to the sizes that are published, and the list of types to what PEFT stores."""

# ruff: noqa: E501  (tables are long lines)

import random

import corpus
import pytest

from course_utils.audit.adapter import read_adapter
from course_utils.audit.counts import known_bases
from course_utils.audit.knowledge import KNOWLEDGE

WITH_A_HEAD = {  # parameters that the hub's pages have for generators
    "Llama-2-7b": 6_738_415_616, "Meta-Llama-3-8B": 8_030_261_248, "TinyLlama-1.1B": 1_100_048_384,
    "Mistral-7B-v0.1": 7_241_732_096, "Mistral-7B-v0.3": 7_248_023_552, "Qwen2.5-7B": 7_615_616_512,
    "phi-2": 2_779_683_840,
}  # fmt: skip


def test_a_known_base_has_its_published_size():
    published = {entry["names"][0]: entry["parameters"] for entry in KNOWLEDGE["bases"]}
    known = {name: next(base for base in known_bases(name) if base.name == name) for name in published}
    assert {name: base.sized(None, "FEATURE_EXTRACTION").base for name, base in known.items()} == published
    assert {name: known[name].sized(None, "CAUSAL_LM").base for name in WITH_A_HEAD} == WITH_A_HEAD


@pytest.mark.parametrize("kind", [kind for kind in corpus.TYPES if kind in KNOWLEDGE["peft"]["stored_is_trained"]])
@pytest.mark.parametrize("architecture", ["distilbert", "llama"])
def test_what_these_types_store_is_what_they_train(tmp_path, architecture, kind):
    for seed in range(3):
        facts = corpus.make(tmp_path / str(seed), architecture, "SEQ_CLS", kind, random.Random(seed))
        assert facts is None or read_adapter(tmp_path / str(seed)).trained == facts["trainable"]
