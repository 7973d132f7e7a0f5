"""Splits are disjoint, stable and free of leaks; bad folders are refused with the file, the line and the remedy."""

import itertools
import random

import pandas
import pytest
from small import EMBEDDED, SENTIMENT, keys

from course_utils.errors import CourseError
from course_utils.inputs import sources
from course_utils.inputs.embedded import embedded_sentences
from course_utils.inputs.splits import load_data, normalise

SIZES = {"train": 7_000, "validation": 1_000, "test": 2_070, "products": 2_967, "tweets": 3_278, "editorials": 2_931}


def write_tsv(path, examples, header="sentence\tlabel", end="\n", encoding="utf-8"):
    lines = [header] + [f"{text}\t{label}" for text, label in examples]
    path.write_bytes((end.join(lines) + end).encode(encoding))


def phrases_of(sentence):
    words = sentence.split()
    return [" ".join(words[i:j]) for i, j in itertools.combinations(range(len(words) + 1), 2)]


SENTENCES = [f"film number{n} is a {'great' if n % 2 else 'dreadful'} and{n} rare thing{n} ." for n in range(60)]


@pytest.fixture
def folder(tmp_path):
    """A folder in GLUE's layout: 60 known sentences with all their phrases, and 10 others to evaluate on."""
    train = [(phrase, n % 2) for n, sentence in enumerate(SENTENCES) for phrase in phrases_of(sentence)[:40]]
    train += [(sentence, n % 2) for n, sentence in enumerate(SENTENCES)]
    train = [(text, label) for text, label in train if any(character.isdigit() for character in text)]
    write_tsv(tmp_path / "train.tsv", train)
    write_tsv(tmp_path / "dev.tsv", [(f"evaluation sentence{n} .", n % 2) for n in range(10)])
    write_tsv(tmp_path / "test.tsv", [(n, "unlabelled") for n in range(5)], header="index\tsentence")
    return tmp_path


def assert_disjoint(sets):
    texts = {name: keys(frame) for name, frame in sets.items()}
    for one in ("train", "validation", "test"):
        for other in set(sets) - {one}:
            assert not texts[one] & texts[other], (one, other)


def test_embedded_sets():
    loaded = load_data("embedded")
    assert {name: len(frame) for name, frame in loaded.sets.items()} == SIZES
    assert loaded.removed["movie texts, duplicates"] == 2
    assert_disjoint(loaded.sets)
    for name, frame in loaded.sets.items():
        assert frame.example_id.is_unique and frame.text.map(normalise).is_unique
        assert ((frame.mean_rating > 0) == (frame.label == 1)).all() and (frame.mean_rating.abs() >= 0.5).all()
        assert loaded.titles[name]
    assert loaded.fingerprint == load_data("embedded").fingerprint


def test_smaller_sets_are_the_first_of_larger_ones():
    full = load_data("embedded")
    quick = load_data("embedded", max_train=3_000, max_validation=1_000, max_test=2_000, max_other=500)
    assert [len(frame) for frame in quick.sets.values()] == [3_000, 1_000, 2_000, 500, 500, 500]
    for name, frame in quick.sets.items():
        pandas.testing.assert_frame_equal(frame, full.sets[name].head(len(frame)))
    assert quick.fingerprint != full.fingerprint


def test_no_phrase_of_a_held_out_sentence_is_left(folder):
    loaded = load_data(str(folder))
    held_out = loaded.sets["validation"]
    assert len(held_out) == 12 and set(held_out.text) <= set(SENTENCES)
    left = keys(loaded.sets["train"])
    assert left.isdisjoint(normalise(phrase) for sentence in held_out.text for phrase in phrases_of(sentence))
    for sentence in set(SENTENCES) - set(held_out.text):
        assert normalise(sentence) in left
    assert loaded.sets["test"].label.value_counts().to_dict() == {0: 5, 1: 5}
    assert loaded.titles["test"] == f"{folder.name} dev"
    assert [*loaded.sets] == ["train", "validation", "test"] and loaded.class_names == ("0", "1")
    assert "test.tsv has no labels" in " ".join(loaded.understood)


