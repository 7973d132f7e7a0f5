"""Texts in files of their own, as IMDB has them: a folder for each class, on disk or in the place of the hub's set."""

import pytest
from long_texts import CLASSES, write_imdb

from course_utils.config import load_experiment
from course_utils.errors import CourseError
from course_utils.inputs import sources
from course_utils.inputs.sources import IMDB, SENTIMENT, find_source
from course_utils.inputs.splits import load_data

SIZES = {"train": 48, "validation": 12, "test": 40}


@pytest.fixture
def folder(tmp_path):
    return write_imdb(tmp_path / "data" / "aclImdb", train=60, test=40, most=20)


def test_a_folder_of_texts_for_each_class_is_read(folder):
    data = load_data(str(folder))
    assert data.class_names == CLASSES and {name: len(frame) for name, frame in data.sets.items()} == SIZES
    assert data.titles["test"] == "aclImdb test" and "unsup has no class and is left out" in data.understood[-1]
    for part, name in (("train", "train"), ("validation", "train"), ("test", "test")):
        for example in data.sets[part].itertuples():
            files = (folder / name / CLASSES[example.label]).iterdir()
            assert example.text in {file.read_text("utf-8") for file in files}
    files = find_source(str(folder)).files()
    assert len(files) == 100 and not [file for file in files if file.parent.name not in CLASSES]


def test_the_classes_are_those_of_any_folders(folder):
    (folder / "train" / "neg").rename(folder / "train" / "zut")
    (folder / "test" / "neg").rename(folder / "test" / "zut")
    assert load_data(str(folder)).class_names == ("pos", "zut")
    ordered = load_experiment("smoke", {"data": str(folder), "class_names": "zut,pos"}).shared.source.read()
    assert ordered.class_names == ("zut", "pos") and ordered.frames["train"].label.mean() == 0.5
    (folder / "dev" / "pos").mkdir(parents=True)
    (folder / "dev" / "pos" / "1.txt").write_text("A fine film.")
    with pytest.raises(CourseError, match="the set validation would hold 1 of 1 texts"):
        load_data(str(folder))


def test_a_copy_is_read_in_place_of_the_hub(folder, monkeypatch):
    monkeypatch.setattr(sources, "PROJECT", folder.parents[1])
    data = load_data("imdb")
    assert data.class_names == SENTIMENT and data.titles["test"] == "IMDB test"
    assert data.understood[-1] == "the copy in data/aclImdb, not the hub" and not data.further
    assert [len(frame) for frame in data.sets.values()] == [*SIZES.values()] and len(IMDB.files()) == 100
    negative = {file.read_text("utf-8") for file in (folder / "test" / "neg").iterdir()}
    assert set(data.sets["test"].query("label == 0").text) == negative
    (folder / "train" / "unsup").rename(folder / "train" / "so-so")
    with pytest.raises(CourseError, match="the copy in data/aclImdb has 3 classes and not 2; put IMDB there"):
        IMDB.read()


def test_what_is_no_such_folder_is_refused(folder):
    (folder / "test" / "odd").mkdir()
    (folder / "test" / "odd" / "1.txt").write_text("A film.")
    with pytest.raises(CourseError, match="aclImdb/test, odd/1.txt: the label is 'odd', which is no class"):
        load_data(str(folder))
    (folder / "test" / "odd" / "1.txt").write_bytes("crème".encode("latin-1"))
    with pytest.raises(CourseError, match="odd/1.txt, line 1: this is not UTF-8"):
        load_data(str(folder))
    (folder / "train.csv").write_text("text,label\na,pos\n")
    with pytest.raises(CourseError, match="holds train and train.csv, of which one can be the file train"):
        load_data(str(folder))
    (folder / "train.csv").unlink()
    (folder / "train").rename(folder / "all")
    with pytest.raises(CourseError, match=r"texts in files of their own lie in train/CLASS/\*.txt"):
        load_data(str(folder))
