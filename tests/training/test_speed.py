"""Every trick of course_utils/speed.py is exact, or equal in distribution to what it replaces."""

import pytest
import torch
from small import ADAPTER, FULL, SENTIMENT
from torch import nn
from transformers import LlamaConfig, LlamaForSequenceClassification

from course_utils.config import load_experiment
from course_utils.host import has_bf16
from course_utils.methods import METHODS
from course_utils.training.bf16 import rounded
from course_utils.training.recorded_steps import can_record
from course_utils.training.speed import (
    LAST_TOKEN,
    FastDropout,
    fitting,
    keep_frozen_matrices_in_bf16,
    short_attention,
    speed_up,
)
from course_utils.training.trainer import adapted_model

SENTENCES = ["a gripping, funny film that nobody should miss", "dull", "not bad at all, whatever they say"]


@pytest.mark.parametrize("name", METHODS)
def test_frozen_matrices_in_bf16_multiply_as_autocast_does(name, tiny):
    overrides = {"precision": "bf16", "speedups": False, "base_model": tiny.name, "methods": [name]}
    config, method = load_experiment("smoke", overrides).config(name), METHODS[name]
    batch = tiny.tokenizer()(SENTENCES, return_tensors="pt", padding=True)
    model = adapted_model(config, method.load_base(tiny, SENTIMENT, "bf16", config.settings)).eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits = model(**batch).logits
        keep_frozen_matrices_in_bf16(model, method)
        assert torch.equal(model(**batch).logits, logits)


def test_short_attention_is_torchs_and_drops_at_its_rate():
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 64, 12, 20, 32)
    mask = torch.zeros(64, 1, 20, 20).masked_fill(torch.rand(64, 1, 1, 20) < 0.2, float("-inf"))
    expected = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    context, _ = short_attention(None, query, key, value, mask, scaling=32**-0.5)
    torch.testing.assert_close(context.transpose(1, 2), expected, atol=1e-5, rtol=0)
    _, kept = short_attention(None, query, key, value, None, scaling=32**-0.5)
    _, dropped = short_attention(None, query, key, value, None, scaling=32**-0.5, dropout=0.1)
    gone = dropped == 0
    assert gone.float().mean().item() == pytest.approx(0.1, abs=5 * (0.09 / gone.numel()) ** 0.5)
    torch.testing.assert_close(dropped[~gone], kept[~gone] / 0.9, rtol=1e-4, atol=0)


def test_short_attention_shares_keys_among_queries_as_torchs_does():
    torch.manual_seed(0)
    query, key, value = torch.randn(4, 6, 20, 32), torch.randn(4, 2, 20, 32), torch.randn(4, 2, 20, 32)
    mask = torch.zeros(4, 1, 20, 20).masked_fill(torch.ones(20, 20).triu(1).bool(), float("-inf"))
    expected = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, enable_gqa=True)
    context, _ = short_attention(None, query, key, value, mask, scaling=32**-0.5)
    torch.testing.assert_close(context.transpose(1, 2), expected, atol=1e-5, rtol=0)


def test_products_in_bf16_are_those_of_rounded_factors_added_up_in_32_bits():
    """As units for bf16 compute them: in 64 bits nothing but the last rounding is left."""
    torch.manual_seed(0)
    x, weight, bias = torch.randn(3, 20, 48), torch.randn(32, 48), torch.randn(32)
    factors = [x.requires_grad_(), weight.requires_grad_(), bias.requires_grad_()]
    with torch.autocast("cpu", torch.bfloat16):
        found = rounded(nn.functional.linear)(*factors)
        assert found.dtype == torch.bfloat16 and rounded(torch.bmm)(x, x.mT).dtype == torch.bfloat16
    exact = nn.functional.linear(*(factor.bfloat16().double() for factor in factors))
    torch.testing.assert_close(found.double(), exact, rtol=2**-8, atol=1e-4)
    for ours, true in zip(*(torch.autograd.grad(y.sum(), factors) for y in (found, exact)), strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, true, rtol=2**-7, atol=1e-3)


