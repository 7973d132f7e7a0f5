"""Writes a model card from a run: every number in it is read or computed from the run's record and predictions."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from datetime import date
from functools import partial
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from course_utils.config import Experiment, RunConfig, differing_settings, load_experiment, options_of
from course_utils.errors import CourseError
from course_utils.inputs.bases import ALL_LINEAR, target_modules, usual_targets
from course_utils.inputs.facts import Facts
from course_utils.inputs.sources import SST2, Files
from course_utils.inputs.splits import SST2_VALIDATION
from course_utils.methods import FLOOR, METHODS
from course_utils.methods.base import Settings
from course_utils.paths import BIBLIOGRAPHY, write_whole
from course_utils.runs import CARD, Run, RunResult
from course_utils.stats import Interval
from course_utils.tasks.classification import kept_of_longer, scores_of
from course_utils.tasks.language_modelling import change_in_bits
from course_utils.text import template
from course_utils.training.trainer import warmup_steps

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

SHOWN_PACKAGES = {"python": "Python", "torch": "PyTorch", "transformers": "Transformers", "peft": "PEFT"}


def write_card(run: Run, experiment: Experiment | None = None, compared: dict[str, str] | None = None) -> None:
    """Write the model card of `run` as README.md beside its adapter, and its results as .eval_results/*.yaml.

    `experiment` is the experiment of the run, if known; `compared` is the run's row of the comparison, title → printed
    value, if it is known.
    """
    intervals = run_intervals(run)
    body = card_text(run, intervals, experiment, compared)
    write_whole(run.folder / CARD, f"---\n{metadata(run.result, intervals).to_yaml()}\n---\n\n{body}\n")
    for name, text in eval_results(run.result, intervals).items():
        write_whole(run.folder / "adapter" / name, text)


def card_text(
    run: Run,
    intervals: dict[str, dict[str, Interval]],
    experiment: Experiment | None = None,
    compared: dict[str, str] | None = None,
) -> str:
    """The model card of `run` without its metadata; `intervals` are those of `run_intervals`."""
    form = "card.md.jinja" if run.task.has_head else "card_without_head.md.jinja"
    return template(Path(__file__).with_name(form)).render(
        _values(run), intervals=intervals, command=command(run.config, experiment), compared=compared
    )


def run_intervals(run: Run) -> dict[str, dict[str, Interval]]:
    """Set → metric → its value by the run's predictions with its 95% interval, the set's sentences as the sample."""
    return {
        name: run.task.intervals(scores_of(rows), rows[run.task.truth].to_numpy())
        for name, rows in run.predictions().groupby("set", sort=False)
    }


def command(config: RunConfig, experiment: Experiment | None = None) -> str:
    """The command that makes the run of `config`.

    Its -p options are the overrides of `experiment` if that is given. Otherwise they are the settings in which the run
    differs from its profile, which give the same numbers.
    """
    profile = config.experiment.partition("+")[0]
    if experiment:
        overrides = experiment.overrides
    else:
        usual = load_experiment(profile)
        overrides = {} if config.method in usual.methods else {"methods": [config.method]}
        plain = replace(usual, overrides=overrides).config(config.method, config.seed, config.study)
        overrides |= {name: value for name, (value, _) in differing_settings(config, plain).items()}
    words = ["python", "-m", "course_utils", "train", *options_of(profile, overrides)]
    words += ["--method", config.method, "--seed", str(config.seed)]
    words += ["--study", config.study] if config.study != "main" else []
    return shlex.join(words)


def metadata(result: RunResult, intervals: dict[str, dict[str, Interval]]) -> ModelCardData:
    """The metadata of the card for a hub, every metric with its `intervals` (set → metric → interval)."""
    from huggingface_hub import EvalResult, ModelCardData

    method, base, data = METHODS[result.config.method], result.config.base.facts, _data(result)
    task, shown = result.task, result.task.metrics
    named = [(name, known) for name, known in shown.items() if known.over_seeds or not task.has_head]
    evaluations = [
        EvalResult(
            task_type=task.hub_type,
            task_name=data.task if task.has_head else _titled(task.name),
            dataset_name=_title_of(result, name),
            **_dataset(result, name),
            dataset_args={_counted_in(result): metrics.n, "fingerprint": result.data.fingerprint},
            metric_type=metric,
            metric_name=known.title,
            metric_value=getattr(metrics, metric),
            metric_args={"interval_95": [round(end, 4) for end in intervals[name][metric].ends]},
        )
        for name, metrics in result.metrics.items()
        for metric, known in shown.items()
    ]
    return ModelCardData(
        language=data.language,
        license=base.license,
        base_model=base.hub_id,
        base_model_relation="adapter" if base.hub_id else None,
        library_name="peft",
        pipeline_tag=task.hub_type,
        tags=[
            method.name.replace("_", "-"),
            data.task.lower().replace(" ", "-") if task.has_head else task.name.replace("_", "-"),
        ],
        datasets=[data.hub_id] if data.hub_id else None,
        metrics=list(dict.fromkeys(known.instead or name for name, known in named)),
        model_name=f"{method.title} on {base.name}, seed {result.config.seed}",
        eval_results=evaluations,
    )


def eval_results(result: RunResult, intervals: dict[str, dict[str, Interval]]) -> dict[str, str]:
    """File in .eval_results → its YAML, one for every evaluation set, in the hub's form for results.

    A set that the hub does not have is called by its name in this project, as in the card's metadata.
    """
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml
    from huggingface_hub.constants import EVAL_RESULTS_FOLDER
    from huggingface_hub.utils import yaml_dump

    files = {}
    for name, metrics in result.metrics.items():
        entries = [
            EvalResultEntry(
                dataset_id=_dataset(result, name)["dataset_type"],
                task_id=metric,
                value=getattr(metrics, metric),
                notes=f"{_title_of(result, name)}, {metrics.n} {_counted_in(result)}, 95% interval [{of.low:.4f},"
                f" {of.high:.4f}]",
            )
            for metric, of in intervals[name].items()
        ]
        files[f"{EVAL_RESULTS_FOLDER}/{name}.yaml"] = yaml_dump(eval_result_entries_to_yaml(entries))
    return files


def _counted_in(result: RunResult) -> str:
    return "pairs" if result.data.pairs else "texts"


def _dataset(result: RunResult, name: str) -> dict[str, Any]:
    """The hub's name of the evaluation set `name`, if the hub has the set; otherwise its name among our sets."""
    if result.data.titles[name] == SST2_VALIDATION:
        return {"dataset_type": SST2.facts.hub_id, "dataset_split": "validation"}
    return {"dataset_type": name}


def bibtex(key: str) -> str:
    """The entry `key` of references.bib, one field per line; CourseError if there is none."""
    text = BIBLIOGRAPHY.read_text(encoding="utf-8")
    match = re.search(rf"^@\w+\{{{re.escape(key)},.*?(?=\s*\}}\s*(^[@%]|\Z))", text, re.MULTILINE | re.DOTALL)
    if not match:
        raise CourseError(f"references.bib has no entry {key!r}; add it, or correct the citation of the method.")
    return re.sub(r",\s+(?=\w+\s*=\s*\{)", ",\n  ", match[0]) + "\n}"


def _values(run: Run) -> dict[str, Any]:
    """What the template prints, by name; `elsewhere` is the difference in the first metric to the test set."""
    result, config, method = run.result, run.config, run.method
    base, data = config.base.facts, _data(result)
    total_steps = config.epochs * ceil(result.data.sizes["train"] / config.batch_size)
    evaluated = sum(metrics.n for metrics in result.metrics.values())
    judged = next(iter(run.task.metrics))
    citations = [method.citation, *base.citations, *data.citations]
    elsewhere = {name: of_set for name, of_set in result.metrics.items() if name not in ("validation", "test")}
    return {
        "result": result,
        "config": config,
        "method": method,
        "in_four_bits": run.in_four_bits,
        "base": base,
        "data": data,
        "location": None if config.base.is_embedded else config.base_model,
        "revision": result.base_model.revision,
        "head_modules": _head_modules(run.folder / "adapter"),
        "sizes": ", ".join(f"{size:,} {result.data.titles[name]}" for name, size in result.data.sizes.items()),
        "adapter_settings": _adapter_settings(result),
        "kept": kept_of_longer(config.truncation, result.data.pairs),
        "warmup_steps": warmup_steps(config, total_steps),
        "total_steps": total_steps,
        "measurements": [(_titled(name), _in_short(value)) for name, value in result.method.items()],
        "metrics": run.task.metrics,
        "auto_model": run.task.auto_model().__name__,
        "class_names": result.data.class_names,
        "id2label": f"{{{', '.join(f'{label}: {json.dumps(name)}' for label, name in run.task.labels.items())}}}",
        "own_files": isinstance(config.source, Files),
        "title_of": partial(_title_of, result),
        "elsewhere": {
            name: getattr(of, judged) - getattr(result.metrics["test"], judged) for name, of in elsewhere.items()
        },
        "changes": _changes(run),
        "evaluated": evaluated,
        "eval_seconds": evaluated * result.timing.eval_ms_per_example / 1000,
        "others": [
            other for other in METHODS.values() if other is not method and (run.task.has_head or other is not FLOOR)
        ],
        "citations": [bibtex(key) for key in dict.fromkeys(citations)],
        "versions": {SHOWN_PACKAGES.get(name, name): number for name, number in result.environment.versions.items()},
        "date": date.today().isoformat(),
        "count": "{:,}".format,
        "percent": "{:.2%}".format,
        "megabytes": lambda size: f"{size / 1e6:,.2f} MB",
    }


def _changes(run: Run) -> dict[str, Interval]:
    """Set → what the run changed in the bits per byte of the base model; empty where the task trains a head."""
    if run.task.has_head:
        return {}
    return {
        name: change_in_bits(
            scores_of(rows), np.stack(rows["scores_before"].to_list()), rows[run.task.truth].to_numpy()
        )
        for name, rows in run.predictions().groupby("set", sort=False)
    }


def _data(result: RunResult) -> Facts:
    # A folder that holds SST-2 is recognised by its sentences, and its evaluation set named accordingly.
    return SST2.facts if result.data.titles["test"] == SST2_VALIDATION else result.config.source.facts


def _adapter_settings(result: RunResult) -> list[tuple[str, str, str]]:
    """(name, value, meaning) of the settings that the method adds to those that every method has."""
    settings = result.config.settings
    lines = []
    for name, field in type(settings).model_fields.items():
        if name in Settings.model_fields:
            continue
        value = getattr(settings, name)
        if value is False:  # a switch that is off needs no line
            continue
        if name == "target_modules":
            # not from the saved adapter: a layer without surviving ranks is no longer in it
            value = ", ".join(f"`{module}`" for module in _layers_named(result, value))
        elif isinstance(value, float):
            value = f"{value:g}"
        lines.append((_titled(name), str(value), (field.description or "").partition(", ")[0]))
    return lines


def _in_short(value: Any) -> str:
    """A measurement on one line; of one value a layer, its range and mean."""
    if isinstance(value, dict):
        numbers = list(value.values())
        mean = sum(numbers) / len(numbers)
        return f"{_in_short(min(numbers))} to {_in_short(max(numbers))} (mean {_in_short(mean)}, {len(numbers)} layers)"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _head_modules(folder: Path) -> list[str]:
    """Names of the modules of the head; PEFT's configuration also lists names that only other models have."""
    from safetensors import safe_open

    listed = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["modules_to_save"] or []
    with safe_open(folder / "adapter_model.safetensors", "pt") as tensors:
        saved = {key.removeprefix("base_model.model.").partition(".")[0] for key in tensors.offset_keys()}
    return sorted(saved.intersection(listed))


def _title_of(result: RunResult, name: str) -> str:
    """Title of the evaluation set `name`, as a line starts with it."""
    title = result.data.titles[name]
    return title[:1].upper() + title[1:]


def _layers_named(result: RunResult, names: tuple[str, ...]) -> list[str]:
    """The names, without those of their blocks, of the layers that `names` means."""
    if names == (ALL_LINEAR,):
        model = result.config.base.without_weights(result.task)
        return [*dict.fromkeys(layer.rpartition(".")[2] for layer in target_modules(model, names))]
    return [*names] or usual_targets(result.config.base.config().model_type) or []


def _titled(name: str) -> str:
    return name.replace("_", " ").title()
