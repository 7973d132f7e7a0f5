"""Labelled sentences from any source, in splits that stay the same and do not leak into each other."""

import csv
import hashlib
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas

from .assets import embedded_sentences, find_folder
from .errors import CourseError

CLEAR_RATING = 0.5  # a mean rating nearer to 0 than this is no label
MOVIE_TEST = 2_070  # of the 10,070 distinct labelled movie sentences
HELD_OUT = 1_000  # sentences of any source kept back for validation, a fifth of them at most
WHOLE_SENTENCE = re.compile(r"[.!?]\W*$")
TELLING_WORDS = 3  # a text of fewer words occurs inside others by chance
OUT_OF_DISTRIBUTION = {"products": "product reviews", "tweets": "tweets", "editorials": "newspaper editorials"}
SST2_HUB = {"path": "stanfordnlp/sst2", "revision": "8d51e7e4887a4caaa95b3fbebbf53c0490b58bbb"}
SST2_VALIDATION_IDS = "2c4f5e0e5c3b3c8ba637142fc089c2991eeb8dee09f6ea08112d28df41ef2994"  # SHA-256 of its ids


@dataclass(frozen=True)
class Data:
    """The sets of one source: train, validation, test (the final evaluation set), then the further ones.

    `sets` maps a set's name to a DataFrame of example_id (16 hex digits, from the normalised text), text, label
    (0 negative, 1 positive) and, where people rated the sentences, mean_rating; `titles` maps it to what a
    report calls it; `removed` counts the texts that were left out, by reason.
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
    train: pandas.DataFrame
    validation: pandas.DataFrame
    evaluation: dict[str, pandas.DataFrame]  # "test" and perhaps "labelled_test"
    titles: dict[str, str]
    names_elsewhere: dict[str, str]  # what an evaluation set is called among another source's sets


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
    smaller set is part of the larger one: quick's 2,000 test sentences are the first of full's 2,070. `max_test`
    goes for every final evaluation set, `max_other` for the out-of-distribution sets. `also_evaluate` names another
    source, whose evaluation sets are added; train and validation then lose every text that equals one of their
    sentences, is a part of one, or holds one of three words or more.
    Raises CourseError where a source cannot be read, or a set would be empty or hold one class.
    """
    removed: dict[str, int] = {}
    own = _read_source(source, removed)
    evaluation, titles = dict(own.evaluation), dict(own.titles)
    if also_evaluate is not None:
        if also_evaluate == source:
            raise CourseError(f"also_evaluate={source} is the training data itself; name another source or leave it out")
        other = _read_source(also_evaluate, {})
        overlaps = _overlap_with(pandas.concat(other.evaluation.values()).text)
        reason = f"overlap with {other.titles['test']}"
        own.train = _keep(own.train, ~own.train.text.map(overlaps), removed, f"train, {reason}")
        own.validation = _keep(
            own.validation, ~own.validation.text.map(overlaps), removed, f"validation, {reason}"
        )
        evaluation |= {other.names_elsewhere[name]: frame for name, frame in other.evaluation.items()}
        titles |= {other.names_elsewhere[name]: other.titles[name] for name in other.evaluation}

    in_use = pandas.concat([own.train, own.validation, *evaluation.values()]).example_id
    others = {}
    for name in OUT_OF_DISTRIBUTION:
        frame = _distinct(_rated_sentences(name), removed, name)
        others[name] = _keep(frame, ~frame.example_id.isin(in_use), removed, f"{name}, in another set")

    sets = _cut({"train": own.train}, "max_train", max_train, source)
    sets |= _cut({"validation": own.validation}, "max_validation", max_validation, source)
    sets |= _cut(evaluation, "max_test", max_test, source)
    sets |= _cut(others, "max_other", max_other, source)
    return Data(source, sets, titles | OUT_OF_DISTRIBUTION, {reason: n for reason, n in removed.items() if n})


def normalise(text: str) -> str:
    """The text as texts are compared: lower case, and nothing but letters and digits."""
    return re.sub(r"[\W_]+", "", text.lower())


def tokenize(frame: pandas.DataFrame, tokenizer, max_length: int):
    """A datasets.Dataset of input_ids, attention_mask, label and length (tokens), truncated but not padded."""
    from datasets import Dataset

    tokens = tokenizer(frame.text.tolist(), truncation=True, max_length=max_length, return_token_type_ids=False)
    lengths = [len(ids) for ids in tokens["input_ids"]]
    return Dataset.from_dict({**tokens, "label": frame.label.tolist(), "length": lengths})


# ---------------------------------------------------------------- sources


