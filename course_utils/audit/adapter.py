"""What lies beside a card: the adapter's configuration, what its file stores, and what Trainer recorded."""

import json
from dataclasses import dataclass
from functools import cached_property
from math import exp, prod
from pathlib import Path
from typing import Any

from course_utils.audit.knowledge import KNOWLEDGE, metric_of, plain, split_of
from course_utils.errors import CourseError
from course_utils.methods import METHODS

EMBEDDINGS = ("embed_tokens.weight", "word_embeddings.weight", "wte.weight", "shared.weight", "embed_in.weight")
FILE = "adapter_model.safetensors"
TYPES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2}  # bytes of a stored number; 1 for other types
RECORDS = ("trainer_state.json", "all_results.json", "eval_results.json", "test_results.json")


@dataclass(frozen=True)
class Adapter:
    """An adapter: its folder, its configuration, and of each stored tensor the shape and the type."""

    folder: Path
    config: dict[str, Any]
    tensors: dict[str, tuple[list[int], str]]

    @property
    def kind(self) -> str:
        """PEFT's type of the adapter, by the configuration."""
        return str(self.config["peft_type"])

    @property
    def base(self) -> str:
        """The base model that the configuration names."""
        return str(self.config.get("base_model_name_or_path") or "")

    @property
    def task(self) -> str | None:
        """PEFT's type of the task; None where the configuration names none."""
        return self.config.get("task_type")

    @property
    def file_bytes(self) -> int:
        """Bytes of the adapter's file."""
        return (self.folder / FILE).stat().st_size

    @cached_property
    def of_head(self) -> set[str]:
        """The tensors of the modules that were saved whole; PEFT finds such modules by suffix."""
        saved = tuple(self.config.get("modules_to_save") or [])
        return {name for name in self.tensors if any(part.endswith(saved) for part in name.split(".")[:-1])}

    def sizes(self, head: bool | None = None) -> tuple[int, int]:
        """Stored numbers and their bytes: of the head, of the adapter without it, or of both."""
        chosen = [tensor for name, tensor in self.tensors.items() if head is None or (name in self.of_head) == head]
        return sum(prod(shape) for shape, _ in chosen), sum(prod(shape) * TYPES.get(of, 1) for shape, of in chosen)

    @property
    def trained(self) -> int | None:
        """How many numbers were trained, where the file tells: not all types store exactly what they train."""
        known = self.kind in KNOWLEDGE["peft"]["stored_is_trained"]
        return self.sizes()[0] if known and not any(name.endswith(EMBEDDINGS) for name in self.tensors) else None

    @cached_property
    def ranks(self) -> list[int]:
        """The ranks of the stored first factors."""
        return sorted({shape[0] for name, (shape, _) in self.tensors.items() if _is_first_factor(name)})

    @cached_property
    def layers(self) -> set[str]:
        """Last names of the layers that the file adapts, or that the configuration lists where the file has none."""
        mark = f".{_prefixes().get(self.kind)}"
        stored = {name.partition(mark)[0].rpartition(".")[2] for name in self.tensors if mark in name}
        listed = self.config.get("target_modules")
        return stored or {name.rpartition(".")[2] for name in (listed if isinstance(listed, list) else [])}

    @cached_property
    def kinds(self) -> set[str]:
        """PEFT's types by the tensors' names; the configuration's type where it is one of them or there are none."""
        found = {kind for kind, prefix in _prefixes().items() if any(f".{prefix}" in name for name in self.tensors)}
        return found if found and self.kind not in found else {self.kind}

    def is_of(self, method: str) -> bool | None:
        """Whether the adapter is of `method`, a name as `plain` gives it; None where the files here do not tell."""
        kinds = {plain(kind) for kind in self.kinds}
        if method in kinds or self.config.get(f"use_{method}"):
            return True
        ours = [m for m in METHODS.values() if plain(m.title) == method and f"use_{method}" not in self.config]
        if any(m.wrote(self.config | {"peft_type": kind}) for m in ours for kind in self.kinds):
            return True
        return None if any(kind.endswith(method) for kind in kinds) else False

    @cached_property
    def classes(self) -> int | None:
        """Rows of the smallest matrix of a saved classification head, one per class; None without such a head."""
        heads = [shape for name, (shape, _) in self.tensors.items() if name in self.of_head and len(shape) == 2]
        return min((shape[0] for shape in heads), default=None) if self.task in ("SEQ_CLS", "TOKEN_CLS") else None

    @cached_property
    def zeros(self) -> dict[str, float]:
        """Shares that a card may call its sparsity: of zeros, of entries under 0.001, of ranks that do nothing."""
        from safetensors import safe_open

        with safe_open(self.folder / FILE, "pt") as file:
            tensors = {name: file.get_tensor(name).float() for name in self.tensors.keys() - self.of_head}
        size = max(sum(tensor.numel() for tensor in tensors.values()), 1)
        ranks = [rank for name, tensor in tensors.items() if _is_first_factor(name) for rank in tensor]
        return {
            "of the adapter's numbers are zero": sum((t == 0).sum().item() for t in tensors.values()) / size,
            "of them are below 0.001": sum((t.abs() < 1e-3).sum().item() for t in tensors.values()) / size,
            "of the ranks are dead": sum(not rank.any() for rank in ranks) / max(len(ranks), 1),
        }


