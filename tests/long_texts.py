"""Long texts, made of embedded sentences of one class that are joined together."""

from collections.abc import Iterator
from pathlib import Path

import pandas

from course_utils.inputs.embedded import embedded_sentences

CLASSES = ("neg", "pos")


def long_texts(number: int, most: int) -> Iterator[tuple[str, str]]:
    """`number` texts, each with its class, of 1 to `most` sentences; no sentence is in two of them."""
    movies = embedded_sentences("movies", ["text", "mean_rating"])
    left = {
        name: iter(movies.text[sign * movies.mean_rating >= 1]) for name, sign in zip(CLASSES, (-1, 1), strict=True)
    }
    for place in range(number):
        name = CLASSES[place % 2]
        yield " ".join(next(left[name]) for _ in range(1 + place * 7 % most)), name


def write_imdb(folder: Path, train: int, test: int, most: int) -> Path:
    """Such texts in the layout of IMDB, with what else lies in its folders."""
    texts = long_texts(train + test, most)
    for part, number in (("train", train), ("test", test)):
        for place in range(number):
            text, name = next(texts)
            file = folder / part / name / f"{place}_{1 if name == 'neg' else 10}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
        (folder / part / "urls_pos.txt").write_text("http://localhost\n")
    (folder / "train" / "unsup").mkdir()
    (folder / "train" / "unsup" / "0_0.txt").write_text("A text that nobody labelled.")
    (folder / "README").write_text("Large Movie Review Dataset\n")
    return folder


def as_csv(folder: Path, number: int, most: int) -> Path:
    """Such texts in one file."""
    path = folder / "long.csv"
    pandas.DataFrame([*long_texts(number, most)], columns=["text", "label"]).to_csv(path, index=False)
    return path
