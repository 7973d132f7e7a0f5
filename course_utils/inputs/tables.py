"""Tables as people have them, read from a file: CSV and TSV (quoted or not, as GLUE's), JSON lines, JSON, Parquet.

A folder with a folder of text files for each class is read as a table, too.
"""

from __future__ import annotations

import csv
import io
import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_utils.errors import CourseError, explained
from course_utils.paths import is_lfs_pointer

if TYPE_CHECKING:
    import pandas

CLASS_NAMES = "class_names"  # in a table's attrs: column → names of its classes, where the file says them
UNDERSTOOD = "understood"  # in a table's attrs: how it was read, where that is not by columns
UNLABELLED_FOLDER = "unsup"  # IMDB's folder of texts without a class
NO_JSON = (ValueError, RecursionError)  # the second where lists lie in lists in lists
LONGEST_FIELD = 2**30  # characters; Python's own limit is 131,072


def read_table(path: Path) -> pandas.DataFrame:
    """The table in the file `path`, values as in the file; the index gives each row's place there, as in "line 3".

    Raises CourseError, with the line, where the file cannot be read in the format that its ending names. A folder, for
    which `files_of` gives text files, is a table of text and label, the name of the folder that a file lies in.
    """
    if path.is_dir():
        return _read_folders(path)
    with explained(f"{path} cannot be read", "make it a file that you may read", OSError):
        points = is_lfs_pointer(path)
    if points:
        raise CourseError(f"{path} only points to the data; fetch them with git lfs pull")
    return READERS[path.suffix.lower()](path)


def files_of(path: Path) -> list[Path]:
    """The files that `read_table` reads: `path` itself, or the .txt files in the class folders of the folder `path`."""
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.glob("*/*.txt") if file.parent.name != UNLABELLED_FOLDER)


def _read_folders(path: Path) -> pandas.DataFrame:
    import pandas

    files = files_of(path)
    rows = [(_read_text(file), file.parent.name) for file in files]
    places = [file.relative_to(path).as_posix() for file in files]
    frame = pandas.DataFrame(rows, columns=["text", "label"], index=places, dtype=object)
    without = f"; {UNLABELLED_FOLDER} has no class and is left out" if (path / UNLABELLED_FOLDER).is_dir() else ""
    frame.attrs[UNDERSTOOD] = f"a text is a .txt file, and its class is the folder of the file{without}"
    return frame


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
        return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except OSError as error:
        raise CourseError(f"{path} cannot be read ({error.strerror}); make it a file that you may read") from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise CourseError(f"{path}, line {line}: this is not UTF-8; save the file in the encoding UTF-8") from error


def _read_csv(path: Path) -> pandas.DataFrame:
    header, _, rest = (text := _read_text(path)).partition("\n")
    if named := re.fullmatch("sep=(.)", header.strip(" "), re.IGNORECASE):  # how Excel is told the separator
        return _table(path, *_fields(path, "\n" + rest, named[1], quoted=True))
    return _table(path, *_fields(path, text, max(",;\t|", key=header.count), quoted=True))


def _read_tsv(path: Path) -> pandas.DataFrame:
    text = _read_text(path)
    lines = [line for line in text.split("\n") if line.strip()]
    if "\t" not in text and any(len({line.count(mark) for line in lines}) == 1 and mark in lines[0] for mark in ",;"):
        raise CourseError(
            f"{path}: its name says that tabs separate the columns, and its first line holds none; name the file"
            f" {path.stem}.csv"
        )
    return _table(path, *_fields(path, text, "\t", quoted=_is_quoted(text)))


def _is_quoted(text: str) -> bool:
    """Whether quote marks stand around tab-separated fields, as pandas writes them; in GLUE's files they are text."""
    fields = [field for line in text.split("\n") for field in line.split("\t")]
    opened = [field for field in fields if field.startswith('"')]
    if not opened:
        return False
    csv.field_size_limit(LONGEST_FIELD)
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter="\t", strict=True) if row]
    except csv.Error:
        return False
    return len({len(row) for row in rows}) == 1


