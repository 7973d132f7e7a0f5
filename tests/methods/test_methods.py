"""One table of invariants, run over every method in the registry, in 32 bits and in bf16, on a tiny random base."""

import matplotlib

matplotlib.use("agg")

from contextlib import nullcontext

import matplotlib.pyplot as plt
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from small import ADAPTERS, BLOCKS, EMBEDDED, SENTIMENT, WIDTH
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BigBirdConfig,
    DistilBertConfig,
)

from course_utils.config import load_experiment
from course_utils.errors import CourseError
from course_utils.inputs import bases, nf4
from course_utils.methods import METHODS
from course_utils.methods.gates import gates, soft_threshold
from course_utils.methods.sizes import count_parameters
from course_utils.report.plots import method_picture
from course_utils.training.trainer import adapted_model

SENTENCES = ["a gripping, funny film", "dull from start to finish", "not bad at all", "i walked out"]
LABELS = torch.tensor([1, 0, 1, 0])
HYBRIDS = [f"{name} in 4 bits" for name in ADAPTERS if "four_bit" in METHODS[name].Settings.model_fields]
CLOSE = {"fp32": 1e-5, "bf16": 2e-2}  # a logit of the tiny base is about 0.1; a product in bf16 keeps three digits
LAYERS = 2 * BLOCKS  # query and value of every block


@pytest.fixture(scope="module")
def batch():
    return EMBEDDED.tokenizer()(SENTENCES, return_tensors="pt", padding=True)


@pytest.fixture(scope="module", params=["fp32", "bf16"])
def precision(request):
    return request.param


def multiplying_in(precision):
    return torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else nullcontext()


class Case:
    """One method on the tiny base in one precision."""

    def __init__(self, name, base, batch, precision="fp32"):
        name, _, hybrid = name.partition(" ")
        self.method, self.base, self.batch, self.precision = METHODS[name], base, batch, precision
        overrides = {"precision": precision, "methods": [name], "base_model": base.name}
        if hybrid:
            overrides[f"{name}.four_bit"] = True
        self.config = load_experiment("smoke", overrides).config(name)

    def adapted(self):
        return adapted_model(self.config, self.load_base())

    def load_base(self):
        return self.method.load_base(self.base, SENTIMENT, self.precision, self.config.settings)

    def reference(self):
        """What the method starts from: dequantised where the method quantises."""
        model = nf4.dequantise(self.load_base())
        SENTIMENT.initialise_head(model, self.config.seed)
        return model

    def logits(self, model):
        with torch.no_grad(), multiplying_in(self.precision):
            return model.eval()(**self.batch).logits.float()

    def loss(self, model):
        with multiplying_in(self.precision):
            return model.train()(**self.batch, labels=LABELS).loss

    def train(self, model, steps=4):
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-3)
        for _ in range(steps):
            optimizer.zero_grad()
            self.loss(model).backward()
            optimizer.step()
            self.logits(model)  # an evaluation between two steps must not stop the next one from training
        return model.eval()

    def assert_close(self, found, expected):
        torch.testing.assert_close(found, expected, atol=CLOSE[self.precision], rtol=0)


@pytest.fixture(params=[*METHODS, *HYBRIDS])
def case(request, tiny, batch, precision):
    return Case(request.param, tiny, batch, precision)


def test_adapting_changes_nothing_before_training(case):
    case.assert_close(case.logits(case.adapted()), case.logits(case.reference()))


