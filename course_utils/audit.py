"""Checks a model card of a PEFT adapter, claim by claim, against what can be recomputed without its weights.

Cards are text that people wrote. What a claim means is read from its label ("Rank (r)", "all params"), and a number
is held to its printed digits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ValidationError

from course_utils.cards import METRICS, SST2_VALIDATION, TEMPLATES, run_intervals
from course_utils.counting import KNOWN, Counts, encoders, known_encoder, leaf, search
from course_utils.display import one_line
from course_utils.errors import CourseError
from course_utils.runs import read_run
from course_utils.stats import wilson_interval

HOLDS, REFUTED, UNCHECKED, MISSING = "holds", "refuted", "cannot be checked", "missing"
VERDICTS = (HOLDS, REFUTED, UNCHECKED, MISSING)
EXAMPLE_CARD = TEMPLATES / "example_card.md"
LARGEST = 2_000_000  # bytes of a text that could be a card

CLASSES = (2, 1, *range(3, 21))
# Sentences of the sets that a card on SST-2 may mean; how many of them are positive, where it is known.
SST2 = {SST2_VALIDATION: 872, "SST-2 test": 1821}
POSITIVE = {SST2_VALIDATION: 444}

SECTIONS = {  # those of a complete card, and how their headings begin or what they hold
    "description": "description|details|summary",
    "training configuration": "training|hyperparameters",
    "results": "results|performance|evaluation|metrics",
    "usage": "usage|how to|get started|loading|inference",
    "limitations": "limitations|risks|bias",
    "citation": "citation|reference",
    "versions": "versions",
    "license": "licen[sc]e",
}
METADATA = ("base_model", "library_name", "license", "language", "pipeline_tag", "tags", "datasets", "metrics")

LABELS = {
    "total": {"total parameters", "total params", "all parameters", "all params", "number of parameters"},
    "trainable": {"trainable parameters", "trainable params"},
    "share": {"trainable percentage", "trainable parameters percentage", "percentage of trainable parameters"},
    "size": {"model size", "adapter size"},
    "rank": {"rank", "rank r", "r", "lora rank", "lora r", "lora rank r"},
    "alpha": {"alpha", "lora alpha"},
    "dropout": {"dropout", "lora dropout", "hira dropout"},
    "targets": {"target modules", "lora target modules"},
    "base": {"base model", "base model name or path", "finetuned from model"},
    "method": {"method", "peft type", "peft method", "fine tuning method"},
}


@dataclass(frozen=True)
class Finding:
    """A claim of a card, the verdict on it (holds, refuted, cannot be checked, missing), and what was found."""

    claim: str
    verdict: str
    found: str


def audit_card(path: Path | str, adapter: Path | str | None = None) -> list[Finding]:
    """What the claims of the model card at `path` come to: counts, settings, sizes, scores, and what is missing.

    `adapter` is the folder of the adapter; by default that of the card, if an adapter lies there. Nothing is
    downloaded. Raises CourseError when `path` is no model card, or `adapter` holds no adapter.
    """
    path = Path(path)
    card = read_card(path)
    folder = Path(adapter) if adapter else path.parent
    files = read_adapter(folder) if adapter or (folder / "adapter_config.json").is_file() else None
    findings = [
        *_counts(card, files),
        *_settings(card, files),
        *_sizes(card, files),
        *_scores(card),
        *(_predicted(card, folder.parent) if files else []),
        *_metadata(card),
    ]
    if all(finding.verdict == MISSING for finding in findings) and not any(map(card.data.get, METADATA)):
        raise CourseError(f"{path} is no model card: it has no metadata, and claims nothing that could be checked.")
    return [*findings, *_lacking(card)]


# ---------------------------------------------------------------- reading a card


@dataclass(frozen=True)
class Number:
    """A number as printed: its value, and half a unit of its last digit."""

    value: float
    half: float

    def fits(self, value: float) -> bool:
        """Whether `value`, rounded to the printed digits, is this number."""
        return abs(self.value - value) <= self.half * (1 + 1e-9) + 1e-12

    def near(self, value: float) -> bool:
        """Whether `value`, which may be rounded itself, can be this number."""
        return abs(self.value - value) <= 2 * self.half

    def scaled(self, factor: float) -> Number:
        """The same number in a unit `factor` times smaller."""
        return Number(self.value * factor, self.half * factor)

    def __str__(self) -> str:
        return f"{self.value:,.0f}"


NUMBER = re.compile(
    r"(?<![\w.])(\d{1,3}(?:,\d{3}){1,4}|\d{1,15})(\.\d{1,17})?(?!\d)\s?([kmb](?!\w)|[mb]illion\b)?", re.I
)
FACTORS = {"k": 1e3, "m": 1e6, "b": 1e9, "million": 1e6, "billion": 1e9}


def numbers(text: str) -> list[Number]:
    """The numbers that `text` prints, "66.4M" and thousands separators included."""
    found = []
    for whole, decimals, unit in NUMBER.findall(text):
        number = Number(float(whole.replace(",", "") + decimals), 0.5 * 10.0 ** -max(len(decimals) - 1, 0))
        found.append(number.scaled(FACTORS.get(unit.lower(), 1)))
    return found


@dataclass(frozen=True)
class Card:
    """A model card taken apart: metadata, headings, labelled values (normalised label → label, value), tables."""

    data: Any  # a huggingface_hub ModelCardData
    text: str  # without the metadata
    headings: list[str] = field(default_factory=list)
    labelled: dict[str, tuple[str, str]] = field(default_factory=dict)
    tables: list[dict[str, str]] = field(default_factory=list)  # a row each: normalised heading → cell

    def value(self, name: str) -> str | None:
        """The value under one of the labels that `LABELS` has for `name`."""
        return next((value for label, (_, value) in self.labelled.items() if label in LABELS[name]), None)

    @property
    def bases(self) -> list[str]:
        """The base model that the card names, in its metadata and in its text."""
        named = self.data.get("base_model")
        named = [named[0] if isinstance(named, list) and named else named, self.value("base")]
        return [re.sub(r"\[(.*?)\].*", r"\1", one_line(name)).strip("` ") for name in named if isinstance(name, str)]

    @property
    def base(self) -> str:
        """The base model that the card names first; empty if it names none."""
        return next(iter(self.bases), "")

    @property
    def sets(self) -> dict[str, int]:
        """Evaluation set → number of sentences: what the tables say, or else the sets of SST-2 where it is named."""
        stated = {
            row["set"]: round(count[0].value)
            for row in self.tables
            if "set" in row and (count := numbers(row.get("sentences", ""))) and 0.5 < count[0].value < 1e6
        }
        return stated or (SST2 if re.search(r"sst-?2", f"{self.data.get('datasets')} {self.text}", re.I) else {})


def read_card(path: Path) -> Card:
    """The card at `path`; CourseError, saying why, if it is none."""
    from huggingface_hub import ModelCard, ModelCardData

    if path.is_dir():
        raise CourseError(f"{path} is a folder; type the card in it: {path / 'README.md'}")
    if not path.is_file():
        raise CourseError(f"there is no file {path}; type the path of a model card, usually README.md")
    if path.stat().st_size > LARGEST:
        raise CourseError(f"{path} is too large to be a model card, which is a Markdown text.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise CourseError(f"{path} is no model card: it is not text in UTF-8.") from None
    if not text.strip() or "\0" in text:
        raise CourseError(f"{path} is no model card: it {'holds no text' if not text.strip() else 'is not text'}.")
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        pass
    else:
        raise CourseError(f"{path} is no model card but JSON; a card is Markdown, usually README.md.")
    data = ModelCardData()
    if text.lstrip().startswith("---"):
        try:
            card = ModelCard(text, ignore_metadata_errors=True)
            data, text = card.data, card.text
        except Exception:  # whatever is wrong with a stranger's metadata, the text can be read without them
            pass
    return _taken_apart(data, text)


def _taken_apart(data: Any, text: str) -> Card:
    card, in_code, header = Card(data, text), False, []
    for line in text.splitlines():
        if line.lstrip().startswith(("```", "~~~")):
            in_code = not in_code
        elif in_code and "trainable params" not in line:  # what PEFT prints is a claim wherever it stands
            continue
        elif line.lstrip().startswith("|"):
            cells = [one_line(cell).strip("* ") for cell in line.strip().strip("|").split("|")]
            if not header:
                header = [_normal(cell) for cell in cells]
            elif set("".join(cells)) - set(":- "):
                card.tables.append(dict(zip(header, cells, strict=False)))
                if len(cells) == 2:
                    card.labelled.setdefault(_normal(cells[0]), (cells[0], cells[1]))
            continue
        elif line.startswith("#"):
            card.headings.append(line.lstrip("# "))
        else:
            for part in line.replace("**", "").split("||"):
                label, colon, value = part.strip().lstrip("-*+• ").partition(":")
                if colon and len(label) <= 60 and value.strip():
                    card.labelled.setdefault(_normal(label), (one_line(label), one_line(value)))
        header = []
    return card


def _normal(label: str) -> str:
    return " ".join(re.findall(r"\w+", label.lower().replace("%", " percentage ").replace("_", " ")))


# ---------------------------------------------------------------- reading an adapter


WIDTHS = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2}  # bytes of a stored value


class AdapterConfig(BaseModel):
    """What is needed of adapter_config.json."""

    peft_type: str
    base_model_name_or_path: str | None = None
    r: int | None = None
    lora_alpha: float | None = None
    lora_dropout: float | None = None
    hira_dropout: float | None = None
    target_modules: list[str] | str | None = None
    modules_to_save: list[str] | None = None
    rank_pattern: dict[str, int] = {}
    bias: str = "none"
    use_dora: bool = False

    @property
    def counts_like_lora(self) -> bool:
        """Whether what is trained beside the head is two factors a layer, and nothing else."""
        return self.peft_type in ("LORA", "HIRA") and self.bias == "none" and not self.use_dora


@dataclass(frozen=True)
class Adapter:
    """An adapter's configuration, what its file stores (name → number of values, and bytes), and the file's size."""

    config: AdapterConfig
    values: dict[str, int]
    bytes: dict[str, int]
    file_bytes: int

    def sum(self, stored: dict[str, int], of_head: bool | None = None) -> int:
        """Sum of `stored`; of the modules that were saved whole alone, or of the others alone, if `of_head` says so."""
        saved = set(self.config.modules_to_save or [])
        return sum(n for name, n in stored.items() if of_head is None or bool(saved & set(name.split("."))) == of_head)


def read_adapter(folder: Path) -> Adapter:
    """The adapter in `folder`, its tensors' headers only; CourseError if there is none or it is damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        config = AdapterConfig.model_validate_json((folder / "adapter_config.json").read_bytes())
    except OSError:
        raise CourseError(f"{folder} holds no adapter (no adapter_config.json); type the folder of one") from None
    except ValidationError as error:
        raise CourseError(f"{folder}/adapter_config.json is damaged: {error.errors()[0]['msg']}.") from None
    file = folder / "adapter_model.safetensors"
    if not file.is_file():
        return Adapter(config, {}, {}, 0)
    try:
        with safe_open(file, "np") as tensors:
            slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118 (no dict)
            values = {name: prod(part.get_shape()) for name, part in slices.items()}
            bytes_ = {name: values[name] * WIDTHS.get(part.get_dtype(), 1) for name, part in slices.items()}
    except SafetensorError as error:
        raise CourseError(f"{file} is damaged ({error}); save the adapter again.") from None
    return Adapter(config, values, bytes_, file.stat().st_size)


