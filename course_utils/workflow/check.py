"""The inputs of an experiment: fetched, checked and tried before any training, and described in a few lines."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from course_utils.code_identity import from_records
from course_utils.config import Experiment, RunConfig
from course_utils.errors import CourseError, explained
from course_utils.host import usable_cores
from course_utils.inputs.sources import Files, Source, find_source
from course_utils.inputs.tables import READERS
from course_utils.methods import METHODS
from course_utils.methods.base import LowRankSettings
from course_utils.paths import find_path, relative_to_project, runs_folder, write_whole
from course_utils.tasks import TASKS
from course_utils.text import and_joined, counted, duration, one_line
from course_utils.workflow.estimates import expected_memory, expected_seconds, expected_total

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase

    from course_utils.inputs.splits import Data
    from course_utils.tasks.base import Task

SAMPLE = 2_000  # training texts that are looked at
FEW_OF_A_CLASS = 10  # training texts
MOST_UNKNOWN = 0.5  # share of tokens above which a tokenizer does not know the language, or is none


def check_folders(config: RunConfig) -> None:
    """Raise CourseError where a file or folder of the reader's own is missing or is no model; fetches nothing."""
    if not config.base.is_embedded:
        _ = config.base.location
    config.source.check("data")
    if config.also_evaluate:
        find_source(config.also_evaluate).check("also_evaluate")


def check_records(experiment: Experiment) -> None:
    """Say how many runs of `experiment` the published records lack; CourseError where the others cannot be used.

    The others must be unchanged, of the experiment's settings and of the same code, with a main run of every method.
    """
    from course_utils.comparison.published import records_folder, run_name
    from course_utils.comparison.results import NO_RECORD, read_runs

    folder, found = relative_to_project(records_folder(experiment)), read_runs(experiment)
    missing = found.missing
    for run in missing:
        if run.reason != NO_RECORD:
            raise CourseError(
                f"{folder}: {run_name(run.config)} cannot be bound: {run.reason}; leave --from-records out to make"
                " the runs."
            )
    if without := [METHODS[name].title for name in experiment.methods if not found.of(name)]:
        raise CourseError(
            f"{folder} holds no main run of {and_joined(without)} yet; leave --from-records out to make the runs."
        )
    if missing:
        print(f"  {counted(len(missing), 'run')} without a record in {folder}, left out of the report", flush=True)


def check_inputs(experiment: Experiment) -> dict:
    """What identifies the data and the base model of `experiment`, and the lines that say how they were understood.

    On a base model that is not embedded every method is tried: loaded, adapted, one step forward and back. Raises
    CourseError where something cannot be read, does not fit, or would fail in training.
    """
    from course_utils.inputs.bases import check_length, check_targets

    shared = experiment.shared
    data = shared.load_data()
    task = TASKS[shared.task](data.class_names)
    model = shared.base.without_weights(task)
    tokenizer = shared.base.tokenizer()
    check_length(model, shared.max_length)
    for settings in (experiment.config(method).settings for method in experiment.methods):
        if isinstance(settings, LowRankSettings):
            check_targets(model, settings.target_modules, settings.rank)
    sample = data.sets["train"].head(SAMPLE)
    tokens = task.tokenize(sample, tokenizer, max_length=10**6)["input_ids"]
    unknown = _check_tokens(shared, tokenizer, model, tokens)
    if not shared.base.is_embedded:
        longest = max(range(len(tokens)), key=lambda place: len(tokens[place]))
        for method in experiment.methods:
            rehearse(experiment.config(method), task, tokenizer, sample.iloc[[0, longest]])
    return {
        "data": {"fingerprint": data.fingerprint, "sizes": {name: len(frame) for name, frame in data.sets.items()}},
        "base_model": {"id": shared.base_model, "fingerprint": shared.base.fingerprint()},
        "understood": [
            _said_of_base(experiment, model, tokenizer),
            _said_of_speed(shared, model),
            *_said_of_data(data, task, shared.source),
            *_said_of_limits(experiment, data),
            _said_of_texts(shared, tokens, unknown, "text_pair" in sample),
            *([] if from_records() else [_said_of_costs(experiment, len(data.sets["train"]))]),
        ],
    }


