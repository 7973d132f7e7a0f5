"""What the audit knows of bases, data sets, methods and the words of cards, as knowledge.toml and PEFT say it."""

import re
import tomllib
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from course_utils.methods import METHODS

KNOWLEDGE: dict[str, Any] = tomllib.loads(Path(__file__).with_name("knowledge.toml").read_text("utf-8"))
WORDS = {name: re.compile(text, re.I) for name, text in KNOWLEDGE["words"].items()}
LABELS = {name: re.compile(text) for name, text in KNOWLEDGE["labels"].items()}
SPLITS, METRIC_WORDS = (
    {name: re.compile(rf"(?<![a-z])(?:{text})(?![a-z])", re.I) for name, text in KNOWLEDGE[section].items()}
    for section in ("splits", "metrics")
)


@dataclass(frozen=True)
class DataSet:
    """A public data set: its number of classes, and the examples of each split; `tokens`: scores count tokens."""

    names: list[str]
    sizes: dict[str, int]
    classes: int | None = None
    tokens: bool = False

    def named_in(self, text: str) -> bool:
        """Whether `text` names the data set, as a word and not as a part of a model's name."""
        return bool(self._pattern.search(text))

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        names = "|".join(re.escape(name) for name in self.names)
        return re.compile(rf"(?<![\w-])(?:{names})(?![\w-])", re.I)

    def sizes_of(self, split: str | None) -> dict[str, int]:
        """Split → examples, of every split that a card may mean by `split`: never train; "test" may mean any other."""
        scored = {name: size for name, size in self.sizes.items() if name != "train"}
        validation = {name: size for name, size in scored.items() if name.startswith("validation")}
        return (validation if split == "eval" else {}) or scored


SETS = [DataSet(**entry) for entry in KNOWLEDGE["sets"]]


def is_label(name: str, label: str) -> bool:
    """Whether the normalised `label` is one of those for `name`."""
    return bool(LABELS[name].fullmatch(label))


def split_of(text: str) -> str | None:
    """The split that `text` names, in the words of Trainer's records: eval, test or train."""
    return next((split for split, words in SPLITS.items() if words.search(text)), None)


def metric_of(text: str) -> str | None:
    """The metric that `text` names, in the words of Trainer's records."""
    return next((metric for metric, words in METRIC_WORDS.items() if words.search(text)), None)


def normal(label: str) -> str:
    """`label` in lower-case words: "Rank (r)" is "rank r"."""
    return " ".join(re.findall(r"\w+", label.lower().replace("%", " percentage ").replace("_", " ")))


def plain(method: str) -> str:
    """The title of a method, or PEFT's name of a type, in lower-case letters alone: "Q-LoRA" is "qlora"."""
    return re.sub(r"[\W_]", "", method.lower())


def methods_named(text: str) -> list[str]:
    """The methods that `text` names, in the form of `plain`: titles of the registry, PEFT's types and switches."""
    text = text.lower().replace("³", "3").replace("(ia)^3", "ia3").replace("(ia)3", "ia3")
    return list(dict.fromkeys(map(plain, _method_names().findall(text))))


@cache
def _method_names() -> re.Pattern[str]:
    from peft import LoraConfig
    from peft.utils import PeftType

    titles = [m.title for m in METHODS.values() if not m.is_baseline] + [t.value for t in PeftType]
    titles += [name.removeprefix("use_") for name in LoraConfig.__dataclass_fields__ if name.startswith("use_")]
    longest_first = sorted({re.sub(r"[\W_]+", r"[\\s_-]*", title.lower()) for title in titles}, key=len, reverse=True)
    return re.compile(rf"(?<![a-z\d])(?:{'|'.join(longest_first)})(?![a-z\d])")


def layers_named(value: str) -> set[str]:
    """The last names of the layers that a value lists; none where the value describes the layers in words."""
    if WORDS["in_words"].search(value):
        return set()
    marked = re.findall(r"[`'\"]([\w.*|-]+)[`'\"]", value)
    words = marked or [w for w in re.split(r"[\s,;/&+\[\]()]+|\band\b", re.sub(r"\(.*?\)", "", value)) if w]
    are_names = all(re.fullmatch(r"[A-Za-z][\w.]*", w) for w in words) and (
        len(words) == 1 or all("_" in w or w in _layer_names() for w in words)
    )
    return {word.rpartition(".")[2] for word in words} if marked or are_names else set()


@cache
def _layer_names() -> set[str]:
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as TARGETS

    return {name for names in TARGETS.values() for name in names} | {"key", "dense", "wi", "wo", "k", "o"}