# ---------------------------------------------------------------- numbers of parameters


def _counts(card: Card, files: Adapter | None) -> list[Finding]:
    """Verdicts on the numbers of parameters, total and trainable, and on the percentage."""
    text = card.value("trainable") or ""
    totals = [number for number in numbers(card.value("total") or "") if number.value >= 1000]
    trainable = [number for number in numbers(text) if number.value >= 100][:1]
    if not totals and not trainable:
        return [Finding("Numbers of parameters", MISSING, "The card states none.")]
    claim = [" or ".join(map(str, totals)) + " parameters"] * bool(totals)
    claim += [f"{number} of them trainable" if totals else f"{number} trainable parameters" for number in trainable]

    def fits(counts: Counts) -> bool:
        in_all = all(any(map(number.fits, counts.totals)) for number in totals)
        return in_all and all(number.fits(counts.trainable) for number in trainable)

    candidates = _candidates(card, files, fits, trainable)
    right = next(filter(fits, candidates), None)
    unsure = None if right else _why_unsure(card, files, candidates, trainable)
    if right:
        verdict, found = HOLDS, f"{right}."
    elif unsure:
        verdict, found = UNCHECKED, unsure
    elif candidates:
        verdict, found = REFUTED, f"{candidates[0]}."
        known, rank = [known_encoder(name) for name in KNOWN], _whole(card.value("rank"))
        if totals and trainable:
            value = trainable[0].value
            same = search(known, fits, value, rank=rank) or search(known, fits, value)
            found += f" The card's counts are those of {same.said}." if same else ""
    else:
        layers = dict.fromkeys(layer for encoder in encoders(card.base) for layer in encoder.layers)
        verdict, found = REFUTED, f"{card.base} has no such layers to adapt; it has {', '.join(layers)}."
    counts = right or (candidates[0] if verdict == REFUTED and candidates else None)
    return [
        Finding(", ".join(claim), verdict, found),
        *(_stored(text, trainable, files) if files and files.values else []),
        *_percentages(card, totals, trainable, counts),
    ]


