"""One table of invariants, run over every method in the registry, in 32 bits on the embedded encoder."""

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    DistilBertConfig,
    RobertaConfig,
)

from course_utils.config import load_experiment
from course_utils.errors import CourseError
from course_utils.inputs import bases
from course_utils.methods import METHODS
from course_utils.methods.gates import gates, soft_threshold
from course_utils.report.plots import method_picture
from course_utils.training.trainer import adapted_model

SENTENCES = ["a gripping, funny film", "dull from start to finish", "not bad at all", "i walked out"]
LABELS = torch.tensor([1, 0, 1, 0])
ADAPTERS = [name for name, method in METHODS.items() if not method.is_baseline]


@pytest.fixture(scope="module")
def batch():
    return Base("embedded").tokenizer()(SENTENCES, return_tensors="pt", padding=True)


@pytest.fixture(scope="module")
def trained(batch):
    """Method name → (adapted model after a few real steps, its trainable names, the weights before)."""
    return {name: _train_a_little(name, batch) for name in METHODS}


def _config(name):
    return load_experiment("smoke", {"precision": "fp32"}).config(name)


def _adapted(name):
    config = _config(name)
    base = METHODS[name].load_base(Base("embedded"), SENTIMENT, "fp32")
    return adapted_model(config, base)


def _train_a_little(name, batch, steps=4):
    model = _adapted(name)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    _steps(model, batch, steps)
    return model, before


def _steps(model, batch, steps):
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    for _ in range(steps):
        model.train()
        optimizer.zero_grad()
        model(**batch, labels=LABELS).loss.backward()
        optimizer.step()
        logits(model, batch)  # an evaluation between two steps must not stop the next one from training
    model.eval()


@torch.no_grad()
def logits(model, batch):
    return model.eval()(**batch).logits


def reference(name, seed=0):
    """The base classifier that the method starts from: dequantised where the method quantises."""
    base = METHODS[name].load_base(Base("embedded"), SENTIMENT, "fp32")
    if METHODS[name].four_bit_base:
        base = nf4.dequantise(base)
    config.task.initialise_head(base, seed)
    return base


