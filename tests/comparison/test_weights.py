"""What is said of a method's ΔW, on matrices with known answers, and the controls, on tiny runs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from small import ADAPTER, BLOCKS, FEW, FULL, HEAD, MULTIPLIED
from transformers import GPT2Config, GPT2Model, TrainerCallback

from course_utils.comparison import controls, weights
from course_utils.comparison.costs import MERGED, evaluation_memory, evaluation_times
from course_utils.config import load_experiment
from course_utils.methods import METHODS
from course_utils.methods.gates import lora_layers
from course_utils.runs import load_model
from course_utils.training.train import train
from course_utils.training.updates import layer_facts

TINY = FEW | {"max_train": 96, "max_test": 64, "epochs": 1}


def with_spectrum(U, values, seed=0):
    """ΔW = U·diag(values)·Vᵀ, with the left singular vectors `U` (out, r) and random right ones."""
    V = torch.linalg.qr(torch.randn(20, len(values), generator=torch.Generator().manual_seed(seed)))[0]
    return (U * torch.tensor(values)) @ V.T


@pytest.fixture
def deltas(monkeypatch):
    """Three "runs" on common layers a and b: left singular vectors e₁e₂, the same, and e₂e₃; the last is weaker."""
    monkeypatch.setattr(weights, "updates_of", layer_facts)
    eye, frozen = torch.eye(10), torch.ones(10, 20)

    def changes(directions, values, layers="ab"):
        return {layer: (frozen, with_spectrum(eye[:, directions], values, ord(layer))) for layer in layers}

    return {
        ADAPTER: changes([0, 1], [3.0, 2.0]),
        FULL: changes([0, 1], [5.0, 5.0], "abc"),
        MULTIPLIED: changes([1, 2], [1.0, 0.5]) | {"d": (frozen, torch.zeros(10, 20))},
        HEAD: {},
    }


def test_methods_are_compared_on_the_layers_that_all_of_them_change(deltas):
    table = weights.method_deltas(deltas)
    assert list(table.columns) == ["method", "layer", "relative norm", "rank", "effective rank"]
    assert list(zip(table["method"], table["layer"], strict=True)) == [
        (method, layer) for method in (ADAPTER, FULL, MULTIPLIED) for layer in "ab"
    ]
    full = table[table["method"] == FULL]
    assert full["relative norm"].tolist() == pytest.approx([(50 / 200) ** 0.5] * 2)
    assert full["effective rank"].tolist() == pytest.approx([2, 2]) and set(table["rank"]) == {2}


def test_overlap_is_one_for_equal_half_for_shared_and_zero_for_orthogonal_subspaces(deltas):
    both, chance = weights.subspace_overlaps(deltas, directions=2)
    assert both.loc[ADAPTER, [FULL, MULTIPLIED]].tolist() == pytest.approx([1, 0.5], abs=0.001)  # of 16 bits
    assert chance == pytest.approx(0.2)
    first, _ = weights.subspace_overlaps({name: deltas[name] for name in (ADAPTER, MULTIPLIED)}, directions=1)
    assert first.to_numpy() == pytest.approx(np.eye(2), abs=0.001)


def test_random_subspaces_share_what_is_said_of_chance():
    random = torch.Generator().manual_seed(0)
    bases = [torch.linalg.qr(torch.randn(60, 3, generator=random))[0].T.numpy() for _ in range(400)]
    found = np.mean([weights.subspace_overlap(*pair) for pair in zip(bases[::2], bases[1::2], strict=True)])
    assert found == pytest.approx(3 / 60, rel=0.1)


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory, tiny):
    """Method → its run of six steps on the tiny base, trained when it is first asked for."""
    settings = TINY | {"base_model": tiny.name}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_RUNS", str(tmp_path_factory.mktemp("runs")))
        yield lambda method: train(load_experiment("smoke", settings).config(method))


@pytest.mark.slow
@pytest.mark.parametrize("method", [ADAPTER, FULL, MULTIPLIED, HEAD])
def test_a_run_records_of_its_update_what_its_weights_say(tiny_run, method):
    run = tiny_run(method)
    recorded, measured = run.updates(), layer_facts(weights.run_deltas(run))
    assert recorded["layer"].tolist() == measured["layer"].tolist() and bool(len(recorded)) == (method != HEAD)
    for own, other in zip(recorded.itertuples(), measured.itertuples(), strict=True):
        assert (own.relative_norm, own.rank) == (other.relative_norm, other.rank) and own.relative_norm > 0
        assert len(own.singular_values) == own.rank and len(own.directions) == 4
        same = weights.subspace_overlap(*(np.stack(found.directions).astype(float) for found in (own, other)))
        assert same == pytest.approx(1, abs=0.001)


@pytest.mark.slow
def test_the_cut_keeps_the_strongest_directions_of_all_layers_and_no_other(tiny_run):
    before, after = (load_model(tiny_run(ADAPTER), merged=False) for _ in range(2))
    controls.cut_directions(after, 20)
    parts = {name: torch.linalg.svd(layer.get_delta_weight("default")) for name, layer in lora_layers(before).items()}
    least = np.sort(np.concatenate([values.detach().numpy() for _, values, _ in parts.values()]))[-20]
    kept = 0
    for name, layer in lora_layers(after).items():
        U, values, V = parts[name]
        strong = values >= least
        kept += int(strong.sum())
        nearest = U[:, : len(values)] @ torch.diag(values * strong) @ V[: len(values)]
        torch.testing.assert_close(layer.get_delta_weight("default"), nearest, atol=1e-5, rtol=1e-4)
    assert kept == 20


def test_the_cut_turns_the_update_of_a_layer_that_keeps_its_weight_the_other_way_round():
    base = GPT2Model(GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2))
    model = get_peft_model(base, LoraConfig(r=4, init_lora_weights=False, fan_in_fan_out=True))
    before = METHODS[ADAPTER].delta_weights(model)
    controls.cut_directions(model, 3)
    after = METHODS[ADAPTER].delta_weights(model)
    kept = {name: torch.linalg.svdvals(delta) for name, (_, delta) in after.items()}
    assert sum(int((values > 1e-4).sum()) for values in kept.values()) == 3
    strongest = torch.cat([torch.linalg.svdvals(delta) for _, delta in before.values()]).topk(3).values
    torch.testing.assert_close(torch.cat([*kept.values()]).topk(3).values, strongest)


@pytest.mark.slow
def test_a_cut_that_is_trained_on_moves_in_the_directions_that_are_left(tiny_run):
    run = tiny_run(ADAPTER)
    cut, on = (load_model(run, merged=False) for _ in range(2))
    for model in (cut, on):
        controls.cut_directions(model, 20)
    controls.train_on(run, on, share=1.0)
    ranks = {
        name: torch.linalg.matrix_rank(layer.get_delta_weight("default")) for name, layer in lora_layers(on).items()
    }
    for name, layer in lora_layers(cut).items():
        assert ranks[name] == torch.linalg.matrix_rank(layer.get_delta_weight("default"))
        assert (
            not ranks[name] or (lora_layers(on)[name].lora_B["default"].weight != layer.lora_B["default"].weight).any()
        )
    assert sum(ranks.values()) == 20


@pytest.mark.slow
def test_with_nothing_cut_the_answers_are_the_runs_own_and_by_lot_or_by_entry_as_many_are_left(tiny_run):
    run = tiny_run(ADAPTER)
    test = controls.FinalSet(run.config)
    whole, none = (load_model(run, merged=False) for _ in range(2))
    controls.cut_directions(whole, 2 * BLOCKS * 8)
    assert test.correct_of(whole).mean() == run.result.metrics["test"].accuracy
    controls.cut_directions(none, 0)
    assert (test.correct_of(none) == test.correct(load_model(run, merged=False).unload())).all()
    model = load_model(run, merged=False)
    controls.keep_random_ranks(model, 20, seed=0)
    assert sum(layer.lora_B["default"].weight.any(dim=0).sum() for layer in lora_layers(model).values()) == 20
    controls.prune_entries(model, 0.5)
    A = torch.cat([layer.lora_A["default"].weight.flatten() for layer in lora_layers(model).values()])
    assert (A != 0).float().mean().item() == pytest.approx(0.5, abs=1e-3)


@pytest.mark.slow
def test_gradual_pruning_ends_at_its_share_and_the_last_third_trains_what_is_left(tiny_run):
    run = tiny_run(ADAPTER)
    model, shares = load_model(run, merged=False), []

    class Watch(TrainerCallback):
        def on_step_end(self, *args, **rest):
            shares.append(float(torch.cat([A.flatten() for A in factors]).eq(0).float().mean()))

    factors = [layer.lora_A["default"].weight for layer in lora_layers(model).values()]
    controls.train_on(run, model, 1.0, [controls.PruneGradually(0.5), Watch()])
    assert shares[0] < shares[1] < shares[-1] == pytest.approx(0.5, abs=1e-3)
    assert shares[-1] == pytest.approx(shares[-2], abs=1e-3)


def test_the_effective_size_counts_the_directions_that_hold_the_update():
    deltas = {"a": torch.diag(torch.tensor([10.0, 1.0, 0.1])), "b": torch.diag(torch.tensor([0.5, 0.0, 0.0]))}
    pairs = {name: (torch.eye(3), delta) for name, delta in deltas.items()}
    assert weights.directions_needed(pairs, 0.98) == {"a": 1, "b": 0}
    assert weights.directions_needed(pairs, 0.999) == {"a": 2, "b": 1}
    assert weights.directions_needed({"a": (torch.eye(3), torch.zeros(3, 3))}) == {"a": 0}


@pytest.mark.slow
def test_the_quantised_base_answers_with_the_same_head(tiny_run):
    run = tiny_run(HEAD)
    found = controls.quantised_base_accuracy(run)
    assert found["plain"] == run.result.metrics["test"].accuracy
    assert 0 < found["errors"].min() < found["errors"].max() < 0.2
    assert len(found["errors"]) == 6 * BLOCKS and {"0 q_lin", "1 lin2"} < set(found["errors"].index)
    assert abs(found["quantised"] - found["plain"]) < 0.2
    n = run.result.metrics["test"].n
    assert round(n * (found["plain"] - found["quantised"])) == found["lost"] - found["won"]


@pytest.mark.slow
def test_merged_forms_are_one_network_and_are_timed_once(tiny_run):
    runs = {name: tiny_run(name) for name in (HEAD, ADAPTER)}
    plain, merged = ({n: w.shape for n, w in load_model(run).state_dict().items()} for run in runs.values())
    assert plain == merged
    times = evaluation_times(runs, sentences=4, turns=2)
    assert list(times) == [MERGED, ADAPTER] and times.shape == (2, 2) and (times > 0).all(axis=None)
    memory = evaluation_memory(runs, sentences=4)
    assert [*memory] == [MERGED, ADAPTER] and (min(memory.values()) > 0 or not Path("/proc/self/clear_refs").exists())