def _read_source(source: str, removed: dict[str, int]) -> _Source:
    if source == "embedded":
        return _read_movies(removed)
    if source == "sst2":
        return _read_phrases(_read_hub(), None, removed)
    folder = find_folder(source)
    if folder is None:
        raise CourseError(
            f"data={source}: there is no such folder; type embedded, sst2, or a folder that holds train.tsv and dev.tsv"
        )
    return _read_phrases(_read_folder(folder), folder.resolve().name, removed)


def _read_movies(removed: dict[str, int]) -> _Source:
    movies = _distinct(_rated_sentences("movies"), removed, "movies")
    return _Source(
        train=movies[MOVIE_TEST + HELD_OUT :],
        validation=movies[MOVIE_TEST : MOVIE_TEST + HELD_OUT],
        evaluation={"test": movies[:MOVIE_TEST]},
        titles={"train": "training", "validation": "validation", "test": "movie test"},
        names_elsewhere={"test": "movies_test"},
    )


def _rated_sentences(name: str) -> pandas.DataFrame:
    frame = embedded_sentences(name, columns=["text", "mean_rating"])
    frame = frame[frame.mean_rating.abs() >= CLEAR_RATING]
    return frame.assign(label=(frame.mean_rating > 0).astype(int))


def _read_phrases(
    frames: dict[str, pandas.DataFrame], folder: str | None, removed: dict[str, int]
) -> _Source:
    """A source in GLUE's layout: `frames` holds train, dev and perhaps a labelled test; `folder` is None for the hub."""
    evaluation = {"test": _distinct(frames["dev"], removed, "dev")}
    if "test" in frames:
        evaluation["labelled_test"] = _distinct(frames["test"], removed, "test")
    train = _distinct(frames["train"], removed, "train")
    evaluated = pandas.concat(evaluation.values()).example_id
    train = _keep(train, ~train.example_id.isin(evaluated), removed, "train, in an evaluation set")
    train, validation = _hold_out_sentences(train, removed)

    dev_ids = hashlib.sha256(" ".join(evaluation["test"].example_id).encode()).hexdigest()
    if folder is None or dev_ids == SST2_VALIDATION_IDS:
        title, key, dev = "SST-2", "sst2", "validation"
    else:
        title, key, dev = folder, re.sub(r"\W+", "_", folder.lower()), "dev"
    return _Source(
        train,
        validation,
        evaluation,
        titles={
            "train": "training",
            "validation": "held-out training sentences",
            "test": f"{title} {dev}",
            **({"labelled_test": f"{title} test"} if "test" in frames else {}),
        },
        names_elsewhere={"test": f"{key}_{dev}", "labelled_test": f"{key}_test"},
    )


def _read_hub() -> dict[str, pandas.DataFrame]:
    import datasets

    try:
        splits = datasets.load_dataset(**SST2_HUB)
    except Exception as error:  # whatever the hub's client raises without a network, behind a proxy, on a full disk
        raise CourseError(
            f"data=sst2: SST-2 could not be loaded from the hub ({type(error).__name__}); where there is no hub type "
            "data=FOLDER, with its train.tsv and dev.tsv in GLUE's layout, or data=embedded"
        ) from error
    return {
        name: splits[split].to_pandas().rename(columns={"sentence": "text"})[["text", "label"]]
        for name, split in {"train": "train", "dev": "validation"}.items()
    }


def _read_folder(folder: Path) -> dict[str, pandas.DataFrame]:
    frames = {}
    for name in ("train", "dev"):
        if not (folder / f"{name}.tsv").is_file():
            raise CourseError(
                f"{folder} holds no {name}.tsv; a data folder holds train.tsv and dev.tsv, tab-separated, with the "
                "columns sentence and label"
            )
        frames[name] = _read_tsv(folder / f"{name}.tsv")
    test = folder / "test.tsv"
    if test.is_file() and "label" in test.open("rb").readline().decode("utf-8-sig", "replace").split():
        frames["test"] = _read_tsv(test)  # GLUE's own has no labels
    return frames


def _read_tsv(path: Path) -> pandas.DataFrame:
    content = path.read_bytes()
    try:
        lines = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise CourseError(f"{path}, line {line}: this is not UTF-8; save the file with the encoding UTF-8") from error
    header = next(lines, [])
    for column in ("sentence", "label"):
        if column not in header:
            raise CourseError(
                f"{path}: there is no column {column}, only {', '.join(header)[:100] or 'an empty first line'}; the "
                "first line must name the columns, sentence and label, with a tab between them"
            )
    examples = []
    for fields in lines:
        if not fields:  # an empty line
            continue
        if len(fields) != len(header):
            raise CourseError(
                f"{path}, line {lines.line_num}: {len(fields)} fields instead of {len(header)}; "
                "put one tab between two fields and none inside a sentence"
            )
        example = dict(zip(header, fields, strict=True))
        if example["label"] not in ("0", "1"):
            raise CourseError(
                f"{path}, line {lines.line_num}: the label is {example['label'][:40]!r}; write 0 for negative, 1 for positive"
            )
        examples.append((example["sentence"].strip(), int(example["label"])))
    frame = pandas.DataFrame(examples, columns=["text", "label"])
    if frame.label.nunique() < 2:
        found = f"every label is {frame.label[0]}" if len(frame) else "there are no examples"
        raise CourseError(f"{path}: {found}; both classes, 0 and 1, are needed")
    return frame


