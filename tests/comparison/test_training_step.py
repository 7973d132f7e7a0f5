"""What a step takes: the count is that of the shapes, and the time of every part is found where it is at work."""

from types import SimpleNamespace

import pytest
import torch
from made_up import finished
from small import ADAPTER, FEW, FULL, GATED, HEAD, QUANTISED

from course_utils.comparison import training_step
from course_utils.comparison.training_step import (
    ATTENTION,
    EMBEDDINGS,
    FOUR_BITS,
    OPTIMISER,
    PARTS,
    model_in_training,
    step_table,
    time_by_part,
    work_of_a_text,
)
from course_utils.config import load_experiment
from course_utils.methods import METHODS


def test_the_count_is_that_of_the_shapes():
    """A product of (tokens, in) and (in, out) takes 2 · tokens · in · out operations (Kaplan et al. 2020, 2.1)."""
    experiment, tokens = load_experiment("smoke"), 26
    model = experiment.shared.base.without_weights(experiment.shared.load_task())
    weights = sum(p.numel() for n, p in model.base_model.transformer.named_parameters() if n.endswith("lin.weight"))
    weights += sum(p.numel() for n, p in model.named_parameters() if "ffn.lin" in n and n.endswith("weight"))
    blocks, width = model.config.n_layers, model.config.dim
    attention = blocks * 2 * (2 * tokens * tokens * width)  # queries with keys, and shares with values
    head = 2 * width * (width + 2)
    whole = work_of_a_text(experiment.config(FULL), tokens)
    assert whole["forward"] == pytest.approx(2 * tokens * weights + attention + head, rel=1e-6)
    assert whole["backward"] == pytest.approx(2 * whole["forward"], rel=1e-3)
    adapter, head_only = (work_of_a_text(experiment.config(name), tokens) for name in (ADAPTER, HEAD))
    assert adapter["backward"] == pytest.approx(whole["forward"], rel=0.03)
    assert head_only["forward"] == whole["forward"] and head_only["backward"] < 0.001 * whole["forward"]


def test_the_activations_are_those_that_a_real_step_keeps():
    """An adapter's are fewer: the input of a frozen layer is read for the gradient of its weight alone."""
    experiment, tokens = load_experiment("smoke", {f"{ADAPTER}.dropout": 0.0}), 26
    config = experiment.config(ADAPTER)
    model = METHODS[ADAPTER].adapt(config.base.load(config.load_task()), config.settings)
    weights, kept = {parameter.data_ptr() for parameter in model.parameters()}, {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda saved: kept.setdefault(saved.untyped_storage().data_ptr(), saved), lambda saved: saved
    ):
        texts = torch.ones(config.batch_size, tokens, dtype=torch.long)
        model.train()(input_ids=texts, labels=texts[:, 0])
    stored = sum(saved.untyped_storage().nbytes() for place, saved in kept.items() if place not in weights)
    found = {name: work_of_a_text(experiment.config(name), tokens)["activations"] for name in (HEAD, ADAPTER, FULL)}
    assert found[ADAPTER] == pytest.approx(stored / config.batch_size, rel=0.05)
    assert found[HEAD] < found[ADAPTER] < found[FULL]


def test_gradients_and_moments_are_of_the_numbers_that_are_dropped_at_the_end_too(runs_in):
    results = finished({ADAPTER: 0.8, GATED: 0.8}, seeds=1)
    found = step_table(results)
    for run in results.first_of_each():
        model = model_in_training(run.config)
        trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        assert trained > run.result.parameters.trainable  # which is what is kept
        assert found.loc[run.config.method, "gradients"] == 4 * trained
        assert found.loc[run.config.method, "moments"] == 8 * trained
    gates = sum(weight.numel() for name, weight in model.named_parameters() if name.endswith(".gate"))
    assert found.loc[GATED, "gradients"] - found.loc[ADAPTER, "gradients"] == 4 * gates > 0


@pytest.fixture
def counter(tmp_path, monkeypatch):
    """Set the counter of a made-up processor to a number of microjoules."""
    monkeypatch.setattr(training_step, "COUNTERS", tmp_path / "powercap")

    def stands_at(microjoules: int, of: int, zone: str = "package-0"):
        folder = tmp_path / "powercap" / f"intel-rapl:{zone[-1]}"
        folder.mkdir(parents=True, exist_ok=True)
        for name, value in (("name", zone), ("energy_uj", microjoules), ("max_energy_range_uj", of)):
            (folder / name).write_text(f"{value}\n")

    return stands_at


def test_energy_is_counted_over_the_end_of_a_counter_and_of_processors_alone(counter):
    assert training_step.joules_of(lambda: None) is None  # no counter
    counter(9_000_000, of=10_000_000)
    counter(0, of=10_000_000, zone="psys-1")  # which counts the processor once more

    def work():
        counter(2_500_000, of=10_000_000)
        counter(8_000_000, of=10_000_000, zone="psys-1")

    assert training_step.joules_of(work) == 3.5


@pytest.mark.slow
def test_parts_are_found_where_a_method_has_them(runs_in, tiny, counter, capfd):
    experiment = load_experiment("smoke", FEW | {"base_model": tiny.name})
    firsts = [SimpleNamespace(config=experiment.config(name)) for name in (HEAD, FULL, ADAPTER, QUANTISED)]
    counter(0, of=1)
    measured = time_by_part.__wrapped__(SimpleNamespace(first_of_each=lambda: firsts))
    found = measured["ms"]
    assert "profiler" not in capfd.readouterr().err  # what it prints would stand in a chapter
    assert measured["joules"] == {}  # the counter stands still
    for own in found.values():
        assert [*own] == [*PARTS] and all(ms >= 0 for ms in own.values()) and own[ATTENTION] > 0
    assert found[FULL][OPTIMISER] > found[ADAPTER][OPTIMISER] > 0
    assert found[FULL][EMBEDDINGS] > found[ADAPTER][EMBEDDINGS] and HEAD not in found
    assert found[QUANTISED][FOUR_BITS] > 0 == found[FULL][FOUR_BITS]
