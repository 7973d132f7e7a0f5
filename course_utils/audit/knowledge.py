"""What the audit knows of bases, data sets and the words of cards, as knowledge.toml says it."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KNOWLEDGE: dict[str, Any] = tomllib.loads(Path(__file__).with_name("knowledge.toml").read_text("utf-8"))
WORDS = {name: re.compile(text, re.I) for name, text in KNOWLEDGE["words"].items() if isinstance(text, str)}
LABELS = {name: re.compile(text) for name, text in KNOWLEDGE["labels"].items()}
SPLITS = {
    name: re.compile(rf"(?<![a-z])(?:{text})(?![a-z])", re.I) for name, text in KNOWLEDGE["words"]["splits"].items()
}
METRIC_WORDS = {name: re.compile(rf"(?<![a-z])(?:{text})(?![a-z])") for name, text in KNOWLEDGE["metrics"].items()}


@dataclass(frozen=True)
class DataSet:
    """A public data set: its number of classes, the examples of each split, and how many of them are positive."""

    names: list[str]
    sizes: dict[str, int]
    classes: int | None = None
    tokens: bool = False
    positive: dict[str, int] = field(default_factory=dict)

    def named_in(self, text: str) -> bool:
        """Whether `text` names it, as a word and not as a part of a model's name."""
        names = "|".join(re.escape(name) for name in self.names)
        return bool(re.search(rf"(?<![\w-])(?:{names})(?![\w-])", text, re.I))


SETS = [DataSet(**entry) for entry in KNOWLEDGE["sets"]]


def is_label(name: str, label: str) -> bool:
    """Whether the normalised `label` is one of those for `name`."""
    return bool(LABELS[name].fullmatch(label))


def split_of(text: str) -> str | None:
    """The split that `text` names, in the words of Trainer's records: eval, test or train."""
    return next((split for split, words in SPLITS.items() if words.search(text)), None)


def normal(label: str) -> str:
    """`label` in lower-case words: "Rank (r)" is "rank r"."""
    return " ".join(re.findall(r"\w+", label.lower().replace("%", " percentage ").replace("_", " ")))
