"""From tables to examples: which columns hold texts and labels, and which classes the labels are."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from course_utils.errors import CourseError, explained
from course_utils.inputs.tables import CLASS_NAMES, UNDERSTOOD
from course_utils.text import and_joined, is_class_name

if TYPE_CHECKING:
    import pandas

# Where the settings name no column, the first of these that a table has; upper and lower case are the same.
TEXT_COLUMNS = (
    "sentence", "text", "content", "review", "tweet", "comment", "message", "headline", "utterance", "question",
    "body", "document", "title",
)  # fmt: skip
PAIR_COLUMNS = (
    ("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2"), ("question", "sentence"),
    ("text1", "text2"), ("text_a", "text_b"), ("query", "passage"), ("#1 string", "#2 string"),
)  # fmt: skip
LABEL_COLUMNS = (
    "label", "labels", "gold_label", "sentiment", "class", "category", "target", "quality", "is_duplicate", "intent",
    "emotion", "topic", "stars", "rating", "score",
)  # fmt: skip
MOST_CLASSES = 100
LONGEST_NUMBER = 100  # digits, as many as the name of a class may have
WHOLE_NUMBER = re.compile(rf"[+-]?\d{{1,{LONGEST_NUMBER}}}(\.0*)?")
ANY_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
UNLABELLED = "-1"  # how GLUE marks every example of a set without labels


@dataclass(frozen=True)
class Columns:
    """Columns that the settings name, and the names of the classes; None and () leave the choice to the table.

    Where a task reads no labels, the texts are not `labelled`.
    """

    text: str | None = None
    text_pair: str | None = None
    label: str | None = None
    class_names: tuple[str, ...] = ()
    labelled: bool = True


NO_COLUMNS = Columns()


@dataclass(frozen=True)
class Texts:
    """Labelled texts, one frame per split: text, perhaps text_pair, label (place in `class_names`).

    Without classes every label is 0.

    `understood` holds phrases that say how the texts were read; `revision` is the commit of a data set of the hub.
    """

    frames: dict[str, pandas.DataFrame]
    class_names: tuple[str, ...]
    understood: list[str] = field(default_factory=list)
    revision: str | None = None


def examples(tables: dict[str, tuple[str, pandas.DataFrame]], columns: Columns) -> Texts:
    """The examples of a source: `tables` maps a split (train, dev, test) to a file's name and its table.

    Raises CourseError, with file and line, where a column is missing or a label cannot be a class.
    """
    if not columns.labelled:
        return _without_labels(tables, columns)
    frames, understood, names, label = {}, [], (), None
    if columns == Columns(class_names=columns.class_names) and "train" in tables:
        text, label = by_values(tables["train"][1])
        columns = replace(columns, text=text, label=label)
    for split in sorted(tables, key=lambda split: split != "train"):
        file, table = tables[split]
        # What was the one column left in train may be of any name.
        as_in_train = columns.label is None and label and column_named(label, list(table.columns))
        own = replace(columns, label=label) if as_in_train else columns
        chosen = _chosen(own, list(table.columns), file, needs_label=split != "test")
        frame = _renamed(table, chosen, file)
        if "label" not in frame or (len(frame) and set(frame.label) <= {UNLABELLED, "", "?"}):
            if split != "test":
                raise CourseError(
                    f"{file}: every label is {UNLABELLED}, ? or empty, which means that there is none; bring labels, or"
                    " type -p label_column=NAME"
                )
            understood.append(f"{file} has no labels and is left out")
            continue
        if split == "train":
            understood.append(table.attrs.get(UNDERSTOOD) or _said(chosen))
            names = table.attrs.get(CLASS_NAMES, {}).get(chosen["label"], ())
            label = chosen["label"]
        frames[split] = (file, frame)
    if len({"text_pair" in frame for _, frame in frames.values()}) > 1:
        held = [
            f"{file} holds {'pairs' if 'text_pair' in frame else 'single texts'}" for file, frame in frames.values()
        ]
        raise CourseError(f"{'; '.join(held)}; bring the same kind in every set")
    order, class_names = _classes(*frames["train"], names, columns.class_names)
    for name in class_names:
        if not is_class_name(name):
            raise CourseError(
                f"{frames['train'][0]}: {name[:40]!r} cannot name a class; write one line of at most {LONGEST_NUMBER}"
                " characters, without ` and without control characters"
            )
    labelled = {split: _labelled(file, frame, order) for split, (file, frame) in frames.items()}
    return Texts(labelled, class_names, understood)


def _without_labels(tables: dict[str, tuple[str, pandas.DataFrame]], columns: Columns) -> Texts:
    """The texts of a source for a task that reads no labels; a table's one column besides the labels holds them."""
    frames, understood = {}, []
    for split, (file, table) in tables.items():
        names = [name for name in table.columns if columns.text or str(name).strip().lower() not in LABEL_COLUMNS]
        wanted = names[0] if columns.text is None and len(names) == 1 else columns.text
        chosen = _chosen(Columns(text=wanted), names, file, needs_label=False)
        chosen.pop("label", None)
        frames[split] = _renamed(table, chosen, file).assign(label=0).reset_index(drop=True)
        if split == "train":
            understood.append(_said(chosen))
    return Texts(frames, (), understood)


