"""What a notebook cell shows: figures, tables, source and sentences that the report can number.

Captions, alt texts and the function that shows something are in the outputs' metadata under "course", where the report
reads them. Beside the figure or table the caption is shown once more for the reader in JupyterLab.
"""

from __future__ import annotations

import base64
import html
import inspect
import io
import numbers
import re
import sys
import textwrap
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_utils.errors import CourseError
from course_utils.report.fonts import fit, said_of
from course_utils.text import code_block, escape_markdown, one_line, template

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

TEMPLATES = Path(__file__).parent / "templates"
PLAIN_NUMBER = re.compile(r"[−+-]?[\d.,]+(e[+-]?\d+)?%?|–")  # or none
UNDATED = {"Date": None, "Creator": None}


def show_figure(figure: Figure, caption: str, alt: str) -> None:
    """Show a matplotlib figure with its caption, and close it.

    `caption` is Markdown (maths and citations allowed); `alt` describes the figure in plain
    words for readers who cannot see. Raises CourseError when either is empty.
    """
    import matplotlib.pyplot as plt
    from matplotlib.text import Text

    if not caption.strip() or not alt.strip():
        raise CourseError("a figure needs a caption and an alt text: show_figure(figure, caption, alt)")
    svg = drawn(figure, "svg")
    written = "".join(text.get_text() for text in figure.findobj(Text))
    plt.close(figure)
    image = base64.b64encode(svg).decode()
    alt = one_line(alt)
    _display(
        {
            # JupyterLab prefers HTML, and gives a vector figure its alt text only there.
            "text/html": f'<img src="data:image/svg+xml;base64,{image}" alt="{html.escape(alt)}">',
            "image/svg+xml": svg.decode(),
            "text/plain": alt,
        },
        kind="figure",
        caption=one_line(caption),
        alt=alt,
    )
    _show_caption("Figure", caption)
    if said := said_of(written):
        show_markdown(escape_markdown(said))


def show_table(frame: pd.DataFrame, caption: str, formats: Mapping[str, str] | None = None) -> None:
    """Show a pandas frame as a table under its caption, numbers to the right.

    `formats` maps a column to a format string ("{:.1%}"); otherwise whole numbers get
    thousands separators and others three decimals. Whatever a cell holds is shown as plain text. An
    index that is more than row numbers becomes the first column. Raises CourseError when the
    caption is empty or a format names no column.
    """
    import pandas as pd

    if not caption.strip():
        raise CourseError("a table needs a caption: show_table(frame, caption)")
    if not isinstance(frame.index, pd.RangeIndex):
        frame = frame.reset_index()
    formats = formats or {}
    if unknown := [str(column) for column in formats if column not in frame.columns]:
        columns = ", ".join(map(str, frame.columns))
        raise CourseError(f"formats names no column: {', '.join(unknown)}; the columns are: {columns}")
    header = [one_line(str(column)) for column in frame.columns]
    forms = [formats.get(column) for column in frame.columns]
    rows = [list(map(_formatted, row, forms)) for row in frame.itertuples(index=False, name=None)]
    right = [bool(cells) and all(map(PLAIN_NUMBER.fullmatch, cells)) for cells in zip(*rows, strict=True)]
    right = right or [False] * len(header)
    _show_caption("Table", caption)
    _display(
        {
            "text/html": template(TEMPLATES / "table.html.jinja").render(header=header, rows=rows, right=right),
            "text/markdown": _markdown_table(header, rows, right),
            "text/plain": frame.to_string(index=False),
        },
        kind="table",
        caption=one_line(caption),
    )


def with_ends(estimate: float, low: float, high: float) -> str:
    """An estimate with the ends of its interval, as a cell of a table shows it."""
    return f"{estimate:.1f} [{low:.1f}, {high:.1f}]"


def show_source(obj: Any) -> None:
    """Show the source of a function or class of the package, as it runs, under its full name."""
    source = textwrap.dedent(inspect.getsource(obj)).strip("\n")
    show_markdown(code_block(f"# {obj.__module__}.{obj.__qualname__}\n{source}", "python"))


def show_markdown(text: str) -> None:
    """Show Markdown that was computed, nothing where it is empty; pass data in it through `escape_markdown` first."""
    if text := text.strip():
        _display({"text/markdown": text, "text/plain": text}, kind="sentences")


def show_document(text: str) -> None:
    """Show a Markdown document that is complete in itself, such as a model card, without its metadata.

    In the report it stands in a frame, and its headings are not among the chapter's.
    """
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL).strip()
    _display({"text/markdown": text, "text/plain": text}, kind="document")


def _display(data: dict[str, str], **course: str) -> None:
    from IPython.display import display

    display(data, raw=True, metadata={"course": course | {"shown_by": _shown_by()}})


def _shown_by() -> str:
    """The function of the report that a cell called to show this, by its full name; empty where the cell does it."""
    found, frame = "", sys._getframe(1)
    while frame := frame.f_back:  # type: ignore[assignment]  # the last one is the outermost
        module = frame.f_globals.get("__name__", "")
        if module.startswith("course_utils.report.") and module != __name__:
            found = f"{module}.{frame.f_code.co_qualname}"
    return found


def _show_caption(what: str, caption: str) -> None:
    # Where a table follows a figure, their two captions stand below each other.
    caption = one_line(caption)
    _display({"text/markdown": f"**{what}.** {caption}", "text/plain": caption}, kind="caption")


def drawn(figure: Figure, kind: str) -> bytes:
    """`figure` as a file of this `kind`, svg or png, in fonts that have its characters: the same bytes every time."""
    import matplotlib

    def save() -> bytes:
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, bbox_inches="tight", **options)
        return buffer.getvalue()

    options: dict[str, Any] = {"metadata": UNDATED} if kind == "svg" else {"dpi": 144}
    fit(figure)
    # Without a fixed salt the identifiers inside an SVG differ at every drawing.
    with matplotlib.rc_context({"svg.hashsalt": "course", "svg.fonttype": "path"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # show_figure says which characters no font has
        saved = save()
        return save() if fit(figure) else saved  # the axes get some of their labels while they are drawn


def _formatted(value: Any, form: str | None) -> str:
    import pandas as pd

    if pd.api.types.is_scalar(value) and pd.isna(value):
        return "–"
    if form is None:
        numeric = isinstance(value, numbers.Real) and not isinstance(value, bool)
        form = "{}" if not numeric else "{:,}" if isinstance(value, numbers.Integral) else "{:.3f}"
    shown = one_line(form.format(value))
    return re.sub("^-", "−", shown) if isinstance(value, numbers.Real) else shown


def _markdown_table(header: list[str], rows: list[list[str]], right: list[bool]) -> str:
    lines = [" | ".join(map(escape_markdown, cells)) for cells in [header, *rows]]
    lines.insert(1, " | ".join("--:" if numeric else ":--" for numeric in right))
    return "\n".join(f"| {line} |" for line in lines)
