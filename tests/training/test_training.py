"""A run: found or trained, the same to the bit after a kill, whole or not there."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from small import ADAPTER, FEW, FULL, GATED, HEAD, QUANTISED
from transformers import TrainerCallback

from course_utils.config import load_experiment
from course_utils.errors import CourseError
from course_utils.methods import METHODS
from course_utils.runs import find_run, read_run
from course_utils.tasks.classification import scores_of
from course_utils.training import trainer
from course_utils.training.train import train

TINY = FEW | {"max_train": 96, "epochs": 2}


@pytest.fixture
def small(tiny):
    """A function from a method to the configuration of a run of 12 steps on the tiny base, 6 an epoch."""

    def config(method, **overrides):
        settings = TINY | {"base_model": tiny.name, "methods": [method]} | overrides
        return load_experiment("smoke", settings).config(method)

    return config


class Killed(BaseException):
    """What stands for SIGKILL: nothing in the code under test catches it."""


@pytest.fixture
def killed_after(monkeypatch):
    """Make the next run die right after a given step."""

    def arrange(method, step):
        original = METHODS[method].callbacks

        class Kill(TrainerCallback):
            def on_step_begin(self, args, state, control, **kwargs):
                if state.global_step == step:
                    raise Killed

        monkeypatch.setattr(type(METHODS[method]), "callbacks", lambda self, *given: [*original(*given), Kill()])
        return monkeypatch.undo

    return arrange


def outcome(run):
    """What must not depend on kills: tensors, predictions, metrics."""
    (file,) = [*run.folder.glob("adapter/*.safetensors"), *run.folder.glob("weights.safetensors")]
    return load_file(file), run.predictions(), run.result.metrics


def assert_same(one, other):
    for a, b in zip(one[0].items(), other[0].items(), strict=True):
        assert a[0] == b[0] and torch.equal(a[1], b[1]), a[0]
    pd.testing.assert_frame_equal(one[1], other[1], check_exact=True)
    assert one[2] == other[2]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "step"), [(GATED, 5), (GATED, 6), (FULL, 8), (QUANTISED, 11)])
def test_a_killed_run_goes_on_to_the_same_numbers(small, method, step, killed_after, tmp_path, monkeypatch):
    config = small(method)
    monkeypatch.setenv("COURSE_RUNS", str(tmp_path / "undisturbed"))
    undisturbed = train(config)

    monkeypatch.setenv("COURSE_RUNS", str(tmp_path / "killed"))
    revive = killed_after(method, step)
    with pytest.raises(Killed):
        train(config)
    assert find_run(config) is None
    revive()
    monkeypatch.setenv("COURSE_RUNS", str(tmp_path / "killed"))
    steps = []
    monkeypatch.setattr(
        trainer.StepTimes, "on_train_begin", lambda self, args, state, *_, **__: steps.append(state.global_step)
    )
    resumed = train(config)
    assert steps == [step // 3 * 3]  # it went on from the last checkpoint, not from the start
    assert_same(outcome(undisturbed), outcome(resumed))
    assert len(resumed.history()) == len(undisturbed.history())


def test_a_tracker_is_told_of_the_losses_and_changes_no_number(small, runs_in):
    pytest.importorskip("tensorboard", reason="tensorboard is missing: pip install -r tests/requirements-extras.txt")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = small(ADAPTER, track="tensorboard")
    plain = train(small(ADAPTER))
    assert train(config).result == plain.result  # found: a tracker makes no other run of it
    numbers = outcome(plain)
    tracked = train(config, force=True)
    assert_same(numbers, outcome(tracked))
    told = EventAccumulator(str(runs_in / "tracked" / "tensorboard" / config.path))
    told.Reload()
    assert [event.value for event in told.Scalars("train/loss")] == pytest.approx([*tracked.history()["loss"]])


def test_what_a_run_leaves_is_found_and_not_made_again(small, runs_in):
    config = small(ADAPTER)
    run = train(config)
    result = json.loads((run.folder / "result.json").read_text())
    files = {"result.json", "predictions.parquet", "updates.parquet", "history.csv", "adapter"}
    assert {p.name for p in run.folder.iterdir()} == files
    predictions = run.predictions()
    assert list(predictions.columns) == ["set", "example_id", "label", "scores"]
    for name, metrics in result["metrics"].items():
        rows = predictions[predictions.set == name]
        assert metrics["n"] == len(rows) == result["data"]["sizes"][name]
        assert metrics["accuracy"] == pytest.approx((scores_of(rows).argmax(axis=1) == rows.label).mean())
    assert result["config"]["threads"] == result["environment"]["threads"] == 1
    assert result["timing"]["train_seconds"] > 0 and result["memory"]["peak_bytes"] > 1e8
    adapter = json.loads((run.folder / "adapter" / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == Path(config.base_model).name
    history = run.history()
    assert history["validation_accuracy"].notna().sum() == 2
    assert history["validation_accuracy"].iloc[-1] == pytest.approx(result["metrics"]["validation"]["accuracy"])

    made = (run.folder / "result.json").stat().st_mtime_ns
    assert train(config).result == run.result and (run.folder / "result.json").stat().st_mtime_ns == made
    assert not list(run.folder.parent.glob(".*unfinished"))
    # other settings, or a changed file, are another run
    assert find_run(config.model_copy(update={"epochs": 1})) is None
    (run.folder / "history.csv").write_text("step\n")
    assert find_run(config) is None
    with pytest.raises(CourseError, match="holds no finished run"):
        read_run(runs_in / "nowhere")


@pytest.mark.slow
@pytest.mark.parametrize("checkpoint_steps", [5, 7, 100])
def test_history_and_timing_miss_no_step(small, runs_in, checkpoint_steps):
    run = train(small(HEAD, checkpoint_steps=checkpoint_steps))
    history = run.history()
    assert history["step"].iloc[-1] == 12 and history["loss"].notna().all()
    assert history["validation_accuracy"].notna().sum() == 2


def test_a_trial_of_a_search_never_sees_the_test_set(small, runs_in):
    run = train(small(HEAD).model_copy(update={"final": False, "study": "lr-1e-3"}))
    assert set(run.result.metrics) == set(run.predictions()["set"]) == {"validation"}


@pytest.mark.slow
def test_a_side_study_is_evaluated_on_the_test_set_alone(small, runs_in):
    main, beside = (train(small(HEAD).model_copy(update={"study": study})) for study in ("main", "size-500"))
    assert set(beside.result.metrics) == {"validation", "test"} < set(main.result.metrics)
    assert beside.result.forgetting is None
    validated = [run.history()["validation_accuracy"].count() for run in (main, beside)]
    assert validated == [main.config.epochs, 1]
    scores = [np.stack(run.predictions().query("set == 'test'")["scores"].to_list()) for run in (main, beside)]
    np.testing.assert_array_equal(*scores)  # validation between epochs leaves the training as it is
    forgotten = main.result.forgetting
    assert forgotten.texts == 4 * 16 and forgotten.before == forgotten.after  # the encoder is frozen


def trainer_of(config, folder):
    """The trainer of a run that has not begun, and its model."""
    base = METHODS[config.method].load_base(config.base, config.load_task(), "fp32", config.settings)
    model = trainer.adapted_model(config, base)
    return trainer.make_trainer(config, model, config.base.tokenizer(), config.load_data(), folder), model


def test_a_batch_of_the_validation_holds_no_more_tokens_than_are_computed_at_once(small, tmp_path):
    made, model = trainer_of(small(ADAPTER, max_validation=50, tokens_at_once=128, precision="fp32"), tmp_path)
    sizes = []

    def note(module, arguments, named):
        sizes.append(named["input_ids"].numel())

    model.register_forward_pre_hook(note, with_kwargs=True)
    assert made.evaluate()["eval_n"] == 50 and len(sizes) > 2 and max(sizes) <= 128


@pytest.mark.parametrize("method", [FULL, ADAPTER, GATED])
def test_the_head_may_learn_at_a_rate_of_its_own(small, tmp_path, method):
    config = small(method, head_learning_rate=5e-4)
    made, model = trainer_of(config, tmp_path)
    groups = made.create_optimizer().param_groups
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    found = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    assert len(found) == len(trained) == sum(len(group["params"]) for group in groups)
    for name, parameter in trained.items():
        rate, decay = found[id(parameter)]
        if name.endswith(".gate"):
            assert decay == 0.0 and rate not in (5e-4, config.settings.learning_rate)
        else:
            assert rate == (5e-4 if "classifier" in name else config.settings.learning_rate)
            assert decay == (0.0 if name.endswith("bias") or "norm" in name.lower() else config.settings.weight_decay)


@pytest.mark.slow
def test_methods_share_the_data_order_and_the_first_head(small, tmp_path):
    orders, heads = [], []
    for name in METHODS:
        made, model = trainer_of(small(name), tmp_path)
        torch.rand(len(orders))  # whatever a method draws must not change the order
        orders.append(list(made._get_train_sampler()))
        heads.append([p.clone() for n, p in model.named_parameters() if "classifier" in n and p.requires_grad])
    assert all(order == orders[0] for order in orders)
    for other in heads[1:]:
        assert all(torch.equal(a, b) for a, b in zip(heads[0], other, strict=True))


def test_the_order_covers_every_example_and_changes_with_seed_and_epoch():
    lengths = list(range(5, 105))
    sampler = trainer.GroupedByLength(lengths, batch_size=8, seed=1)
    first = list(sampler)
    assert sorted(first) == list(range(100))
    sampler.set_epoch(1)
    assert list(sampler) != first
    assert list(trainer.GroupedByLength(lengths, 8, seed=2)) != first
