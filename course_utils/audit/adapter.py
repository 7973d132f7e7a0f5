"""What lies beside a card: the adapter's configuration, what its file stores, and what Trainer recorded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from math import exp, prod
from pathlib import Path
from typing import Any

from course_utils.audit.knowledge import KNOWLEDGE, METRIC_WORDS, split_of
from course_utils.errors import CourseError

EMBEDDINGS = ("embed_tokens.weight", "word_embeddings.weight", "wte.weight", "shared.weight", "embed_in.weight")
FILE = "adapter_model.safetensors"
WIDTHS = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2}  # bytes of a stored value


@dataclass(frozen=True)
class Adapter:
    """An adapter: its folder, its configuration, and of each stored tensor the shape and the type."""

    folder: Path
    config: dict[str, Any]
    shapes: dict[str, list[int]]
    types: dict[str, str]

    @property
    def kind(self) -> str:
        """PEFT's type of it."""
        return str(self.config["peft_type"])

    @property
    def file_bytes(self) -> int:
        """What its file takes."""
        return (self.folder / FILE).stat().st_size if self.shapes else 0

    def is_head(self, name: str) -> bool:
        """Whether the tensor belongs to a module that was saved whole: PEFT finds those by suffix."""
        parts = name.split(".")[:-1]
        return any(part.endswith(saved) for saved in self.config.get("modules_to_save") or [] for part in parts)

    def sizes(self, head: bool | None = None) -> tuple[int, int]:
        """Stored numbers and their bytes: of the head, of the adapter without it, or of both."""
        names = [name for name in self.shapes if head is None or self.is_head(name) == head]
        numbers = {name: prod(self.shapes[name]) for name in names}
        return sum(numbers.values()), sum(n * WIDTHS.get(self.types[name], 1) for name, n in numbers.items())

    @property
    def trained(self) -> int | None:
        """How many numbers were trained, where the file tells: not all types store exactly what they train."""
        known = self.kind in KNOWLEDGE["peft"]["stored_is_trained"]
        embeddings = any(name.endswith(EMBEDDINGS) for name in self.shapes)
        return self.sizes()[0] if self.shapes and known and not embeddings else None

    @cached_property
    def ranks(self) -> set[int]:
        """The ranks of the stored first factors."""
        return {shape[0] for name, shape in self.shapes.items() if name.removesuffix(".weight").endswith("_A")}

    @cached_property
    def layers(self) -> set[str]:
        """The last names of the layers that the file adapts; of the configuration's list where there is no file."""
        prefix = self.prefix(self.kind)
        stored = {name.partition(f".{prefix}")[0].rpartition(".")[2] for name in self.shapes if f".{prefix}" in name}
        targets = self.config.get("target_modules")
        return stored or {name.rpartition(".")[2] for name in targets or [] if isinstance(targets, list)}

    @staticmethod
    def prefix(kind: str) -> str:
        """What PEFT's names of the tensors of this type begin with."""
        from peft.mapping import PEFT_TYPE_TO_PREFIX_MAPPING as PREFIXES

        return next((prefix for peft_type, prefix in PREFIXES.items() if peft_type.value == kind and prefix), "\0")

    @property
    def kinds(self) -> set[str]:
        """The types that the file's tensors are of, by their names; the configuration's where it tells nothing."""
        from peft.utils import PeftType

        found = {t.value for t in PeftType if any(f".{self.prefix(t.value)}" in name for name in self.shapes)}
        return found if self.shapes and found and self.kind not in found else {self.kind}

    @cached_property
    def classes(self) -> int | None:
        """Rows of the last matrix of a saved head."""
        heads = [shape for name, shape in self.shapes.items() if self.is_head(name) and len(shape) == 2]
        of_head = self.config.get("task_type") in ("SEQ_CLS", "TOKEN_CLS")
        return min((shape[0] for shape in heads), default=None) if of_head else None

    @cached_property
    def zeros(self) -> dict[str, float]:
        """Shares that a card may call its sparsity: of zeros, of entries under 0.001, of ranks that do nothing."""
        from safetensors import safe_open

        tensors = {}
        with safe_open(self.folder / FILE, "pt") as file:
            tensors = {name: file.get_tensor(name).float() for name in self.shapes if not self.is_head(name)}
        size = max(sum(t.numel() for t in tensors.values()), 1)
        small = sum((t.abs() < 1e-3).sum().item() for t in tensors.values()) / size
        firsts = [t for name, t in tensors.items() if name.removesuffix(".weight").endswith("_A")]
        dead = sum((t == 0).all(dim=1).sum().item() for t in firsts) / max(sum(len(t) for t in firsts), 1)
        shares = {"of the adapter's numbers are zero": sum((t == 0).sum().item() for t in tensors.values()) / size}
        return shares | {"of them are below 0.001": small, "of the ranks are dead": dead}


def read_adapter(folder: Path) -> Adapter:
    """The adapter in `folder`, its tensors' headers only; CourseError if there is none or it is damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        config = json.loads((folder / "adapter_config.json").read_text("utf-8"))
    except OSError:
        raise CourseError(f"{folder} holds no adapter (no adapter_config.json); type the folder of one") from None
    except ValueError as error:
        raise CourseError(f"{folder}/adapter_config.json is damaged ({error}); save the adapter again.") from None
    if not isinstance(config, dict) or not isinstance(config.get("peft_type"), str):
        raise CourseError(f"{folder}/adapter_config.json is damaged (it names no type); save the adapter again.")
    if not (folder / FILE).is_file():
        return Adapter(folder, config, {}, {})
    try:
        with safe_open(folder / FILE, "np") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (no dict)
            shapes = {name: list(part.get_shape()) for name, part in slices.items()}
            return Adapter(folder, config, shapes, {name: part.get_dtype() for name, part in slices.items()})
    except SafetensorError as error:
        raise CourseError(f"{folder / FILE} is damaged ({error}); save the adapter again.") from None


def recorded(folder: Path) -> dict[tuple[str, str], dict[float, str]]:
    """(split, metric) → the values that Trainer's records beside a card hold, with the file of each."""
    found: dict[tuple[str, str], dict[float, str]] = {}
    for name in ("trainer_state.json", "all_results.json", "eval_results.json", "test_results.json"):
        try:
            content = json.loads((folder / name).read_text("utf-8"))
            entries = content.get("log_history", [content])
            pairs = [pair for entry in entries for pair in entry.items()]
        except (OSError, ValueError, AttributeError, TypeError):  # not there, or damaged
            continue
        for key, value in pairs:
            words = key.lower().replace("_", " ")
            metric = next((m for m, pattern in METRIC_WORDS.items() if pattern.search(words)), None)
            split = split_of(words)
            if metric and split and isinstance(value, int | float) and len(words.split()) <= 3:
                found.setdefault((split, metric), {})[float(value)] = name
                if metric == "loss" and value < 30:
                    found.setdefault((split, "perplexity"), {})[exp(value)] = name
    return found
