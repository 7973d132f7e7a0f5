"""Writes a model card from a run: every number in it is read or computed from the run's record."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import date
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_utils.assets import locate_base_model
from course_utils.errors import CourseError
from course_utils.methods import METHODS
from course_utils.methods.base import Settings
from course_utils.paths import PROJECT
from course_utils.stats import wilson_interval

if TYPE_CHECKING:
    from course_utils.runs import RunResult

TEMPLATES = PROJECT / "course_utils" / "templates"
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


def write_card(result: RunResult, folder: Path) -> None:
    """Write the model card of the run that `result` records as README.md beside the adapter in `folder`."""
    from huggingface_hub import ModelCard
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    body = environment.get_template("card.md.jinja").render(_values(result, folder))
    ModelCard(f"---\n{metadata(result).to_yaml()}\n---\n\n{body}\n").save(folder / "README.md")


def metadata(result: RunResult):
    """What a hub reads of the card: a huggingface_hub ModelCardData."""
    from huggingface_hub import EvalResult, ModelCardData

    method, base, data = METHODS[result.config.method], _base_model(result), _data(result)
    evaluations = [
        EvalResult(
            task_type="text-classification",
            task_name="Sentiment analysis",
            dataset_type=name,
            dataset_name=_capitalised(result.data.titles[name]),
            metric_type=metric,
            metric_name=title,
            metric_value=getattr(metrics, metric),
        )
        for name, metrics in result.metrics.items()
        for metric, title in (("accuracy", "Accuracy"), ("f1", "F1"))
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


def _values(result: RunResult, folder: Path) -> dict[str, Any]:
    """What the template prints, by name."""
    config, method = result.config, METHODS[result.config.method]
    base, data = _base_model(result), _data(result)
    total_steps = config.epochs * ceil(result.data.sizes["train"] / config.batch_size)
    rows = {name: _row(result, name) for name in result.metrics}
    citations = [method.citation, *base.citations, *data.citations]
    return {
        "result": result,
        "config": config,
        "method": method,
        "base": base,
        "data": data,
        "location": None if config.base_model == "embedded" else config.base_model,
        "revision": _hub_revision(result),
        "head_modules": _head_modules(folder),
        "sizes": ", ".join(f"{size:,} {result.data.titles[name]}" for name, size in result.data.sizes.items()),
        "adapter_settings": _adapter_settings(result),
        "warmup_steps": config.warmup(total_steps),
        "total_steps": total_steps,
        "measurements": [(_titled(name), _in_short(value)) for name, value in result.method.items()],
        "results": [row for name, row in rows.items() if name in ("validation", "test")],
        "elsewhere": [row for name, row in rows.items() if name not in ("validation", "test")],
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
    return BASE_MODELS.get(name) or Source(name, hub_id=name if on_hub else None)


def _hub_revision(result: RunResult) -> str | None:
    location, _, revision = result.base_model.fingerprint.rpartition("@")
    return revision if location.startswith("hub:") and revision != "main" else None


def _data(result: RunResult) -> Source:
    # A folder that holds SST-2 is recognised by its sentences, and its evaluation set named accordingly.
    is_sst2 = result.data.titles["test"] == "SST-2 validation"
    name = result.config.data
    return DATA["sst2"] if is_sst2 else DATA.get(name) or Source(name)


def _row(result: RunResult, name: str) -> dict[str, Any]:
    metrics, test = result.metrics[name], result.metrics.get("test")
    low, high = wilson_interval(round(metrics.accuracy * metrics.n), metrics.n)
    return {
        "title": _capitalised(result.data.titles[name]),
        "n": metrics.n,
        "accuracy": metrics.accuracy,
        "interval": (low, high),
        "f1": metrics.f1,
        "difference": metrics.accuracy - test.accuracy if test else None,
    }


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

    from course_utils.models import TARGET_MODULES

    location, revision = locate_base_model(base_model)
    return TARGET_MODULES[AutoConfig.from_pretrained(location, revision=revision).model_type]


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
