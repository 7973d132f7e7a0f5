"""Writes a model card from a run: every number in it is read or computed from the run's record and predictions."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from datetime import date
from functools import cache
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from course_utils.assets import locate_base_model
from course_utils.comparison import ExperimentRuns, readable_summary, summary_table
from course_utils.config import Experiment, RunConfig, load_experiment
from course_utils.display import code_span
from course_utils.errors import CourseError
from course_utils.methods import METHODS
from course_utils.methods.base import Settings
from course_utils.paths import PROJECT
from course_utils.runs import CARD, Run, RunResult
from course_utils.stats import CrossedBootstrap, Interval, wilson_interval

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

TEMPLATES = PROJECT / "course_utils" / "templates"
METRICS = {"accuracy": "Accuracy", "f1": "F1", "nll": "NLL", "brier": "Brier score", "ece": "ECE"}
SST2_VALIDATION = "SST-2 validation"
PACKAGES = {"python": "Python", "torch": "PyTorch", "transformers": "Transformers", "peft": "PEFT"}


@dataclass(frozen=True)
class Source:
    """What a card says of a base model or of training data: its name, and what is known beyond it."""

    name: str
    hub_id: str | None = None
    license: str | None = None
    citations: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()


BASE_MODELS = {
    "embedded": Source(
        "all-MiniLM-L6-v2",
        hub_id="sentence-transformers/all-MiniLM-L6-v2",
        license="apache-2.0",
        citations=("wang2020minilm",),
        limits=(
            "The base model was trained contrastively, to give similar sentences similar embeddings. It is no "
            "masked-language model, and what holds for it need not hold for one.",
        ),
    ),
    "distilbert-base-uncased": Source(
        "distilbert-base-uncased",
        hub_id="distilbert-base-uncased",
        license="apache-2.0",
        citations=("sanh2019distilbert",),
    ),
}
DATA = {
    "embedded": Source(
        "rated movie review snippets",
        citations=("hutto2014vader",),
        limits=(
            "Sentences whose mean rating by people is near zero are in none of the sets. On all sentences, unclear "
            "ones included, its accuracy would be lower.",
        ),
    ),
    "sst2": Source(
        "SST-2",
        hub_id="stanfordnlp/sst2",
        citations=("socher2013sst",),
        limits=("Most training examples are phrases of sentences from movie reviews, not whole sentences.",),
    ),
}


def write_card(run: Run, experiment: Experiment | None = None, compared: dict[str, str] | None = None) -> None:
    """Write the model card of `run` as README.md beside its adapter.

    `experiment` is the one that the run belongs to, where it is known; `compared` the run's row of its comparison,
    title → printed value, where all runs are finished.
    """
    from huggingface_hub import ModelCard
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["code_span"] = code_span
    intervals = run_intervals(run)
    values = _values(run, intervals) | {"command": command(run.config, experiment), "compared": compared}
    body = environment.get_template("card.md.jinja").render(values)
    new = run.folder / "adapter" / ".README.md.new"
    ModelCard(f"---\n{metadata(run.result, intervals).to_yaml()}\n---\n\n{body}\n").save(new)
    new.replace(run.folder / CARD)


def write_cards(results: ExperimentRuns) -> None:
    """Write the card of every adapter of `results` again, now with its method's row of the comparison."""
    adapters = [run for run in results.runs if not run.method.is_baseline]
    compared = {}
    for study in {run.config.study for run in adapters if run.config.final}:
        summary = summary_table(results, study)
        rows = readable_summary(summary).to_dict("records")
        compared |= {(study, method): row for method, row in zip(summary["method"], rows, strict=True)}
    for run in adapters:
        write_card(run, results.experiment, compared.get((run.config.study, run.config.method)))


def run_intervals(run: Run) -> dict[str, dict[str, Interval]]:
    """Set → metric → its value in the run's record with its 95% interval, the set's sentences as the sample."""
    return {
        name: metric_intervals(rows[["logit_0", "logit_1"]].to_numpy(), rows["label"].to_numpy())
        for name, rows in run.predictions().groupby("set", sort=False)
    }


