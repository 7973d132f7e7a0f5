"""Data as people have it: every format gives the same examples, and what cannot be a class is told with its line."""

import json

import pandas
import pytest

from course_utils.errors import CourseError
from course_utils.inputs.columns import Columns
from course_utils.inputs.sources import find_source
from course_utils.inputs.splits import load_data

WORDS = ("cat", "dog", "eel")
EXAMPLES = [(f'It said, "number {n}",\tthen it\nleft; again', WORDS[n % 3]) for n in range(90)]
PLAIN = [(text.replace("\t", " ").replace("\n", " "), label) for text, label in EXAMPLES]


def table(examples=EXAMPLES, text="text", label="label"):
    return pandas.DataFrame(examples, columns=[text, label])


def write_glue(path):
    path.with_suffix(".tsv").write_text("".join(f"{text}\t{label}\n" for text, label in [("text", "label"), *PLAIN]))


def write_parquet_with_names(path):
    import datasets

    classes = datasets.ClassLabel(names=["dog", "cat", "eel"])  # their order is not the alphabet's
    frame = table().assign(label=[classes.str2int(label) for _, label in EXAMPLES])
    features = datasets.Features({"text": datasets.Value("string"), "label": classes})
    datasets.Dataset.from_pandas(frame, features=features).to_parquet(path.with_suffix(".parquet"))


def write_bytes(path):
    table().map(str.encode).to_parquet(path.with_suffix(".parquet"))


def write_for_excel(path):
    path.with_suffix(".csv").write_text("sep=;\n" + table().to_csv(sep=";", index=False), "utf-8")


FORMATS = {
    "GLUE's TSV": write_glue,
    "pandas' TSV": lambda path: table().to_csv(path.with_suffix(".tsv"), sep="\t", index=False),
    "CSV": lambda path: table().to_csv(path.with_suffix(".csv"), index=False),
    "CSV with semicolons and an index": lambda path: table().to_csv(path.with_suffix(".csv"), sep=";"),
    "CSV that names its separator": write_for_excel,
    "Parquet of bytes": write_bytes,
    "CSV of Windows": lambda path: table().to_csv(path.with_suffix(".csv"), encoding="utf-8-sig", lineterminator="\r\n"),  # noqa: E501
    "JSON lines": lambda path: table().to_json(path.with_suffix(".jsonl"), orient="records", lines=True),
    "JSON": lambda path: table().to_json(path.with_suffix(".json"), orient="records"),
    "Parquet": lambda path: table().to_parquet(path.with_suffix(".parquet")),
    "Parquet with names of classes": write_parquet_with_names,
    "unknown columns": lambda path: table(text="opinion", label="mood").to_csv(path.with_suffix(".csv"), index=False),
    "other columns": lambda path: table(text="Review", label="Sentiment").to_csv(path.with_suffix(".csv")),
}  # fmt: skip


@pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS)
def test_every_format_is_read(tmp_path, write):
    write(tmp_path / "data")
    data = load_data(str(tmp_path))
    read = {
        " ".join(text.split()): data.class_names[label]
        for frame in data.sets.values()
        for text, label in zip(frame.text, frame.label, strict=True)
    }
    assert read == {" ".join(text.split()): label for text, label in EXAMPLES}
    assert sorted(data.class_names) == [*WORDS] and data.understood
    [file] = tmp_path.iterdir()
    assert load_data(str(file)).class_names == data.class_names


def test_class_names_can_put_the_names_of_a_file_into_another_order(tmp_path):
    write_parquet_with_names(tmp_path / "data")
    read = find_source(str(tmp_path / "data.parquet"), Columns(class_names=("eel", "cat", "dog"))).read()
    assert read.class_names == ("eel", "cat", "dog")
    assert [read.class_names[label] for label in read.frames["train"].label] == [label for _, label in EXAMPLES]


def test_a_folder_brings_its_splits_as_shards_or_under_other_names(tmp_path):
    frame = table()
    frame[:30].to_parquet(tmp_path / "train-00000-of-00002.parquet")
    frame[30:60].to_parquet(tmp_path / "train-00001-of-00002.parquet")
    frame[60:75].to_csv(tmp_path / "valid.csv")
    frame[75:].to_json(tmp_path / "test_labelled.jsonl", orient="records", lines=True)
    sets = load_data(str(tmp_path)).sets
    assert {name: len(part) for name, part in sets.items()} == {"train": 60, "validation": 15, "test": 15}
    (tmp_path / "train.csv").write_text("text,label\na,1\n")
    with pytest.raises(CourseError, match="train.csv"):
        load_data(str(tmp_path))