def _candidates(
    card: Card, files: Adapter | None, fits: Callable[[Counts], bool], trainable: list[Number]
) -> list[Counts]:
    """Counts that the named base model can have with the rank and the layers that are stated, likeliest first."""
    if files:
        targets, rank, pattern = files.config.target_modules, files.config.r, files.config.rank_pattern
    else:
        targets, rank, pattern = _targets(card), _whole(card.value("rank")), None
    found = []
    for encoder in encoders(card.base):
        saved = [[name for name in encoder.head if name in (files.config.modules_to_save or [])]] if files else None
        heads = saved or encoder.heads()
        if targets and rank:
            of_classes = map(encoder.with_classes, CLASSES)
            found += [adapted.adapted(targets, rank, head, pattern) for adapted in of_classes for head in heads]
        else:  # what is usual, and whatever fits
            found.append(encoder.adapted(targets or next(encoder.target_sets()), rank or 8, heads[0]))
            found += [search([encoder], fits, number.value, targets, rank) for number in trainable]
    return [counts for counts in found if counts]


def _targets(card: Card) -> list[str]:
    """The target modules that the text names."""
    value = card.value("targets") or ""
    return re.findall(r"`([\w.-]+)`", value) or re.findall(r"[A-Za-z_][\w.]*", re.sub(r"\(.*?\)", "", value))