def by_values(table: pandas.DataFrame) -> tuple[str | None, str | None]:
    """The columns of texts and labels, of two of unknown names, where their values leave no doubt; else None.

    One has at most `MOST_CLASSES` different values, and the other ten times as many.
    """
    known = {*TEXT_COLUMNS, *LABEL_COLUMNS, *(name for pair in PAIR_COLUMNS for name in pair)}
    if len(table.columns) != 2 or {str(name).strip().lower() for name in table.columns} & known:
        return None, None
    (few, label), (many, text) = sorted((table[name].map(str).nunique(), str(name)) for name in table.columns)
    return (text, label) if 2 <= few <= MOST_CLASSES and many >= 10 * few else (None, None)


def _chosen(columns: Columns, names: list[str], file: str, needs_label: bool) -> dict[str, str]:
    """Those of text, text_pair and label that a table has → the name of the column."""
    chosen: dict[str, str] = {}
    for role in ("text", "text_pair", "label"):
        if (wanted := getattr(columns, role)) is not None:
            if (found := column_named(wanted, names)) is not None:
                chosen[role] = found
            elif role != "label" or needs_label:
                raise CourseError(f"{role}_column={wanted}: {file} has no such column; it has {listed(names)}")
    if "label" not in chosen and (found := _first_of(LABEL_COLUMNS, _left(names, chosen))):
        chosen["label"] = found
    if "text" not in chosen and "text_pair" not in chosen:
        for pair in PAIR_COLUMNS:
            text, text_pair = (column_named(name, _left(names, chosen)) for name in pair)
            if text and text_pair and "text" not in chosen:
                chosen = {"text": text, "text_pair": text_pair} | chosen
    if "text" not in chosen and (found := _first_of(TEXT_COLUMNS, _left(names, chosen))):
        chosen["text"] = found
    missing, others = {"text", "label"} - chosen.keys(), _left(names, chosen)
    if needs_label and len(missing) == len(others) == 1:  # the column that is left has the role that is left
        chosen[missing.pop()] = others.pop()
    for role in ("text", "label"):
        if role not in chosen and (role == "text" or needs_label):
            numbered = ANY_NUMBER.fullmatch("".join(names[1:2])) or len(" ".join(map(str, names))) > 200
            no_header = (
                " The first line of the file must name the columns, and seems to be an example." if numbered else ""
            )
            if len(names) == 1 and needs_label:
                raise CourseError(
                    f"{file}: it has the column {listed(names)} alone, and texts need labels; bring two columns, with a"
                    " comma, a semicolon, a tab or | between them"
                )
            raise CourseError(
                f"{file}: which column holds the {role} is not clear, for there is no column {role};"
                f" type -p {role}_column=NAME with one of {listed(names)}, or call the column {role} in the file, as a"
                f" further set needs it.{no_header}"
            )
    return chosen


def _left(names: list[str], chosen: dict[str, str]) -> list[str]:
    """The columns that have no role yet."""
    return [name for name in names if name not in chosen.values()]


def column_named(wanted: str, names: list[str]) -> str | None:
    """The one of a table's `names` that is `wanted`, or else the first that differs from it in case or spaces alone."""
    alike = [name for name in names if str(name).strip().lower() == wanted.strip().lower()]
    return wanted if wanted in alike else next(iter(alike), None)


def _first_of(known: tuple[str, ...], names: list[str]) -> str | None:
    return next((found for name in known if (found := column_named(name, names))), None)