def test_settings_name_columns_pairs_and_classes(tmp_path):
    frame = pandas.DataFrame(
        {
            "first": [f"premise {n}" for n in range(40)], "second": [f"guess {n // 2}" for n in range(40)],
            "text": "noise", "label": "noise", "gold": [n % 2 for n in range(40)],
        }
    )  # fmt: skip
    frame.to_csv(tmp_path / "pairs.csv", index=False)
    source = find_source(str(tmp_path / "pairs.csv"), Columns("first", "second", "gold", ("no", "yes")))
    data = load_data(source)
    assert data.class_names == ("no", "yes")
    together = pandas.concat(data.sets.values())
    assert len(together) == 40 and together.text_pair.nunique() == 20  # pairs are told apart by both texts
    assert set(zip(together.text, together.label, strict=True)) == {(f"premise {n}", n % 2) for n in range(40)}
    with pytest.raises(CourseError, match="text_column=none of these.*'first', 'second'"):
        load_data(find_source(str(tmp_path / "pairs.csv"), Columns("none of these")))
    with pytest.raises(CourseError, match="class_names"):
        load_data(find_source(str(tmp_path / "pairs.csv"), Columns("first", None, "gold", ("a", "b", "c"))))
    with pytest.raises(CourseError, match="leave out text_column"):
        find_source("embedded", Columns("first"))


def test_pairs_are_guessed(tmp_path):
    frame = pandas.DataFrame(
        {"index": range(40), "sentence1": "It rains.", "sentence2": [f"Wet {n}" for n in range(40)], "label": ["no", "yes"] * 20}  # noqa: E501
    )  # fmt: skip
    frame.to_csv(tmp_path / "train.tsv", sep="\t", index=False)
    assert "text_pair" in load_data(str(tmp_path)).sets["test"]


def test_the_column_that_is_left_beside_a_pair_holds_the_labels(tmp_path):
    pairs = {
        "premise": [f"It rains {n}." for n in range(40)],
        "hypothesis": "It is wet.",
        "verdict": ["no", "yes"] * 20,
    }
    pandas.DataFrame(pairs).to_csv(tmp_path / "train.csv", index=False)
    assert load_data(str(tmp_path)).class_names == ("no", "yes")
    pandas.DataFrame(pairs | {"id": range(40)}).to_csv(tmp_path / "train.csv", index=False)
    with pytest.raises(CourseError, match="which column holds the label is not clear"):
        load_data(str(tmp_path))
    for name, part in {"train": slice(30), "test": slice(30, 40)}.items():
        pandas.DataFrame(pairs)[part].to_csv(tmp_path / f"{name}.csv", index=False)
    assert len(load_data(str(tmp_path)).sets["test"]) == 10
    table([(f"text {n}", ["no", "yes"][n % 2]) for n in range(40)]).to_csv(tmp_path / "test.csv", index=False)
    pandas.DataFrame(pairs).to_csv(tmp_path / "train.csv", index=False)
    with pytest.raises(CourseError, match="holds (pairs|single texts); .* bring the same kind"):
        load_data(str(tmp_path))


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ("b a", ("a", "b")),
        ("10 9 2", ("2", "9", "10")),
        ("2.0 1.0", ("1", "2")),
        ("-1 0 1", ("-1", "0", "1")),
        ("True False", ("False", "True")),
        ("9007199254740992 9007199254740993", ("9007199254740992", "9007199254740993")),
    ],
)  # fmt: skip
def test_classes_are_words_or_numbers_in_any_order(tmp_path, labels, names):
    examples = [(f"text {n}", label) for n in range(20) for label in [labels.split()[n % len(labels.split())]]]
    table(examples).to_csv(tmp_path / "data.csv")
    assert load_data(str(tmp_path)).class_names == names


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["1", "2", "3.7"], "line 4: the label is 3.7"),
        (["1", "2", "good"], "line 4: the label is 'good'"),
        (["1", "2", ""], "line 4: the label is empty"),
        (["1", "1", "1"], "every label is 1"),
        ([f"class {n}" for n in range(101)], "101 different labels.*label_column"),
    ],
)
def test_what_cannot_be_a_class_is_told_with_its_line(tmp_path, labels, message):
    table([(f"text {n}", label) for n, label in enumerate(labels)]).to_csv(tmp_path / "train.csv")
    with pytest.raises(CourseError, match=message):
        load_data(str(tmp_path))


