"""A model card taken apart: its metadata, and every statement with the heading and the row that it stands in."""

import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from course_utils.audit.knowledge import SETS, WORDS, DataSet, is_label, normal
from course_utils.errors import CourseError
from course_utils.text import first_line, one_line

LARGEST = 2_000_000  # bytes of a text that could be a card


@dataclass(frozen=True)
class Statement:
    """Something that a card states: a label and a value, the heading above, and the row of a table or of metadata."""

    shown: str
    value: str
    heading: str
    row: dict[str, str] = field(default_factory=dict)  # normalised column → cell; empty outside tables
    source: str = "text"  # or "prose", a figure in a sentence; or "metadata"

    @cached_property
    def label(self) -> str:
        """The label in lower-case words."""
        return normal(self.shown)

    @property
    def of(self) -> str:
        """What the statement's row is about: the first cell."""
        return next(iter(self.row.values()), "")

    @property
    def context(self) -> str:
        """Label, value and row: the words that say what this number is of."""
        return " | ".join([self.shown, self.value, *self.row.values()])

    @property
    def claim(self) -> str:
        """The statement on one line."""
        where = "Metadata, " if self.source == "metadata" else ""
        of = f"{self.of}: " if self.of and self.of != self.shown else ""
        return one_line(f"{where}{of}{self.shown} {self.value}")[:200]


@dataclass(frozen=True)
class Card:
    """A model card: its file, its metadata (a huggingface_hub ModelCardData), its text, headings and statements."""

    path: Path
    data: Any
    text: str
    damaged: str  # why the metadata cannot be read; empty where they can
    headings: list[str]
    statements: list[Statement]

    def stated(self, name: str, even_nothing: bool = False) -> list[Statement]:
        """The statements under a label for `name`, outside tables; "N/A" counts only with `even_nothing`."""
        found = [statement for statement in self.statements if is_label(name, statement.label) and not statement.row]
        return [s for s in found if even_nothing or not WORDS["nothing"].fullmatch(s.value.strip("*_ ."))]

    @property
    def own_text(self) -> str:
        """The text without the sections on other methods."""
        parts = re.split(r"^(?=#)", self.text, flags=re.M)
        return "".join(p for p in parts if not re.match(r"#.*(comparison|baseline|other|related|citation)", p, re.I))

    @cached_property
    def bases(self) -> list[str]:
        """The base models that the card names, in its metadata and in its text."""
        named = [name for name in _listed(self.data.get("base_model")) if isinstance(name, str)]
        named += [re.sub(r".*?\[(.*?)\].*", r"\1", s.value) for s in self.stated("base")]
        return list(dict.fromkeys(re.split(r"[,;(]| in ", one_line(name))[0].strip("`*'\" ") for name in named if name))

    @cached_property
    def sets(self) -> list[DataSet]:
        """The known data sets that the card is about; the name of a base model does not count as one."""
        named = [str(name).rpartition("/")[2] for name in _listed(self.data.get("datasets"))]
        named += [s.value for s in self.stated("data")] + self.headings[:1]
        named += [s.context for s in self.statements if s.source == "metadata"]
        stated = " | ".join(named)
        for base in self.bases:
            stated = stated.replace(base, " ")
        return [known for known in SETS if known.named_in(stated)]

    @property
    def is_varying(self) -> bool:
        """Whether the card names a method that removes ranks during training."""
        return any(map(WORDS["varying"].search, [*(s.value for s in self.stated("method")), *self.headings[:1]]))


def _listed(value: Any) -> list[Any]:
    return [each for each in (value if isinstance(value, list) else [value]) if each]


def read_card(path: Path) -> Card:
    """The card at `path`; CourseError, saying why, if it is none."""
    import yaml
    from huggingface_hub import ModelCardData
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    text, data, damaged = _text_of(path), ModelCardData(), ""
    if block := REGEX_YAML_BLOCK.match(text):
        text = text[block.end() :]
        try:
            data = ModelCardData(**(yaml.safe_load(block[2]) or {}), ignore_metadata_errors=True)
        except Exception as error:  # a stranger's metadata may be damaged in any way; the text can be read without it
            damaged = one_line(first_line(error))[:100]
    text, headings, statements = taken_apart(text)
    return Card(path, data, text, damaged, headings, [*statements, *map(_of_result, data.get("eval_results") or [])])


def _text_of(path: Path) -> str:
    """The text of a file that can be a card."""
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
        return text
    raise CourseError(f"{path} is no model card but JSON; a card is Markdown, usually README.md.")


