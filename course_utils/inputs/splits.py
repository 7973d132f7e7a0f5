"""Disjoint, stable sets of a source's texts: train, validation and test do not leak into each other."""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import pandas

from course_utils.errors import CourseError
from course_utils.inputs.sources import SST2, Source, find_source

HELD_OUT = 1_000  # sentences kept back for validation; of phrases' sentences a fifth at most
TELLING_WORDS = 3  # a text of fewer words occurs inside others by chance
READ_WORDS = 512  # no encoder here reads further, so what comes later in a text cannot leak
WHOLE_SENTENCE = re.compile(r"[.!?]\W*$")
SST2_EXAMPLES = "2c4f5e0e5c3b3c8ba637142fc089c2991eeb8dee09f6ea08112d28df41ef2994"  # SHA-256 of its dev set's ids
SST2_VALIDATION = "SST-2 validation"  # what that set is called, wherever it was read from


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
class _Reading:
    """What a source gave, each text in its order: `elsewhere` is what its evaluation sets are called beside others."""

    pool: pandas.DataFrame  # to train and select on
    evaluation: dict[str, pandas.DataFrame]  # test, and labelled_test where there is one
    titles: dict[str, str]
    elsewhere: dict[str, str]


def load_data(
    source: str,
    *,
    max_train: int | None = None,
    max_validation: int | None = None,
    max_test: int | None = None,
    max_other: int | None = None,
    also_evaluate: str | None = None,
) -> Data:
    """Load the source that `data=` names as disjoint, stable sets.

    Sets are ordered and split by a hash of the normalised text, and each maximum takes the first of its set, so a
    smaller set is part of the larger one: quick's 2,000 test sentences are the first of full's 2,070. `max_test` goes
    for every final evaluation set, `max_other` for the source's further sets. `also_evaluate` names another source,
    whose evaluation sets are added; train and validation then lose every text that equals one of their sentences, is a
    part of one, or contains one of three words or more. A further set loses what another set holds.
    Raises CourseError where a source cannot be read, or a set would be empty or hold one class.
    """
    removed: dict[str, int] = {}
    origin = find_source(source)
    own = _read(origin, "data", removed)
    evaluation, titles = own.evaluation, own.titles
    if origin.phrases:
        train, validation = _hold_out_sentences(own.pool, removed)
    else:
        train, validation = own.pool[HELD_OUT:], own.pool[:HELD_OUT]

    if also_evaluate is not None:
        if also_evaluate == source:
            raise CourseError(f"also_evaluate={source} is the training data itself; name another source or none")
        other = _read(find_source(also_evaluate), "also_evaluate", {})
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
    others = set(pandas.concat([train, validation, *evaluation.values()]).key)
    further = {
        name: _without(_distinct(origin.read_further(name), name, removed), others, removed, f"{name}, in another set")
        for name in origin.further
    }
    sets |= _cut(further, source, removed, max_other=max_other)
    return Data(source, sets, titles | origin.further, {reason: n for reason, n in removed.items() if n})


def normalise(text: str) -> str:
    """The text as texts are compared: lower case, and nothing but letters and digits."""
    return "".join(_words(text))


def _read(source: Source, setting: str, removed: dict[str, int]) -> _Reading:
    """The texts of `source`: those to train on keep what is twice in them, as the published recipes do."""
    frames = source.read(setting)
    if source.test_size:
        [everything] = frames.values()
        texts = _distinct(everything, f"{source.title}s", removed)
        titles = {"train": "training", "validation": "validation", "test": f"{source.title} test"}
        test, pool = texts[: source.test_size], texts[source.test_size :]
        return _Reading(pool, {"test": test}, titles, {"test": f"{_identifier(source.title)}s_test"})

    frames = {
        name: (_ordered if name == "train" else _distinct)(frame, name, removed) for name, frame in frames.items()
    }
    evaluation = {"test": frames["dev"]} | ({"labelled_test": frames["test"]} if "test" in frames else {})
    evaluated = set(pandas.concat(evaluation.values()).key)
    pool = _without(frames["train"], evaluated, removed, "train, in an evaluation set")
    title, prefix, dev = source.title, _identifier(source.title), "dev"
    examples = hashlib.sha256(" ".join(frames["dev"].example_id).encode()).hexdigest()
    if source is SST2 or examples == SST2_EXAMPLES:
        title, prefix, dev = SST2.title, SST2.name, "validation"
    titles = {"train": "training", "validation": "held-out training sentences", "test": f"{title} {dev}"}
    if "test" in frames:
        titles["labelled_test"] = f"{title} test"
    return _Reading(pool, evaluation, titles, {"test": f"{prefix}_{dev}", "labelled_test": f"{prefix}_test"})


def _identifier(title: str) -> str:
    return re.sub(r"\W+", "_", title.lower()).strip("_") or "own"


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