def _whole(text: str | None) -> int | None:
    found = numbers(text or "")
    return int(found[0].value) if found and 1 <= found[0].value <= 4096 else None


VARYING = re.compile(r"sparse|sora\b|prun", re.I)  # methods whose ranks are not known from a card
OTHERS = re.compile(r"dora\b|ia3|prefix|prompt|p-tuning|vera\b|bitfit|adalora", re.I)


def _why_unsure(card: Card, files: Adapter | None, candidates: list[Counts], trainable: list[Number]) -> str | None:
    """Why counts that no candidate has are not refuted by that; None if they are."""
    if not encoders(card.base):
        return f"The sizes of {card.base or 'the base model, which is not named,'} are not known here."
    method = " ".join([card.value("method") or "", *card.headings[:1]])
    config = files and files.config
    if OTHERS.search(method) or (config and not config.counts_like_lora):
        return "Only the counts of LoRA and its like are recomputed."
    if not trainable and not files and not (_targets(card) and _whole(card.value("rank"))):
        return "Rank and layers are not stated, and a total alone does not tell them."
    largest = max((counts.trainable for counts in candidates), default=0)
    if not files and VARYING.search(method) and all(number.value <= largest for number in trainable):
        return f"At full rank, {candidates[0]}; which ranks are left is known from the adapter alone."
    return None