def test_a_class_of_the_test_file_alone_is_told_with_its_line(tmp_path):
    table().to_csv(tmp_path / "train.csv")
    table([("a text", "cat"), ("another", "fox")]).to_json(tmp_path / "dev.jsonl", orient="records", lines=True)
    with pytest.raises(CourseError, match="dev.jsonl, line 2: the label is 'fox'"):
        load_data(str(tmp_path))


def test_unequal_classes_keep_their_shares_in_every_cut(tmp_path):
    examples = [(f"text {n}", "rare" if n % 20 == 0 else "usual") for n in range(2_000)]
    table(examples).to_csv(tmp_path / "data.csv")
    for size in (100, 40):
        data = load_data(str(tmp_path), max_train=size, max_validation=size, max_test=size)
        assert [int(frame.label.sum()) for frame in data.sets.values()] == 3 * [size - size // 20]
    with pytest.raises(CourseError, match="raise max_train"):
        load_data(str(tmp_path), max_train=5)


def test_also_evaluate_takes_classes_by_name(tmp_path):
    for name, words in {"one": WORDS, "other": WORDS[::-1]}.items():
        (tmp_path / name).mkdir()
        table([(f"{name} {n}", words[n % 3]) for n in range(90)]).to_csv(tmp_path / name / "train.csv")
    data = load_data(str(tmp_path / "one"), also_evaluate=str(tmp_path / "other"))
    added = data.sets["other_test"]
    wanted = {f"other {n}": WORDS[::-1][n % 3] for n in range(90)}
    assert [data.class_names[label] for label in added.label] == [wanted[text] for text in added.text]
    with pytest.raises(CourseError, match="also_evaluate=embedded: its classes are negative and positive"):
        load_data(str(tmp_path / "one"), also_evaluate="embedded")
    with pytest.raises(CourseError, match="also_evaluate=embedded is the training data itself"):
        load_data("embedded", also_evaluate="embedded")


def test_a_further_set_says_what_was_left_out_and_which_number_is_which_class(tmp_path):
    table([(f"one {n}", ["fine", "fraud"][n % 2]) for n in range(40)]).to_csv(tmp_path / "own.csv")
    table([(f"other {n % 30}", n % 30 % 2) for n in range(40)]).to_csv(tmp_path / "other.csv")
    data = load_data(str(tmp_path / "own.csv"), also_evaluate=str(tmp_path / "other.csv"))
    assert data.removed == {"also_evaluate, other texts, duplicates": 10}
    assert "'0' as 'fine' and '1' as 'fraud'" in data.understood[-1]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.jsonl", '{"text": "a", "label": 1}\n{"text": \n', "line 2: this is not valid JSON"),
        ("train.json", '[{"text": "a"}, 3]', "item 2: this is no object"),
        ("train.json", "[" * 100_000, "is not valid JSON"),
        ("train.csv", 'text,label\n\na,1\n\n"open,1\nb,0\n', "line 5: a quote mark opens a field in this row"),
        ("train.csv", "text:label\na:1\n", "the column 'text:label' alone, .* a comma, a semicolon, a tab or"),
        ("train.csv", "text,label\na,b,1\n", "line 2: 3 fields instead of 2"),
        ("train.parquet", "PAR1", "cannot be read as Parquet"),
        ("train.parquet", "version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("train.csv", "version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("train.csv", "text,text,label\na,b,1\n", "two columns 'text'"),
    ],
)
def test_damaged_files_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(CourseError, match=message):
        load_data(str(tmp_path))


def test_half_a_character_is_no_reason_to_stop(tmp_path):
    lines = [json.dumps({"text": f"cut \ud83d {n}", "label": ("good\ud83d", "bad")[n % 2]}) for n in range(40)]
    (tmp_path / "train.jsonl").write_text("\n".join(lines))
    data = load_data(str(tmp_path))
    assert data.class_names == ("bad", "good\ufffd") and data.sets["train"].text.str.startswith("cut \ufffd ").all()


def test_json_keeps_what_is_written(tmp_path):
    lines = [json.dumps({"text": f"नमस्ते {n} 😀", "label": n % 2}, ensure_ascii=False) for n in range(40)]
    (tmp_path / "train.jsonl").write_text("\n".join(lines))
    assert "नमस्ते 1 😀" in set(pandas.concat(load_data(str(tmp_path)).sets.values()).text)