@pytest.mark.parametrize("name", METHODS)
def test_adapting_changes_nothing_before_training(name, batch):
    torch.testing.assert_close(logits(_adapted(name), batch), logits(reference(name), batch), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", METHODS)
def test_only_the_listed_parameters_train(name, trained):
    model, before = trained[name]
    heads = bases.head_modules(model.get_base_model() if name in ADAPTERS else model)
    for parameter_name, parameter in model.named_parameters():
        moved = not torch.equal(parameter, before[parameter_name])
        assert moved <= parameter.requires_grad, f"{parameter_name} is frozen but moved"
        if parameter.requires_grad and name in ADAPTERS:
            adapter = any(key in parameter_name for key in ("lora_", "hira_"))
            assert adapter or bases.in_head(parameter_name, heads), parameter_name
    count = sizes.count_parameters(model)
    expected = {"head": 0, "full": count.total - count.head}.get(name)
    if expected is None:  # 2 layers adapted in each of 6 blocks, factors of rank 8 on 384 × 384
        expected = 12 * 8 * (384 + 384) + (12 * 8 if name == "sparse_lora" else 0)
    assert count.adapter == expected
    assert count.head == 384 * 384 + 384 + 384 * 2 + 2


@pytest.mark.parametrize("name", METHODS)
def test_training_goes_on_after_an_evaluation(name, batch):
    model = _adapted(name)
    _steps(model, batch, 2)
    model.train()
    model(**batch, labels=LABELS).loss.backward()
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not without


@pytest.mark.parametrize("name", METHODS)
def test_saved_and_loaded_and_merged_give_the_same_logits(name, batch, tmp_path):
    method = METHODS[name]
    model = _train_a_little(name, batch)[0]
    expected = logits(model, batch)
    model = method.finish(model)
    method.save(model, tmp_path)
    loaded = method.load(method.load_base(Base("embedded"), SENTIMENT, "fp32"), tmp_path)
    merged = method.load_merged(method.load_base(Base("embedded"), SENTIMENT, "fp32"), tmp_path)
    torch.testing.assert_close(logits(loaded, batch), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(logits(merged, batch), expected, atol=1e-5, rtol=0)
    if name in ADAPTERS:  # with nothing of ours
        plain = PeftModel.from_pretrained(method.load_base(Base("embedded"), SENTIMENT, "fp32"), tmp_path / "adapter")
        torch.testing.assert_close(logits(plain, batch), expected, atol=1e-5, rtol=0)
        assert not hasattr(merged, "peft_config")


@pytest.mark.parametrize("name", ADAPTERS)
def test_delta_weight_is_what_merging_adds(name, batch, tmp_path):
    method = METHODS[name]
    model = method.finish(_train_a_little(name, batch)[0])
    method.save(model, tmp_path)
    merged = method.load_merged(method.load_base(Base("embedded"), SENTIMENT, "fp32"), tmp_path)
    deltas = method.delta_weights(model)
    assert deltas
    for layer, (frozen, delta) in deltas.items():
        assert delta.norm() > 0
        torch.testing.assert_close(merged.get_submodule(layer).weight, frozen + delta, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ADAPTERS)
def test_picture_shows_what_the_equation_says(name):
    method, (out, into), rank = METHODS[name], (6, 4), 2
    figure = method_picture(method, (out, into), rank, "A finding")
    words = " ".join(text.get_text() for text in [*figure.legends[0].get_texts(), *figure.axes[0].texts])
    plt.close(figure)
    gates = rank if name == "sparse_lora" else 0
    assert f"trained: {rank * (out + into) + gates} numbers" in words
    assert ("4-bit" in words) == method.four_bit_base and ("gate" in words) == bool(gates)
    assert ("odot" in words) == (name == "hira") and f"rank at most {rank}" in words


def test_hira_multiplies_the_frozen_weight(trained):
    model, _ = trained["hira"]
    for name, layer in model.named_modules():
        if hasattr(layer, "hira_A"):
            A, B = layer.hira_A["default"], layer.hira_B["default"]
            frozen, delta = METHODS["hira"].delta_weights(model)[name.removeprefix("base_model.model.")]
            torch.testing.assert_close(delta, frozen * (B @ A), atol=1e-7, rtol=0)


def test_sparse_lora_saves_a_plain_smaller_lora(batch, tmp_path):
    model = _train_a_little("sparse_lora", batch)[0]
    with torch.no_grad():
        for index, gate in enumerate(gates(model).values()):
            gate[: index % 9] = 0  # layer by layer 0, 1, … 8 ranks die
    expected = logits(model, batch)
    survivors = {name: int(gate.count_nonzero()) for name, gate in gates(model).items()}
    assert {0, 8} <= set(survivors.values())
    method = METHODS["sparse_lora"]
    model = method.finish(model)
    method.save(model, tmp_path)
    plain = PeftModel.from_pretrained(method.load_base(Base("embedded"), SENTIMENT, "fp32"), tmp_path / "adapter")
    torch.testing.assert_close(logits(plain, batch), expected, atol=1e-5, rtol=0)
    assert isinstance(plain.peft_config["default"], LoraConfig)
    assert model.surviving_ranks == survivors
    ranks = {
        name.removeprefix("base_model.model."): layer.lora_A["default"].out_features
        for name, layer in plain.named_modules()
        if hasattr(layer, "lora_A")
    }
    assert ranks == {name: rank for name, rank in survivors.items() if rank}


def test_sparse_lora_without_a_surviving_rank_still_loads(batch, tmp_path):
    model = _train_a_little("sparse_lora", batch)[0]
    with torch.no_grad():
        for gate in gates(model).values():
            gate.zero_()
    expected = logits(model, batch)
    method = METHODS["sparse_lora"]
    method.save(method.finish(model), tmp_path)
    loaded = method.load(method.load_base(Base("embedded"), SENTIMENT, "fp32"), tmp_path)
    torch.testing.assert_close(logits(loaded, batch), expected, atol=1e-5, rtol=0)


def test_soft_threshold_is_the_proximal_map():
    gate = torch.tensor([-0.5, -0.1, 0.0, 0.05, 0.1, 2.0])
    assert soft_threshold(gate, 0.1).tolist() == pytest.approx([-0.4, 0, 0, 0, 0, 1.9])
    # it minimises ½(x − g)² + t|x|, on a grid fine enough to tell
    grid = torch.linspace(-3, 3, 60001, dtype=torch.float64)
    for value in gate:
        best = grid[(0.5 * (grid - value) ** 2 + 0.1 * grid.abs()).argmin()]
        assert soft_threshold(value, 0.1).item() == pytest.approx(best.item(), abs=2e-4)


def test_qlora_gradients_are_those_through_the_dequantised_weights(batch):
    config = _config("qlora").model_copy(
        update={"settings": _config("qlora").settings.model_copy(update={"dropout": 0.0})}
    )
    quantised = adapted_model(config, METHODS["qlora"].load_base(Base("embedded"), SENTIMENT, "fp32"))
    plain = get_peft_model(
        reference("qlora"), METHODS["lora"].adapter_config(reference("qlora"), config.settings)
    )
    with torch.no_grad():
        for (_, a), (_, b) in zip(_trainable(quantised), _trainable(plain), strict=True):
            a.copy_(torch.randn_like(a) * 0.02)
            b.copy_(a)
    for model in (quantised, plain):
        model.eval()(**batch, labels=LABELS).loss.backward()
    for (name, a), (_, b) in zip(_trainable(quantised), _trainable(plain), strict=True):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-5, rtol=1e-3, msg=name)


def _trainable(model):
    return [(n, p) for n, p in model.named_parameters() if p.requires_grad]


def test_qlora_quantises_the_encoder_and_not_the_head():
    model = METHODS["qlora"].load_base(Base("embedded"), SENTIMENT, "fp32")
    quantised = {n for n, m in model.named_modules() if type(m).__name__ == "Linear4bit"}
    linear = {n for n, m in reference("lora").base_model.named_modules() if isinstance(m, torch.nn.Linear)}
    assert quantised == {f"distilbert.{name}" for name in linear}
    assert all(m.weight.quant_state.nested for m in nf4.four_bit_layers(model))  # double quantisation
    assert sizes.count_parameters(model).total == sizes.count_parameters(reference("lora")).total


@pytest.mark.parametrize(
    ("config", "targets", "trainable", "total", "as_peft_counts"),
    [
        (DistilBertConfig(), ["q_lin", "v_lin"], 739_586, 67_102_466, 67_694_596),
        (BertConfig(), ["query", "key", "value"], 443_906, 109_926_146, 109_927_684),
    ],
    ids=["distilbert-base", "bert-base"],
)
def test_parameter_counts_without_weights(config, targets, trainable, total, as_peft_counts):
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(config)
        settings = METHODS["lora"].Settings(learning_rate=1e-3, rank=8, target_modules=tuple(targets))
        count = sizes.count_parameters(METHODS["lora"].adapt(model, settings))
    assert (count.trainable, count.total, count.total_as_peft_counts) == (trainable, total, as_peft_counts)
    assert count.trainable == model.num_parameters(only_trainable=True)


@pytest.mark.parametrize("make", [BertConfig, RobertaConfig, DistilBertConfig])
@pytest.mark.parametrize("name", ADAPTERS)
def test_other_encoders_find_their_layers_and_head(name, make):
    small = {"vocab_size": 50, "num_labels": 2}
    sizes = (
        {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}
        if make is DistilBertConfig
        else {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    )
    model = AutoModelForSequenceClassification.from_config(make(**small, **sizes))
    config.task.initialise_head(model, 0)
    method = METHODS[name]
    if method.four_bit_base:
        method = METHODS["lora"]  # quantising needs a folder to load from; the names are the same
    adapted = method.adapt(model, _config(name).settings)
    layers = {n.split(".")[-1] for n, m in adapted.named_modules() if hasattr(m, "get_delta_weight")}
    assert layers == ({"q_lin", "v_lin"} if make is DistilBertConfig else {"query", "value"})
    assert any("modules_to_save" in n for n, _ in _trainable(adapted))


def test_impossible_targets_are_named():
    base = METHODS["lora"].load_base(Base("embedded"), SENTIMENT, "fp32")
    with pytest.raises(CourseError, match="no layer 'query'; it has ffn|no layer 'query'; it has "):
        bases.check_targets(base, ("query",), 8)
    with pytest.raises(CourseError, match="more than the width 384"):
        bases.check_targets(base, (), 400)