def _stored(text: str, trainable: list[Number], files: Adapter) -> Iterator[Finding]:
    """Verdicts on the numbers of trained parameters, by what the adapter's file holds."""
    claims = [(f"{number} trainable", number, None) for number in trainable]
    for words, of_head in {"are the adapter": False, "the classification head": True}.items():
        for printed in re.findall(rf"([\d,]+) {words}", text):
            claims += [(f"{printed} {words}", number, of_head) for number in numbers(printed)]
    for claim, number, of_head in claims:
        count = files.sum(files.values, of_head)
        yield Finding(claim, HOLDS if number.fits(count) else REFUTED, f"The adapter's file holds {count:,}.")


def _percentages(card: Card, totals: list[Number], trainable: list[Number], counts: Counts | None) -> Iterator[Finding]:
    """Verdicts on the share of trained parameters, by the recomputed counts or else by the card's own."""
    own = {100 * trainable[0].value / total.value for total in totals} if trainable else set()
    right = {100 * counts.trainable / total for total in counts.totals} if counts else own
    whose = "recomputed" if counts else "card's own"
    bare = card.value("share")
    shares = [bare.strip(" %")] if bare else re.findall(r"\d+(?:\.\d+)?(?=\s?%)", card.value("trainable") or "")
    for share in dict.fromkeys(shares) if right else ():
        for number in numbers(share)[:1]:
            if any(map(number.fits, right)):
                yield Finding(f"{share}% trainable", HOLDS, f"The {whose} counts give it.")
            else:
                said = " or ".join(dict.fromkeys(f"{value:.2f}%" for value in sorted(right)))
                also = " The card's own counts give what it says." if any(map(number.fits, own)) else ""
                yield Finding(f"{share}% trainable", REFUTED, f"The {whose} counts give {said}.{also}")


# ---------------------------------------------------------------- settings and sizes


NO_ADAPTER = "No adapter lies beside the card; --adapter DIR names one."


def _settings(card: Card, files: Adapter | None) -> Iterator[Finding]:
    """Verdicts on base model, method, rank, alpha, dropout and target modules, by adapter_config.json."""
    if len({base.rpartition("/")[2].lower() for base in card.bases}) > 1:
        yield Finding(f"Base model {card.bases[1]}", REFUTED, f"The card's own metadata say {card.bases[0]}.")
    names = {"method": "Method", "rank": "Rank", "alpha": "Alpha", "dropout": "Dropout", "targets": "Target modules"}
    stated = {name: re.sub(r"\s*\(.*", "", value) for name in names if (value := card.value(name))}
    if not files:
        if stated:
            yield Finding("; ".join(f"{names[name]} {value}" for name, value in stated.items()), UNCHECKED, NO_ADAPTER)
        return
    config, pruned = files.config, bool(VARYING.search(stated.get("method", "")))
    dropout = config.hira_dropout if config.peft_type == "HIRA" else config.lora_dropout
    targets = config.target_modules or []
    layers = [targets] if isinstance(targets, str) else sorted(set(map(leaf, targets)))
    recorded = {"method": config.peft_type, "rank": config.r, "alpha": config.lora_alpha, "dropout": dropout}
    recorded["targets"] = ", ".join(layers)
    if card.base and (base := config.base_model_name_or_path):
        last, of_card = (name.rstrip("/").rpartition("/")[2].lower() for name in (base, card.base))
        same = last == of_card or {e.name for e in encoders(base)} & {e.name for e in encoders(card.base)}
        yield Finding(f"Base model {card.base}", HOLDS if same else REFUTED, f"adapter_config.json: {base}.")
    for name, value in stated.items():
        said, named = recorded[name], _targets(card)
        if name == "method":
            right = said.lower() in value.lower()
        elif name == "targets":  # where ranks were removed, layers may have gone with them
            right = layers in (sorted(named), [value.strip("` ")]) or (pruned and set(layers) < set(named))
        else:
            fewer = pruned and name == "rank"
            right = said is not None and any(n.fits(said) or (fewer and said < n.value) for n in numbers(value)[:1])
        yield Finding(f"{names[name]} {value}", HOLDS if right else REFUTED, f"adapter_config.json: {said}.")


