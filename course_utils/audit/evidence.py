"""What a card is checked against: the adapter beside it, the architecture of its base, and PEFT's counts of both."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from course_utils.audit.adapter import Adapter, read_adapter
from course_utils.audit.card import Card, read_card
from course_utils.audit.counts import Base, Counts, known_bases, read_base
from course_utils.audit.knowledge import LABELS, WORDS, layers_named, methods_named, plain
from course_utils.audit.numbers import NEAR, Number, numbers
from course_utils.errors import CourseError
from course_utils.methods import METHODS, PLAIN
from course_utils.runs import Run, is_unchanged, read_run
from course_utils.stats import Interval
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
            run = read_run(self.folder.resolve().parent)
            return run if is_unchanged(run) else None
        except (CourseError, OSError, ValueError, KeyError, TypeError):  # no run of this project, or a damaged one
            return None

    @cached_property
    def intervals(self) -> dict[str, dict[str, Interval]]:
        """Set → metric → its interval, by the predictions of the run; empty where there are none, or damaged ones."""
        if not self.run:
            return {}
        from course_utils.training.card import run_intervals  # loads torch, which a card of elsewhere needs not

        try:
            return run_intervals(self.run)
        except (CourseError, OSError, ValueError, KeyError, TypeError):
            return {}

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
        """The total numbers of parameters that the card states; a total of the adapter is one, too."""
        known = [*self.right.totals, *self.right.trained] if self.right else []
        return _as_meant(self._readings["total"], known)

    @cached_property
    def trainable(self) -> list[Number]:
        """The numbers of trainable parameters that the card states."""
        known = self.right.trained if self.right else [self.file.sizes()[0]] if self.file else []
        return _as_meant(self._readings["trainable"], known)

    @cached_property
    def _readings(self) -> dict[str, list[list[Number]]]:
        return {name: _stated_counts(self.card, name) for name in ("total", "trainable")}

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
            for counts in (self.candidates() if any(self._readings.values()) else ())
            if stored in (None, counts.trainable)
            and _all_fit(self._readings["total"], [*counts.totals, *counts.trained])
            and _all_fit(self._readings["trainable"], counts.trained)
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


# What stands before, and what stands after a number that is no number of parameters, or none of this adapter's.
IN_FORMULA = re.compile(r"\b(of|from|von|der)\s*$|/\s*$|([\d)]\s*[x*]|[×·])\s*\(?(\d|$)", re.I)
NO_COUNT = re.compile(
    rf"\s*(%|\(?train|\(?full\b|per\b|(?:{LABELS['examples'].pattern}|{LABELS['steps'].pattern}|tokens|seconds)\b)",
    re.I,
)


def _stated_counts(card: Card, name: str) -> list[list[Number]]:
    """The numbers of parameters under a label for `name`, each as the list of what may be meant by it.

    A statement's number is its first one, or the sum of all that it gives: "592,130 (head) and 147,456 (adapter)".
    The same total counted in another way is a number of its own.
    """
    found = []
    for statement in card.stated(name):
        if statement.source == "prose" and WORDS["others"].search(statement.heading.partition(statement.value)[0]):
            continue
        printed = [n for n in numbers(statement.value, True) if n.value >= (1000 if name == "total" else 32)]
        printed = [n for n in printed if not n.is_aside and not NO_COUNT.match(n.after)]
        printed = [n for n in printed if not IN_FORMULA.search(n.before[-NEAR:])]
        if printed:
            total, unit = sum(n.value for n in printed), sum(n.unit for n in printed if n.unit > 1) or 1
            found.append([printed[0], replace(printed[0], value=total, unit=unit)])
            found += [[n] for n in printed[1:] if name == "total" and re.match(r"\s*(as|with)\b", n.after)]
    return list({readings[0].value: readings for readings in found}.values())


def _all_fit(stated: list[list[Number]], known: Iterable[int]) -> bool:
    """Whether every stated number is, in one of its readings, one of the `known`."""
    return all(any(number.fits(value) for number in readings for value in known) for readings in stated)


def _as_meant(stated: list[list[Number]], known: Iterable[int]) -> list[Number]:
    """Of every stated number the reading that is one of the `known`, or else the first."""
    return [next((n for n in readings if any(map(n.fits, known))), readings[0]) for readings in stated]


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
