"""Numbers as cards print them: in any way of grouping digits, with a unit, exact or approximate."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from course_utils.audit.knowledge import WORDS

# First letter of a word → what the word multiplies by.
FACTORS = {"k": 1e3, "t": 1e3, "m": 1e6, "b": 1e9, "万": 1e4, "亿": 1e8}
SPACES, MARKS = r"\u00a0\u202f ", "'’_"  # that group digits
NUMBER = re.compile(
    rf"(?<![\w.,])(\d{{1,18}}(?:[.,{MARKS}{SPACES}]\d{{2,18}})*(?:[.,]\d{{1,17}})?)(?!\w*\d)"
    r"(?:e([+-]\d{1,2})(?!\w)|\s?([kmb](?!\w)|[mb]illions?\b|mio\b|thousand\b|tausend\b|tsd\b|万|亿))?",
    re.I,
)
NEAR = 80  # characters before a number that may say what it is; more would take long in an endless line
ABOUT, RANGE = WORDS["about"].pattern, WORDS["range"].pattern
ASIDE = re.compile(rf"(?:{WORDS['compared'].pattern})[^\d,;+=]*$|(?:{WORDS['changed'].pattern})$", re.I)
FIRST = re.compile(rf"\W*(?:{ABOUT})?\d[\d.,{MARKS}{SPACES}]*(?!\s?[×*x/r^·]\s?\w*\d?)", re.I)


@dataclass(frozen=True)
class Number:
    """A number as printed: its value, the unit of its last digit, and what stands around it."""

    value: float
    unit: float
    printed: str
    about: bool  # "about 66M" and "60 to 70M" are no exact claims
    before: str
    after: str

    def fits(self, value: float | tuple[float, float]) -> bool:
        """Whether `value`, or one of a range (low, high), is this number when rounded or cut off at its digits."""
        low, high = value if isinstance(value, tuple) else (value, value)
        in_32_bits = self.unit < 1e-7  # so many digits are a number of 32 bits written out, which is off by as much
        slack = (1e-7 if in_32_bits else 1e-9) * max(abs(self.value), 1)
        near = low - self.unit - slack <= self.value <= high + self.unit / 2 + slack
        return near or (self.about and 0.9 * low <= self.value <= 1.1 * high)

    def scaled(self, factor: float) -> Number:
        """The same number in a unit `factor` times smaller."""
        return replace(self, value=self.value * factor, unit=self.unit * abs(factor))

    @property
    def signed(self) -> Number:
        """The number with the sign that stands before it."""
        return self.scaled(-1) if self.before.endswith(("-", "−")) else self

    @property
    def is_aside(self) -> bool:
        """Whether the number is not the value itself: a ratio, a difference, or what the value is compared with."""
        compared = ASIDE.search(self.before[-NEAR:])
        return not self.about and bool(compared or WORDS["difference"].match(self.after.lstrip(" %*")))

    @property
    def is_percent(self) -> bool:
        """Whether a percent sign follows."""
        return self.after.lstrip(" *").startswith("%")

    @property
    def as_share(self) -> Number:
        """The number as a share of one, where it is a percentage."""
        return self.scaled(0.01) if self.is_percent else self


def numbers(text: str, count: bool = False) -> list[Number]:
    """The numbers that `text` prints; in a `count`, the point of 739.586 groups digits."""
    found = []
    for match in NUMBER.finditer(text):
        before, after = text[: match.start()], text[match.end() :]
        ends_range = re.search(rf"\d\s?[kmb%]?(?:{RANGE})$", before[-NEAR:], re.I)
        about = bool(
            ends_range
            or re.match(rf"(?:{RANGE})\d", after, re.I)
            or re.search(rf"(?:{ABOUT})\(?$", before[-NEAR:], re.I)
        )
        for digits in _apart(match[1]):
            whole, decimals = _parts(digits, count and not match[3])
            number = Number(float(f"{whole}.{decimals or 0}"), 10.0 ** -len(decimals), match[0], about, before, after)
            factor = 10.0 ** int(match[2] or 0) * FACTORS.get((match[3] or "").lower()[:1], 1)
            found.append(number.scaled(factor))
    return found


def begins_with_number(value: str) -> bool:
    """Whether a value is a number with its explanation, and not a sentence or a formula that contains numbers."""
    return bool(FIRST.match(value) and numbers(value))


def _apart(digits: str) -> list[str]:
    """The numbers in digits with spaces between them: one number if the spaces group thousands, else several."""
    groups = re.split(rf"[{SPACES}]", digits)
    thousands = len(groups[0]) <= 3 and groups[0] != "0" and all(re.match(r"\d{3}(?!\d)", part) for part in groups[1:])
    return ["".join(groups)] if thousands else groups


def _parts(digits: str, count: bool) -> tuple[str, str]:
    """Digits before and after the decimal sign, whichever of comma and point that is."""
    digits = re.sub(rf"[{MARKS}]", "", digits)
    *whole, last = re.split(r"[.,]", digits)
    signs = re.findall(r"[.,]", digits)
    grouped = all(len(part) in (2, 3) for part in whole[1:]) and len(last) == 3 and whole and whole[0].strip("0")
    if not signs or (grouped and (signs[-1] == "," or count or len(signs) > 1) and len(set(signs)) == 1):
        return "".join([*whole, last]), ""
    return "".join(whole), last