def metric_intervals(logits: np.ndarray, labels: np.ndarray) -> dict[str, Interval]:
    """Every metric of `logits` (n, 2) against `labels` (n,) with its 95% interval, sentences as the sample.

    Accuracy has Wilson's interval, the others that of a bootstrap over sentences with a fixed random seed.
    """
    from course_utils.evaluation import confidences, sentence_losses

    bootstrap, predicted = _bootstrap(len(labels)), logits.argmax(axis=1)
    positive, nll, brier = sentence_losses(logits, labels)
    confidence, right, its_bin = confidences(positive, labels)
    correct = int((predicted == labels).sum())
    intervals = {
        "accuracy": Interval(correct / len(labels), *wilson_interval(correct, len(labels))),
        "f1": bootstrap.f1_interval(predicted[None], labels),
        "nll": bootstrap.mean_interval(nll[None]),
        "brier": bootstrap.mean_interval(brier[None]),
        "ece": bootstrap.ece_interval(confidence - right, its_bin),
    }
    largest = {"nll": np.inf}  # intervals that were expanded may go beyond what the metric can be
    return {
        name: Interval(of.estimate, max(of.low, 0.0), min(of.high, largest.get(name, 1.0)))
        for name, of in intervals.items()
    }


@cache
def _bootstrap(sentences: int) -> CrossedBootstrap:
    return CrossedBootstrap.draw(1, sentences)


def command(config: RunConfig, experiment: Experiment | None = None) -> str:
    """The command that makes the run of `config`.

    Its -p options are the overrides of `experiment` where that is known, and otherwise what sets the run apart from
    its profile, which gives the same numbers.
    """
    profile = config.experiment.partition("+")[0]
    if experiment:
        overrides = experiment.overrides
    else:
        plain = load_experiment(profile).config(config.method, config.seed, config.study)
        pairs = [(config, plain), (config.settings, plain.settings)]
        overrides = {
            name: value
            for own, usual in pairs
            for name, value in own
            if name not in ("experiment", "settings") and value != getattr(usual, name)
        }
    words = ["python", "-m", "course_utils", "train", "--profile", profile]
    words += [word for name, value in overrides.items() for word in ("-p", f"{name}={as_typed(value)}")]
    words += ["--method", config.method, "--seed", str(config.seed)]
    words += ["--study", config.study] if config.study != "main" else []
    return shlex.join(words)


def as_typed(value: Any) -> str:
    """`value` as -p takes it."""
    return ",".join(value) if isinstance(value, list | tuple) else "none" if value is None else str(value)


def metadata(result: RunResult, intervals: dict[str, dict[str, Interval]]) -> ModelCardData:
    """What a hub reads of the card, every metric with its `intervals` (set → metric → interval)."""
    from huggingface_hub import EvalResult, ModelCardData

    method, base, data = METHODS[result.config.method], _base_model(result), _data(result)
    evaluations = [
        EvalResult(
            task_type="text-classification",
            task_name="Sentiment analysis",
            dataset_name=_capitalised(result.data.titles[name]),
            **_dataset(result, name),
            dataset_args={"sentences": metrics.n, "fingerprint": result.data.fingerprint},
            metric_type=metric,
            metric_name=title,
            metric_value=getattr(metrics, metric),
            metric_args={"interval_95": [round(end, 4) for end in intervals[name][metric].ends]},
        )
        for name, metrics in result.metrics.items()
        for metric, title in METRICS.items()
    ]
    return ModelCardData(
        language="en",
        license=base.license,
        base_model=base.hub_id,
        base_model_relation="adapter" if base.hub_id else None,
        library_name="peft",
        pipeline_tag="text-classification",
        tags=[method.name.replace("_", "-"), "sentiment-analysis"],
        datasets=[data.hub_id] if data.hub_id else None,
        metrics=["accuracy", "f1"],
        model_name=f"{method.title} on {base.name}, seed {result.config.seed}",
        eval_results=evaluations,
    )


def _dataset(result: RunResult, name: str) -> dict[str, str]:
    """What the hub calls the evaluation set `name`, where it has it; its name among our sets otherwise."""
    if result.data.titles[name] == SST2_VALIDATION:
        return {"dataset_type": DATA["sst2"].hub_id, "dataset_split": "validation"}
    return {"dataset_type": name}


def bibtex(key: str) -> str:
    """The entry `key` of references.bib, one field a line; CourseError if there is none."""
    text = (TEMPLATES / "references.bib").read_text(encoding="utf-8")
    match = re.search(r"^@\w+\{" + re.escape(key) + ",", text, re.MULTILINE)
    if not match:
        raise CourseError(f"references.bib has no entry {key!r}; add it, or correct the citation of the method.")
    depth, end = 1, match.end()
    while depth:
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        end += 1
    fields = re.sub(r",\s+(?=\w+\s*=\s*\{)", ",\n  ", text[match.start() : end - 1].strip())
    return f"{fields}\n}}"


