"""train(config) → Run: the only door to a training run."""

from __future__ import annotations

import logging
import os
import shutil
import statistics
import sys
import time
import zipfile
from contextlib import nullcontext
from math import ceil, gcd
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch.utils.data import Sampler
from transformers import (
    DataCollatorWithPadding,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_pt_utils import safe_globals

from course_utils import cards, evaluation, machine, models, runs
from course_utils.assets import base_model_fingerprint
from course_utils.config import RunConfig
from course_utils.data import Data, load_data, tokenize
from course_utils.errors import CourseError
from course_utils.methods import METHODS
from course_utils.paths import check_writable, runs_folder
from course_utils.speed import speed_up

WEIGHTS = "trained.safetensors"

# Checkpoints less than a second apart make it warn that it goes by their numbers, which is right.
logging.getLogger("transformers.trainer_utils").setLevel(logging.ERROR)


def train(config: RunConfig, force: bool = False) -> runs.Run:
    """The finished run of `config`: found if there is one, trained otherwise or if `force`.

    A killed call is taken up again from its last checkpoint by the next call with the same configuration, and
    gives the same numbers. Started by `accelerate launch`, its processes train the one run: each batch is shared out
    among them, and the first alone writes. Shows a progress bar when a person watches. Raises CourseError before
    training when the data or the model do not fit the configuration.
    """
    check_writable(runs_folder(), "COURSE_RUNS")
    data = load_run_data(config)
    base_model = runs.BaseModelRecord(id=config.base_model, fingerprint=base_model_fingerprint(config.base_model))
    identity = runs.fingerprint(config, data.fingerprint, base_model.fingerprint)
    with runs.held(config) if machine.is_first_process() else nullcontext():
        run = machine.by_first_process(lambda: None if force else runs.find_run(config))
        if run and run.result.fingerprint == identity:
            return run
        return _train(config, data, base_model, identity)


def load_run_data(config: RunConfig) -> Data:
    """The data of a run of `config`; CourseError if they cannot be had, or do not fill a batch."""
    data = load_data(
        config.data,
        max_train=config.max_train,
        max_validation=config.max_validation,
        max_test=config.max_test,
        max_other=config.max_other,
        also_evaluate=config.also_evaluate,
    )
    if config.batch_size > len(data.sets["train"]):
        raise CourseError(
            f"batch_size: {config.batch_size} is more than the {len(data.sets['train'])} training examples; "
            f"type -p batch_size={len(data.sets['train'])} or less, or a larger max_train."
        )
    if config.batch_size % (processes := machine.processes()):
        raise CourseError(
            f"batch_size: {config.batch_size} cannot be shared out equally among {processes} processes; "
            f"type -p batch_size={processes * ceil(config.batch_size / processes)}, or start another number of them."
        )
    return data


def _train(config: RunConfig, data: Data, base_model: runs.BaseModelRecord, identity: str) -> runs.Run:
    folder = machine.by_first_process(lambda: runs.workspace(config, identity))
    load_before = os.getloadavg()[0]
    method = METHODS[config.method]
    torch.set_num_threads(config.threads)
    base = method.load_base(config.base_model, config.precision)
    tokenizer = models.load_tokenizer(config.base_model)
    models.check_length(base, config.max_length)
    if hasattr(config.settings, "rank"):
        models.check_targets(base, config.settings.target_modules, config.settings.rank)
    base_bytes = models.weight_bytes(base.base_model)

    model = adapted_model(config, base)
    trainer = make_trainer(config, model, tokenizer, data, folder / "checkpoints")
    checkpoint = machine.by_first_process(lambda: last_checkpoint(folder / "checkpoints"))
    if checkpoint and machine.is_first_process():
        step = checkpoint.rpartition("-")[2]
        print(f"An earlier call was stopped; training goes on from step {step}, its last checkpoint.", flush=True)
    trainer.train(resume_from_checkpoint=checkpoint)
    if not machine.is_first_process():
        return machine.from_first_process()

    model = method.finish(model)
    method.save(model, folder)
    sets = [name for name in data.sets if name != "train" and (config.final or name == "validation")]
    del base, trainer.model, trainer.model_wrapped
    trained = method.load_merged(method.load_base(config.base_model, "fp32"), folder)
    predictions, eval_seconds = _predict(config, trained, tokenizer, data, sets)
    predictions.to_parquet(folder / "predictions.parquet", index=False)
    metrics = {
        name: evaluation.SentimentMetrics(keep_in_memory=True).compute(
            predictions=rows[["logit_0", "logit_1"]].to_numpy(), references=rows["label"].to_numpy()
        )
        for name, rows in predictions.groupby("set", sort=False)
    }
    log = [*trainer.state.log_history, _as_logged(metrics["validation"], trainer.state)]
    write_history(log, folder / "history.csv")
    step_times = [t for entry in log for t in entry.get("step_ms", [])]

    result = runs.RunResult(
        config=config,
        fingerprint=identity,
        data=runs.DataRecord(
            source=data.source,
            sizes={name: len(frame) for name, frame in data.sets.items()},
            titles=data.titles,
            fingerprint=data.fingerprint,
        ),
        base_model=base_model,
        parameters=vars(models.count_parameters(model)),
        bytes=runs.Bytes(base_model=base_bytes, **_stored_bytes(folder, model)),
        timing=runs.Timing(
            train_seconds=sum(step_times) / 1000,
            step_ms_median=statistics.median(step_times),
            eval_ms_per_example=1000 * eval_seconds / len(predictions),
        ),
        memory=machine.peak_memory(),
        metrics=metrics,
        method=method.measurements(model, config.settings),
        environment=machine.environment(config.threads, load_before),
        git=machine.git_state(),
        files={},
    )
    shutil.rmtree(folder / "checkpoints")
    if not method.is_baseline:
        cards.write_card(runs.Run(folder, result))
    return machine.from_first_process(runs.publish(folder, result))


def adapted_model(config: RunConfig, base):
    """`base` with its head initialised and this run's method put in, by the run's seed alone."""
    models.initialise_head(base, config.seed)
    set_seed(config.seed)
    model = METHODS[config.method].adapt(base, config.settings)
    return speed_up(model, config.precision) if config.speedups else model


class GroupedByLength(Sampler[int]):
    """Order of the training examples: shuffled, then sorted by length within stretches of 50 batches.

    Sentences of a batch are of similar length, so that little is padding. The order is a function of seed and
    epoch alone, whatever else draws random numbers: it is the same for every method, and after a kill.
    """

    def __init__(self, lengths: list[int], batch_size: int, seed: int):
        self.lengths, self.batch_size, self.seed, self.epoch = np.asarray(lengths), batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self):
        random = np.random.default_rng([self.seed, self.epoch])
        shuffled = random.permutation(len(self.lengths))
        stretch = 50 * self.batch_size
        parts = [shuffled[start : start + stretch] for start in range(0, len(shuffled), stretch)]
        by_length = np.concatenate([p[np.argsort(self.lengths[p], kind="stable")] for p in parts])
        full = len(by_length) // self.batch_size * self.batch_size
        batches = by_length[:full].reshape(-1, self.batch_size)
        order = np.concatenate([random.permutation(batches).ravel(), by_length[full:]])
        return iter(order.tolist())