def _is_first_factor(name: str) -> bool:
    return name.removesuffix(".weight").endswith("_A")


def _prefixes() -> dict[str, str]:
    """PEFT's type → prefix of its parameters' names."""
    from peft.mapping import PEFT_TYPE_TO_PREFIX_MAPPING as PREFIXES

    return {kind.value: prefix for kind, prefix in PREFIXES.items() if prefix}


def read_adapter(folder: Path) -> Adapter:
    """The adapter in `folder`, only the headers of its tensors; CourseError if it is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        config = json.loads((folder / "adapter_config.json").read_text("utf-8"))
        if not isinstance(config, dict) or not isinstance(config.get("peft_type"), str):
            raise ValueError("it names no type")
        for field, kind in (
            ("rank_pattern", dict),
            ("alpha_pattern", dict),
            ("modules_to_save", list),
            ("task_type", str),
        ):
            if not isinstance(config.get(field), kind | None):
                raise ValueError(f"{field} is no {kind.__name__}")
    except OSError:
        raise CourseError(f"{folder} holds no adapter (no adapter_config.json); type the folder of one") from None
    except ValueError as error:
        raise CourseError(f"{folder}/adapter_config.json is damaged ({error}); save the adapter again.") from None
    if not (folder / FILE).is_file():
        return Adapter(folder, config, {})
    try:
        with safe_open(folder / FILE, "np") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (no dict)
            return Adapter(folder, config, {name: (list(s.get_shape()), s.get_dtype()) for name, s in slices.items()})
    except SafetensorError as error:
        raise CourseError(f"{folder / FILE} is damaged ({error}); save the adapter again.") from None


Recorded = dict[tuple[str, str], dict[float, str]]  # (split, metric) → value → the file that holds it


def recorded(folder: Path) -> Recorded:
    """The values that Trainer's records beside a card hold."""
    found: Recorded = {}
    for name in RECORDS:
        try:
            content = json.loads((folder / name).read_text("utf-8"))
            pairs = [pair for entry in content.get("log_history", [content]) for pair in entry.items()]
        except (OSError, ValueError, AttributeError, TypeError):  # not there, or damaged
            continue
        for key, value in pairs:
            words = key.lower().replace("_", " ")
            metric, split = metric_of(words), split_of(words)
            if metric and split and isinstance(value, int | float) and len(words.split()) <= 3:
                found.setdefault((split, metric), {})[float(value)] = name
                if metric == "loss" and value < 30:
                    found.setdefault((split, "perplexity"), {})[exp(value)] = name
    return found
