"""Words and names as they are shown: on one line, without markup, counted and joined; and the hash of a text."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Template

# Control characters are no text, and those that turn the direction of writing hide some. For a regular expression.
NO_TEXT = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069"


def one_line(text: str) -> str:
    """`text` on one line, without characters that are no text."""
    return " ".join(re.sub(f"[\t\n{NO_TEXT}]", " ", text).split())


def plain_title(name: str) -> str:
    """`name` without what means something in Markdown, HTML, Typst, TeX or a spreadsheet: a title goes everywhere."""
    kept = re.sub(r"[!-*/:-@\[-^`{-~]|\b_+|_+\b", " ", one_line(name))
    return " ".join(kept.split()).strip(" .,+-") or "untitled"


def is_class_name(name: str) -> bool:
    """Whether `name` can name a class: one line of 1 to 100 characters without a backtick; callers escape it."""
    return name == one_line(name) and "`" not in name and 0 < len(name) <= 100


def escape_markdown(text: str) -> str:
    """`text` as Markdown that shows exactly these characters, on one line."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", one_line(text))


def code_span(text: str) -> str:
    """Markdown that shows `text` as code on one line, whatever backticks it holds."""
    text = one_line(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence} {text} {fence}" if "`" in text else f"`{text}`"


def code_block(code: str, language: str) -> str:
    """Markdown that shows `code` as a block, whatever backticks it holds."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", code)), default=0))
    return f"{fence} {language}\n{code}\n{fence}"


def first_line(error: BaseException) -> str:
    """The first line of an error's message, for use inside a sentence; the name of its type where it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".:")


def in_sentence(title: str) -> str:
    """A title inside a sentence: "Full fine-tuning" → "full fine-tuning", but "LoRA" as it is."""
    return title[0].lower() + title[1:] if title[1:] == title[1:].lower() else title


def counted(number: int, noun: str) -> str:
    """A number of things: "1 seed", "3 seeds"."""
    return f"{number} {noun}{'s' if number != 1 else ''}"


def and_joined(names: list[str], word: str = "and") -> str:
    """Names as a sentence lists them: "LoRA", "LoRA and HiRA", "LoRA, QLoRA and HiRA"; `word` is the "and"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}"


def signed_points(difference: float) -> str:
    """A difference of accuracies in points: "+1.4", "−0.04" where one digit would hide which side of zero it is on."""
    for digits in (1, 2, 3, 4):
        if points := round(100 * difference, digits):
            return f"{points:+.{digits}f}".replace("-", "−")
    return "0.0"


def rounded_up(number: float, digits: int) -> str:
    """`number` with so many digits, never less than it: what lies within it lies within the printed number."""
    return f"{ceil(round(number * 10**digits, 6)) / 10**digits:.{digits}f}"


def margin_points(margin: float) -> str:
    """A margin of equivalence in points: "1.42 points"."""
    return f"{rounded_up(100 * margin, 2)} points"


def signed_interval(interval: Any) -> str:
    """A difference of accuracies in points, an `Interval` of `stats`: "+1.4 [+0.6, +2.1]"."""
    return "{} [{}, {}]".format(*map(signed_points, (interval.estimate, *interval.ends)))


def signed_number(interval: Any) -> str:
    """A difference in bits per byte, or of another score, an `Interval`: "−0.0312 [−0.0401, −0.0224]"."""
    return "{:+.4f} [{:+.4f}, {:+.4f}]".format(interval.estimate, *interval.ends).replace("-", "−")


def template(path: Path, filters: dict[str, Callable] | None = None) -> Template:
    """The Jinja template at `path`; its filters are functions of this module for words and Markdown, and `filters`."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(path.parent), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    words = (and_joined, code_span, counted, escape_markdown, in_sentence)
    numbers = (margin_points, rounded_up, signed_interval, signed_number, signed_points)
    environment.filters |= {function.__name__: function for function in (*words, *numbers)} | (filters or {})
    return environment.get_template(path.name)


def duration(seconds: float) -> str:
    """`seconds` with a unit that suits them: "40 s", "12 min", "3.5 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


def hash_of(text: str) -> str:
    """SHA-256 of `text`, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def hash_of_json(value: Any) -> str:
    """SHA-256 of `value` as JSON, in hex; the order of keys does not count."""
    return hash_of(json.dumps(value, sort_keys=True))
