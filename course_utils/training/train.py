"""train(config) → Run: the only entry point of a training run."""

from __future__ import annotations

import os
import shutil
import statistics
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import transformers
from safetensors.torch import load_file

from course_utils import runs
from course_utils.code_identity import code_of
from course_utils.config import RunConfig
from course_utils.errors import check_writable
from course_utils.host import (
    by_first_process,
    from_first_process,
    give_memory_back,
    is_first_process,
    map_large_blocks,
)
from course_utils.inputs.bases import check_length, check_targets, head_modules, in_head
from course_utils.inputs.nf4 import dequantise
from course_utils.inputs.splits import Data
from course_utils.methods import METHODS
from course_utils.methods.base import LowRankSettings
from course_utils.methods.sizes import count_parameters, plain_model, weight_bytes
from course_utils.paths import runs_folder
from course_utils.tasks import TASKS
from course_utils.tasks.base import Task
from course_utils.tasks.classification import scores_of
from course_utils.training import card, evaluation, provenance, updates
from course_utils.training.forgetting import measure_forgetting
from course_utils.training.trainer import adapted_model, last_checkpoint, make_trainer


def train(config: RunConfig, force: bool = False) -> runs.Run:
    """The finished run of `config`: found if there is one, trained otherwise or with `force`.

    After a killed call, the next call with the same configuration goes on from the last checkpoint, and gives
    the same numbers. Started by `accelerate launch`, several processes train the one run: each batch is shared out
    among them, and the first alone writes. Shows a progress bar when a person watches. Raises CourseError before
    training when the data or the model do not fit the configuration.
    """
    check_writable(runs_folder(), "COURSE_RUNS")
    data = config.load_data()
    base_model = runs.BaseModelRecord(id=config.base_model, fingerprint=config.base.fingerprint())
    inputs = (config, data.fingerprint, base_model.fingerprint)
    with runs.held(config) if is_first_process() else nullcontext():
        run = by_first_process(lambda: None if force else runs.find_run(config))
        if run and run.result.fingerprint == runs.fingerprint(*inputs, run.result.code):
            return run
        if is_first_process() and (changed := runs.changed_code_of(config)):
            print(f"The run that is there was made by other code ({', '.join(changed)}); it is made again.", flush=True)
        return _train(config, data, base_model, runs.fingerprint(*inputs, code_of(config.method, config.task)))


def _train(config: RunConfig, data: Data, base_model: runs.BaseModelRecord, identity: str) -> runs.Run:
    map_large_blocks()
    folder = by_first_process(lambda: runs.workspace(config, identity))
    load_before = os.getloadavg()[0]
    method = METHODS[config.method]
    torch.set_num_threads(config.threads)
    task = TASKS[config.task](data.class_names)
    base = method.load_base(config.base, task, config.precision, config.settings)
    tokenizer = config.base.tokenizer()
    check_length(base, config.max_length)
    if isinstance(config.settings, LowRankSettings):
        check_targets(base, config.settings.target_modules, config.settings.rank)
    base_bytes = weight_bytes(base.base_model)

    model = adapted_model(config, base)
    trainer = make_trainer(config, model, tokenizer, data, folder / "checkpoints")
    checkpoint = by_first_process(lambda: last_checkpoint(folder / "checkpoints"))
    if checkpoint and is_first_process():
        step = checkpoint.rpartition("-")[2]
        print(f"An earlier call was stopped; training goes on from step {step}, its last checkpoint.", flush=True)
    trainer.train(resume_from_checkpoint=checkpoint)
    give_memory_back()
    if not is_first_process():
        return from_first_process()

    model = method.finish(model)
    method.save(model, folder)
    sets = ["validation", *(_evaluation_sets(config, data) if config.final else [])]
    parameters, stored = count_parameters(model), _stored_bytes(folder, model)
    measured, state = method.measurements(model, config.settings), trainer.state
    del base, model, trainer
    give_memory_back()
    trained = method.load(dequantise(method.load_base(config.base, task, "fp32", config.settings)), folder)
    if config.final:
        updates.layer_facts(method.delta_weights(trained)).to_parquet(folder / runs.UPDATES, index=False)
    trained = method.merge(trained)
    forgetting = None
    if config.study == "main" and data.domains and task.has_head:  # before `speed_up`, which may drop other tokens
        forgetting = measure_forgetting(config, config.base.load(task), trained, tokenizer, data)
    predictions, eval_seconds = _predict(config, trained, tokenizer, data, sets)
    before = None
    if not task.has_head:  # without a head to train, the base model can be evaluated, too
        frozen, _ = _predict(config, config.base.load(task), tokenizer, data, sets)
        before = _metrics(task, frozen)
        predictions["scores_before"] = frozen["scores"]
    predictions.to_parquet(folder / "predictions.parquet", index=False)
    metrics = _metrics(task, predictions)
    log = [*state.log_history, _as_logged(metrics["validation"], state)]
    write_history(log, folder / "history.csv")
    step_times = [t for entry in log for t in entry.get("step_ms", [])]

    result = runs.RunResult(
        config=config,
        fingerprint=identity,
        data=runs.DataRecord(
            source=data.source,
            sizes={name: len(frame) for name, frame in data.sets.items()},
            titles=data.titles,
            class_names=data.class_names,
            pairs="text_pair" in data.sets["train"],
            revision=data.revision,
            fingerprint=data.fingerprint,
        ),
        base_model=base_model,
        parameters=parameters,
        bytes=runs.Bytes(base_model=base_bytes, **stored),
        timing=runs.Timing(
            train_seconds=sum(step_times) / 1000,
            step_ms_median=statistics.median(step_times),
            eval_ms_per_example=1000 * eval_seconds / len(predictions),
        ),
        memory=provenance.peak_memory(),
        metrics=metrics,
        metrics_before=before,
        method=measured,
        forgetting=forgetting,
        code=code_of(config.method, config.task),
        environment=provenance.surroundings(config.threads, load_before),
        git=provenance.git_state(),
        files={},
    )
    shutil.rmtree(folder / "checkpoints")
    if not method.is_baseline:
        card.write_card(runs.Run(folder, result))
    return from_first_process(runs.publish(folder, result))