def test_splits_do_not_depend_on_the_order_of_rows(folder):
    before = load_data(str(folder)).fingerprint
    header, *lines = (folder / "train.tsv").read_text().splitlines()
    random.Random(0).shuffle(lines)
    (folder / "train.tsv").write_text("\n".join([header, *lines]) + "\n")
    assert load_data(str(folder)).fingerprint == before


def test_windows_files_quotes_and_extra_columns_read_the_same(folder):
    examples = [(f'he said "number{n} is fine', n % 2) for n in range(10)]
    write_tsv(folder / "dev.tsv", examples)
    before = load_data(str(folder)).sets["test"]
    write_tsv(
        folder / "dev.tsv", [(n, f"{text}\t{label}") for n, (text, label) in enumerate(examples)],
        header="index\tsentence\tlabel", end="\r\n", encoding="utf-8-sig",
    )  # fmt: skip
    after = load_data(str(folder)).sets["test"]
    pandas.testing.assert_frame_equal(before, after)
    assert after.text.str.contains('"').all()


def test_duplicates_and_contradictions_go(folder):
    write_tsv(
        folder / "dev.tsv",
        [("Good film", 1), ("good film!", 1), ("so so", 0), ("So-so", 1), (":-)", 1), ("bad film", 0), ("Ää", 1)],
    )
    loaded = load_data(str(folder))
    assert sorted(loaded.sets["test"].text) == ["bad film", "good film!", "Ää"]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("train.tsv", b"", "is empty"),
        ("dev.tsv", b"words,label\ngood,1\n", "first line holds none; name the file dev.csv"),
        ("train.tsv", b"sentence\tfoo\tbar\ngood\t1\t2\n", "column holds the label .* 'sentence', 'foo' and 'bar'"),
        ("dev.tsv", b"sentence\tlabel\ngood\t-1\nbad\t-1\n", "every label is -1"),
        ("train.tsv", b"sentence\tlabel\ngood\t1\ncr\xe8me\t0\n", "line 3: this is not UTF-8"),
        ("dev.tsv", "sentence\tlabel\ngood\t1\n".encode("utf-16"), "line 1: this is not UTF-8"),
        ("train.tsv", b"sentence\tlabel\n:)\t1\n:(\t0\n", "would hold 0 of 0 texts"),
        ("dev.tsv", b"sentence\tlabel\n:)\t1\n:(\t0\n", "would hold 0 of 0 texts"),
    ],
)
def test_bad_files_are_refused(folder, file, content, message):
    (folder / file).write_bytes(content)
    with pytest.raises(CourseError, match=message):
        load_data(str(folder))


def test_a_copy_of_sst2_is_read_in_place_of_the_hub(folder, monkeypatch):
    copy = folder / "data" / "SST-2"
    copy.mkdir(parents=True)
    for file in ("train.tsv", "dev.tsv"):
        (folder / file).rename(copy / file)
    monkeypatch.setattr(sources, "PROJECT", folder)
    loaded = load_data("sst2")
    assert loaded.source == "sst2" and loaded.revision is None and "the copy in data/SST-2" in loaded.understood[-1]
    assert loaded.titles["test"] == "SST-2 validation" and "products" in loaded.sets
    assert [file.name for file in sources.find_source("sst2").files()] == ["dev.tsv", "train.tsv"]


def test_a_labelled_test_file_beside_the_872_is_a_further_set(folder, monkeypatch):
    (folder / "data").mkdir()
    (folder / "data" / "SST-2").symlink_to(folder)
    monkeypatch.setattr(sources, "PROJECT", folder)
    without = load_data("sst2")
    known = without.sets["train"].text[0], without.sets["test"].text[0]
    examples = [(f"third sentence{n} .", n % 2) for n in range(8)] + [(text, 0) for text in known]
    write_tsv(folder / "test.tsv", examples)
    loaded = load_data("sst2")
    for name in ("train", "validation", "test", "products"):
        pandas.testing.assert_frame_equal(loaded.sets[name], without.sets[name])
    assert keys(loaded.sets["sst2_test"]) == {normalise(text) for text, _ in examples[:8]}
    assert loaded.titles["test"] == "SST-2 validation" and loaded.titles["sst2_test"] == "SST-2 test"
    assert loaded.removed["sst2_test, in another set"] == 2
    assert loaded.further == ("sst2_test", *without.further) and loaded.domains == without.domains == without.further