def rehearse(config: RunConfig, task, tokenizer: PreTrainedTokenizerBase, frame) -> None:
    """One forward and one backward step of the run of `config` on the texts of `frame`; CourseError if that fails."""
    import torch

    from course_utils.training.trainer import adapted_model

    method = METHODS[config.method]
    remedy = "type another base_model, other target_modules, or leave the method out with -p methods=NAME,NAME"
    with explained(f"base_model={config.base_model} cannot be trained with {method.title}", remedy):
        model = adapted_model(config, method.load_base(config.base, task, config.precision, config.settings)).train()
        tokens = task.tokenize(frame, tokenizer, config.max_length).remove_columns("length").to_list()
        batch = task.collator(tokenizer)(tokens)
        with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bf16"):
            loss = model(**batch).loss
        loss.backward()
        if not torch.isfinite(loss):
            raise ValueError("its loss is not a finite number")


def _check_tokens(config: RunConfig, tokenizer, model: nn.Module, tokens: list[list[int]]) -> float:
    """The share of unknown tokens; CourseError where there are too many, or some that the model has no row for."""
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    ids = [token for text in tokens for token in text if token not in special]
    unknown = ids.count(tokenizer.unk_token_id) / len(ids) if ids else 1.0
    if unknown > MOST_UNKNOWN:
        raise CourseError(
            f"base_model={config.base_model}: its tokenizer does not know {unknown:.0%} of what the training texts are"
            " made of; put the model's own tokenizer files into its folder, or type a base model of the texts' language"
        )
    rows = model.get_input_embeddings().weight.shape[0]
    if max([tokenizer.pad_token_id, *ids]) >= rows:
        raise CourseError(
            f"base_model={config.base_model}: its tokenizer has tokens beyond the {rows} that the model has embeddings"
            f" for; save the model again after resize_token_embeddings({len(tokenizer)})"
        )
    return unknown


# ---------------------------------------------------------------- how they were understood


def _said_of_base(experiment: Experiment, model: nn.Module, tokenizer) -> str:
    from course_utils.inputs.bases import is_decoder, linear_layers, target_modules

    kind = model.config.model_type
    kind += ", a decoder" if is_decoder(kind) else ", an encoder"
    settings = [experiment.config(method).settings for method in experiment.methods]
    named = next((own.target_modules for own in settings if isinstance(own, LowRankSettings)), None)
    targets = [] if named is None else target_modules(model, named)
    adapted = [name for name in linear_layers(model) if f".{name}".endswith(tuple(f".{target}" for target in targets))]
    short = list(dict.fromkeys(target.rpartition(".")[2] for target in targets))
    return (
        f"base model: {experiment.shared.base.facts.name} ({kind}), {model.num_parameters() / 1e6:,.1f} M parameters;"
        f" adapted: {len(adapted)} layers, {and_joined(short) if short else 'none'};"
        f" padding token {one_line(tokenizer.pad_token)}"
    )


def _said_of_speed(config: RunConfig, model: nn.Module) -> str:
    from course_utils.training.recorded_steps import can_record
    from course_utils.training.speed import fitting

    tricks = fitting(model, config.precision) if config.speedups else []
    tricks += ["steps recorded as CUDA graphs"] if can_record(config, model) else []
    return f"sped up: {'; '.join(tricks) if tricks else 'nothing; the code of the libraries runs unchanged'}"


def _said_of_data(data: Data, task: Task, source: Source) -> list[str]:
    counts = data.sets["train"].label.value_counts() if task.has_head else {}
    classes = [f"{one_line(name)} {counts.get(label, 0):,}" for label, name in task.labels.items()]
    sets = [f"{len(frame):,} {data.titles[name]}" for name, frame in data.sets.items()]
    left_out = [f"{reason}: {n:,}" for reason, n in data.removed.items()]
    rare = [name for name, label in zip(classes, task.labels, strict=True) if counts.get(label, 0) < FEW_OF_A_CLASS]
    shown, named = (", ".join(of if len(of) <= 10 else [*of[:9], f"{len(of) - 9} more"]) for of in (classes, rare))
    notes = [f"note: classes with few texts, which may be missing from a set: {named}"] if rare else []
    if any(f"column {name!r}" in line for line in data.understood for name in task.labels.values()):
        notes.append("note: a column is named like a class; if the file has no header, give it one")
    return [
        f"classes in training: {shown}" if task.has_head else "labels are not read",
        f"sets: {', '.join(sets)}" + (f"; left out: {'; '.join(left_out)}" if left_out else ""),
        *data.understood,
        *notes,
        *_said_of_other_files(source),
    ]


