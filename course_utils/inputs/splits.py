"""Disjoint, stable sets of a source's texts: train, validation and test do not leak into each other."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from operator import itemgetter

import pandas

from course_utils.errors import CourseError
from course_utils.inputs.sources import SENTIMENT, SST2, Source, find_source
from course_utils.text import and_joined, hash_of

HELD_OUT = 1_000  # texts kept back for validation; a fifth of the training texts at most
TELLING_WORDS = 3  # a text of fewer words occurs inside others by chance
READ_WORDS = 512  # no encoder here reads further, so what comes later in a text cannot leak
WHOLE_SENTENCE = re.compile(r"[.!?]\W*$")
SST2_EXAMPLES = "2c4f5e0e5c3b3c8ba637142fc089c2991eeb8dee09f6ea08112d28df41ef2994"  # SHA-256 of its dev set's ids
SST2_VALIDATION = "SST-2 validation"  # what that set is called, wherever it was read from
SHOWN = ("example_id", "text", "text_pair", "label", "mean_rating")


@dataclass(frozen=True)
class Data:
    """The sets of one source: train, validation, test (the final evaluation set), then the further ones.

    `sets` maps a set's name to a DataFrame of example_id (16 hex digits, from the normalised text), text, perhaps
    text_pair, label (place in `class_names`) and, where people rated the sentences, mean_rating; `titles` maps it to
    what a report calls it; `removed` counts the texts that were left out, by reason; `understood` says how the source
    was read, and `revision` at which commit of the hub. `further` names the further sets, and `domains` those of them
    that are of other domains; `limited` the settings, such as max_train, that leave texts out.
    """

    source: str
    sets: dict[str, pandas.DataFrame]
    titles: dict[str, str]
    removed: dict[str, int]
    class_names: tuple[str, ...]
    understood: list[str] = field(default_factory=list)
    revision: str | None = None
    further: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    limited: tuple[str, ...] = ()

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the classes, and set, example_id, text or texts, and label of every example."""
        digest = hashlib.sha256(repr(self.class_names).encode())
        for name, frame in self.sets.items():
            for example in frame[[column for column in SHOWN[:4] if column in frame]].itertuples(index=False):
                digest.update(repr((name, *example)).encode())
        return digest.hexdigest()


@dataclass
class _Reading:
    """What a source gave, in a stable order; `prefix` and `title` name the source beside another one.

    Training texts come from `pool`, and so does validation where `validation` is None. `spare` is a second labelled set
    to evaluate on.
    """

    pool: pandas.DataFrame
    validation: pandas.DataFrame | None
    evaluation: pandas.DataFrame
    title: str  # of the evaluation set
    prefix: str
    class_names: tuple[str, ...]
    understood: list[str]
    is_like: Source  # the source whose further sets belong to it
    revision: str | None
    spare: pandas.DataFrame | None = None