class CourseTrainer(Trainer):
    """Trainer with our data order, whose checkpoints hold what is trained and nothing else.

    `own_rates` maps a parameter's name to its learning rate where that is not the run's.
    """

    own_rates: dict[str, float] = {}

    def create_optimizer(self, model=None):
        optimizer = super().create_optimizer(model)
        own = {self.model.get_parameter(name): rate for name, rate in self.own_rates.items()}
        for group in optimizer.param_groups:
            group["params"] = [p for p in group["params"] if p not in own]
        for rate in sorted(set(own.values())):
            parameters = [p for p, own_rate in own.items() if own_rate == rate]
            optimizer.add_param_group({"params": parameters, "lr": rate, "weight_decay": 0.0})
        return optimizer

    def _get_train_sampler(self, train_dataset=None):
        return GroupedByLength(
            self.train_dataset["length"], self.args.train_batch_size * machine.processes(), self.args.seed
        )

    def _save(self, output_dir=None, state_dict=None):
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        trained = {n: p.detach().contiguous() for n, p in self.model.named_parameters() if p.requires_grad}
        save_file(trained, Path(output_dir) / WEIGHTS)

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        parameters = dict(self.model.named_parameters())
        for name, tensor in load_file(Path(resume_from_checkpoint) / WEIGHTS).items():
            parameters[name].data.copy_(tensor)


class StepTimes(TrainerCallback):
    """Records the duration of every step, in the log that checkpoints keep."""

    def __init__(self):
        self.unlogged: list[float] = []

    def on_step_begin(self, args, state, control, **kwargs):
        self.start = time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs):
        self.unlogged.append(1000 * (time.perf_counter() - self.start))

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" in logs:
            state.log_history[-1]["step_ms"] = self.unlogged
            self.unlogged = []


class OwnDropout(TrainerCallback):
    """Gives each of several processes dropout masks of its own; one alone keeps those of the run's seed."""

    def on_train_begin(self, args, state, control, **kwargs):
        if machine.processes() > 1:
            torch.manual_seed(args.seed + 1_000 * args.process_index)


class EndOfEpoch(TrainerCallback):
    """Puts off a checkpoint that falls on the end of an epoch until the epoch has been evaluated.

    Written before, it would go on without that evaluation, and from another state of the random numbers. The last
    epoch is not evaluated here: the run is, from what it saved.
    """

    due = False

    def on_step_end(self, args, state, control, **kwargs):
        self.due = control.should_save and state.epoch == int(state.epoch)
        control.should_save = control.should_save and not self.due

    def on_epoch_end(self, args, state, control, **kwargs):
        control.should_save = control.should_save or self.due
        control.should_evaluate = control.should_evaluate and state.global_step < state.max_steps
        control.should_log = True  # so that an evaluation always has a loss beside it


