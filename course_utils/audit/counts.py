"""How many parameters PEFT counts: the architecture is built on the meta device, and PEFT wraps it with the adapter."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

from course_utils.audit.knowledge import KNOWLEDGE
from course_utils.errors import CourseError
from course_utils.paths import find_folder

HEADS: dict[str, str] = KNOWLEDGE["peft"]["heads"]
LABELLED = ("SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS")  # heads that have one row a class
CLASSES = (2, 1, *range(3, 201))  # that a card's head may have, where nothing says how many


@dataclass(frozen=True)
class Counts:
    """Parameters of an adapted model: of the plain one, all that PEFT counts, the trained ones, the saved copies."""

    head: str
    base: int
    all: int
    trainable: int
    saved: int
    buffer_bytes: int
    linear: int  # parameters of the linear layers, which take half a parameter each in 4 bits as PyTorch counts them
    width: int

    @property
    def totals(self) -> tuple[int, ...]:
        """What people call the total: as PEFT counts, the saved modules once, the base model alone."""
        return self.all, self.all - self.saved, self.base

    @property
    def trained(self) -> tuple[int, ...]:
        """What people call trainable: all that is, or without the modules that are saved whole."""
        return self.trainable, self.trainable - self.saved

    def plus(self, other: Counts, times: int) -> Counts:
        """These counts and `times` the step from these to `other`: a head of more classes."""
        of = {name: getattr(self, name) + times * (getattr(other, name) - getattr(self, name)) for name in NUMBERS}
        return Counts(self.head, width=self.width, **of)

    def __str__(self) -> str:
        once = f", {self.all - self.saved:,} with the saved modules once" if self.saved else ""
        return f"{self.trainable:,} trainable of {self.all:,} parameters as PEFT counts{once}"


NUMBERS = ("base", "all", "trainable", "saved", "buffer_bytes", "linear")


@dataclass(frozen=True)
class Base:
    """The configuration of a base model, and the name of it in sentences."""

    name: str
    config: str  # JSON: it is a key of what has been built

    def counts(self, adapter: dict[str, Any], task: str | None, classes: int | None = None) -> Iterator[Counts]:
        """What PEFT counts with the `adapter` configuration, for heads of `task` (or any), and `classes` (or any)."""
        unlabelled = task == "FEATURE_EXTRACTION" and not adapter.get("modules_to_save")
        likeliest = sorted(HEADS, key=lambda head: unlabelled and head in LABELLED)
        for of_task in [task] if task in HEADS and task != "FEATURE_EXTRACTION" else likeliest:
            if (one := wrapped(self.config, json.dumps(adapter), of_task, classes or 2)) is None:
                continue
            more = (
                wrapped(self.config, json.dumps(adapter), of_task, 3) if of_task in LABELLED and not classes else None
            )
            yield from (one.plus(more, n - 2) for n in CLASSES) if more else [one]


@cache
def wrapped(base: str, adapter: str, task: str, classes: int) -> Counts | None:
    """The counts of one architecture with one adapter; None where transformers or PEFT refuses the two."""
    import torch
    import transformers
    from peft import get_peft_model
    from peft.utils import ModulesToSaveWrapper
    from transformers.utils import logging

    not_drawn = patch.object(
        torch.nn.Linear, "reset_parameters", lambda layer: None
    )  # a third of the time, for nothing
    level, settings = logging.get_verbosity(), json.loads(base)
    logging.set_verbosity(logging.CRITICAL)
    try:
        with torch.device("meta"), not_drawn, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config = transformers.AutoConfig.for_model(**settings)
            config.num_labels = classes
            config.pad_token_id = config.pad_token_id or 0 if hasattr(config, "pad_token_id") else None
            model = getattr(transformers, HEADS[task]).from_config(config, trust_remote_code=False)
            plain, buffers = sum(p.numel() for p in model.parameters()), list(model.buffers())
            linear = sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear))
            model = get_peft_model(model, peft_config(json.loads(adapter), task))
            trainable, all_of_it = model.get_nb_trainable_parameters()
            copies = [module for module in model.modules() if isinstance(module, ModulesToSaveWrapper)]
            saved = sum(p.numel() for wrapper in copies for p in wrapper.modules_to_save.parameters())
    except Exception:  # a stranger's configuration may be anything, and then its counts are not known
        return None
    finally:
        logging.set_verbosity(level)
    size = sum(buffer.numel() * buffer.element_size() for buffer in buffers)
    return Counts(HEADS[task], plain, all_of_it, trainable, saved, size, linear, config.get_text_config().hidden_size)


def peft_config(adapter: dict[str, Any], task: str) -> Any:
    """PEFT's configuration object for the `adapter` configuration, made ready to train and to initialise nothing."""
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING as KINDS
    from peft.utils import PeftType

    neutral = {name: value or None if value == "" else value for name, value in KNOWLEDGE["peft"]["neutral"].items()}
    kind = KINDS[PeftType(adapter["peft_type"])]
    fields = kind.__dataclass_fields__
    changed = adapter | {name: value for name, value in neutral.items() if name in adapter} | {"inference_mode": False}
    known = {
        name: value for name, value in changed.items() if name in fields and name not in ("peft_type", "auto_mapping")
    }
    known |= {"task_type": task if task != "MASKED_LM" else None, "base_model_name_or_path": None}
    return kind(**known)


# ---------------------------------------------------------------- which base a name means


def known_bases(name: str) -> list[Base]:
    """The bases of the table that `name` means, an owner's name told from another's; those of a folder it is."""
    name = name.strip().rstrip("/")
    entries = [e for e in KNOWLEDGE["bases"] if name.lower() in (own.lower() for own in e["names"])]
    bare = "/" not in name or name.count("/") > 1 or name.startswith((".", "/", "assets"))
    if not entries and bare:  # a name without an owner, or a path that ends in it
        last = name.rpartition("/")[2].lower()
        entries = [e for e in KNOWLEDGE["bases"] if last in {own.rpartition("/")[2].lower() for own in e["names"]}]
    if entries:
        return [Base(entry["names"][0], json.dumps(entry["config"])) for entry in entries]
    folder = find_folder(name) if re.fullmatch(r"[\w./~-]{1,300}", name) else None
    return [read_base(folder)] if folder and (folder / "config.json").is_file() else []


def read_base(path: Path | str) -> Base:
    """The base whose configuration is the file `path`, or lies in the folder `path`; CourseError if none does."""
    path = Path(path)
    path = path / "config.json" if path.is_dir() else path
    try:
        config = json.loads(path.read_text("utf-8"))
        if not isinstance(config["model_type"], str):
            raise TypeError
    except (OSError, ValueError, KeyError, TypeError):
        raise CourseError(f"{path} is no configuration of a model; type the config.json of the base model.") from None
    kept = {
        name: value
        for name, value in config.items()
        if name
        not in (
            "auto_map",
            "quantization_config",
            "torch_dtype",
            "dtype",
            "architectures",
            "id2label",
            "label2id",
            "num_labels",
            "transformers_version",
        )
    }
    return Base(path.resolve().parent.name, json.dumps(kept))


@cache
def plain_size(base: Base, task: str = "FEATURE_EXTRACTION") -> tuple[int, int]:
    """Parameters of the plain base with the head of `task`, of two classes, and what its buffers take."""
    import torch
    import transformers

    with torch.device("meta"):
        config = transformers.AutoConfig.for_model(**json.loads(base.config), num_labels=2)
        model = getattr(transformers, HEADS[task]).from_config(config)
    buffers = sum(buffer.numel() * buffer.element_size() for buffer in model.buffers())
    return sum(p.numel() for p in model.parameters()), buffers
