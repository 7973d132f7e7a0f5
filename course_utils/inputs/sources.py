"""Sources of labelled texts: a source is one object that reads its texts and describes itself; `data=` names it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from course_utils.errors import CourseError, explained
from course_utils.inputs.columns import NO_COLUMNS, Columns, Texts, examples
from course_utils.inputs.embedded import SENTENCES, embedded_sentences
from course_utils.inputs.facts import Facts, commit_on_hub
from course_utils.inputs.tables import READERS, files_of, from_dataset, read_table
from course_utils.paths import PROJECT, find_path
from course_utils.text import and_joined, code_span, plain_title

if TYPE_CHECKING:
    import pandas

CLEAR_RATING = 0.5  # a mean rating nearer to 0 than this takes no side
STRONG_RATING = 2.0  # with five classes, from here on a sentence is very negative or very positive
SENTIMENT = ("negative", "positive")
OF_SENTIMENT = {"language": "en", "task": "Sentiment Analysis", "example": "This is a great movie!"}
OTHER_DOMAINS = {"products": "product reviews", "tweets": "tweets", "editorials": "newspaper editorials"}
ROLES = {"train": "train", "training": "train", "test": "test", "testing": "test"} | dict.fromkeys(
    ("dev", "valid", "validation", "val", "eval"), "dev"
)  # the first word of a file's or a split's name → what it is here


@dataclass(frozen=True)
class Source:
    """Labelled texts of one origin.

    `name` is what `data=` takes, `title` what a report calls its evaluation texts. `class_names` is empty where the
    data must be read to know them; `columns` are what the settings say of a table's columns and classes. `test_size` is
    how many texts are set aside for the test where `read` gives one set; `further` maps the sets of other domains that
    belong to the source (`read_further`) to their titles.
    """

    name: str
    title: str
    facts: Facts
    class_names: tuple[str, ...] = ()
    columns: Columns = NO_COLUMNS
    test_size: int = 2_000
    further: dict[str, str] = field(default_factory=dict)

    def read(self, setting: str = "data") -> Texts:
        """The texts of the source: train, and dev and test where it has them; CourseError names the `setting`."""
        raise NotImplementedError

    def read_further(self, name: str) -> pandas.DataFrame:
        """One of the `further` sets: text, mean_rating and label."""
        return rated_sentences(name, two_classes)

    def check(self, setting: str = "data") -> None:
        """Raise CourseError, naming the `setting`, if the source does not exist; reads and fetches nothing."""

    def files(self) -> list[Path]:
        """The reader's own files that the source reads; after a change to one of them, runs must be made again."""
        return []


# ---------------------------------------------------------------- from the package index


def two_classes(mean: float) -> int | None:
    """0 (negative) or 1 (positive) of a mean rating from −4 to +4; None where the mean takes no side."""
    return None if abs(mean) < CLEAR_RATING else int(mean > 0)


def five_classes(mean: float) -> int | None:
    """0 (very negative) to 4 (very positive) of a mean rating from −4 to +4."""
    strength = int(abs(mean) >= CLEAR_RATING) + int(abs(mean) >= STRONG_RATING)
    return 2 + (strength if mean > 0 else -strength)


def side(rating: float) -> bool | None:
    """Whether one rater, or the mean of some, is on the positive side; None at zero, where no side is taken."""
    return None if rating == 0 else rating > 0


def rated_sentences(domain: str, class_of: Callable[[float], int | None]) -> pandas.DataFrame:
    """The embedded sentences of a `domain` whose mean rating has a class: text, mean_rating, label."""
    frame = embedded_sentences(domain, columns=["text", "mean_rating"])
    frame = frame.assign(label=frame.mean_rating.map(class_of)).dropna(subset="label")
    return frame.astype({"label": int}).reset_index(drop=True)


@dataclass(frozen=True)
class Rated(Source):
    """Movie sentences that people rated.

    `class_of` gives the label of a mean rating, None where it has none; `judged_as` is how one rater is compared with
    the others.
    """

    class_of: Callable[[float], int | None] = two_classes
    judged_as: Callable[[float], int | None] = side

    def read(self, setting: str = "data") -> Texts:
        return Texts({"train": self.read_further("movies")}, self.class_names)

    def read_further(self, name: str) -> pandas.DataFrame:
        return rated_sentences(name, self.class_of)


class Domains(Source):
    """Rated sentences of all domains; the class is the domain."""

    def read(self, setting: str = "data") -> Texts:
        import pandas

        names = enumerate(self.class_names)
        frames = [embedded_sentences(name, columns=["text"]).assign(label=label) for label, name in names]
        return Texts({"train": pandas.concat(frames, ignore_index=True)}, self.class_names)


# ---------------------------------------------------------------- from the hub


