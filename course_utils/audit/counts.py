"""How many parameters PEFT counts: the architecture is built on the meta device, and PEFT wraps it with the adapter."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from course_utils.audit.knowledge import KNOWLEDGE
from course_utils.errors import CourseError
from course_utils.paths import find_folder

HEADS: dict[str, str] = KNOWLEDGE["peft"]["heads"]
LABELLED = ("SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS")  # heads that have one row per class
CLASSES = (2, 1, *range(3, 201))  # that are tried where nothing says how many a head has


class Counts(NamedTuple):
    """Parameters of an adapted model: of the plain one, all that PEFT counts, the trained ones, the saved copies."""

    base: int
    all: int
    trainable: int
    saved: int
    linear: int  # parameters of the linear layers, which take half a parameter each in 4 bits as PyTorch counts them
    buffer_bytes: int
    width: int

    @property
    def totals(self) -> tuple[int, ...]:
        """What people call the total: as PEFT counts, the saved modules once, the base model, that without head."""
        return self.all, self.all - self.saved, self.base, self.base - self.saved

    @property
    def trained(self) -> tuple[int, ...]:
        """What people call trainable: all that is, or without the modules that are saved whole."""
        return self.trainable, self.trainable - self.saved

    def plus(self, other: Counts, times: int) -> Counts:
        """These counts plus `times` their difference to `other`: for a head of more classes."""
        return Counts(*(one + times * (two - one) for one, two in zip(self, other, strict=True)))

    def __str__(self) -> str:
        once = f", {self.all - self.saved:,} with the saved modules once" if self.saved else ""
        return f"{self.trainable:,} trainable of {self.all:,} parameters as PEFT counts{once}"


@dataclass(frozen=True)
class Base:
    """The configuration of a base model, and the name of it in sentences."""

    name: str
    config: str  # as JSON, a key of the cache of `built`

    def counts(self, adapter: dict[str, Any], task: str | None, classes: int | None = None) -> Iterator[Counts]:
        """What PEFT counts with the `adapter` configuration, for heads of `task` (or any), and `classes` (or any)."""
        for head in self._heads(adapter, task):
            one = self.sized(adapter, head, classes or 2)
            if not one or classes or head not in LABELLED:
                yield from [one] if one else []
            elif more := self.sized(adapter, head, 3):
                yield from (one.plus(more, n - 2) for n in CLASSES)

    def _heads(self, adapter: dict[str, Any], task: str | None) -> list[str]:
        """The heads of a task, likeliest first: "feature extraction" is PEFT's name for a task that is not given."""
        if task in HEADS and task != "FEATURE_EXTRACTION":
            return [task]
        unlabelled = task == "FEATURE_EXTRACTION" and not adapter.get("modules_to_save")
        writes = not self.sized(adapter, "MASKED_LM")  # an architecture without this head generates text
        return sorted(HEADS, key=lambda head: (unlabelled or writes) and head in LABELLED)

    def sized(self, adapter: dict[str, Any] | None, head: str, classes: int = 2) -> Counts | None:
        """The counts with one head; None where transformers or PEFT refuses the architecture or the adapter."""
        return built(self.config, json.dumps(adapter), head, classes)


@cache
def built(base: str, adapter: str, head: str, classes: int) -> Counts | None:
    """The counts of one architecture with one adapter, or with none; None where transformers or PEFT refuses them."""
    import torch
    import transformers
    from peft import get_peft_model
    from peft.utils import ModulesToSaveWrapper
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config = transformers.AutoConfig.for_model(**json.loads(base))
            config.num_labels = classes
            config.pad_token_id = getattr(config, "pad_token_id", None) or 0
            model = getattr(transformers, HEADS[head]).from_config(config, trust_remote_code=False)
            plain, buffers = sum(p.numel() for p in model.parameters()), list(model.buffers())
            linear = sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear))
            trainable, everything, copies = 0, plain, []
            if settings := json.loads(adapter):
                model = get_peft_model(model, peft_config(settings, head))
                trainable, everything = model.get_nb_trainable_parameters()
                copies = [m.modules_to_save for m in model.modules() if isinstance(m, ModulesToSaveWrapper)]
    except Exception:  # a stranger's configuration may be anything, and then its counts are not known
        return None
    finally:
        logging.set_verbosity(level)
    saved = sum(p.numel() for copy in copies for p in copy.parameters())
    buffer_bytes = sum(buffer.numel() * buffer.element_size() for buffer in buffers)
    return Counts(plain, everything, trainable, saved, linear, buffer_bytes, config.get_text_config().hidden_size)


def peft_config(adapter: dict[str, Any], task: str) -> Any:
    """PEFT's configuration object for the `adapter` configuration, made ready to train and to initialise nothing."""
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING as KINDS
    from peft.utils import PeftType

    kind = KINDS[PeftType(adapter["peft_type"])]
    neutral = {name: None if value == "" else value for name, value in KNOWLEDGE["peft"]["neutral"].items()}
    changed = adapter | {name: neutral[name] for name in neutral.keys() & adapter}
    changed |= {"task_type": task if task != "MASKED_LM" else None, "base_model_name_or_path": None}
    ours = kind.__dataclass_fields__.keys() - {"peft_type", "auto_mapping"}
    return kind(**{name: value for name, value in changed.items() if name in ours})


# ---------------------------------------------------------------- which base a name means


def known_bases(name: str) -> list[Base]:
    """The known bases that `name` means, of its owner where it names one; or the base in the folder `name`."""
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
    kept = {name: value for name, value in config.items() if name not in KNOWLEDGE["peft"]["no_architecture"]}
    return Base(path.resolve().parent.name, json.dumps(kept))