def load_data(
    source: str | Source,
    *,
    max_train: int | None = None,
    max_validation: int | None = None,
    max_test: int | None = None,
    max_other: int | None = None,
    also_evaluate: str | None = None,
) -> Data:
    """Load `source`, an object or a name as `data=` takes it, as disjoint, stable sets.

    Sets are ordered and split by a hash of the normalised text, the classes evenly mixed, and each maximum takes the
    first texts of its set. So a smaller set is part of a larger one: quick's 1,500 test sentences are the first of
    full's 2,070. `max_test` holds for every final evaluation set, `max_other` for the source's further sets.
    `also_evaluate` names another source of the same classes, whose evaluation set is added. From train and validation
    every text is then removed that equals one of its texts, is a part of one, or contains one of three words or more.
    From a further set the texts that are in another set are removed.
    Raises CourseError where a source cannot be read, or a set would be empty or hold one class.
    """
    removed: dict[str, int] = {}
    origin = find_source(source) if isinstance(source, str) else source
    own = _read(origin, "data", removed)
    train, validation = own.pool, own.validation
    if validation is None:
        train, validation = _hold_out(own.pool, removed)
    evaluation = {"test": own.evaluation}
    titles = {"train": "training", "validation": "validation", "test": own.title}

    if also_evaluate is not None:
        if also_evaluate == origin.name:
            raise CourseError(f"also_evaluate={also_evaluate} is the training data itself; name another source or none")
        left_out_there: dict[str, int] = {}
        other = _read(find_source(also_evaluate), "also_evaluate", left_out_there)
        unused = ("train", "dev, in an evaluation set")  # no text of these is evaluated on
        removed |= {
            f"also_evaluate, {reason}": n for reason, n in left_out_there.items() if not reason.startswith(unused)
        }
        held = ["pairs" if "text_pair" in one.evaluation else "single texts" for one in (other, own)]
        if held[0] != held[1]:
            raise CourseError(
                f"also_evaluate={also_evaluate}: it holds {held[0]}, and the training data {held[1]}; name a source of"
                f" {held[1]}"
            )
        added, paired = _with_classes(other, own.class_names, also_evaluate)
        own.understood += paired
        reason = f"overlap with {other.title}"
        train = _without(train, _overlap(train, added), removed, f"train, {reason}")
        validation = _without(validation, _overlap(validation, added), removed, f"validation, {reason}")
        evaluation[other.prefix] = added
        titles[other.prefix] = other.title

    labelled = bool(own.class_names)
    most = {
        "max_train": (max_train, [train]),
        "max_validation": (max_validation, [validation]),
        "max_test": (max_test, evaluation.values()),
    }
    limited = [name for name, (limit, frames) in most.items() if limit and max(map(len, frames)) > limit]
    sets = (
        _cut({"train": train}, origin.name, removed, labelled, max_train=max_train)
        | _cut({"validation": validation}, origin.name, removed, labelled, max_validation=max_validation)
        | _cut(evaluation, origin.name, removed, labelled, max_test=max_test)
    )
    if missing := set(range(len(own.class_names))) - set(sets["train"].label):
        names = and_joined([repr(own.class_names[label]) for label in sorted(missing)])
        remedy = "raise max_train" if len(sets["train"]) < len(train) else "bring more texts of it"
        raise CourseError(f"data={origin.name}: the training set would hold nothing of {names}; {remedy}")
    others = set(pandas.concat([train, validation, *evaluation.values()]).key)
    domains = own.is_like.further
    further = {name: _distinct(own.is_like.read_further(name), name, removed) for name in domains}
    if own.spare is not None:
        further = {f"{SST2.name}_test": own.spare} | further
        titles[f"{SST2.name}_test"] = f"{SST2.title} test"
    further = {name: _without(frame, others, removed, f"{name}, in another set") for name, frame in further.items()}
    sets |= _cut(further, origin.name, removed, labelled, max_other=max_other)
    left_out = {reason: n for reason, n in removed.items() if n}
    titles |= domains
    return Data(
        origin.name, sets, titles, left_out, own.class_names, own.understood, own.revision, (*further,), (*domains,),
        (*limited,),
    )  # fmt: skip


def class_names(source: Source) -> tuple[str, ...]:
    """The classes of `source`, which is read if it does not name its classes; none where it is read without labels."""
    if not source.columns.labelled:
        return source.class_names
    return source.class_names or _read(source, "data", {}).class_names


def normalise(text: str) -> str:
    """The form in which texts are compared: Unicode's compatible form, without case and spaces.

    It holds only letters with their marks, digits, and symbols such as emoji.
    """
    return "".join(_words(text))