def make_trainer(config: RunConfig, model, tokenizer, data: Data, folder: Path) -> CourseTrainer:
    """Trainer of a run: AdamW, linear schedule with warm-up, validation after each epoch."""
    steps_an_epoch = ceil(len(data.sets["train"]) / config.batch_size)
    total_steps = config.epochs * steps_an_epoch
    arguments = TrainingArguments(
        output_dir=str(folder),
        seed=config.seed,
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.batch_size // machine.processes(),
        average_tokens_across_devices=False,  # it would count labels as a language model's tokens
        per_device_eval_batch_size=64,
        learning_rate=config.settings.learning_rate,
        weight_decay=config.settings.weight_decay,
        lr_scheduler_type="linear",
        warmup_steps=config.warmup(total_steps),
        bf16=config.precision == "bf16",
        use_cpu=not torch.cuda.is_available(),
        eval_strategy="epoch",
        save_strategy="steps",
        save_steps=config.checkpoint_steps,
        save_total_limit=2,
        # Every checkpoint falls on a log, so that what it restores is complete.
        logging_steps=gcd(10, config.checkpoint_steps),
        disable_tqdm=not somebody_watches(),
        report_to="none",
        remove_unused_columns=True,
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # else Trainer shares a batch out by itself, and multiplies its size
    validation = tokenize(data.sets["validation"], tokenizer, config.max_length)
    trainer = CourseTrainer(
        model=model,
        args=arguments,
        train_dataset=tokenize(data.sets["train"], tokenizer, config.max_length),
        # What datasets' own sort() calls is deprecated, and it would tell the reader so.
        eval_dataset=validation.select(np.argsort(validation["length"], kind="stable")),
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=_validation_metrics,
        callbacks=[StepTimes(), OwnDropout(), EndOfEpoch(), *METHODS[config.method].callbacks(config, total_steps)],
    )
    trainer.own_rates = METHODS[config.method].learning_rates(model, config.settings)
    trainer.remove_callback(PrinterCallback)
    return trainer


def _validation_metrics(prediction) -> dict[str, float]:
    return evaluation.score(prediction.predictions, prediction.label_ids)


def last_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint in `folder`; torn ones are removed.

    transformers writes checkpoints in place: one counts only if its state, written last, can be read, and if the
    archives that torch wrote hold what their checksums say.
    """
    checkpoints = sorted(folder.glob("checkpoint-*"), key=lambda p: int(p.name.rpartition("-")[2]))
    for checkpoint in reversed(checkpoints):
        try:
            transformers.TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
            load_file(checkpoint / WEIGHTS)
            for archive in (checkpoint / "optimizer.pt", checkpoint / "scheduler.pt", *checkpoint.glob("rng_state*")):
                with zipfile.ZipFile(archive) as parts:
                    if parts.testzip():
                        raise zipfile.BadZipFile
                with safe_globals():  # a pickle that would run something is refused
                    torch.load(archive, weights_only=True)
            return str(checkpoint)
        except Exception:  # whatever is wrong with it, an earlier one or none serves as well
            shutil.rmtree(checkpoint)
    return None


def somebody_watches() -> bool:
    """Whether progress bars would be seen: a terminal or JupyterLab, not a notebook run by papermill."""
    if os.environ.get("TQDM_DISABLE") == "1":
        return False
    return sys.stderr.isatty() or "ipykernel" in sys.modules


def _as_logged(metrics: dict[str, float], state: transformers.TrainerState) -> dict:
    """The evaluation of the finished run, as Trainer logs that of an epoch."""
    logged = {"eval_nll": metrics["nll"], "eval_accuracy": metrics["accuracy"], "eval_f1": metrics["f1"]}
    return {"step": state.global_step, "epoch": state.epoch} | logged


def write_history(log_history: list[dict], path: Path) -> None:
    """Write what was logged to `path`, one row a step, evaluations beside the step that they follow."""
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
    "eval_accuracy": "validation_accuracy",
    "eval_f1": "validation_f1",
}


def _predict(config: RunConfig, model, tokenizer, data: Data, sets: list[str]):
    start, frames = time.perf_counter(), []
    for name in sets:
        frame = data.sets[name]
        logits = evaluation.predict_as_trained(config, model, tokenizer, frame)
        columns = {"set": name, "example_id": frame["example_id"], "label": frame["label"]}
        frames.append(pd.DataFrame(columns | {"logit_0": logits[:, 0], "logit_1": logits[:, 1]}))
    return pd.concat(frames, ignore_index=True), time.perf_counter() - start


def _stored_bytes(folder: Path, model) -> dict[str, int]:
    """Bytes of the stored tensors, those of the head apart."""
    (file,) = [*folder.glob("weights.safetensors"), *folder.glob("adapter/*.safetensors")]
    heads = models.head_modules(model.get_base_model() if hasattr(model, "peft_config") else model)
    sizes = {"adapter": 0, "head": 0}
    for name, tensor in load_file(file).items():
        part = "head" if models.in_head(name, heads) else "adapter"
        sizes[part] += tensor.numel() * tensor.element_size()
    return sizes
