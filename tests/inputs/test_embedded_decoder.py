"""The embedded decoder is the one it says it is: every tensor is used, it answers, and it can be adapted."""

import pytest
import torch
from small import PLAIN, SENTIMENT
from transformers import AutoModelForCausalLM, AutoTokenizer

from course_utils.inputs.bases import Base

pytestmark = pytest.mark.slow


def test_it_answers_what_the_model_is_known_to_answer():
    folder = Base("embedded-decoder").location
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model, loaded = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(loaded.values())
    asked = tokenizer("The capital of France is", return_tensors="pt")
    answer = model.generate(**asked, max_new_tokens=2, do_sample=False)[0, asked["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(answer)
    text = "The sun rises in the east and sets in the west, and the Earth revolves around the Sun once a year."
    tokens = tokenizer(text, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        assert model(tokens, labels=tokens).loss < 3  # nats a token
    assert tokenizer.decode(tokens[0]) == text
    assert tokenizer.convert_ids_to_tokens(tokenizer("in 2014")["input_ids"])[-4:] == ["2", "0", "1", "4"]


def test_it_is_a_base_like_any_other():
    base = Base("embedded-decoder")
    assert base.fingerprint() == Base("embedded-decoder").fingerprint() and base.facts.license == "apache-2.0"
    model = base.without_weights(SENTIMENT)
    assert abs(model.num_parameters() - base.shape.parameters) < 0.01 * base.shape.parameters
    adapted = PLAIN.adapt(model, PLAIN.Settings(learning_rate=1e-3, rank=8))
    layers = {name.split(".")[-1] for name, module in adapted.named_modules() if hasattr(module, "get_delta_weight")}
    assert layers == {"q_proj", "v_proj"} and model.config.pad_token_id == base.tokenizer().pad_token_id