@dataclass(frozen=True)
class Hub(Source):
    """A data set of the hub: `path` is its id there, `part` the name of a configuration.

    With a branch, a tag or no `revision`, the commit of today is read; one process asks for it once. `copy` is a
    folder, seen from the project's root, that is read instead of the hub where it exists; its classes, in their order,
    take the names of the source's.
    """

    path: str = ""
    part: str | None = None
    revision: str | None = None
    copy: str = ""

    def files(self) -> list[Path]:
        return copied.files() if (copied := self._copied()) else []

    def read(self, setting: str = "data") -> Texts:
        if copied := self._copied():
            texts = copied.read(setting)
            if len(texts.class_names) != len(self.class_names):
                raise CourseError(
                    f"{setting}={self.name}: the copy in {self.copy} has {len(texts.class_names)} classes and not"
                    f" {len(self.class_names)}; put {self.title} there, or take the folder away"
                )
            understood = [*texts.understood, f"the copy in {self.copy}, not the hub"]
            return replace(texts, class_names=self.class_names, understood=understood)
        import datasets

        datasets.disable_progress_bars()
        at_home = f"put a copy into {self.copy}, or " if self.copy else ""
        remedy = (
            f"check its name and the network; where there is no hub {at_home}type {setting}=FILE, a folder of files, or"
            f" {setting}=embedded"
        )
        with explained(f"{setting}={self.name}: it could not be loaded from the hub", remedy):
            commit = commit_on_hub(self.path, "dataset", self.revision)
            # Without the prefix, a folder of that name would be read instead.
            try:
                builder = datasets.load_dataset_builder(f"hf://datasets/{self.path}", self.part, revision=commit)
            except ValueError as error:
                if several := re.search(r"available configs: \['(.*?)'", str(error)):
                    raise CourseError(
                        f"{setting}={self.name}: it has several configurations; type hub:OWNER/NAME/CONFIGURATION, such"
                        f" as hub:{self.path}/{several[1]}"
                    ) from error
                raise
            if builder.hash != commit:  # where the hub cannot be reached, datasets takes any commit that it has
                raise CourseError(
                    f"{setting}={self.name}: the hub cannot be reached, and this machine has its commit {builder.hash},"
                    f" not {commit}; type {setting}=hub:{self.path}@{builder.hash}, or check the network"
                )
            builder.download_and_prepare()
            splits = builder.as_dataset()
        tables = {}
        for split in splits:
            if role := _role(split):
                tables[role] = (f"{self.name}, split {split}", from_dataset(splits[split]))
        if "train" not in tables:
            raise CourseError(
                f"{setting}={self.name}: it has no split train, but {and_joined([*splits])}; type another source"
            )
        texts = examples(tables, self.columns)
        return replace(texts, understood=[*texts.understood, f"{self.path} at its commit {commit}"], revision=commit)

    def _copied(self) -> Files | None:
        if not (self.copy and (PROJECT / self.copy).is_dir()):
            return None
        columns = replace(self.columns, class_names=())
        return Files(str(PROJECT / self.copy), self.title, self.facts, columns=columns)


# ---------------------------------------------------------------- the reader's own


class Files(Source):
    """A file, or a folder with a file for training and perhaps files for validation and test.

    In the place of such a file may be a folder that holds a folder of .txt files for each class, as in IMDB.
    """

    def check(self, setting: str = "data") -> None:
        self._files(setting)

    def read(self, setting: str = "data") -> Texts:
        import pandas

        tables = {}
        for role, files in self._files(setting).items():
            parts = [read_table(file) for file in files]
            names = str(files[0]) if len(files) == 1 else f"{files[0].parent}, {role}"
            tables[role] = (names, parts[0] if len(parts) == 1 else pandas.concat(parts))
            tables[role][1].attrs = parts[0].attrs
        return examples(tables, self.columns)

    def files(self) -> list[Path]:
        return sorted(file for parts in self._files().values() for part in parts for file in files_of(part))

    def _files(self, setting: str = "data") -> dict[str, list[Path]]:
        """Role (train, dev, test) → its files, shards in order, or its folder."""
        place = find_path(self.name)
        if place is None:
            raise CourseError(
                f"{setting}={self.name}: there is no such file or folder; type {', '.join(SOURCES)}, hub:OWNER/NAME, a"
                f" file ({', '.join(READERS)}), or a folder that holds train, dev and perhaps test as such files or as"
                " folders of .txt files, one for each class"
            )
        if not place.is_dir():
            if place.suffix.lower() not in READERS:
                raise CourseError(
                    f"{setting}={self.name}: the ending {place.suffix or '(none)'} is not known; save the file as one"
                    f" of {', '.join(READERS)}"
                )
            return {"train": [place]}
        there = sorted(path for path in place.iterdir() if _is_table(path))
        roles: dict[str, list[Path]] = {}
        for file in there:
            if role := _role(file.stem):
                roles.setdefault(role, []).append(file)
        if not roles and len(there) == 1 and there[0].is_file():
            return {"train": there}
        listed = and_joined([file.name for file in sorted(place.iterdir())[:20]] or ["nothing"])
        if "train" not in roles:
            raise CourseError(
                f"{setting}={self.name}: the folder holds {listed}, and no file train with the ending"
                f" {', '.join(READERS)}; call the file of training examples train, and that of evaluation examples dev"
                f" or test, or type {setting}=FILE; texts in files of their own lie in train/CLASS/*.txt"
            )
        for role, files in roles.items():
            if len({file.suffix.lower() for file in files}) > 1 or (len(files) > 1 and not _are_shards(files)):
                raise CourseError(
                    f"{setting}={self.name}: the folder holds {and_joined([file.name for file in files])}, of which one"
                    f" can be the file {role}; take the others away"
                )
        return roles


