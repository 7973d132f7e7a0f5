"""What a model card says and what an adapter's files hold, read without loading any weights."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from course_utils.errors import CourseError
from course_utils.inputs.splits import SST2_VALIDATION
from course_utils.text import one_line

LARGEST = 2_000_000  # bytes of a text that could be a card

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
# Sentences of the sets that a card on SST-2 may mean.
SST2_SIZES = {SST2_VALIDATION: 872, "SST-2 test": 1821}


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
        return stated or (SST2_SIZES if re.search(r"sst-?2", f"{self.data.get('datasets')} {self.text}", re.I) else {})


def read_card(path: Path) -> Card:
    """The card at `path`; CourseError, saying why, if it is none."""
    from huggingface_hub import ModelCard, ModelCardData

    if path.is_dir():
        raise CourseError(f"{path} is a folder; type the card in it: {path / 'README.md'}")
    if not path.is_file():
        raise CourseError(f"there is no file {path}; type the path of a model card, usually README.md")
    if path.stat().st_size > LARGEST:
        raise CourseError(f"{path} is too large to be a model card; type the path of one, usually README.md")
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
    data: Any = ModelCardData()
    if text.lstrip().startswith("---"):
        try:
            card = ModelCard(text, ignore_metadata_errors=True)
            data, text = card.data, card.text
        except Exception:  # whatever is wrong with a stranger's metadata, the text can be read without them
            pass
    return _taken_apart(data, text)


def _taken_apart(data: Any, text: str) -> Card:
    card, in_code = Card(data, text), False
    header: list[str] = []
    for line in text.splitlines():
        if line.lstrip().startswith(("```", "~~~")):
            in_code = not in_code
        elif in_code and "trainable params" not in line:  # what PEFT prints is a claim wherever it stands
            continue
        elif line.lstrip().startswith("|"):
            cells = [one_line(cell).strip("* ") for cell in line.strip().strip("|").split("|")]
            if not header:
                header = [normal(cell) for cell in cells]
            elif set("".join(cells)) - set(":- "):
                card.tables.append(dict(zip(header, cells, strict=False)))
                if len(cells) == 2:
                    card.labelled.setdefault(normal(cells[0]), (cells[0], cells[1]))
            continue
        elif line.startswith("#"):
            card.headings.append(line.lstrip("# "))
        else:
            for part in line.replace("**", "").split("||"):
                label, colon, value = part.strip().lstrip("-*+• ").partition(":")
                if colon and len(label) <= 60 and value.strip():
                    card.labelled.setdefault(normal(label), (one_line(label), one_line(value)))
        header = []
    return card


def normal(label: str) -> str:
    """`label` in lower-case words: "Rank (r)" is "rank r"."""
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
        fault = error.errors()[0]["msg"]
        raise CourseError(f"{folder}/adapter_config.json is damaged ({fault}); save the adapter again.") from None
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