@pytest.mark.skipif(has_bf16(), reason="this processor has units for bf16")
def test_without_units_for_bf16_autocast_multiplies_so():
    torch.manual_seed(0)
    x, weight = torch.randn(400, 384), torch.randn(1536, 384)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(nn.functional.linear(x, weight), rounded(nn.functional.linear)(x, weight))
        assert torch.equal(x @ weight.mT, rounded(torch.matmul)(x, weight.mT))


def test_every_dropout_of_the_model_is_replaced(tiny):
    config = load_experiment("smoke").config(ADAPTER)
    model = adapted_model(config, METHODS[ADAPTER].load_base(tiny, SENTIMENT, "fp32", config.settings))
    kinds = {type(module) for module in model.modules() if isinstance(module, nn.Dropout)}
    assert kinds == {FastDropout}


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_fast_dropout_keeps_rate_scale_and_independence(rate):
    torch.manual_seed(0)
    dropout, ones = FastDropout(rate).train(), torch.ones(400, 1000, requires_grad=True)
    first, second = dropout(ones), dropout(ones)
    n = ones.numel()
    spread = (rate * (1 - rate) / n) ** 0.5
    assert (first == 0).float().mean().item() == pytest.approx(rate, abs=5 * spread)
    assert first[first != 0].unique().item() == pytest.approx(1 / (1 - rate), rel=1e-4)
    both = ((first == 0) & (second == 0)).float().mean().item()
    assert both == pytest.approx(rate**2, abs=5 * (rate**2 / n) ** 0.5)
    neighbours = ((first == 0)[:, 1:] & (first == 0)[:, :-1]).float().mean().item()
    assert neighbours == pytest.approx(rate**2, abs=5 * (rate**2 / n) ** 0.5)
    first.sum().backward()
    torch.testing.assert_close(ones.grad, first.detach())


def test_fast_dropout_resumes_with_torchs_generator_and_rests_in_evaluation():
    dropout, x = FastDropout(0.1), torch.randn(8, 8)
    state = torch.get_rng_state()
    first = dropout(x)
    assert not torch.equal(first, dropout(x))
    torch.set_rng_state(state)
    assert torch.equal(first, dropout(x))
    assert dropout.eval()(x) is x


@pytest.mark.parametrize("padding", ["left", "right", "none"])
def test_a_decoder_reads_its_last_token_as_transformers_does(padding):
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=40, num_key_value_heads=2, pad_token_id=0, num_labels=2, **sizes)
    model = LlamaForSequenceClassification(config).train()  # without dropout
    ids = torch.randint(1, 40, (4, 9))
    mask = torch.ones_like(ids)
    if padding != "none":
        for row, pads in enumerate([0, 2, 5, 1]):
            away = slice(0, pads) if padding == "left" else slice(9 - pads, 9)
            ids[row, away], mask[row, away] = 0, 0
    ids[0, -1] = 0  # a text may itself end in the token that pads
    results = []
    for _ in range(2):
        model.zero_grad()
        output = model(input_ids=ids, attention_mask=mask, labels=torch.tensor([0, 1, 1, 0]))
        output.loss.backward()
        results.append([output.logits.detach(), *(parameter.grad for parameter in model.parameters())])
        speed_up(model, METHODS[FULL])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)
    assert LAST_TOKEN in fitting(model)


IN_PARTS = [{"gradient_accumulation": 2}, {"tokens_at_once": 512}, {"gradient_checkpointing": True}]


@pytest.mark.parametrize("left_out_by", [*IN_PARTS, {"speedups": False}])
def test_steps_that_are_computed_in_parts_are_not_recorded(left_out_by, tiny, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    plain, other = (
        load_experiment("smoke", {"base_model": tiny.name} | more).config(ADAPTER) for more in ({}, left_out_by)
    )
    model = tiny.load(SENTIMENT)
    assert can_record(plain, model)
    assert not can_record(other, model)