UNITS = {"kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
SIZE = re.compile(r"(base model of )?(\d[\d,.]*)\s?([KMG]i?B)\b( adapter| head)?", re.I)


def _sizes(card: Card, files: Adapter | None) -> Iterator[Finding]:
    """Verdicts on the sizes in bytes, by the adapter's file and by the base model's configuration."""
    value = card.value("size") or ""
    sizes = SIZE.findall(value)
    if not sizes:
        stored = f" The adapter's file takes {files.file_bytes / 1e6:,.2f} MB." if files and files.file_bytes else ""
        yield Finding(f"Model size {value}".strip(), MISSING, f"The size was never measured.{stored}")
    for base, digits, unit, part in sizes:
        of_head = {"": None, " adapter": False, " head": True}[part.lower()]
        if base:
            why_not = "What a quantised base model takes, or one that is not known here, is not recomputed."
            named = (files.config.base_model_name_or_path if files else None) or card.base
            known = [] if "quantization" in card.labelled else [e.encoder_bytes for e in encoders(named)]
        else:
            why_not = NO_ADAPTER
            known = [files.sum(files.bytes, of_head)] if files and files.bytes else []
            known += [files.file_bytes] if known and of_head is None else []
        units = {UNITS[unit.lower()], UNITS[f"{unit[0].lower()}ib"]}  # many print MB and mean MiB
        right = any(numbers(digits)[0].scaled(unit).fits(size) for size in known for unit in units)
        found = " or ".join(dict.fromkeys(f"{size / 1e6:,.2f} MB" for size in known))
        verdict = (HOLDS if right else REFUTED) if known else UNCHECKED
        yield Finding(f"{base}{digits} {unit}{part}", verdict, f"It takes {found}." if known else why_not)


# ---------------------------------------------------------------- scores


TITLES = {_normal(title): metric for metric, title in METRICS.items()}


def _scores(card: Card) -> Iterator[Finding]:
    """Verdicts on every accuracy, with its interval and F1: whether whole numbers of right answers give them."""
    stated: dict[str, Number] = {}  # the set of a table → its accuracy
    for row in card.tables:
        title, printed = row.get("set", ""), numbers(row.get("accuracy", ""))
        if not printed:
            continue
        if title in stated:
            if not stated[title].near(printed[0].value):
                found = "Another table of the card says otherwise."
                yield Finding(f"{title}: accuracy {row['accuracy']}", REFUTED, found)
            yield from _difference(title, row, stated)
            continue
        stated[title] = printed[0]
        sets = {title: card.sets[title]} if title in card.sets else card.sets
        interval = printed[1:] or numbers(row.get("95 percentage interval", ""))
        yield from _score(f"{title}: ", row["accuracy"], sets, interval, row.get("f1"))
    for label, (shown, value) in card.labelled.items():
        before, accuracy, _ = label.partition("accuracy")
        if accuracy and numbers(value):
            f1 = (v for other, (_, v) in card.labelled.items() if other.startswith(f"{before}f1"))
            yield from _score(shown[: len(before)], value, card.sets, numbers(value)[1:], next(f1, None))


def _difference(title: str, row: dict[str, str], stated: dict[str, Number]) -> Iterator[Finding]:
    stated_difference = row.get("difference to the test set", "")
    for number in numbers(stated_difference):
        signed = number.scaled(-1 if stated_difference.startswith(("-", "−")) else 1).value
        right = any(abs(stated[title].value - other.value - signed) <= 4 * number.half for other in stated.values())
        found = "The accuracies that the card states give it." if right else "No two accuracies of the card give it."
        yield Finding(f"{title}: difference {stated_difference}", HOLDS if right else REFUTED, found)


def _score(of: str, value: str, sets: dict[str, int], interval: list[Number], f1: str | None) -> Iterator[Finding]:
    """Verdicts on the accuracy `value`, measured on one of `sets`, and on `f1`, measured on the same."""
    share, claim = _share(value), f"{of}accuracy {value}"
    if not sets:
        yield Finding(claim, UNCHECKED, "The card does not say on how many sentences.")
        return
    answers = {name: (round(share.value * n), n) for name, n in sets.items() if share.value <= 1}
    possible = {name: counts for name, counts in answers.items() if share.fits(counts[0] / counts[1])}
    if not possible:
        nearest = [f"{k:,} of the {n:,} of {name} are {k / n:.5f}" for name, (k, n) in answers.items()]
        yield Finding(claim, REFUTED, f"No number of right answers gives it; {', '.join(nearest) or 'it exceeds one'}.")
        return
    wilson = {name: wilson_interval(*counts) for name, counts in possible.items()}
    found = [
        f"{k:,} of the {n:,} sentences of {name} (95% interval {wilson[name][0]:.3f} to {wilson[name][1]:.3f})"
        for name, (k, n) in possible.items()
    ]
    right = len(interval) != 2 or any(interval[0].fits(low) and interval[1].fits(high) for low, high in wilson.values())
    yield Finding(claim, HOLDS if right else REFUTED, f"It is {', or '.join(found)}.")
    if f1 and numbers(f1):
        examples = [_f1_example(_share(f1), *counts, POSITIVE.get(name)) for name, counts in possible.items()]
        found = next(filter(None, examples), None)
        impossible = "However the right answers fall on the two classes, it comes out otherwise."
        yield Finding(f"{of}F1 {f1}", HOLDS if found else REFUTED, found or impossible)


def _share(text: str) -> Number:
    """The first number in `text` as a share of one."""
    number = numbers(text)[0]
    return number.scaled(0.01) if number.value > 1 or re.match(r"\W*[\d.,]+\s?%", text) else number


def _f1_example(f1: Number, right: int, n: int, positive: int | None) -> str | None:
    """How many of the `right` answers among `n` are positive where one of the usual F1 comes out as `f1`."""
    wrong = n - right
    lowest, highest = (max(0, positive - wrong), min(positive, right)) if positive else (0, right)
    hits = np.arange(lowest, highest + 1)
    of_positive, of_negative = (2 * part / np.maximum(2 * part + wrong, 1) for part in (hits, right - hits))
    kinds = {"the positive class": of_positive, "the negative class": of_negative}
    kinds["both classes, averaged"] = (of_positive + of_negative) / 2
    if positive:
        kinds["both classes, weighted"] = (positive * of_positive + (n - positive) * of_negative) / n
    kinds["all answers, which is the accuracy"] = np.full(len(hits), right / n)
    for kind, values in kinds.items():
        if len(found := np.flatnonzero(np.abs(values - f1.value) <= f1.half * (1 + 1e-9))):
            return f"It is the F1 of {kind} where {hits[found[0]]:,} of the {right:,} right answers are positive."
    return None


def _predicted(card: Card, folder: Path) -> Iterator[Finding]:
    """Verdicts on all metrics and intervals of a set, by the predictions in the run's `folder`, if it is one."""
    try:
        run = read_run(folder)
        computed = {one_line(run.result.data.titles[name]).lower(): of for name, of in run_intervals(run).items()}
    except (CourseError, OSError, ValueError, KeyError):  # no run of ours, or a damaged one
        return
    for row in card.tables:
        of_set = computed.get(row.get("set", "").lower())
        if of_set and "sentences" in row:
            stated = {metric: numbers(row[title]) for title, metric in TITLES.items() if row.get(title)}
            wrong = [
                f"{METRICS[metric]} is {exact.estimate:.4f} [{exact.low:.4f}, {exact.high:.4f}]"
                for metric, printed in stated.items()
                for exact in [of_set[metric]]
                if not all(n.fits(v) for n, v in zip(printed, (exact.estimate, exact.low, exact.high), strict=False))
            ]
            claim = f"{row['set']}: {', '.join(METRICS[metric] for metric in stated)}"
            found = f"By the predictions, {'; '.join(wrong)}." if wrong else "The run's predictions give the same."
            yield Finding(claim, REFUTED if wrong else HOLDS, found)


def _metadata(card: Card) -> Iterator[Finding]:
    """Verdicts on the evaluation results in the metadata, by the text."""
    stated = {}
    for row in reversed(card.tables):
        of_set = row.get("set", "").lower()
        stated |= {(of_set, metric): numbers(row[title]) for title, metric in TITLES.items() if row.get(title)}
    for label, (_, value) in reversed(card.labelled.items()):
        stated |= {(None, metric): numbers(value) for title, metric in TITLES.items() if title in label}
    compared: dict[str, dict[str, bool]] = {}
    for result in card.data.get("eval_results") or []:
        name, metric, value = one_line(str(result.dataset_name)), str(result.metric_type), result.metric_value
        printed = stated.get((name.lower(), metric)) or stated.get((None, metric))
        if printed and isinstance(value, int | float):
            args = result.metric_args if isinstance(result.metric_args, dict) else {}
            pairs = zip(printed, [value, *args.get("interval_95", [])], strict=False)
            right = [n.near(v) or n.near(100 * v) for n, v in pairs if isinstance(v, int | float)]
            compared.setdefault(name, {})[METRICS[metric]] = all(right)
    for name, agrees in compared.items():
        wrong = [metric for metric, right in agrees.items() if not right]
        found = f"The text gives another {', '.join(wrong)}." if wrong else "The text says the same."
        yield Finding(f"Metadata, {name}: {', '.join(agrees)}", REFUTED if wrong else HOLDS, found)


# ---------------------------------------------------------------- what a complete card has


def _lacking(card: Card) -> Iterator[Finding]:
    """What a card should say and does not: sections, and metadata that a hub reads."""
    headings = "\n".join(card.headings).lower()
    fields = [*METADATA, *([] if card.data.get("eval_results") else ["model-index"])]
    lacking = {
        "Sections": [name for name, words in SECTIONS.items() if not re.search(words, headings)],
        "Metadata": [name for name in fields if not card.data.get(name)],
    }
    for what, names in lacking.items():
        found = f"The card lacks {', '.join(names)}." if names else "None that a reader expects is missing."
        yield Finding(what, MISSING if names else HOLDS, found)


# ---------------------------------------------------------------- as a person reads it


def print_findings(findings: list[Finding]) -> None:
    """Print every claim with its verdict and what was found, then how many there are of each."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    styles = {HOLDS: "green", REFUTED: "bold red", UNCHECKED: "yellow", MISSING: "yellow"}
    table = Table.grid(padding=(0, 2))
    for finding in findings:
        table.add_row(Text(finding.verdict, styles[finding.verdict]), Text(one_line(finding.claim), "bold"))
        table.add_row("", Text(one_line(finding.found)))
    console = Console(highlight=False)
    console.print(table)
    console.print(Text(f"\n{tally(findings)}"))


def tally(findings: list[Finding]) -> str:
    """How many claims there are of each verdict, as a sentence."""
    of = {verdict: sum(finding.verdict == verdict for finding in findings) for verdict in VERDICTS}
    return (
        f"{len(findings)} claims: {of[HOLDS]} hold, {of[REFUTED]} refuted, {of[UNCHECKED]} cannot be checked, "
        f"{of[MISSING]} missing."
    )
