"""Every architecture × every method on tiny random weights: what holds for DistilBERT, as test_methods.py has it."""

from math import isnan
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from peft import PeftModel
from small import ADAPTER, QUANTISED, SENTIMENT
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import (
    AlbertConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    DebertaV2Config,
    ElectraConfig,
    GemmaConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    ModernBertConfig,
    MPNetConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
    RobertaConfig,
    XLMRobertaConfig,
)

from course_utils.comparison.baselines import frozen_features
from course_utils.comparison.training_step import work_of_a_text
from course_utils.config import load_experiment
from course_utils.inputs import nf4
from course_utils.inputs.bases import Base, head_modules, in_head
from course_utils.methods import METHODS
from course_utils.training.trainer import adapted_model

SENTENCES = ["a gripping, funny film", "a dull film", "not bad at all", "i walked out of it, and so did everyone else"]
LABELS = torch.tensor([1, 0, 1, 0])
USUAL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
DECODER = USUAL | {"num_key_value_heads": 2}
SIZES = {
    BertConfig: USUAL,
    RobertaConfig: USUAL | {"max_position_embeddings": 34},
    XLMRobertaConfig: USUAL,
    ElectraConfig: USUAL | {"embedding_size": 32},
    AlbertConfig: USUAL | {"embedding_size": 32},
    DebertaV2Config: USUAL | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 16},
    MPNetConfig: USUAL,
    ModernBertConfig: USUAL | {"global_attn_every_n_layers": 2, "pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2},  # noqa: E501
    LlamaConfig: DECODER,
    MistralConfig: DECODER,
    Qwen2Config: DECODER,
    Qwen3Config: DECODER | {"head_dim": 16},
    GemmaConfig: DECODER | {"head_dim": 16},
    GPT2Config: {"n_embd": 64, "n_layer": 2, "n_head": 4},
    GPTNeoXConfig: USUAL,
}  # fmt: skip
UNCOUNTED = ("gpt2", "deberta-v2")  # they look at a value, which the meta device does not have
ENCODERS = ("bert", "roberta", "xlm-roberta", "electra", "albert", "deberta-v2", "mpnet", "modernbert")


@pytest.fixture(scope="session", params=SIZES, ids=lambda config: config.model_type)
def base(request, tmp_path_factory):
    """A saved random model of an architecture, with another task's head, and without a padding token if a decoder."""
    config, folder = request.param, tmp_path_factory.mktemp(request.param.model_type)
    special = {"bos_token_id": 1, "eos_token_id": 2}
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(
        config(vocab_size=40, num_labels=3, **{**special, **SIZES[config]})
    )
    model.save_pretrained(folder)
    tiny_tokenizer(with_padding=config.model_type in ENCODERS).save_pretrained(folder)
    return Base(str(folder))


def tiny_tokenizer(with_padding):
    """One token a word of `SENTENCES`; decoders come without a padding token, as real ones do."""
    words = ["[UNK]", "<s>", "</s>", *sorted({word for sentence in SENTENCES for word in sentence.split()}), "[PAD]"]
    tokenizer = Tokenizer(WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    special = {"unk_token": "[UNK]", "bos_token": "<s>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **special, **({"pad_token": "[PAD]"} if with_padding else {})
    )


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in (ADAPTER, QUANTISED) else pytest.mark.slow) for name in METHODS]
)
def test_every_architecture_can_be_adapted_trained_saved_and_merged(base, name, tmp_path):
    method = METHODS[name]
    config = load_experiment("smoke", {"precision": "fp32", "methods": [name], "base_model": base.name}).config(name)
    batch = base.tokenizer()(SENTENCES, return_tensors="pt", padding=True, return_token_type_ids=False)

    def load():
        return method.load_base(base, SENTIMENT, "fp32", config.settings)

    def logits(model):
        with torch.no_grad():
            return model.eval()(**batch).logits

    def assert_close(found, expected):
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)

    start = nf4.dequantise(load()) if method.four_bit_base else load()
    SENTIMENT.initialise_head(start, config.seed)
    model = adapted_model(config, load())
    assert_close(logits(model), logits(start))  # the identity, before training

    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    for _ in range(3):
        optimizer.zero_grad()
        model.train()(**batch, labels=LABELS).loss.backward()
        optimizer.step()
        logits(model)  # an evaluation must not stop the next step from training
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved and moved <= {name for name, p in model.named_parameters() if p.requires_grad}
    assert any(in_head(name.replace("modules_to_save.default.", ""), head_modules(start)) for name in moved)

    expected = logits(model)
    model = method.finish(model)
    deltas = {} if method.is_baseline else method.delta_weights(model)
    method.save(model, tmp_path)
    assert_close(logits(method.load(load(), tmp_path)), expected)
    merged = method.load_merged(load(), tmp_path)
    assert_close(logits(merged), expected)
    for layer, (frozen, delta) in deltas.items():  # (out, in), whichever way the layer keeps its weight
        weight = merged.get_submodule(layer).weight
        torch.testing.assert_close(
            frozen + delta, weight if weight.shape == frozen.shape else weight.T, atol=1e-5, rtol=0
        )
    if not method.is_baseline:  # with nothing of ours
        assert deltas
        assert_close(logits(PeftModel.from_pretrained(load(), tmp_path / "adapter")), expected)


def test_the_arithmetic_of_a_step_is_counted_where_nothing_looks_at_a_value(base):
    config = load_experiment("smoke", {"precision": "fp32", "base_model": base.name}).config(ADAPTER)
    found = work_of_a_text(config, tokens=8)
    if base.config().model_type in UNCOUNTED:
        assert isnan(found["forward"]) and isnan(found["backward"])
    else:
        assert found["forward"] > 0 and 0.3 < found["backward"] / found["forward"] < 1.5


def test_a_frozen_base_gives_the_mean_over_a_texts_own_tokens(base):
    config = load_experiment("smoke", {"base_model": base.name, "precision": "fp32"}).shared
    stand_in = SimpleNamespace(**dict(config) | {"base": base, "load_task": lambda: SENTIMENT})
    pooled = frozen_features(stand_in, None)[0]
    found = pooled.transform(pd.DataFrame({"text": SENTENCES, "label": LABELS}))  # in one batch, padded
    model, tokenizer = base.load(SENTIMENT).base_model, base.tokenizer()
    for text, mean in zip(SENTENCES, found, strict=True):
        tokens = tokenizer(text, return_tensors="pt", return_token_type_ids=False)
        with torch.inference_mode():
            states = model(**tokens).last_hidden_state[0]
        np.testing.assert_allclose(mean, states.mean(dim=0), atol=1e-4)