def _role(name: str) -> str | None:
    return ROLES.get(re.split(r"[\W_]", name.lower())[0])


def _is_table(path: Path) -> bool:
    """Whether `path` is a file that can be read, or a folder that holds folders of .txt files."""
    return path.suffix.lower() in READERS if path.is_file() else path.is_dir() and any(path.glob("*/*.txt"))


def _are_shards(files: list[Path]) -> bool:
    return all(re.search(r"\d+-of-\d+$", file.stem) for file in files)


SST2 = Hub(
    "sst2",
    "SST-2",
    Facts(
        "SST-2",
        hub_id="stanfordnlp/sst2",
        citations=("socher2013sst",),
        limits=(
            "Most training examples are phrases of sentences from movie reviews, not whole sentences.",
            "The model has no class for neutral sentences.",
        ),
        **OF_SENTIMENT,
    ),
    class_names=SENTIMENT,
    columns=Columns("sentence", None, "label", SENTIMENT),
    further=OTHER_DOMAINS,
    path="stanfordnlp/sst2",
    revision="8d51e7e4887a4caaa95b3fbebbf53c0490b58bbb",
    copy="data/SST-2",
)
IMDB = Hub(
    "imdb",
    "IMDB",
    Facts(
        "IMDB",
        hub_id="stanfordnlp/imdb",
        citations=("maas2011imdb",),
        limits=(
            "A review's label comes from the stars that its author gave: four or fewer of ten are negative, seven or"
            " more positive. Reviews with five or six stars are in none of the sets.",
            "The model has no class for neutral reviews.",
        ),
        **OF_SENTIMENT,
    ),
    class_names=SENTIMENT,
    columns=Columns("text", None, "label", SENTIMENT),
    path="stanfordnlp/imdb",
    revision="e6281661ce1c48d982bc483cf8a173c1bbeb5d31",
    copy="data/aclImdb",
)
EMBEDDED = Rated(
    "embedded",
    "movie",
    Facts(
        "rated movie review snippets",
        citations=("hutto2014vader",),
        limits=(
            "Sentences whose mean rating by people is near zero are in none of the sets. On all sentences, unclear "
            "ones included, the accuracy of the model would probably be lower.",
            "The model has no class for neutral sentences.",
        ),
        **OF_SENTIMENT,
    ),
    class_names=SENTIMENT,
    test_size=2_070,
    further=OTHER_DOMAINS,
)
FIVE = Rated(
    "embedded-5",
    "movie",
    Facts(
        "rated movie review snippets in five classes",
        citations=("hutto2014vader",),
        limits=(
            "The classes are intervals of the mean rating; a sentence whose mean lies near the end of an interval could"
            " as well be in the next class.",
        ),
        **OF_SENTIMENT,
    ),
    test_size=2_070,
    further=OTHER_DOMAINS,
    class_names=("very negative", "negative", "neutral", "positive", "very positive"),
    class_of=five_classes,
    judged_as=five_classes,
)
DOMAINS = Domains(
    "embedded-domains",
    "domain",
    Facts(
        "rated sentences of four domains",
        citations=("hutto2014vader",),
        limits=("The classes are of unequal size; an accuracy must be read beside that of the largest class.",),
        language="en",
    ),
    class_names=tuple(sorted(SENTENCES)),
    test_size=3_000,
)
SOURCES = {source.name: source for source in (EMBEDDED, FIVE, DOMAINS, SST2, IMDB)}
HUB_NAME = re.compile(r"hub:(?P<path>[\w.-]+/[\w.-]+)(?:/(?P<part>[\w.-]+))?(?:@(?P<revision>[\w./-]+))?")


def find_source(name: str, columns: Columns = NO_COLUMNS) -> Source:
    """The source that `data=` or `also_evaluate=` names, its columns as `columns` says; files need not be there yet."""
    if name in SOURCES:
        if replace(columns, labelled=True) != NO_COLUMNS:
            raise CourseError(
                f"data={name}: its columns and classes are known; leave out text_column, text_pair_column, label_column"
                " and class_names."
            )
        return SOURCES[name]
    if name.startswith("hub:"):
        if not (parts := HUB_NAME.fullmatch(name)):
            raise CourseError(f"{name}: type hub:OWNER/NAME, and where it is needed hub:OWNER/NAME/CONFIG@REVISION")
        path, title = parts["path"], plain_title(parts["path"].partition("/")[2])
        facts = Facts(path, hub_id=path)
        return Hub(name, title, facts, columns=columns, path=path, part=parts["part"], revision=parts["revision"])
    place = find_path(name)
    shown = os.path.basename(os.path.realpath(place)) if place else name
    return Files(name, plain_title(Path(shown).stem), Facts(code_span(name)), columns=columns)