def test_only_the_listed_parameters_train_and_evaluations_between_steps_stop_none(case):
    model = case.adapted()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    case.train(model)
    for name, parameter in model.named_parameters():
        moved = not torch.equal(parameter, before[name])
        assert moved <= parameter.requires_grad, f"{name} is frozen but moved"
    case.loss(model).backward()
    assert not [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    count = count_parameters(model)
    assert count.head == WIDTH * WIDTH + WIDTH + 2 * WIDTH + 2
    if not case.method.is_baseline:
        assert count.adapter == LAYERS * case.method.trained_numbers(WIDTH, WIDTH, case.config.settings)
    assert count.trainable == sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_saved_and_loaded_and_merged_give_the_same_logits_and_delta_weight_is_what_merging_adds(case, tmp_path):
    model = case.train(case.adapted())
    expected = case.logits(model)
    case.method.save(model := case.method.finish(model), tmp_path)
    case.assert_close(case.logits(case.method.load(case.load_base(), tmp_path)), expected)
    merged = case.method.load_merged(case.load_base(), tmp_path)
    case.assert_close(case.logits(merged), expected)
    assert not hasattr(merged, "peft_config")
    if case.method.is_baseline:
        return
    plain = PeftModel.from_pretrained(case.load_base(), tmp_path / "adapter")  # with nothing of ours
    case.assert_close(case.logits(plain), expected)
    deltas, start = case.method.delta_weights(model), case.reference()
    assert len(deltas) == LAYERS
    for layer, (frozen, delta) in deltas.items():
        assert delta.norm() > 0
        before = start.get_submodule(layer).weight
        torch.testing.assert_close(merged.get_submodule(layer).weight - before, delta, atol=1e-5, rtol=0)
        within = 1e-5 if case.precision == "fp32" else 1e-2  # where frozen matrices may be kept in bf16
        torch.testing.assert_close(frozen, before, atol=within, rtol=within)


def test_the_speed_up_changes_neither_logits_nor_gradients(case):
    results = []
    for speedups in (False, True):
        case.config = case.config.model_copy(update={"speedups": speedups})
        model = case.adapted().eval()
        with torch.no_grad():
            torch.manual_seed(1)
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter += 0.05 * torch.randn_like(parameter)
        with multiplying_in(case.precision):
            output = model(**case.batch, labels=LABELS)
        output.loss.backward()
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        results.append((output.logits.detach().float(), gradients))
    (logits, gradients), (fast_logits, fast_gradients) = results
    case.assert_close(fast_logits, logits)
    assert gradients.keys() == fast_gradients.keys()
    if case.precision == "fp32":  # in bf16 gradients nearly cancel over sentences that look alike to a random base
        for name, expected in gradients.items():
            torch.testing.assert_close(fast_gradients[name], expected, atol=1e-5, rtol=1e-3, msg=name)


@pytest.mark.parametrize("name", ADAPTERS)
def test_the_picture_shows_what_the_method_says_of_itself(name):
    method, (out, into) = METHODS[name], (6, 4)
    settings = method.Settings(learning_rate=1e-3, rank=2)
    figure = method_picture(method, (out, into), settings, "A finding")
    words = " ".join(text.get_text() for text in [*figure.legends[0].get_texts(), *figure.axes[0].texts])
    plt.close(figure)
    assert f"trained: {method.trained_numbers(out, into, settings)} numbers" in words and "rank at most 2" in words
    shown = {"multiplied": "odot", "gated": "gate,", "four_bit": "4-bit", "magnitude": "length of every row"}
    for part, word in shown.items():
        assert (word in words) == getattr(method.picture, part), part


# ---------------------------------------------------------------- what single methods promise


def test_hira_multiplies_the_frozen_weight(tiny, batch):
    case = Case("hira", tiny, batch)
    model = case.train(case.adapted())
    for name, layer in model.named_modules():
        if hasattr(layer, "hira_A"):
            A, B = layer.hira_A["default"], layer.hira_B["default"]
            frozen, delta = case.method.delta_weights(model)[name.removeprefix("base_model.model.")]
            torch.testing.assert_close(delta, frozen * (B @ A), atol=1e-7, rtol=0)


def test_dora_scales_every_row_to_its_trained_length(tiny, batch):
    case = Case("dora", tiny, batch)
    model = case.train(case.adapted())
    for name, layer in model.named_modules():
        if hasattr(layer, "get_delta_weight"):
            frozen, delta = case.method.delta_weights(model)[name.removeprefix("base_model.model.")]
            lengths = layer.lora_magnitude_vector["default"].weight
            torch.testing.assert_close((frozen + delta).norm(dim=1), lengths, atol=1e-5, rtol=0)


@pytest.mark.parametrize("alive", ["some", "none"])
def test_sparse_lora_saves_a_plain_smaller_lora(tiny, batch, tmp_path, alive):
    case = Case("sparse_lora", tiny, batch)
    model = case.train(case.adapted())
    with torch.no_grad():
        for index, gate in enumerate(gates(model).values()):
            gate[: 8 if alive == "none" else (0, 3, 7, 8)[index]] = 0
    expected = case.logits(model)
    survivors = {name: int(gate.count_nonzero()) for name, gate in gates(model).items()}
    model = case.method.finish(model)
    case.method.save(model, tmp_path)
    plain = PeftModel.from_pretrained(case.load_base(), tmp_path / "adapter")
    case.assert_close(case.logits(plain), expected)
    assert isinstance(plain.peft_config["default"], LoraConfig) and model.surviving_ranks == survivors
    ranks = {
        name.removeprefix("base_model.model."): layer.lora_A["default"].out_features
        for name, layer in plain.named_modules()
        if hasattr(layer, "lora_A")
    }
    if alive == "some":
        assert ranks == {name: rank for name, rank in survivors.items() if rank}


def test_soft_threshold_is_the_proximal_map():
    gate = torch.tensor([-0.5, -0.1, 0.0, 0.05, 0.1, 2.0])
    assert soft_threshold(gate, 0.1).tolist() == pytest.approx([-0.4, 0, 0, 0, 0, 1.9])
    # it minimises ½(x − g)² + t|x|, on a grid fine enough to tell
    grid = torch.linspace(-3, 3, 60001, dtype=torch.float64)
    for value in gate:
        best = grid[(0.5 * (grid - value) ** 2 + 0.1 * grid.abs()).argmin()]
        assert soft_threshold(value, 0.1).item() == pytest.approx(best.item(), abs=2e-4)


def test_qlora_gradients_are_those_through_the_dequantised_weights(tiny, batch):
    case = Case("qlora", tiny, batch)
    settings = case.config.settings.model_copy(update={"dropout": 0.0})
    case.config = case.config.model_copy(update={"settings": settings})
    quantised = case.adapted()
    plain = get_peft_model(case.reference(), METHODS["lora"].adapter_config(case.reference(), settings))
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


@pytest.mark.parametrize("name", ["qlora", *HYBRIDS])
def test_the_encoder_is_quantised_and_not_the_head(tiny, batch, name):
    model, reference = Case(name, tiny, batch).load_base(), Case("lora", tiny, batch).reference()
    quantised = dict(nf4.four_bit_layers(model))
    linear = {n for n, m in reference.base_model.named_modules() if isinstance(m, torch.nn.Linear)}
    assert set(quantised) == {f"distilbert.{name}" for name in linear}
    assert all(layer.weight.quant_state.nested for layer in quantised.values())  # double quantisation
    assert count_parameters(model).total == count_parameters(reference).total


# ---------------------------------------------------------------- other architectures


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
        count = count_parameters(METHODS["lora"].adapt(model, settings))
    assert (count.trainable, count.total, count.total_as_peft_counts) == (trainable, total, as_peft_counts)
    assert count.trainable == model.num_parameters(only_trainable=True)


def test_impossible_targets_are_named(tiny):
    model = tiny.load(SENTIMENT)
    with pytest.raises(CourseError, match="no layer 'query'; it has .*q_lin"):
        bases.check_targets(model, ("query",), 8)
    with pytest.raises(CourseError, match=f"more than the width {WIDTH}"):
        bases.check_targets(model, (), 400)
    with torch.device("meta"):
        unknown = AutoModelForSequenceClassification.from_config(BigBirdConfig(num_hidden_layers=1))
    with pytest.raises(CourseError, match="target_modules=NAME,NAME with some of: .*query"):
        bases.target_modules(unknown)