HTML = {
    r"<!--.*?-->": "",
    r"</t[dh]>\s*(?=<t[dh])": " | ",
    r"<tr[^>]*>": "\n| ",
    r"</tr>": " |",
    r"<li[^>]*>": "\n- ",
    r"<h\d[^>]*>": "\n# ",
    r"<br\s*/?>|</(p|li|h\d|div)>": "\n",
    r"<[^>\n]{1,200}>": "",
}
FROM_LABEL = re.compile(r"\s*[:：]\s*|\s+=\s+(?![^(]*\))")  # between a label and its value, but not in brackets
PROSE = {
    "Trainable parameters": r"(?P<value>[\d.,]+\s?(?:[KMB]\b|million)?) (?:trainable|trained) param",
    "Rank": r"(?:\br|\brank)\s?(?:=|of|:)?\s?(?P<value>\d{1,4})\b(?=.*\balpha)",
    "Alpha": r"\balpha\s?(?:=|of|:)?\s?(?P<value>[\d.]*\d)\b",
    "Accuracy": r"accuracy (?:of|is|was)?\s?(?P<value>(?>[\d.,]*\d)(?!\s*%?\s*(?:percentage )?points)\s?%?[^.;|]{0,60})",  # noqa: E501
}


def taken_apart(text: str) -> tuple[str, list[str], list[Statement]]:
    """A card's text without HTML, its headings and its statements."""
    for pattern, instead in HTML.items():
        text = re.sub(pattern, instead, text, flags=re.S | re.I)
    headings, statements, heading, in_code = [], [], "", False
    header: list[str] = []
    for line in map(one_line, text.splitlines()):
        if line.startswith("|"):
            cells = [cell.strip("*_ ") for cell in line.strip("|").split("|")]
            if header and set("".join(cells)) - set(":- "):
                statements += _of_row(header, cells, heading)
            header = header or cells
            continue
        header = []
        if line.startswith(("```", "~~~")):
            in_code = not in_code
        elif in_code and "trainable params" not in line:  # what PEFT prints is a claim wherever it stands
            continue
        elif line.startswith("#") and not in_code:
            heading = line.lstrip("# ")
            headings.append(heading)
        elif not is_label("versions", normal(heading)):
            statements += _of_line(line, heading)
    return text, headings, statements


def _of_row(header: list[str], cells: list[str], heading: str) -> list[Statement]:
    """The statements of a row: one of two cells is a label and a value; of a table of epochs there are none."""
    columns = list(map(normal, header))
    if any(is_label("steps", column) for column in columns) or is_label("versions", normal(heading)):
        return []
    row = dict(zip(columns, cells, strict=False))
    if len(cells) == 2 and not any(re.search("accuracy|f1|loss|perplexity|param", c) for c in columns[1:]):
        return [Statement(*pair, heading) for pair in _pairs(*cells)]
    return [Statement(title, cell, heading, row) for title, cell in zip(header[1:], cells[1:], strict=False) if cell]


def _of_line(line: str, heading: str) -> list[Statement]:
    """The labelled values of a line, or else the figures that its sentence gives."""
    found = []
    for part in re.sub(r"\*\*|__", "", line).split("||"):
        label, value = ([*FROM_LABEL.split(part.lstrip("-*+• >").strip(), maxsplit=1), ""])[:2]
        if value and len(label) <= 60 and not label.startswith("http"):
            found += [Statement(*pair, heading) for pair in _pairs(label.replace("`", ""), value)]
    prose = [(label, match["value"]) for label, p in PROSE.items() for match in re.finditer(p, line, re.I)]
    return found or [Statement(label, value, f"{heading} {line}", source="prose") for label, value in prose]


def _pairs(label: str, value: str) -> list[tuple[str, str]]:
    """The labels and values of "rank / alpha: 16 / 32" and of "LoRA: r=16, alpha=32", or the pair as it is."""
    labels, values = re.split(r"\s*/\s*", label), re.split(r"\s*/\s*", value)
    parts = [re.fullmatch(r"\s*([A-Za-z][\w ]*?)\s?=\s?([^=]+)", part) for part in value.split(",")]
    if all(parts):
        return [(part[1], part[2]) for part in parts if part]
    are_pairs = 1 < len(labels) == len(values) and all(re.match(r"[\d.]", value) for value in values)
    return list(zip(labels, values, strict=True)) if are_pairs else [(label, value)]


def _of_result(result: Any) -> Statement:
    """An evaluation result of the metadata, as a row of a table of sets."""
    names = {"set": result.dataset_name, "type": result.dataset_type, "config": result.dataset_config}
    row = {name: one_line(str(value)) for name, value in names.items() if value}
    row |= {"split": str(result.dataset_split)} if result.dataset_split else {}
    return Statement(str(result.metric_type), str(result.metric_value), "", row, "metadata")