def _evaluation_sets(config: RunConfig, data: Data) -> list[str]:
    """What a finished run is evaluated on: a side study on the final evaluation sets alone, a main run on all."""
    seen = ("train", "validation", *(() if config.study == "main" else data.further))
    return [name for name in data.sets if name not in seen]


def _as_logged(metrics: dict[str, float], state: transformers.TrainerState) -> dict:
    """The evaluation of the finished run, as Trainer logs that of an epoch."""
    logged = {f"eval_{name}": value for name, value in metrics.items()}
    return {"step": state.global_step, "epoch": state.epoch} | logged


def write_history(log_history: list[dict], path: Path) -> None:
    """Write what was logged to `path`, one row per step, evaluations beside the step that they follow."""
    rows: dict[int, dict] = {}
    for entry in log_history:
        row = rows.setdefault(entry["step"], {})
        row |= {
            HISTORY_COLUMNS[name]: statistics.median(value) if name == "step_ms" else value
            for name, value in entry.items()
            if name in HISTORY_COLUMNS
        }
    pd.DataFrame(rows.values()).dropna(subset=["loss"]).to_csv(path, index=False)


HISTORY_COLUMNS = {
    **{name: name for name in ("step", "epoch", "loss", "learning_rate", "step_ms", "active_ranks")},
    "eval_nll": "validation_loss",  # Trainer's own eval_loss weighs sentences unequally where processes share them out
    "eval_bits_per_byte": "validation_bits_per_byte",
    "eval_accuracy": "validation_accuracy",
    "eval_f1": "validation_f1",
    "eval_macro_f1": "validation_macro_f1",
}


def _metrics(task: Task, predictions: pd.DataFrame) -> dict[str, Any]:
    """Set → the metrics of the predictions on it."""
    return {
        name: evaluation.TaskMetrics(task).compute(predictions=scores_of(rows), references=rows[task.truth].to_numpy())
        for name, rows in predictions.groupby("set", sort=False)
    }


def _predict(config: RunConfig, model, tokenizer, data: Data, sets: list[str]):
    task, start, frames = TASKS[config.task], time.perf_counter(), []
    evaluation.make_ready(config, model)
    for name in sets:
        frame = data.sets[name]
        scores = evaluation.predict(config, model, tokenizer, frame)
        truth = task.truths(frame, tokenizer, config.max_length)
        columns = {"set": name, "example_id": frame["example_id"], task.truth: truth}
        frames.append(pd.DataFrame(columns | {"scores": list(scores)}))
    return pd.concat(frames, ignore_index=True), time.perf_counter() - start


def _stored_bytes(folder: Path, model) -> dict[str, int]:
    """Bytes of the stored tensors, those of the head apart."""
    (file,) = [*folder.glob("weights.safetensors"), *folder.glob("adapter/*.safetensors")]
    heads = head_modules(plain_model(model))
    sizes = {"adapter": 0, "head": 0}
    for name, tensor in load_file(file).items():
        part = "head" if in_head(name, heads) else "adapter"
        sizes[part] += tensor.numel() * tensor.element_size()
    return sizes
