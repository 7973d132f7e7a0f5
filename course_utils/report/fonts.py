"""The fonts of the figures and the PDF: where they lie, which characters they have, and a sentence on the others."""

from __future__ import annotations

import unicodedata
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from course_utils.text import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOT_PRINTED = "The PDF and the figures cannot print"  # how the sentence about characters that no font has begins
NAMED = 20  # characters that the sentence names at most
KANA = range(0x3040, 0x3100)


def folders() -> list[Path]:
    """Folders with all font files: DejaVu from matplotlib, then Noto for other scripts, and for Han and Hangul."""
    import manimgx_fonts
    import matplotlib
    import noto_cjk_sans_otc

    packages = [Path(package.__file__).parent for package in (manimgx_fonts, noto_cjk_sans_otc)]
    return [Path(matplotlib.get_data_path()) / "fonts" / "ttf", *packages]


def families(text: str) -> list[str]:
    """Families that together have every character that can be printed, best first; Han as `text` writes it."""
    han = "Noto Sans CJK JP" if any(ord(character) in KANA for character in text) else "Noto Sans CJK SC"
    return [*(name for name in _characters() if "CJK" not in name), han]


def fit(figure: Figure) -> bool:
    """Give the texts of a figure the fonts that have all their characters; returns whether one was given another.

    A figure is drawn with matplotlib's own font, because a list of families makes every drawing slow. Where that font
    lacks a character, all texts of the figure get all families, and matplotlib is told where the files are.
    """
    from matplotlib.font_manager import fontManager
    from matplotlib.text import Text

    texts = figure.findobj(Text)
    written = "".join(text.get_text() for text in texts)
    if not {*map(ord, written)} - _characters()["DejaVu Sans"] - {ord("\n")}:
        return False
    if not {font.name for font in fontManager.ttflist}.issuperset(names := families(written)):
        for file in _files():
            fontManager.addfont(file)
    others = [text for text in texts if text.get_fontfamily() != names]
    for text in others:
        text.set_fontfamily(names)
    return bool(others)


def printable(text: str) -> str:
    """`text` with a replacement character for each visible character that no font has; invisible ones are removed."""
    return text.translate({each: None if _is_invisible(chr(each)) else "\ufffd" for each in _missing(text)})


def _missing(text: str) -> set[int]:
    """Code points of `text` that no font has a form for; a line's end needs none."""
    return {ord(character) for character in text} - frozenset().union(*_characters().values()) - {ord("\n")}


def said_of(text: str) -> str:
    """A sentence that names the visible characters of `text` that no font has a form for; empty if there are none."""
    characters = [character for character in map(chr, sorted(_missing(text))) if not _is_invisible(character)]
    if not characters:
        return ""
    names = [f"U+{ord(each):04X} {unicodedata.name(each, '')}".strip() for each in characters[:NAMED]]
    names += [f"{len(characters) - NAMED} more"] if len(characters) > NAMED else []
    return (
        f"{NOT_PRINTED} {counted(len(characters), 'character')} of the data, which no font here has:"
        f" {', '.join(names)}. A replacement character stands for each."
    )


def _files() -> list[Path]:
    dejavu, *packages = folders()
    return [dejavu / "DejaVuSans.ttf", *(file for folder in packages for file in sorted(folder.glob("*.tt[fc]")))]


@cache
def _characters() -> dict[str, frozenset[int]]:
    """Family → code points that it has a form for."""
    from matplotlib.ft2font import FT2Font

    found: dict[str, frozenset[int]] = {}
    for file in _files():
        font = FT2Font(file)
        found[font.family_name] = frozenset(font.get_charmap()) | found.get(font.family_name, frozenset())
    return found


def _is_invisible(character: str) -> bool:
    """Whether `character` only steers others: a joiner, a variation selector, a line's end."""
    steers = unicodedata.name(character, "").startswith("VARIATION SELECTOR")
    return steers or unicodedata.category(character) in ("Cc", "Cf")