def _said_of_other_files(source: Source) -> list[str]:
    """Which tables in the folder of a reader's own data are not read."""
    if not isinstance(source, Files) or not (place := find_path(source.name)) or not place.is_dir():
        return []
    read = {file if file.parent == place else file.parents[1] for file in source.files()}
    tables = {file for file in place.iterdir() if file.suffix.lower() in READERS}
    left = [one_line(file.name) for file in sorted(tables - read)]
    shown = left if len(left) <= 10 else [*left[:9], f"{len(left) - 9} more"]
    return [f"note: not read, as no name has train, dev or test as its first word: {', '.join(shown)}"] if left else []


def _said_of_limits(experiment: Experiment, data: Data) -> list[str]:
    """Which settings limit the sets, and which studies of fewer texts have as many, where the texts are one's own."""
    config, texts = experiment.shared, len(data.sets["train"])
    if not config.has_own_texts:
        return []
    said = []
    if data.limited:
        named = and_joined([f"{name}={getattr(config, name)}" for name in data.limited])
        verb = "leaves" if len(data.limited) == 1 else "leave"
        said.append(f"note: {named} {verb} texts out; -p {data.limited[0]}=none takes all texts")
    sizes = {name: study.settings.get("max_train") or 0 for name, study in experiment.studies.items()}
    if alike := [name for name, most in sizes.items() if most >= texts]:
        have = "has" if len(alike) == 1 else "have"
        said.append(f"note: {and_joined(alike)} {have} as many training texts as the main runs, {texts:,}")
    return said


def _said_of_texts(config: RunConfig, tokens: list[list[int]], unknown: float, pairs: bool) -> str:
    import numpy as np

    from course_utils.tasks.classification import kept_of_longer

    lengths = np.array([len(text) for text in tokens])
    cut = (lengths > config.max_length).mean()
    kept = f" ({kept_of_longer(config.truncation, pairs)})" if cut else ""
    return (
        f"training texts: {np.median(lengths):.0f} tokens (median), {lengths.max()} at most; {cut:.1%} are cut at"
        f" max_length={config.max_length}{kept}; {unknown:.1%} of the tokens are unknown"
    )


def _said_of_costs(experiment: Experiment, texts: int) -> str:
    configs = [experiment.config(method) for method in experiment.methods]
    memory = [expected_memory(config) / 1000 for config in configs]
    seconds = [expected_seconds(config, texts) for config in configs]
    total = ""
    if experiment.shared.has_own_texts:
        total = f"; with nothing done yet roughly {duration(expected_total(experiment, usable_cores(), texts))} in all"
    return (
        f"a run takes roughly {min(memory):.1f} to {max(memory):.1f} GB of memory, and {duration(min(seconds))} to"
        f" {duration(max(seconds))}{total}"
    )


def write_inputs(experiment: Experiment) -> None:
    """Check the inputs of `experiment` and write what identifies them to runs/<experiment>/inputs.json."""
    text = json.dumps({"settings": experiment.shared.digest} | check_inputs(experiment), indent=2, ensure_ascii=False)
    write_whole(runs_folder() / experiment.name / "inputs.json", text + "\n")


def understood(experiment: Experiment) -> list[str]:
    """How the inputs were understood when they were last checked for these settings; empty if they were not."""
    path = runs_folder() / experiment.name / "inputs.json"
    try:
        found = json.loads(path.read_text("utf-8"))
        return found["understood"] if found["settings"] == experiment.shared.digest else []
    except (OSError, ValueError, KeyError, TypeError):
        return []
