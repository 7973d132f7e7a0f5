"""Where labelled texts come from: a source is one object that reads them and says what it is; `data=` names it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from course_utils.errors import CourseError, explained
from course_utils.inputs.embedded import embedded_sentences
from course_utils.inputs.facts import Facts
from course_utils.paths import find_folder
from course_utils.text import code_span, plain_title

if TYPE_CHECKING:
    import pandas

CLEAR_RATING = 0.5  # a mean rating nearer to 0 than this is no label
OTHER_DOMAINS = {"products": "product reviews", "tweets": "tweets", "editorials": "newspaper editorials"}


@dataclass(frozen=True)
class Source:
    """Labelled texts of one origin.

    `name` is what `data=` takes, `title` what a report calls its evaluation sentences. `test_size` is how many texts
    are set aside where `read` gives one set; `phrases` says that the training texts hold parts of sentences.
    `further` maps sets that belong to it (`read_further`) to their titles.
    """

    name: str
    title: str
    facts: Facts
    class_names: tuple[str, ...] = ("negative", "positive")
    phrases: bool = True
    test_size: int = 0
    further: dict[str, str] = field(default_factory=lambda: dict(OTHER_DOMAINS))

    def read(self, setting: str = "data") -> dict[str, pandas.DataFrame]:
        """Frames of text and label: train, dev and perhaps test, or train alone; CourseError names the `setting`."""
        raise NotImplementedError

    def read_further(self, name: str) -> pandas.DataFrame:
        """One of the `further` sets."""
        return rated_sentences(name)

    def check(self, setting: str = "data") -> None:
        """Raise CourseError, naming the `setting`, where there is no such folder; reads and fetches nothing."""

    def files(self) -> list[Path]:
        """The reader's own files that it reads: a change to one means that runs must be made again."""
        return []


class Embedded(Source):
    """Movie sentences that people rated, from the package index."""

    def read(self, setting: str = "data") -> dict[str, pandas.DataFrame]:
        return {"train": rated_sentences("movies")}


class Sst2(Source):
    """SST-2 from the hub."""

    def read(self, setting: str = "data") -> dict[str, pandas.DataFrame]:
        import datasets

        folder = f"{setting}=FOLDER, with its train.tsv and dev.tsv in GLUE's layout"
        remedy = f"where there is no hub type {folder}, or {setting}=embedded"
        with explained(f"{setting}=sst2: SST-2 could not be loaded from the hub", remedy):
            splits = datasets.load_dataset(self.facts.hub_id, revision=SST2_REVISION)
        return {
            name: splits[split].to_pandas().rename(columns={"sentence": "text"})[["text", "label"]]
            for name, split in {"train": "train", "dev": "validation"}.items()
        }


class Folder(Source):
    """A folder in GLUE's layout: train.tsv and dev.tsv, perhaps a labelled test.tsv."""

    def check(self, setting: str = "data") -> None:
        self._folder(setting)

    def read(self, setting: str = "data") -> dict[str, pandas.DataFrame]:
        folder = self._folder(setting)
        frames: dict[str, pandas.DataFrame] = {}
        for name in ("train", "dev", "test"):
            lines = _read_lines(folder / f"{name}.tsv")
            if name == "test" and (lines is None or "label" not in lines[0]):
                continue  # GLUE's own test sentences have no labels
            if lines is None:
                raise CourseError(
                    f"{folder} holds no {name}.tsv; a data folder holds train.tsv and dev.tsv, tab-separated, with the "
                    "columns sentence and label"
                )
            frames[name] = _read_examples(folder / f"{name}.tsv", *lines)
        return frames

    def files(self) -> list[Path]:
        return sorted(file for file in self._folder().glob("*.tsv") if file.is_file())

    def _folder(self, setting: str = "data") -> Path:
        if (folder := find_folder(self.name)) is None:
            raise CourseError(
                f"{setting}={self.name}: there is no such folder; type {', '.join(SOURCES)}, or a folder that holds"
                " train.tsv and dev.tsv"
            )
        return folder


SST2_REVISION = "8d51e7e4887a4caaa95b3fbebbf53c0490b58bbb"
EMBEDDED = Embedded(
    "embedded",
    "movie",
    Facts(
        "rated movie review snippets",
        citations=("hutto2014vader",),
        limits=(
            "Sentences whose mean rating by people is near zero are in none of the sets. On all sentences, unclear "
            "ones included, its accuracy would be lower.",
        ),
    ),
    phrases=False,
    test_size=2_070,
)
SST2 = Sst2(
    "sst2",
    "SST-2",
    Facts(
        "SST-2",
        hub_id="stanfordnlp/sst2",
        citations=("socher2013sst",),
        limits=("Most training examples are phrases of sentences from movie reviews, not whole sentences.",),
    ),
)
SOURCES = {source.name: source for source in (EMBEDDED, SST2)}


def find_source(name: str) -> Source:
    """The source that `data=` or `also_evaluate=` names: one of `SOURCES`, or a folder, which need not be there yet."""
    folder = find_folder(name)
    title = plain_title(os.path.basename(os.path.realpath(folder) if folder else name))
    return SOURCES.get(name) or Folder(name, title, Facts(code_span(name)))


def rated_sentences(domain: str) -> pandas.DataFrame:
    """The clearly rated embedded sentences of a `domain`: text, mean_rating, label (the sign of the mean)."""
    frame = embedded_sentences(domain, columns=["text", "mean_rating"])
    frame = frame[frame.mean_rating.abs() >= CLEAR_RATING]
    return frame.assign(label=(frame.mean_rating > 0).astype(int))


def _read_lines(path: Path) -> list[list[str]] | None:
    """The fields of every line; None where there is no such file. Quotes mean nothing in GLUE's files."""
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CourseError(f"{path} cannot be read ({error.strerror}); make it a file that you may read") from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise CourseError(f"{path}, line {line}: this is not UTF-8; save the file in the encoding UTF-8") from error
    return [line.split("\t") for line in text.replace("\r\n", "\n").split("\n")]


def _read_examples(path: Path, header: list[str], *lines: list[str]) -> pandas.DataFrame:
    import pandas

    header = [name.strip() for name in header]
    for column in ("sentence", "label"):
        if header.count(column) != 1:
            fault = f"two columns {column}" if column in header else f"no column {column}"
            raise CourseError(
                f"{path}: the first line is {' '.join(header)[:80]!r} and names {fault}; it must name "
                "the columns sentence and label, with a tab between them"
            )
    examples = []
    for number, fields in enumerate(lines, start=2):
        if fields == [""]:
            continue
        if len(fields) != len(header):
            raise CourseError(
                f"{path}, line {number}: {len(fields)} fields instead of {len(header)}; put one tab between two fields "
                "and none inside a sentence"
            )
        example = dict(zip(header, fields, strict=True))
        label = example["label"].strip()
        if label not in ("0", "1"):
            raise CourseError(
                f"{path}, line {number}: the label is {label[:40]!r}; it must be 0 (negative) or 1 (positive)"
            )
        examples.append((example["sentence"].strip(), int(label)))
    frame = pandas.DataFrame(examples, columns=["text", "label"])
    if frame.label.nunique() < 2:
        found = f"every label is {frame.label[0]}" if examples else "there are no examples"
        raise CourseError(f"{path}: {found}; both classes, 0 and 1, are needed")
    return frame