# ---------------------------------------------------------------- disjoint, stable sets


def _distinct(frame: pandas.DataFrame, removed: dict[str, int], name: str) -> pandas.DataFrame:
    """The examples in the order of their hash, each text once.

    Of texts that are equal after normalisation the longest stays, none where their labels contradict each other;
    texts without a letter or digit (":)") go.
    """
    keys = frame.text.map(normalise)
    frame = _keep(frame, keys != "", removed, f"{name}, without a letter or digit")
    identifiers = [hashlib.sha256(key.encode()).hexdigest()[:16] for key in keys if key]
    frame = frame.assign(example_id=identifiers, characters=frame.text.str.len())
    contradicting = frame.groupby("example_id").label.transform("nunique") > 1
    frame = _keep(frame, ~contradicting, removed, f"{name}, contradicting labels")
    frame = frame.sort_values(["example_id", "characters", "text"], ascending=[True, False, True])
    frame = _keep(frame, ~frame.duplicated("example_id"), removed, f"{name}, duplicates")
    columns = [column for column in ("example_id", "text", "label", "mean_rating") if column in frame]
    return frame[columns].reset_index(drop=True)


def _hold_out_sentences(pool: pandas.DataFrame, removed: dict[str, int]) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    """Split phrases into train and validation by sentence: no phrase of a validation sentence is left in train.

    Phrases come without the sentence they are from. One that is a part of no longer one is taken for a sentence; those
    with a final full stop come first, because they are whole.
    """
    texts = dict(zip(pool.text.map(normalise), pool.text, strict=True))
    inside: set[str] = set()
    sentences = set()
    for key in sorted(texts, key=len, reverse=True):
        if key not in inside:
            sentences.add(key)
            inside.update(span for span in _spans(texts[key]) if span in texts)
    keys = pool.text.map(normalise)
    candidates = pool[keys.isin(sentences)]
    whole = candidates.text.map(lambda text: bool(WHOLE_SENTENCE.search(text)))
    # Another hash than the sets' order: the movie test set is the first of that order, and shares sentences with SST.
    order = candidates.example_id.map(lambda identifier: hashlib.sha256(identifier.encode()).hexdigest())
    preferred = candidates.assign(partial=~whole, order=order).sort_values(["partial", "order"]).index
    validation = pool.loc[preferred[: min(HELD_OUT, len(sentences) // 5)].sort_values()]
    phrases = {span for text in validation.text for span in _spans(text)}
    train = _keep(pool, ~keys.isin(phrases), removed, "train, phrases of validation sentences")
    return train, validation


def _overlap_with(sentences: pandas.Series) -> Callable[[str], bool]:
    """A function that says whether a text is one of `sentences`, a part of one, or holds a whole one."""
    parts = {span for sentence in sentences for span in _spans(sentence)}
    telling = {normalise(text) for text in sentences if len(_words(text)) >= TELLING_WORDS}
    return lambda text: normalise(text) in parts or not telling.isdisjoint(_spans(text))


def _words(text: str) -> list[str]:
    return re.sub(r"[^\w\s]|_", "", text.lower()).split()


def _spans(text: str) -> Iterator[str]:
    """Every run of whole words of a text, normalised: for n words n(n+1)/2 of them."""
    words = _words(text)
    for start in range(len(words)):
        span = ""
        for word in words[start:]:
            span += word
            yield span


def _keep(frame: pandas.DataFrame, kept: pandas.Series, removed: dict[str, int], reason: str) -> pandas.DataFrame:
    removed[reason] = len(frame) - int(kept.sum())
    return frame[kept]


def _cut(sets: dict[str, pandas.DataFrame], parameter: str, limit: int | None, source: str) -> dict[str, pandas.DataFrame]:
    cut = {name: (frame if limit is None else frame.head(limit)).reset_index(drop=True) for name, frame in sets.items()}
    for name, frame in cut.items():
        if frame.label.nunique() < 2:
            what_to_do = f"raise {parameter}={limit}" if len(frame) < len(sets[name]) else "bring more labelled sentences"
            raise CourseError(
                f"data={source}: the set {name} would hold {len(frame)} of {len(sets[name])} examples and not both "
                f"classes; {what_to_do}"
            )
    return cut