def _values(run: Run, intervals: dict[str, dict[str, Interval]]) -> dict[str, Any]:
    """What the template prints, by name."""
    result, config, method = run.result, run.config, run.method
    base, data = _base_model(result), _data(result)
    total_steps = config.epochs * ceil(result.data.sizes["train"] / config.batch_size)
    evaluated = sum(metrics.n for metrics in result.metrics.values())
    citations = [method.citation, *base.citations, *data.citations]
    return {
        "result": result,
        "config": config,
        "method": method,
        "base": base,
        "data": data,
        "location": None if config.base_model == "embedded" else config.base_model,
        "revision": _hub_revision(result),
        "head_modules": _head_modules(run.folder / "adapter"),
        "sizes": ", ".join(f"{size:,} {result.data.titles[name]}" for name, size in result.data.sizes.items()),
        "adapter_settings": _adapter_settings(result),
        "warmup_steps": config.warmup(total_steps),
        "total_steps": total_steps,
        "measurements": [(_titled(name), _in_short(value)) for name, value in result.method.items()],
        "metrics": METRICS,
        "results": [
            {"title": _capitalised(result.data.titles[name]), "n": result.metrics[name].n} | of_set
            for name, of_set in intervals.items()
        ],
        "elsewhere": _elsewhere(result),
        "evaluated": evaluated,
        "eval_seconds": evaluated * result.timing.eval_ms_per_example / 1000,
        "others": [other for other in METHODS.values() if other is not method],
        "citations": [bibtex(key) for key in dict.fromkeys(citations)],
        "versions": {PACKAGES.get(name, name): number for name, number in result.environment.versions.items()},
        "date": date.today().isoformat(),
        "count": "{:,}".format,
        "percent": "{:.2%}".format,
        "megabytes": lambda size: f"{size / 1e6:,.2f} MB",
    }


def _base_model(result: RunResult) -> Source:
    name = result.config.base_model
    on_hub = result.base_model.fingerprint.startswith("hub:")
    return BASE_MODELS.get(name) or (Source(name, hub_id=name) if on_hub else Source(code_span(name)))


def _hub_revision(result: RunResult) -> str | None:
    location, _, revision = result.base_model.fingerprint.rpartition("@")
    return revision if location.startswith("hub:") and revision != "main" else None


def _data(result: RunResult) -> Source:
    # A folder that holds SST-2 is recognised by its sentences, and its evaluation set named accordingly.
    is_sst2 = result.data.titles["test"] == SST2_VALIDATION
    name = result.config.data
    return DATA["sst2"] if is_sst2 else DATA.get(name) or Source(code_span(name))


def _elsewhere(result: RunResult) -> list[dict[str, Any]]:
    """Title, accuracy and difference to the test set of the sets that are not of the training data's kind."""
    return [
        {
            "title": _capitalised(result.data.titles[name]),
            "accuracy": metrics.accuracy,
            "difference": metrics.accuracy - result.metrics["test"].accuracy,
        }
        for name, metrics in result.metrics.items()
        if name not in ("validation", "test")
    ]


def _adapter_settings(result: RunResult) -> list[tuple[str, str, str]]:
    """(name, value, meaning) of the settings that the method adds to those that every method has."""
    settings = result.config.settings
    lines = []
    for name, field in type(settings).model_fields.items():
        if name in Settings.model_fields:
            continue
        value = getattr(settings, name)
        if name == "target_modules":
            value = ", ".join(f"`{module}`" for module in value or _default_targets(result.config.base_model))
        elif isinstance(value, float):
            value = f"{value:g}"
        lines.append((_titled(name), str(value), (field.description or "").partition(", ")[0]))
    return lines


def _default_targets(base_model: str) -> list[str]:
    # Not from the saved adapter: a layer without surviving ranks is no longer in it.
    from transformers import AutoConfig

    from course_utils.models import NO_CODE, TARGET_MODULES

    location, revision = locate_base_model(base_model)
    return TARGET_MODULES[AutoConfig.from_pretrained(location, revision=revision, **NO_CODE).model_type]


def _in_short(value: Any) -> str:
    """A measurement on one line; of one value a layer, its range and mean."""
    if isinstance(value, dict) and value and all(isinstance(v, int | float) for v in value.values()):
        numbers = list(value.values())
        mean = sum(numbers) / len(numbers)
        return f"{_in_short(min(numbers))} to {_in_short(max(numbers))} (mean {_in_short(mean)}, {len(numbers)} layers)"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _head_modules(folder: Path) -> list[str]:
    """Names of the modules of the head; PEFT's configuration also lists names that only other models have."""
    from safetensors import safe_open

    listed = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["modules_to_save"]
    with safe_open(folder / "adapter_model.safetensors", "pt") as tensors:
        saved = {key.removeprefix("base_model.model.").partition(".")[0] for key in tensors.offset_keys()}
    return sorted(saved.intersection(listed))


def _capitalised(title: str) -> str:
    return title[:1].upper() + title[1:]


def _titled(name: str) -> str:
    return name.replace("_", " ").title()