def _read(source: Source, setting: str, removed: dict[str, int]) -> _Reading:
    """The texts of `source`; if it comes in several sets, duplicates stay in train, as in the published recipes."""
    texts = source.read(setting)
    title, understood, is_like = source.title, texts.understood, source
    prefix = re.sub(r"\W+", "_", title.lower()).strip("_") or "own"
    if [*texts.frames] == ["train"]:
        mixed = _distinct(texts.frames["train"], f"{title} texts", removed)
        size = min(source.test_size, len(mixed) // 4)
        test, pool = mixed[:size], mixed[size:]
        size = min(HELD_OUT, len(pool) // 5)
        pool, validation, title = pool[size:], pool[:size], f"{title} test"
        return _Reading(
            pool, validation, test, title, f"{prefix}_test", texts.class_names, understood, is_like, texts.revision
        )

    frames = {
        name: (_ordered if name == "train" else _distinct)(frame, name, removed) for name, frame in texts.frames.items()
    }
    spare = frames.pop("test", None) if source is SST2 and "dev" in frames else None  # the 872 are what is reported
    judged = "test" if "test" in frames else "dev"
    evaluation, names = frames[judged], texts.class_names
    ids = hash_of(" ".join(sorted(evaluation.example_id)))
    if ids == SST2_EXAMPLES or (source is SST2 and judged == "dev"):
        title, prefix, judged, is_like = SST2.title, SST2.name, "validation", SST2
        names = SENTIMENT if names == ("0", "1") else names
    pool = _without(frames["train"], set(evaluation.key), removed, "train, in an evaluation set")
    validation = None
    if judged == "test" and "dev" in frames:
        validation = _without(frames["dev"], set(evaluation.key), removed, "dev, in an evaluation set")
        pool = _without(pool, set(validation.key), removed, "train, in the validation set")
    title, prefix = f"{title} {judged}", f"{prefix}_{judged}"
    return _Reading(pool, validation, evaluation, title, prefix, names, understood, is_like, texts.revision, spare)


def _with_classes(other: _Reading, names: tuple[str, ...], source: str) -> tuple[pandas.DataFrame, list[str]]:
    """The evaluation set of `other` with labels that are places in `names`; and which numbers were taken for which."""
    paired = []
    if sorted(other.class_names) == sorted(names):
        labels = [names.index(name) for name in other.class_names]
    elif len(other.class_names) == len(names) and any(
        all(name.isdigit() for name in classes) for classes in (names, other.class_names)
    ):
        labels = [*range(len(names))]  # numbers stand in for names
        same = [f"{theirs!r} as {ours!r}" for theirs, ours in zip(other.class_names, names, strict=True)]
        paired = [f"also_evaluate={source} reads {and_joined(same)}; class_names gives another order"]
    else:
        raise CourseError(
            f"also_evaluate={source}: its classes are {and_joined([*other.class_names])}, those of the training data"
            f" {and_joined([*names])}; name a source of the same classes"
        )
    return other.evaluation.assign(label=other.evaluation.label.map(labels.__getitem__)), paired


# ---------------------------------------------------------------- disjoint, stable sets


def _ordered(frame: pandas.DataFrame, name: str, removed: dict[str, int]) -> pandas.DataFrame:
    """The examples in the order of their hash, with their normalised text as key, the longest of equal ones first.

    Texts of punctuation alone, such as ":)", are left out.
    """
    keys = frame.text.map(normalise)
    if "text_pair" in frame:
        keys = keys + "\n" + frame.text_pair.map(normalise)
    frame = _without(frame.assign(key=keys), {"", "\n"}, removed, f"{name}, without a letter, digit or symbol")
    frame = frame.assign(example_id=[hash_of(key)[:16] for key in frame.key], characters=frame.text.str.len())
    frame = frame.sort_values(
        ["example_id", "characters", "text", "label"], ascending=[True, False, True, True], ignore_index=True
    )
    return _mixed(frame)


def _mixed(frame: pandas.DataFrame) -> pandas.DataFrame:
    """The examples with their classes evenly mixed, so that the first n hold each class in its share."""
    places = (frame.groupby("label").cumcount() + 0.5) / frame.groupby("label").label.transform("size")
    return frame.iloc[places.argsort(kind="stable")].reset_index(drop=True)


def _distinct(frame: pandas.DataFrame, name: str, removed: dict[str, int]) -> pandas.DataFrame:
    """`_ordered`, each text once; of equal texts the longest stays, and none where labels contradict each other."""
    frame = _ordered(frame, name, removed)
    labels = frame.groupby("key").label.nunique()
    frame = _without(frame, set(labels.index[labels > 1]), removed, f"{name}, contradicting labels")
    distinct = frame.drop_duplicates("example_id", ignore_index=True)
    removed[f"{name}, duplicates"] = len(frame) - len(distinct)
    return _mixed(distinct)


def _hold_out(pool: pandas.DataFrame, removed: dict[str, int]) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    """Split texts into train and validation by sentence: no part of a validation text is left in train.

    Phrases come without the sentence that they are from. A phrase that is part of no longer phrase counts as a
    sentence. Where phrases are many, those that end in a full stop are held out first, because they are whole.
    """
    keys = sorted(pool.key)
    parts: set[str] = set()
    sentences = []
    for example in sorted(pool.itertuples(), key=lambda example: len(example.key), reverse=True):
        if example.key not in parts:
            sentences.append(example)
            parts.update({example.key}, _parts(example.text, keys))
    are_phrases = len(sentences) < 0.8 * pool.key.nunique()
    # Not in the order of example_id: the movie test set comes first in that, and it shares sentences with SST-2.
    order = [(are_phrases and not WHOLE_SENTENCE.search(s.text), hash_of(s.example_id)) for s in sentences]
    sentences = [sentence.Index for _, sentence in sorted(zip(order, sentences, strict=True), key=itemgetter(0))]
    candidates = _mixed(pool.loc[sentences])
    held_out = candidates.head(min(HELD_OUT, len(candidates) // 5))
    leaving = {part for text in held_out.text for part in _parts(text, keys)}
    held_out_keys = set(held_out.key)
    validation = pool[pool.key.map(held_out_keys.__contains__).astype(bool)].drop_duplicates("key")
    reason = "train, duplicates and parts of validation texts"
    train = _without(pool, leaving | held_out_keys, removed, reason)
    removed[reason] -= len(validation)
    return train, validation


def _overlap(frame: pandas.DataFrame, sentences: pandas.DataFrame) -> set[str]:
    """The keys of `frame` that equal one of `sentences`, are a part of one, or contain one of three words or more."""
    keys = sorted(frame.key)
    by_key = zip(sentences.key, sentences.text, strict=True)
    telling = sorted(key for key, text in by_key if len(_words(text)) >= TELLING_WORDS)
    parts = {part for sentence in sentences.text for part in _parts(sentence, keys)}
    containing = {key for key, text in zip(frame.key, frame.text, strict=True) if any(_parts(text, telling))}
    return parts | containing | set(sentences.key)


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
    return unicodedata.normalize("NFKC", text).casefold().translate(_KEPT).split()


class _Kept(dict[int, str | None]):
    """Code point → its character if texts are compared by it, a space for white space, else None."""

    def __missing__(self, code: int) -> str | None:
        character, category = chr(code), unicodedata.category(chr(code))
        is_emoji = category == "So" or (category == "Sk" and code >= 0x1F000)  # a modifier for the colour of skin
        is_variant = 0xFE00 <= code <= 0xFE0F  # how the character before it is drawn
        kept = character if (category[0] in "LMN" or is_emoji) and not is_variant else None
        self[code] = " " if character.isspace() else kept
        return self[code]


_KEPT = _Kept()


def _without(frame: pandas.DataFrame, keys: set[str], removed: dict[str, int], reason: str) -> pandas.DataFrame:
    kept = frame[~frame.key.map(keys.__contains__).astype(bool)]
    removed[reason] = len(frame) - len(kept)
    return kept


def _cut(
    sets: dict[str, pandas.DataFrame], source: str, removed: dict[str, int], labelled: bool, **maximum: int | None
) -> dict[str, pandas.DataFrame]:
    """The first texts of each set, up to the one maximum that is given, with the columns of `SHOWN`."""
    [(parameter, limit)] = maximum.items()
    cut = {}
    for name, frame in sets.items():
        cut[name] = (
            frame[[column for column in SHOWN if column in frame]]
            .head(len(frame) if limit is None else limit)
            .reset_index(drop=True)
        )
        classes = cut[name].label.nunique()
        if classes < (2 if labelled else 1):
            if len(cut[name]) < len(frame):
                remedy = f"raise {parameter}={limit}"
            else:
                left_out = "; ".join(f"{reason}: {n}" for reason, n in removed.items() if n)
                remedy = f"bring more {'labelled ' if labelled else ''}texts (left out: {left_out or 'none'})"
            raise CourseError(
                f"data={source}: the set {name} would hold {len(cut[name])} of {len(frame)} texts"
                f"{' and fewer than two classes' if labelled else ''}; {remedy}"
            )
    return cut
