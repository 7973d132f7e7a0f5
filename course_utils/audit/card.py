"""A model card taken apart: its metadata, and every statement with the heading and the row that it stands in."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from course_utils.audit.knowledge import SETS, WORDS, DataSet, is_label, normal
from course_utils.errors import CourseError
from course_utils.text import one_line

LARGEST = 2_000_000  # bytes of a text that could be a card

# ---------------------------------------------------------------- numbers


@dataclass(frozen=True)
class Number:
    """A number as printed: its value, the unit of its last digit, and what stands around it."""

    value: float
    unit: float
    printed: str = ""
    about: bool = False  # "about 66M" is no exact claim
    before: str = ""
    after: str = ""

    def fits(self, value: float) -> bool:
        """Whether `value`, rounded or cut off at the printed digits, is this number."""
        slack = 1e-9 * max(abs(self.value), 1)
        near = -self.unit / 2 - slack <= value - self.value <= self.unit + slack
        return near or (self.about and abs(value - self.value) <= 0.1 * abs(value))

    def scaled(self, factor: float) -> Number:
        """The same number in a unit `factor` times smaller."""
        return Number(self.value * factor, self.unit * factor, self.printed, self.about, self.before, self.after)


FACTORS = {
    "k": 1e3,
    "m": 1e6,
    "b": 1e9,
    "million": 1e6,
    "millions": 1e6,
    "billion": 1e9,
    "mio": 1e6,
    "万": 1e4,
    "亿": 1e8,
}
NUMBER = re.compile(
    r"(?<![\w.,])(\d{1,18}(?:[.,'’_\u00a0\u202f ]\d{2,18})*(?:[.,]\d{1,17})?)(?!\w*\d)"
    r"\s?([kmb](?!\w)|[mb]illions?\b|mio\b|万|亿)?",
    re.I,
)


def numbers(text: str, count: bool = False) -> list[Number]:
    """The numbers that `text` prints, in any way of grouping digits; of a `count`, 739.586 has no decimals."""
    found = []
    for match in NUMBER.finditer(text):
        for digits in _apart(match[1]):
            whole, decimals = _read(digits, count and not match[2])
            unit = FACTORS.get((match[2] or "").lower(), 1)
            before, after = text[: match.start()], text[match.end() :]
            about = bool(re.search(rf"(?:{WORDS['about'].pattern})$", before, re.I))
            number = Number(float(f"{whole}.{decimals or 0}"), 10.0 ** -len(decimals), match[0], about, before, after)
            found.append(number.scaled(unit))
    return found


def begins_with_number(value: str) -> bool:
    """Whether a value is a number with what explains it, and not a sentence or a formula that holds some."""
    about = WORDS["about"].pattern
    return bool(
        re.match(rf"\W*(?:{about})?\d[\d.,'’_\u00a0\u202f ]*(?!\s?[×*x/r]\s?\w*\d?)", value, re.I) and numbers(value)
    )


def _apart(digits: str) -> list[str]:
    """Numbers that only spaces hold together, if these do not group thousands."""
    groups = re.split(r"[\u00a0\u202f ]", digits)
    thousands = len(groups[0]) <= 3 and groups[0] != "0" and all(re.match(r"\d{3}(?!\d)", part) for part in groups[1:])
    return ["".join(groups)] if thousands else groups


def _read(digits: str, count: bool) -> tuple[str, str]:
    """Digits before and after the decimal sign, whichever of comma and point that is."""
    digits = re.sub(r"['’_]", "", digits)
    *whole, last = re.split(r"[.,]", digits)
    signs = re.findall(r"[.,]", digits)
    grouped = all(len(part) in (2, 3) for part in whole[1:]) and len(last) == 3 and whole and whole[0].strip("0")
    if not signs or (grouped and (signs[-1] == "," or count or len(signs) > 1) and len(set(signs)) == 1):
        return "".join([*whole, last]), ""
    return "".join(whole), last


# ---------------------------------------------------------------- statements


@dataclass(frozen=True)
class Statement:
    """Something that a card states: a label and a value, the line, the heading above, and the row of a table."""

    shown: str
    value: str
    heading: str = ""
    row: dict[str, str] | None = None  # normalised column → cell; None outside tables
    prose: bool = False

    @property
    def label(self) -> str:
        """The label in lower-case words."""
        return normal(self.shown)

    @property
    def context(self) -> str:
        """Label, value and row: what says of this very number what it is of."""
        return " | ".join([self.shown, self.value, *(self.row or {}).values()])

    @property
    def claim(self) -> str:
        """The statement on one line."""
        of = next(iter((self.row or {}).values()), "")
        return one_line(f"{of + ': ' if of and of != self.shown else ''}{self.shown} {self.value}")[:200]


@dataclass(frozen=True)
class Card:
    """A model card: its metadata (a huggingface_hub ModelCardData), its text, its headings and statements."""

    data: Any
    text: str
    headings: list[str] = field(default_factory=list)
    statements: list[Statement] = field(default_factory=list)

    def stated(self, name: str) -> list[Statement]:
        """The statements under a label for `name`, those of tables of other things left out."""
        return [s for s in self.statements if is_label(name, s.label) and not _is_nothing(s.value) and not s.row]

    @property
    def own_text(self) -> str:
        """The text without the sections on other methods."""
        parts = re.split(r"^(?=#)", self.text, flags=re.M)
        return "".join(
            part for part in parts if not re.match(r"#.*(comparison|baseline|other|related|citation)", part, re.I)
        )

    @property
    def bases(self) -> list[str]:
        """The base models that the card names, in its metadata and in its text."""
        named = self.data.get("base_model")
        named = [n for n in (named if isinstance(named, list) else [named]) if isinstance(n, str)]
        named += [re.sub(r".*?\[(.*?)\].*", r"\1", s.value) for s in self.stated("base")]
        return list(dict.fromkeys(re.split(r"[,;(]| in ", one_line(name))[0].strip("`*'\" ") for name in named if name))

    @property
    def sets(self) -> list[DataSet]:
        """The known data sets that the card names as those that it is about: a base's name is none."""
        named = self.data.get("datasets")
        named = [str(n).rpartition("/")[2] for n in (named if isinstance(named, list) else [named]) if n]
        named += [s.value for s in self.stated("data")] + self.headings[:1]
        for result in self.data.get("eval_results") or []:
            named += [str(result.dataset_name), str(result.dataset_type), str(result.dataset_config)]
        stated = " | ".join(named)
        for base in self.bases:
            stated = stated.replace(base, " ")
        return [known for known in SETS if known.named_in(stated)]


