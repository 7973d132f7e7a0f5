"""Every trick of course_utils/speed.py is exact, or equal in distribution to what it replaces."""

import pytest
import torch
from torch import nn

from course_utils.config import load_experiment
from course_utils.inputs import bases
from course_utils.methods import METHODS
from course_utils.training.speed import FastDropout, keep_frozen_matrices_in_bf16, short_attention, speed_up
from course_utils.training.trainer import adapted_model

SENTENCES = ["a gripping, funny film that nobody should miss", "dull", "not bad at all, whatever they say"]


@pytest.mark.parametrize("name", METHODS)
def test_logits_and_gradients_are_those_of_the_libraries(name):
    config = load_experiment("smoke", {"precision": "fp32", "speedups": False}).config(name)
    batch = Base("embedded").tokenizer()(SENTENCES, return_tensors="pt", padding=True)
    batch["labels"] = torch.tensor([1, 0, 1])
    model = adapted_model(config, METHODS[name].load_base(Base("embedded"), SENTIMENT, "fp32")).eval()
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if "lora_B" in parameter_name or "hira_B" in parameter_name:
                parameter.normal_(std=0.05)
    results = []
    for change in (lambda m: m, speed_up):
        output = change(model)(**batch)
        model.zero_grad()
        output.loss.backward()
        gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        results.append((output.logits.detach(), gradients))
    (logits, gradients), (fast_logits, fast_gradients) = results
    torch.testing.assert_close(fast_logits, logits, atol=1e-5, rtol=0)
    for parameter_name in gradients.keys() | fast_gradients.keys():
        expected = gradients[parameter_name]
        # a parameter that only other tokens of the last block used has no gradient in either
        torch.testing.assert_close(fast_gradients[parameter_name], expected, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("name", METHODS)
def test_frozen_matrices_in_bf16_multiply_as_autocast_does(name):
    config = load_experiment("smoke", {"precision": "bf16", "speedups": False}).config(name)
    batch = Base("embedded").tokenizer()(SENTENCES, return_tensors="pt", padding=True)
    model = adapted_model(config, METHODS[name].load_base(Base("embedded"), SENTIMENT, "bf16")).eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits = model(**batch).logits
        keep_frozen_matrices_in_bf16(model)
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


def test_every_dropout_of_the_model_is_replaced():
    config = load_experiment("smoke").config("lora")
    model = adapted_model(config, METHODS["lora"].load_base(Base("embedded"), SENTIMENT, "fp32"))
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
