"""The Trainer of a run: data order, optimiser, callbacks and checkpoints."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import time
import zipfile
from collections.abc import Container
from math import ceil, gcd
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch.utils.data import Sampler
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_pt_utils import safe_globals

from course_utils.config import RunConfig
from course_utils.host import processes
from course_utils.inputs.bases import head_modules, in_head
from course_utils.inputs.splits import Data
from course_utils.methods import METHODS
from course_utils.methods.sizes import plain_model
from course_utils.tasks import TASKS
from course_utils.tracking import tracker
from course_utils.training.evaluation import batches_by_tokens
from course_utils.training.recorded_steps import RecordedSteps, can_record
from course_utils.training.speed import speed_up

VALIDATION_BATCH = 32
TRAINED = "trained.safetensors"  # in a checkpoint
LOSS_DIVISOR = "num_items_in_batch"  # what Trainer divides a sum of losses by

# transformers warns that it orders checkpoints less than a second apart by their numbers, which is right.
logging.getLogger("transformers.trainer_utils").setLevel(logging.ERROR)


def adapted_model(config: RunConfig, base):
    """`base` with its head initialised and the run's method applied; all random numbers come from the run's seed."""
    TASKS[config.task].initialise_head(base, config.seed)
    set_seed(config.seed)
    method = METHODS[config.method]
    model = method.adapt(base, config.settings)
    return speed_up(model, method, config.precision) if config.speedups else model


def make_trainer(config: RunConfig, model, tokenizer, data: Data, folder: Path) -> CourseTrainer:
    """Trainer of a run: AdamW, linear schedule with warm-up; validation after each epoch of a main run."""
    task = TASKS[config.task](data.class_names)
    steps_an_epoch = ceil(len(data.sets["train"]) / config.batch_size)
    total_steps = config.epochs * steps_an_epoch
    warmup = warmup_steps(config, total_steps)
    method, settings = METHODS[config.method], config.settings
    frame = data.sets["validation"]
    validation = task.tokenize(frame, tokenizer, config.max_length, config.truncation)
    at_once = VALIDATION_BATCH
    if config.tokens_at_once:  # of which a text has as many as the longest, with its padding
        at_once = max(1, min(at_once, config.tokens_at_once // max(validation["length"])))
    arguments = TrainingArguments(
        output_dir=str(folder),
        seed=config.seed,
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.batch_size // processes() // config.gradient_accumulation,
        gradient_accumulation_steps=config.gradient_accumulation,
        activation_checkpointing=config.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False} if config.gradient_checkpointing else None,
        # Otherwise Trainer would count the labels of classes as tokens.
        average_tokens_across_devices=task.counts_tokens,
        per_device_eval_batch_size=at_once,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        lr_scheduler_type="linear",
        warmup_steps=warmup,
        bf16=config.precision == "bf16",
        use_cpu=not torch.cuda.is_available(),
        eval_strategy="epoch" if config.study == "main" else "no",  # of a side study the end alone is read
        save_strategy="steps",
        save_steps=config.checkpoint_steps,
        save_total_limit=2,
        # Every checkpoint falls on a log, so that what it restores is complete.
        logging_steps=gcd(10, config.checkpoint_steps),
        disable_tqdm=not somebody_watches(),
        **tracker(config),
        remove_unused_columns=True,
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # else Trainer shares a batch out by itself, and multiplies its size
    # datasets' own sort() calls deprecated code and would warn the reader.
    order = np.argsort(validation["length"], kind="stable")
    truths = task.truths(frame, tokenizer, config.max_length)[order]
    trainer = CourseTrainer(
        model=model,
        args=arguments,
        train_dataset=task.tokenize(data.sets["train"], tokenizer, config.max_length, config.truncation),
        eval_dataset=validation.select(order),
        data_collator=task.collator(tokenizer),
        # a batch at a time, so that no logits of a vocabulary are kept
        preprocess_logits_for_metrics=lambda logits, labels: task.scores(logits, labels),
        compute_metrics=lambda predicted: task.score(predicted.predictions, truths),
        callbacks=[StepTimes(), OwnDropout(), EndOfEpoch(), *method.callbacks(settings, warmup, total_steps)],
    )
    # A head's loss is a mean over the examples that it is given, and not divided by the size of the whole batch.
    trainer.model_accepts_loss_kwargs = task.counts_tokens
    trainer.tokens_at_once = config.tokens_at_once
    trainer.recorded_steps = RecordedSteps(model, config.max_length) if can_record(config, model) else None
    trainer.undecayed = method.learning_rates(model, settings, warmup, total_steps)
    trainer.own_rates = _head_rates(model, config.head_learning_rate) | trainer.undecayed
    trainer.remove_callback(PrinterCallback)
    return trainer


def _head_rates(model, rate: float | None) -> dict[str, float]:
    """Trained parameter of the head → `rate`, where the head has a rate of its own."""
    heads = head_modules(plain_model(model)) if rate else []
    return {name: rate for name, p in model.named_parameters() if rate and p.requires_grad and in_head(name, heads)}


def warmup_steps(config: RunConfig, total_steps: int) -> int:
    """Steps of linear warm-up in a run of `total_steps` steps."""
    steps = config.warmup_steps if config.warmup_steps >= 1 else config.warmup_steps * total_steps
    return min(ceil(steps), total_steps - 1)


class GroupedByLength(Sampler[int]):
    """Order of the training examples: shuffled, then sorted by length within stretches of 50 batches.

    Sentences of a batch are of similar length, so that there is little padding. The order depends on seed and
    epoch alone, not on other draws of random numbers: it is the same for every method, and after a kill.
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

    `own_rates` maps a parameter's name to its learning rate where that is not the run's; those in `undecayed` have no
    weight decay. A batch of more than `tokens_at_once` tokens is computed in parts, each with its share of the loss:
    their gradient is the batch's. `recorded_steps` replays the steps of a GPU.
    """

    own_rates: dict[str, float] = {}
    undecayed: Container[str] = ()
    tokens_at_once: int | None = None
    recorded_steps: RecordedSteps | None = None
    share = 1.0  # of the part that is computed in its batch

    def training_step(self, model, inputs, num_items_in_batch=None):
        if self.recorded_steps:

            def step(held):
                batch = {name: x for name, x in held.items() if name != LOSS_DIVISOR}
                return Trainer.training_step(self, model, batch, held.get(LOSS_DIVISOR))

            counted = {} if num_items_in_batch is None else {LOSS_DIVISOR: torch.as_tensor(num_items_in_batch)}
            return self.recorded_steps(step, {**inputs, **counted})
        if not self.tokens_at_once or inputs["input_ids"].numel() <= self.tokens_at_once:
            return super().training_step(model, inputs, num_items_in_batch)
        losses, lengths = [], inputs["attention_mask"].sum(1).cpu().numpy()
        for rows in batches_by_tokens(lengths, self.tokens_at_once):
            longest = lengths[rows].max()
            # a loss that is divided by the whole batch's tokens is a share already
            self.share = 1.0 if self.model_accepts_loss_kwargs else len(rows) / len(lengths)
            part = {name: x[rows, :longest] if x.dim() == 2 else x[rows] for name, x in inputs.items()}
            losses.append(super().training_step(model, part, num_items_in_batch))
        self.share = 1.0
        return sum(losses)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        found = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        return found if return_outputs else found * self.share

    def evaluate(self, *arguments, **named):
        """As `Trainer` does it; the training goes on with the random numbers that it would have had without."""
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            return super().evaluate(*arguments, **named)

    def create_optimizer(self, model=None):
        optimizer = super().create_optimizer(model)
        own = {self.model.get_parameter(name): rate for name, rate in self.own_rates.items()}
        for group in [*optimizer.param_groups]:
            theirs = [p for p in group["params"] if p in own]
            group["params"] = [p for p in group["params"] if p not in own]
            for rate in sorted({own[p] for p in theirs}):
                parameters = [p for p in theirs if own[p] == rate]
                optimizer.add_param_group({"params": parameters, "lr": rate, "weight_decay": group["weight_decay"]})
        return optimizer

    def get_decay_parameter_names(self, model):
        return [name for name in super().get_decay_parameter_names(model) if name not in self.undecayed]

    def _get_train_sampler(self, train_dataset=None):
        whole_batch = self.args.train_batch_size * self.args.gradient_accumulation_steps * processes()
        return GroupedByLength(self.train_dataset["length"], whole_batch, self.args.seed)

    def _save(self, output_dir=None, state_dict=None):
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        trained = {n: p.detach().contiguous() for n, p in self.model.named_parameters() if p.requires_grad}
        save_file(trained, Path(output_dir) / TRAINED)

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        parameters = dict(self.model.named_parameters())
        for name, tensor in load_file(Path(resume_from_checkpoint) / TRAINED).items():
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
    """Gives each of several processes dropout masks of its own; a single process keeps those of the run's seed."""

    def on_train_begin(self, args, state, control, **kwargs):
        if processes() > 1:
            torch.manual_seed(args.seed + 1_000 * args.process_index)


class EndOfEpoch(TrainerCallback):
    """Puts off a checkpoint that falls on the end of an epoch until the epoch has been evaluated.

    A run that resumed from a checkpoint before the evaluation would skip the evaluation, and go on with other random
    numbers.
    The last epoch is not evaluated here; the finished run is evaluated from what it saved.
    """

    due = False

    def on_step_end(self, args, state, control, **kwargs):
        self.due = control.should_save and state.epoch == int(state.epoch)
        control.should_save = control.should_save and not self.due

    def on_epoch_end(self, args, state, control, **kwargs):
        control.should_save = control.should_save or self.due
        control.should_evaluate = control.should_evaluate and state.global_step < state.max_steps
        control.should_log = True  # so that an evaluation always has a loss beside it


def last_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint in `folder`, None if there is none; damaged ones are removed.

    transformers writes checkpoints in place. So a checkpoint counts only if its state, which is written last, can be
    read, and if the archives that torch wrote fit their checksums.
    """
    checkpoints = sorted(folder.glob("checkpoint-*"), key=lambda p: int(p.name.rpartition("-")[2]))
    for checkpoint in reversed(checkpoints):
        try:
            transformers.TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
            load_file(checkpoint / TRAINED)
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
