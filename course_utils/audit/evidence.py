"""What a card is checked against: the adapter beside it, the architecture of its base, and PEFT's counts of both."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from course_utils.audit.adapter import Adapter, read_adapter
from course_utils.audit.card import Card, read_card
from course_utils.audit.counts import Base, Counts, known_bases, read_base
from course_utils.audit.knowledge import layers_named, methods_named, plain
from course_utils.audit.numbers import Number, numbers
from course_utils.errors import CourseError
from course_utils.methods import METHODS, PLAIN
from course_utils.runs import Run, read_run
from course_utils.text import first_line

FILES = ["README.md", "adapter_*.json", "adapter_*.safetensors", "*_state.json", "*_results.json"]


@dataclass(frozen=True)
class Evidence:
    """A card, the folder and the adapter that it is about, and the base's configuration where one was given."""

    card: Card
    folder: Path
    adapter: Adapter | None
    given: Base | None

    @property
    def file(self) -> Adapter | None:
        """The adapter, where its file lies there too."""
        return self.adapter if self.adapter and self.adapter.tensors else None

    @cached_property
    def run(self) -> Run | None:
        """This project's run whose adapter is `folder`; None where there is none."""
        try:
            return read_run(self.folder.resolve().parent)
        except (CourseError, OSError, ValueError, KeyError, TypeError):  # no run of this project, or a damaged one
            return None

    @cached_property
    def bases(self) -> list[Base]:
        """The bases that may be meant: the given one, those that the adapter names, or else those of the card."""
        named = [self.adapter.base] if self.adapter else []
        found = (known_bases(name) for name in [*named, *self.card.bases])
        return [self.given] if self.given else next(filter(None, found), [])

    @cached_property
    def config(self) -> dict[str, Any] | None:
        """The adapter's configuration, or the one that the card describes; None where there is neither."""
        return self.adapter.config if self.adapter else _described(self.card)

    @cached_property
    def totals(self) -> list[Number]:
        """The total numbers of parameters that the card states."""
        return stated_counts(self.card, "total")

    @cached_property
    def trainable(self) -> list[Number]:
        """The numbers of trainable parameters that the card states."""
        return stated_counts(self.card, "trainable")

    def candidates(self) -> Iterator[Counts]:
        """The counts that the model can have: any head of its task, any number of classes that is not known."""
        task, classes = (self.adapter.task, self.adapter.classes) if self.adapter else (None, None)
        if self.config:
            for base in self.bases:
                yield from base.counts(self.config, task, classes)

    @cached_property
    def right(self) -> Counts | None:
        """The first candidate that fits every number of the card and what the file stores; None where none does."""
        stored = self.file.trained if self.file else None
        fitting = (
            counts
            for counts in (self.candidates() if self.totals or self.trainable else ())
            if stored in (None, counts.trainable)
            and all(any(map(number.fits, counts.totals)) for number in self.totals)
            and all(any(map(number.fits, counts.trained)) for number in self.trainable)
        )
        return next(fitting, None)

    @cached_property
    def likely(self) -> Counts | None:
        """The counts that are right, or else those of the likeliest head; None where nothing is known."""
        return self.right or next(self.candidates(), None)

    def scope(self) -> str:
        """What the claims of the card were checked against, and what was missing for that, in sentences."""
        there = {
            "the adapter's configuration": bool(self.adapter),
            "its weights": bool(self.file),
            f"the architecture of {self.bases[0].name if self.bases else 'the base model'}": bool(self.bases),
            "known data sets": bool(self.card.sets),
        }
        held, lacking = ([name for name, is_ in there.items() if is_ == wanted] for wanted in (True, False))
        missing = f" Missing: {', '.join(lacking)}." if lacking else ""
        return f"Checked against {', '.join(held) or 'the card itself'}.{missing}"


def stated_counts(card: Card, name: str) -> list[Number]:
    """The numbers of parameters under a label for `name`: the first, and the same total counted in another way."""
    found = []
    for statement in card.stated(name):
        printed = [n for n in numbers(statement.value, True) if n.value >= (1000 if name == "total" else 32)]
        printed = [n for n in printed if not re.match(r"\s*(%|\(?train)", n.after)]
        printed = [n for n in printed if not re.search(r"\b(of|from|vs\.?)\s*$|/\s*$", n.before)]
        found += printed[:1] + [n for n in printed[1:] if name == "total" and re.match(r"\s*(as|with)\b", n.after)]
    return list({number.value: number for number in found}.values())


def _described(card: Card) -> dict[str, Any] | None:
    """The configuration that a card describes: method, rank and layers."""
    ranks = [number for s in card.stated("rank") for number in numbers(s.value)]
    layers = {name for s in card.stated("targets") for name in layers_named(s.value)}
    named = [name for s in card.stated("method") for name in methods_named(s.value)] or [plain(PLAIN.title)]
    kinds = {method.peft_type for method in METHODS.values() if plain(method.title) in named}
    if not ranks or not layers or len(kinds) != 1:
        return None
    return {"peft_type": kinds.pop(), "r": int(ranks[0].value), "target_modules": sorted(layers)}


def read_evidence(path: Path | str, adapter: Path | str | None, config: Path | str | None) -> Evidence:
    """The evidence on a card, given as a file, an adapter's folder or an id of the hub; CourseError if none."""
    given, place = str(path), Path(path)
    is_id = re.fullmatch(r"[\w.-]+/[\w.-]+", given) and not given.endswith((".md", ".markdown", ".txt"))
    place = _from_hub(given) if is_id and not place.exists() else place
    if place.is_dir():
        place = place / "README.md"
        if not place.is_file():
            raise CourseError(f"{place.parent} is a folder without a card; type the path of one, usually README.md")
    card, folder = read_card(place), Path(adapter) if adapter else place.parent
    files = read_adapter(folder) if adapter or (folder / "adapter_config.json").is_file() else None
    return Evidence(card, folder, files, read_base(config) if config else None)


def _from_hub(name: str) -> Path:
    """A folder with what the hub has of the repository `name`: its card, its adapter, Trainer's records."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=FILES))
    except Exception as error:  # offline, or no such repository: the hub's client has many ways to say so
        raise CourseError(f"there is no file {name}, and the hub gives no such model ({first_line(error)}).") from None
