"""Labelled sentences from any source, in splits that stay the same and do not leak into each other."""

import hashlib
import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas

from course_utils.assets import embedded_sentences, locate_data
from course_utils.display import one_line
from course_utils.errors import CourseError

CLEAR_RATING = 0.5  # a mean rating nearer to 0 than this is no label
MOVIE_TEST = 2_070  # of the 10,070 distinct labelled movie sentences
HELD_OUT = 1_000  # sentences kept back for validation; of a folder's or the hub's a fifth at most
TELLING_WORDS = 3  # a text of fewer words occurs inside others by chance
READ_WORDS = 512  # no encoder here reads further, so what comes later in a text cannot leak
WHOLE_SENTENCE = re.compile(r"[.!?]\W*$")
OUT_OF_DISTRIBUTION = {"products": "product reviews", "tweets": "tweets", "editorials": "newspaper editorials"}
SST2_HUB = {"path": "stanfordnlp/sst2", "revision": "8d51e7e4887a4caaa95b3fbebbf53c0490b58bbb"}
SST2_VALIDATION = "2c4f5e0e5c3b3c8ba637142fc089c2991eeb8dee09f6ea08112d28df41ef2994"  # SHA-256 of its example ids


@dataclass(frozen=True)
class Data:
    """The sets of one source: train, validation, test (the final evaluation set), then the further ones.

    `sets` maps a set's name to a DataFrame of example_id (16 hex digits, from the normalised text), text, label (0
    negative, 1 positive) and, where people rated the sentences, mean_rating; `titles` maps it to what a report calls
    it; `removed` counts the texts that were left out, by reason.
    """

    source: str
    sets: dict[str, pandas.DataFrame]
    titles: dict[str, str]
    removed: dict[str, int]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over set, example_id, text and label of every example."""
        digest = hashlib.sha256()
        for name, frame in self.sets.items():
            for example in zip(frame.example_id, frame.text, frame.label.tolist(), strict=True):
                digest.update(repr((name, *example)).encode())
        return digest.hexdigest()


@dataclass
class _Source:
    pool: pandas.DataFrame  # to train and select on
    phrases: bool  # the pool holds parts of sentences beside the sentences
    evaluation: dict[str, pandas.DataFrame]  # test, and labelled_test where there is one
    titles: dict[str, str]
    elsewhere: dict[str, str]  # an evaluation set's name among the sets of another source


def load_data(
    source: str,
    *,
    max_train: int | None = None,
    max_validation: int | None = None,
    max_test: int | None = None,
    max_other: int | None = None,
    also_evaluate: str | None = None,
) -> Data:
    """Load "embedded", "sst2" (the hub's) or a folder in GLUE's layout as disjoint, stable sets.

    Sets are ordered and split by a hash of the normalised text, and each maximum takes the first of its set, so a
    smaller set is part of the larger one: quick's 2,000 test sentences are the first of full's 2,070. `max_test` goes
    for every final evaluation set, `max_other` for the out-of-distribution sets. `also_evaluate` names another source,
    whose evaluation sets are added; train and validation then lose every text that equals one of their sentences, is a
    part of one, or contains one of three words or more. An out-of-distribution set loses what another set holds.
    Raises CourseError where a source cannot be read, or a set would be empty or hold one class.
    """
    removed: dict[str, int] = {}
    own = _read_source("data", source, removed)
    evaluation, titles = own.evaluation, own.titles
    if own.phrases:
        train, validation = _hold_out_sentences(own.pool, removed)
    else:
        train, validation = own.pool[HELD_OUT:], own.pool[:HELD_OUT]

    if also_evaluate is not None:
        if also_evaluate == source:
            raise CourseError(f"also_evaluate={source} is the training data itself; name another source or none")
        other = _read_source("also_evaluate", also_evaluate, {})
        sentences = pandas.concat(other.evaluation.values())
        reason = f"overlap with {other.titles['test']}"
        train = _without(train, _overlap(train, sentences), removed, f"train, {reason}")
        validation = _without(validation, _overlap(validation, sentences), removed, f"validation, {reason}")
        evaluation = evaluation | {other.elsewhere[name]: frame for name, frame in other.evaluation.items()}
        titles = titles | {other.elsewhere[name]: other.titles[name] for name in other.evaluation}

    sets = (
        _cut({"train": train}, source, removed, max_train=max_train)
        | _cut({"validation": validation}, source, removed, max_validation=max_validation)
        | _cut(evaluation, source, removed, max_test=max_test)
    )
    elsewhere = set(pandas.concat([train, validation, *evaluation.values()]).key)
    others = {
        name: _without(_rated_sentences(name, removed), elsewhere, removed, f"{name}, in another set")
        for name in OUT_OF_DISTRIBUTION
    }
    sets |= _cut(others, source, removed, max_other=max_other)
    return Data(source, sets, titles | OUT_OF_DISTRIBUTION, {reason: n for reason, n in removed.items() if n})


def plain_title(name: str) -> str:
    """`name` without what means something in Markdown, HTML, Typst, TeX or a spreadsheet: a title goes everywhere."""
    kept = re.sub(r"[!-*/:-@\[-^`{-~]|\b_+|_+\b", " ", one_line(name))
    return " ".join(kept.split()).strip(" .,+-") or "untitled"


def normalise(text: str) -> str:
    """The text as texts are compared: lower case, and nothing but letters and digits."""
    return "".join(_words(text))


def tokenize(frame: pandas.DataFrame, tokenizer, max_length: int):
    """A datasets.Dataset of input_ids, attention_mask, label and length (tokens), truncated but not padded."""
    from datasets import Dataset

    tokens = tokenizer(frame.text.tolist(), truncation=True, max_length=max_length, return_token_type_ids=False)
    lengths = [len(ids) for ids in tokens["input_ids"]]
    return Dataset.from_dict({**tokens, "label": frame.label.tolist(), "length": lengths})


# ---------------------------------------------------------------- sources


def _read_source(setting: str, source: str, removed: dict[str, int]) -> _Source:
    if source == "embedded":
        movies = _rated_sentences("movies", removed)
        titles = {"train": "training", "validation": "validation", "test": "movie test"}
        return _Source(movies[MOVIE_TEST:], False, {"test": movies[:MOVIE_TEST]}, titles, {"test": "movies_test"})
    if source == "sst2":
        return _phrases(_read_hub(setting), None, removed)
    folder = locate_data(setting, source)
    return _phrases(_read_folder(folder), folder.resolve().name, removed)


def _rated_sentences(name: str, removed: dict[str, int]) -> pandas.DataFrame:
    frame = embedded_sentences(name, columns=["text", "mean_rating"])
    frame = frame[frame.mean_rating.abs() >= CLEAR_RATING]
    return _distinct(frame.assign(label=(frame.mean_rating > 0).astype(int)), name, removed)


def _phrases(frames: dict[str, pandas.DataFrame], folder: str | None, removed: dict[str, int]) -> _Source:
    """A source of train, dev and perhaps test, as read from the hub or a folder of this name.

    Train keeps what is twice in it, as the published recipes do; the sets that are counted on do not.
    """
    frames = {
        name: (_ordered if name == "train" else _distinct)(frame, name, removed) for name, frame in frames.items()
    }
    evaluation = {"test": frames["dev"]} | ({"labelled_test": frames["test"]} if "test" in frames else {})
    evaluated = set(pandas.concat(evaluation.values()).key)
    pool = _without(frames["train"], evaluated, removed, "train, in an evaluation set")
    dev_ids = hashlib.sha256(" ".join(frames["dev"].example_id).encode()).hexdigest()
    if folder is None or dev_ids == SST2_VALIDATION:
        title, prefix, dev = "SST-2", "sst2", "validation"
    else:
        title, dev = plain_title(folder), "dev"
        prefix = re.sub(r"\W+", "_", title.lower()).strip("_") or "own"
    titles = {"train": "training", "validation": "held-out training sentences", "test": f"{title} {dev}"}
    if "test" in frames:
        titles["labelled_test"] = f"{title} test"
    return _Source(pool, True, evaluation, titles, {"test": f"{prefix}_{dev}", "labelled_test": f"{prefix}_test"})


def _read_hub(setting: str) -> dict[str, pandas.DataFrame]:
    import datasets

    try:
        splits = datasets.load_dataset(**SST2_HUB)
    except Exception as error:  # whatever the hub's client raises: no network, a proxy, a full disk
        raise CourseError(
            f"{setting}=sst2: SST-2 could not be loaded from the hub ({type(error).__name__}); where there is no hub "
            f"type {setting}=FOLDER, with its train.tsv and dev.tsv in GLUE's layout, or {setting}=embedded"
        ) from error
    return {
        name: splits[split].to_pandas().rename(columns={"sentence": "text"})[["text", "label"]]
        for name, split in {"train": "train", "dev": "validation"}.items()
    }


def _read_folder(folder: Path) -> dict[str, pandas.DataFrame]:
    frames = {}
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


# ---------------------------------------------------------------- disjoint, stable sets


def _ordered(frame: pandas.DataFrame, name: str, removed: dict[str, int]) -> pandas.DataFrame:
    """The examples in the order of their hash, with their normalised text as key, the longest of equal ones first.

    Texts without a letter or digit, such as ":)", go.
    """
    frame = frame.assign(key=frame.text.map(normalise))
    frame = _without(frame, {""}, removed, f"{name}, without a letter or digit")
    frame = frame.assign(example_id=[_hash(key)[:16] for key in frame.key], characters=frame.text.str.len())
    return frame.sort_values(
        ["example_id", "characters", "text", "label"], ascending=[True, False, True, True], ignore_index=True
    )


def _distinct(frame: pandas.DataFrame, name: str, removed: dict[str, int]) -> pandas.DataFrame:
    """`_ordered`, each text once; of equal texts the longest stays, and none where labels contradict each other."""
    frame = _ordered(frame, name, removed)
    labels = frame.groupby("key").label.nunique()
    frame = _without(frame, set(labels.index[labels > 1]), removed, f"{name}, contradicting labels")
    distinct = frame.drop_duplicates("example_id", ignore_index=True)
    removed[f"{name}, duplicates"] = len(frame) - len(distinct)
    return distinct


def _hold_out_sentences(pool: pandas.DataFrame, removed: dict[str, int]) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    """Split phrases into train and validation by sentence: no phrase of a validation sentence is left in train.

    Phrases come without the sentence they are from. One that is a part of no longer one is taken for a sentence; those
    that end in a full stop go first, because they are whole.
    """
    keys = sorted(pool.key)
    parts: set[str] = set()
    sentences = []
    for example in sorted(pool.itertuples(), key=lambda example: len(example.key), reverse=True):
        if example.key not in parts:
            sentences.append(example)
            parts.update(_parts(example.text, keys))
    # Not in the order of example_id: the movie test set comes first in that, and it shares sentences with SST-2.
    sentences.sort(key=lambda sentence: (not WHOLE_SENTENCE.search(sentence.text), _hash(sentence.example_id)))
    held_out = sentences[: min(HELD_OUT, len(sentences) // 5)]
    leaving = {part for sentence in held_out for part in _parts(sentence.text, keys)}
    held_out_keys = {sentence.key for sentence in held_out}
    validation = pool[pool.key.map(held_out_keys.__contains__).astype(bool)].drop_duplicates("key")
    train = _without(pool, leaving | held_out_keys, removed, "train, validation sentences and their phrases")
    return train, validation


def _overlap(frame: pandas.DataFrame, sentences: pandas.DataFrame) -> set[str]:
    """The keys of `frame` that equal one of `sentences`, are a part of one, or contain one of three words or more."""
    keys = sorted(frame.key)
    telling = sorted(key for key, text in zip(sentences.key, sentences.text, strict=True) if _is_telling(text))
    parts = {part for sentence in sentences.text for part in _parts(sentence, keys)}
    containing = {key for key, text in zip(frame.key, frame.text, strict=True) if any(_parts(text, telling))}
    return parts | containing | set(sentences.key)


def _is_telling(text: str) -> bool:
    return len(_words(text)) >= TELLING_WORDS


def _parts(text: str, keys: list[str]) -> Iterator[str]:
    """Those of the sorted `keys` that are a run of whole words of `text`, wherever either puts its spaces."""
    words = _words(text)[:READ_WORDS]
    for start in range(len(words)):
        run = ""
        for word in words[start:]:
            run += word
            nearest = bisect_left(keys, run)
            if nearest == len(keys) or not keys[nearest].startswith(run):
                break  # no key goes on like this
            if keys[nearest] == run:
                yield run


def _words(text: str) -> list[str]:
    return re.sub(r"[^\w\s]|_", "", text.lower()).split()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _without(frame: pandas.DataFrame, keys: set[str], removed: dict[str, int], reason: str) -> pandas.DataFrame:
    kept = frame[~frame.key.map(keys.__contains__).astype(bool)]
    removed[reason] = len(frame) - len(kept)
    return kept


def _cut(
    sets: dict[str, pandas.DataFrame], source: str, removed: dict[str, int], **maximum: int | None
) -> dict[str, pandas.DataFrame]:
    """The first of each set, up to the one maximum that is named, with the columns that readers see."""
    [(parameter, limit)] = maximum.items()
    cut = {}
    for name, frame in sets.items():
        columns = [column for column in ("example_id", "text", "label", "mean_rating") if column in frame]
        cut[name] = frame[columns].head(len(frame) if limit is None else limit).reset_index(drop=True)
        if cut[name].label.nunique() < 2:
            if len(cut[name]) < len(frame):
                remedy = f"raise {parameter}={limit}"
            else:
                left_out = "; ".join(f"{reason}: {n}" for reason, n in removed.items() if n)
                remedy = f"bring more labelled sentences (left out: {left_out or 'none'})"
            raise CourseError(
                f"data={source}: the set {name} would hold {len(cut[name])} of {len(frame)} sentences and not both "
                f"classes; {remedy}"
            )
    return cut
