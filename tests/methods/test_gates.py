"""The gates of Sparse LoRA under AdamW: they settle, they mean the same in every run, and what is stored counts."""

import pytest
import torch
from safetensors.torch import load_file
from small import FEW, tiny_base
from transformers import TrainerCallback, TrainerState, get_linear_schedule_with_warmup

from course_utils.config import load_experiment
from course_utils.methods.gates import SMALLEST, Gate, gates, rank_sizes, soft_threshold
from course_utils.methods.sparse_lora import METHOD
from course_utils.training.train import train


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A run of 24 steps on the tiny base, its gates (layers, r) after every step, and the last sizes of its ranks."""
    seen, sizes = [], []

    class Watch(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            seen.append(torch.stack([gate.detach().clone() for gate in gates(model).values()]))
            sizes.append(torch.stack([*rank_sizes(model).values()]).detach())

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_RUNS", str(tmp_path_factory.mktemp("runs")))
        callbacks = METHOD.callbacks
        patch.setattr(type(METHOD), "callbacks", lambda self, *given: [*callbacks(*given), Watch()])
        settings = FEW | {"max_train": 96, "epochs": 4, "sparsity": 1.0}
        base = tiny_base(tmp_path_factory.mktemp("base")).name
        config = load_experiment("smoke", settings | {"base_model": base}).config(METHOD.name)
        return train(config), torch.stack(seen), sizes[-1]


def test_a_gate_that_was_shut_stays_shut(watched):
    _, seen, _ = watched
    shut = seen == 0
    assert shut[16].any() and not shut[-1].all()  # the run is one in which the question arises
    assert not (shut[:-1] & ~shut[1:]).any()


def test_what_is_stored_is_what_counts(watched):
    run, _, last = watched
    tensors = load_file(run.folder / "adapter" / "adapter_model.safetensors")
    sizes = {
        name.split(".lora_A")[0].removeprefix("base_model.model."): A.norm(dim=1)
        * tensors[name.replace("lora_A", "lora_B")].norm(dim=0)
        for name, A in tensors.items()
        if "lora_A" in name
    }
    stored = {name: len(size) for name, size in sizes.items()}
    assert stored == {name: rank for name, rank in run.result.method["ranks"].items() if rank}
    assert sum(stored.values()) == (last >= SMALLEST * last.max()).sum()  # those that add enough, and no other
    sizes = torch.cat([*sizes.values()])
    assert sizes.min() >= SMALLEST * sizes.max()


def test_settings_of_earlier_records_are_read():
    assert METHOD.Settings.model_validate({"learning_rate": 3e-3, "sparsity": 5.0, "gate_rate": 10.0}).sparsity == 5


def moved(gradients, strength=0.0, reach=5.0, learning_rate=3e-3):
    """The gate after every step of a run whose gradients are given, under AdamW and the package's own rule."""
    model, steps = torch.nn.ModuleDict({"layer": Gate(1)}), len(gradients)
    (gate,), warmup = model.parameters(), steps // 10
    settings = METHOD.Settings(learning_rate=learning_rate, sparsity=strength, gate_reach=reach)
    (rate,) = METHOD.learning_rates(model, settings, warmup, steps).values()
    (proximal,), state = METHOD.callbacks(settings, warmup, steps), TrainerState()
    optimizer = torch.optim.AdamW([gate], lr=rate, weight_decay=0)
    schedule = get_linear_schedule_with_warmup(optimizer, warmup, steps)
    proximal.gates, path = [gate], []
    for state.global_step, gradient in enumerate(gradients):
        gate.grad = torch.tensor([float(gradient)])
        proximal.on_pre_optimizer_step(None, state, None)
        optimizer.step()
        proximal.on_optimizer_step(None, state, None)
        schedule.step()
        path.append(gate.item())
    return path


@pytest.mark.parametrize("learning_rate", [3e-4, 1e-2])
@pytest.mark.parametrize("steps", [60, 120, 600])
def test_pull_and_reach_mean_the_same_in_every_run(steps, learning_rate):
    end_of_pull = 2 * steps // 3 - 1
    assert moved([0.0] * steps, 0.8, 5.0, learning_rate)[end_of_pull:] == pytest.approx(
        [0.2] * (steps // 3 + 1), abs=1e-5
    )
    assert moved([0.0] * steps, 1.01, 5.0, learning_rate)[-1] == 0
    resisting = moved([-1.0] * steps, 3.0, 5.0, learning_rate)
    assert resisting[end_of_pull] == pytest.approx(1 - 3 + 5, rel=1e-3)


def test_under_adamw_a_gate_moves_alike_whatever_the_size_of_its_gradient():
    small, large = moved([-1e-5] * 60), moved([-1.0] * 60)
    assert small == pytest.approx(large, rel=1e-2) and large[39] == pytest.approx(1 + 5)


def test_noise_opens_a_shut_gate_under_adamw_but_not_under_the_rule():
    noise = 1e-4 * torch.randn(300, generator=torch.Generator().manual_seed(0))

    def opens(make):
        gate = torch.nn.Parameter(torch.zeros(1))
        optimizer, opened = make([gate], lr=0.03), 0
        for gradient in noise:
            gate.grad = gradient[None]
            optimizer.step()
            gate.data = soft_threshold(gate.data, 0.009)
            opened += bool(gate.data)
        return opened

    assert opens(torch.optim.SGD) == 0 and opens(torch.optim.AdamW) > 30
    path = moved([1.0] * 60 + noise.tolist(), strength=1.5)
    assert path[60:] == [0.0] * 300