def listed(names: list[str]) -> str:
    """The first names of columns, or classes, as an error lists them."""
    return and_joined([repr(str(name)[:40]) for name in names[:20]]) if names else "no columns"


def _said(chosen: dict[str, str]) -> str:
    roles = [role for role in ("text", "text_pair", "label") if role in chosen]
    return and_joined([f"{role.replace('_', ' ')} from the column {chosen[role]!r}" for role in roles])


def _renamed(table: pandas.DataFrame, chosen: dict[str, str], file: str) -> pandas.DataFrame:
    """The chosen columns under their roles; texts are stripped, labels are words."""
    import pandas

    roles = {role: stripped(table[name], file) for role, name in chosen.items()}
    if "label" in roles:
        roles["label"] = roles["label"].map(_word)
    return pandas.DataFrame(roles, index=table.index, dtype=object)


def stripped(column: pandas.Series, file: Path | str) -> pandas.Series:
    """The values of a table's column as stripped texts, empty where there is none.

    Raises CourseError, with the `file` and the place there, where a value is a list or an object.
    """
    from pandas import isna
    from pandas.api.types import is_list_like

    for place, value in column.items():
        if is_list_like(value):
            raise CourseError(
                f"{file}, {place}: the column {str(column.name)[:40]!r} holds a list or an object; write one text or"
                " number a row, or name another column"
            )
        if isinstance(value, bytes):
            with explained(f"{file}, {place}: bytes that are not UTF-8", "save texts as strings", UnicodeDecodeError):
                value.decode()
    return column.map(lambda value: "" if isna(value) else _as_text(value).strip())


def _as_text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _word(label: str) -> str:
    """A label as a word: "3", "3.0" and "03" are the same."""
    return str(int(label.partition(".")[0])) if WHOLE_NUMBER.fullmatch(label) else label


def _classes(
    file: str, train: pandas.DataFrame, of_file: tuple[str, ...], wanted: tuple[str, ...]
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Word → label, and the names of the classes: those `wanted`, or those `of_file`, or else the words."""
    found = train.label.drop_duplicates()
    whole = [word for word in found if WHOLE_NUMBER.fullmatch(word)]
    for place, word in found.items():
        if word in ("", "nan", "NaN") or (of_file and word == UNLABELLED):
            raise CourseError(f"{file}, {place}: the label is empty; write its class, or take the line out")
        if ANY_NUMBER.fullmatch(word) and word not in whole:
            long = f" of at most {LONGEST_NUMBER} digits" if len(word) > LONGEST_NUMBER else ""
            raise CourseError(f"{file}, {place}: the label is {word[:40]}; a class is a word or a whole number{long}")
        if whole and word not in whole:
            raise CourseError(
                f"{file}, {place}: the label is {word[:40]!r}; it must be a whole number, as the other labels are"
            )
    if not 2 <= len(found) <= MOST_CLASSES:
        few = f"every label is {found.iloc[0]}" if len(found) else "there are no rows below the names of the columns"
        many = f"there are {len(found)} different labels (-p label_column=NAME names another column)"
        raise CourseError(f"{file}: {few if len(found) < 2 else many}; 2 to {MOST_CLASSES} classes are needed")
    words = sorted(found, key=int) if whole else sorted(found)
    named = [of_file[int(word)] if of_file else word for word in words]
    if not wanted:
        return {word: label for label, word in enumerate(words)}, tuple(named)
    if sorted(named) == sorted(wanted):  # in the order that was given
        return {word: wanted.index(name) for word, name in zip(words, named, strict=True)}, wanted
    if whole and len(words) == len(wanted):
        return {word: label for label, word in enumerate(words)}, wanted
    raise CourseError(
        f"class_names: {', '.join(wanted)} do not name the {len(words)} labels of {file}, {listed(words)}; type one"
        " name for each label, with a comma between two, or call labels that hold a comma otherwise"
    )


def _labelled(file: str, frame: pandas.DataFrame, order: dict[str, int]) -> pandas.DataFrame:
    for place, word in frame.label.items():
        if word not in order:
            raise CourseError(
                f"{file}, {place}: the label is {word[:40]!r}, which is no class of the training examples"
                f" ({listed(list(order))})"
            )
    return frame.assign(label=frame.label.map(order).astype(int)).reset_index(drop=True)