def test_very_long_texts_take_no_time(folder):
    lines = [("good " * 10_000, 1), ("bad " * 10_000, 0), ("x", 1), ("y", 0), ("w0 " + "word " * 10_000, 0)]
    with open(folder / "train.tsv", "a") as file:
        file.writelines(f"{text}\t{label}\n" for text, label in lines)
    assert load_data(str(folder), also_evaluate="embedded").sets["train"].text.str.len().max() >= 40_000


@pytest.mark.slow
def test_real_sst2(sst2_folder):
    loaded = load_data(str(sst2_folder))
    assert {name: len(frame) for name, frame in loaded.sets.items()} == {
        "train": 55_501, "validation": 1_000, "test": 872, "products": 2_960, "tweets": 3_277, "editorials": 2_931,
    }  # fmt: skip
    assert loaded.titles["test"] == "SST-2 validation"
    assert loaded.sets["test"].label.sum() == 444
    assert_disjoint(loaded.sets)
    left = keys(loaded.sets["train"])
    for sentence in loaded.sets["validation"].text.head(100):
        assert left.isdisjoint(normalise(phrase) for phrase in phrases_of(sentence))


@pytest.mark.slow
def test_leak_between_movies_and_sst2_is_closed(sst2_folder):
    sst2 = pandas.read_csv(sst2_folder / "dev.tsv", sep="\t", quoting=3)
    evaluation = set(sst2.sentence.map(normalise))
    assert len(evaluation) == 872
    assert len(evaluation & keys(embedded_sentences("movies"))) == 692
    alone = load_data("embedded").sets
    assert len(evaluation & (keys(alone["train"]) | keys(alone["validation"]))) > 400

    both = load_data("embedded", also_evaluate=str(sst2_folder))
    assert len(both.sets["sst2_validation"]) == 872 and both.titles["sst2_validation"] == "SST-2 validation"
    pandas.testing.assert_frame_equal(both.sets["test"], alone["test"])
    telling = {normalise(text) for text in sst2.sentence if len(text.split()) > 6}
    for name in ("train", "validation"):
        assert evaluation.isdisjoint(keys(both.sets[name]))
        assert not any(sentence in text for text in keys(both.sets[name]) for sentence in telling)


@pytest.mark.slow
def test_phrases_of_the_other_sources_sentences_go_too(sst2_folder):
    loaded = load_data(str(sst2_folder), also_evaluate="embedded")
    left = keys(loaded.sets["train"]) | keys(loaded.sets["validation"])
    for sentence in loaded.sets["movie_test"].text.head(200):
        assert left.isdisjoint(normalise(phrase) for phrase in phrases_of(sentence))


def test_tokens_are_truncated_and_not_padded():
    frame = pandas.DataFrame({"text": ["good film", "x " * 300], "label": [1, 0]})
    tokens = SENTIMENT.tokenize(frame, EMBEDDED.tokenizer(), 64)
    assert sorted(tokens.column_names) == ["attention_mask", "input_ids", "label", "length"]
    assert list(tokens["length"]) == [4, 64] == [len(ids) for ids in tokens["input_ids"]]
    assert list(tokens["label"]) == [1, 0]


def test_normalise_keeps_what_words_and_symbols_are_told_apart_by():
    assert normalise("It 's CRÈME_brûlée , no. 3 !") == "itscrèmebrûléeno3"
    assert normalise("does n't") == normalise("doesn't") and normalise("STRASSE") == normalise("straße")
    assert normalise("cafe\u0301") == normalise("café") and normalise("ﬁlm") == normalise("film")
    assert normalise("दाम कम है") != normalise("दम कम है")
    assert normalise("😀!") != normalise("😞!") and normalise("❤\ufe0f") == normalise("❤")