def _fields(path: Path, text: str, separator: str, quoted: bool) -> tuple[list[list[str]], list[int]]:
    """The fields of every row, and the line on which each row ends; empty lines are left out."""
    csv.field_size_limit(LONGEST_FIELD)
    options: dict[str, Any] = {"delimiter": separator, "strict": True}
    reader = csv.reader(
        io.StringIO(text, newline=""), **options, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    )
    rows, lines, last = [], [], 0
    try:
        for row in reader:
            last = reader.line_num
            if row:
                rows.append(row)
                lines.append(last)
    except csv.Error as error:
        never_closed = "end of data" in str(error)
        line = last + 1 if never_closed else reader.line_num
        what = "a quote mark opens a field in this row and is never closed" if never_closed else str(error)
        raise CourseError(
            f"{path}, line {line}: {what}, where {separator!r} separates the columns; put a field with a quote mark in"
            " it into quote marks, and double the mark"
        ) from error
    return rows, lines


def _table(path: Path, rows: list[list[str]], lines: list[int]) -> pandas.DataFrame:
    import pandas

    if not rows:
        raise CourseError(f"{path} is empty; its first line names the columns, and every other line is an example")
    header = [name.strip() for name in rows[0]]
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(header):
            raise CourseError(
                f"{path}, line {line}: {len(row)} fields instead of {len(header)}, as the first line has; put one"
                " separator between two fields, and none inside a text that is not in quote marks"
            )
    if twice := next((name for name in header if header.count(name) > 1), None):
        raise CourseError(f"{path}: the first line names two columns {twice!r}; give each a name of its own")
    return pandas.DataFrame(rows[1:], columns=header, index=[f"line {line}" for line in lines[1:]], dtype=object)


def _read_json(path: Path) -> pandas.DataFrame:
    """A list of objects, or one object per line."""
    text = _read_text(path)
    if text.lstrip().startswith("["):
        with explained(f"{path} is not valid JSON", "write a list of objects, or one object a line", NO_JSON):
            return _objects(path, json.loads(text), "item")
    found, lines = [], []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            with explained(f"{path}, line {number}: this is not valid JSON", "write one object a line", NO_JSON):
                found.append(json.loads(line))
            lines.append(number)
    return _objects(path, found, "line", lines)


def _objects(path: Path, values: list[Any], noun: str, numbers: list[int] | None = None) -> pandas.DataFrame:
    import pandas

    places = [f"{noun} {number}" for number in numbers or range(1, len(values) + 1)]
    for place, value in zip(places, values, strict=True):
        if not isinstance(value, dict):
            raise CourseError(f'{path}, {place}: this is no object; write {{"text": …, "label": …}}')
    whole = [{_whole(name): _whole(own) for name, own in value.items()} for value in values]
    return pandas.DataFrame(whole, index=places, dtype=object)


def _whole(value: Any) -> Any:
    """A text in which U+FFFD stands for half a character, such as an emoji that a program cut; else the value."""
    if not isinstance(value, str):
        return value
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _read_parquet(path: Path) -> pandas.DataFrame:
    import datasets
    import pyarrow.parquet

    with (
        tempfile.TemporaryDirectory() as cache,
        explained(f"{path} cannot be read as Parquet", "save it again as a Parquet file, or as CSV"),
    ):
        datasets.disable_progress_bars()
        if not pyarrow.parquet.read_metadata(path).num_rows:
            raise CourseError(f"{path} holds no row; every row is an example")
        return from_dataset(datasets.Dataset.from_parquet(str(path), keep_in_memory=True, cache_dir=cache))


def from_dataset(dataset: Any) -> pandas.DataFrame:
    """A datasets.Dataset as a table; columns of type ClassLabel bring the names of their classes."""
    frame = dataset.to_pandas().astype(object)
    frame.index = [f"row {number}" for number in range(1, len(frame) + 1)]
    frame.attrs[CLASS_NAMES] = {
        name: tuple(feature.names) for name, feature in dataset.features.items() if hasattr(feature, "names")
    }
    return frame


READERS: dict[str, Callable[[Path], pandas.DataFrame]] = {
    ".tsv": _read_tsv,
    ".csv": _read_csv,
    ".jsonl": _read_json,
    ".json": _read_json,
    ".parquet": _read_parquet,
}