def _is_nothing(value: str) -> bool:
    return bool(WORDS["nothing"].fullmatch(value.strip("*_ .")))


def read_card(path: Path) -> Card:
    """The card at `path`; CourseError, saying why, if it is none."""
    from huggingface_hub import ModelCard, ModelCardData

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
            text = re.sub(r"\A\s*---\n.*?\n---\n", "", text, flags=re.S)
    return _taken_apart(data, text)


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
PROSE = {
    "Trainable parameters": r"(?P<value>[\d.,]+\s?(?:[KMB]\b|million)?) (?:trainable|trained) param",
    "Rank": r"(?:\br|\brank)\s?(?:=|of|:)?\s?(?P<value>\d{1,4})\b(?=.*\balpha)",
    "Alpha": r"\balpha\s?(?:=|of|:)?\s?(?P<value>[\d.]*\d)\b",
    "Accuracy": r"accuracy (?:of|is|was)?\s?(?P<value>[\d.,]*\d\s?%?)(?!\d|\s*points)(?P<rest>[^.;|]{0,60})",
}


def _taken_apart(data: Any, text: str) -> Card:
    for pattern, instead in HTML.items():
        text = re.sub(pattern, instead, text, flags=re.S | re.I)
    card, in_code, lines = Card(data, text), False, [one_line(line) for line in text.splitlines()]
    headings: list[str] = []
    header: list[str] = []
    for line in lines:
        if line.startswith(("```", "~~~")):
            in_code = not in_code
        elif in_code and "trainable params" not in line:  # what PEFT prints is a claim wherever it stands
            continue
        elif line.startswith("|"):
            cells = [cell.strip("*_` ") for cell in line.strip("|").split("|")]
            if not header:
                header = cells
            elif set("".join(cells)) - set(":- "):
                card.statements.extend(_of_row(header, cells, headings[-1] if headings else ""))
            continue
        elif line.startswith("#"):
            card.headings.append(line.lstrip("# "))
            headings.append(card.headings[-1])
        elif not headings or not is_label("versions", normal(headings[-1])):
            card.statements.extend(_of_line(line, headings[-1] if headings else ""))
        header = []
    return card


def _of_row(header: list[str], cells: list[str], heading: str) -> list[Statement]:
    """A row of two cells is a label and a value; of more, one statement a cell; of a table of epochs, nothing."""
    columns = list(map(normal, header))
    if any(is_label("steps", column) for column in columns) or is_label("versions", normal(heading)):
        return []
    row = dict(zip(columns, cells, strict=False))
    if len(cells) == 2 and not any(re.search("accuracy|f1|loss|perplexity|param", c) for c in columns[1:]):
        return [Statement(cells[0], cells[1], heading)]
    return [Statement(title, cell, heading, row) for title, cell in zip(header[1:], cells[1:], strict=False) if cell]


def _of_line(line: str, heading: str) -> list[Statement]:
    """The labelled values of a line, or else the figures that its sentence gives."""
    found = []
    for part in re.sub(r"\*\*|__|`(?=[^`]*[:：])", "", line).split("||"):
        label, value = (re.split(r"\s*[:：]\s*|\s+=\s+", part.lstrip("-*+• >").strip(), maxsplit=1) + [""])[:2]
        if value and len(label) <= 60 and not label.startswith("http"):
            found.append(Statement(label, value, heading))
    if found:
        return found
    for label, pattern in PROSE.items():
        for match in re.finditer(pattern, line, re.I):
            rest = match.groupdict().get("rest") or ""
            found.append(Statement(label, match["value"] + rest, f"{heading} {line}", None, True))
    return found
