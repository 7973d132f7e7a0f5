"""docs/your_data.md: every example is run as it stands there, and its tables say what is so."""

import io
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pandas
import pytest
import torch
from safetensors.torch import load_file
from small import SENTIMENT, tiny_base

from course_utils import runs
from course_utils.__main__ import main
from course_utils.config import load_experiment, parse_overrides
from course_utils.errors import CourseError
from course_utils.inputs.bases import Base
from course_utils.inputs.columns import LABEL_COLUMNS, PAIR_COLUMNS, TEXT_COLUMNS
from course_utils.inputs.sources import ROLES, SOURCES, find_source
from course_utils.inputs.splits import load_data
from course_utils.paths import PROJECT
from course_utils.training import prediction

PAGE = (PROJECT / "docs" / "your_data.md").read_text("utf-8")
BLOCKS = [
    (*(info.split() + [""])[:2], re.sub(rf"^{indent}", "", body, flags=re.M))
    for indent, info, body in re.findall(r"^( *)```(\S[^\n]*)\n(.*?)^ *```$", PAGE, re.M | re.S)
]
COMMANDS = [
    (place, command) for place, (kind, _, body) in enumerate(BLOCKS) if kind == "sh" for command in body.splitlines()
]


def said_beneath(place):
    """What the page says right after the command at `place`: (what, words) a line."""
    kind, _, body = BLOCKS[place + 1] if place + 1 < len(BLOCKS) else ("", "", "")
    return [tuple(line.split(": ", 1)) for line in body.splitlines()] if kind == "text" else []


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with every file that the page shows or makes."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for kind, name, body in BLOCKS:
            if name:
                Path(name).parent.mkdir(parents=True, exist_ok=True)
                Path(name).write_text(body, "utf-8")
            elif kind == "python":
                exec(body, {})
    return folder


def settings(command):
    """The settings of the experiment that `command` starts, all names and values checked."""
    pairs = [word for word in shlex.split(command)[1:] if word != "-p"]
    return load_experiment("quick", parse_overrides(pairs)).shared


@pytest.mark.parametrize("place, command", COMMANDS, ids=[command for _, command in COMMANDS])
def test_an_example_is_understood_as_the_page_says(files, monkeypatch, place, command):
    monkeypatch.setenv("COURSE_FROM", str(files))
    said = said_beneath(place)
    if any(what == "refused" for what, _ in said):
        [(_, words)] = said
        with pytest.raises(CourseError) as refused:
            settings(command).source.read()
        assert re.sub(r"\S+/home\d+/", "", str(refused.value)) == words
        return
    shared = settings(command)
    if not shared.data.startswith("hub:"):  # tests/inputs/test_hub_data.py reads those
        texts = shared.source.read()
        found = [("classes", ", ".join(texts.class_names))]
        found += [("understood", re.sub(r"\S+/home\d+/", "", line)) for line in texts.understood]
        if shared.also_evaluate:
            found = [found[0], ("also_evaluate", ", ".join(find_source(shared.also_evaluate).read().class_names))]
        assert not said or found == said


def test_most_examples_say_what_comes_out():
    assert sum(bool(said_beneath(place)) for place, _ in COMMANDS) >= 12
    kinds = {Path(name).suffix for _, name, _ in BLOCKS if name}
    assert kinds == {".csv", ".tsv", ".jsonl", ".json", ".txt"} and any(kind == "python" for kind, *_ in BLOCKS)


def test_the_first_examples_texts_are_what_is_written(files):
    read = find_source(str(files / "reviews.csv")).read().frames["train"]
    assert read.text.tolist()[0] == "Fine, and it fits." and read.text.tolist()[2] == 'They call it "robust".'
    assert find_source(str(files / "sentences.tsv")).read().frames["train"].text[0] == 'a "gripping" film'


def write(folder, *names):
    for name in names:
        rows = {"text": [f"{name} {n}" for n in range(100)], "label": [n % 2 for n in range(100)]}
        pandas.DataFrame(rows).to_csv(folder / f"{name}.csv", index=False)


def test_one_file_is_cut_as_the_page_says(tmp_path):
    write(tmp_path, "reviews")
    sizes = {name: len(frame) for name, frame in load_data(str(tmp_path / "reviews.csv")).sets.items()}
    assert sizes == {"train": 60, "validation": 15, "test": 25}


ORIGINS = {  # files → those that validation and test come from
    ("train", "dev", "test"): ("dev", "test"),
    ("train", "test"): ("train", "test"),
    ("train", "dev"): ("train", "dev"),
    ("train",): ("train", "train"),
}


def test_the_table_of_files_names_what_is_tried_here():
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+)(?: alone)? \|", PAGE, re.M)
    tried = {files for files in (tuple(re.findall(r"`(\w+)`", row)) for row in rows) if files[0] == "train"}
    assert tried == set(ORIGINS)


@pytest.mark.parametrize("names", ORIGINS, ids=" ".join)
def test_a_file_is_what_the_table_says(tmp_path, names):
    write(tmp_path, *names)
    sets = load_data(str(tmp_path)).sets
    origins = [{text.split()[0] for text in sets[name].text} for name in ("train", "validation", "test")]
    assert origins == [{"train"}, *({origin} for origin in ORIGINS[names])]


def test_the_built_in_sources_have_the_classes_of_the_table():
    rows = dict(re.findall(r"^\| `([\w-]+)` \| [^|]+ \| ([^|]+) \|$", PAGE, re.M))
    assert rows == {name: ", ".join(source.class_names) for name, source in SOURCES.items()}


def test_the_columns_and_roles_are_those_that_are_known():
    listed = {title: re.findall(r"`(\w+)`", line) for title, line in re.findall(r"^- (\w+): (.+)$", PAGE, re.M)}
    assert set(listed["Text"]) <= set(TEXT_COLUMNS) and set(listed["Label"]) <= set(LABEL_COLUMNS)
    pairs = listed["Pairs"]
    assert pairs and set(zip(pairs[::2], pairs[1::2], strict=True)) <= set(PAIR_COLUMNS)
    [roles] = re.findall(r"^.*mean the same\.", PAGE, re.M)
    called = re.search(r"`dev`.*", roles)[0]
    assert {ROLES[name] for name in re.findall(r"`(\w+)`", called)} == {"dev"}


def test_the_architectures_are_those_that_are_tested():
    tested = (PROJECT / "tests" / "methods" / "test_architectures.py").read_text("utf-8")
    named = re.sub(r"\W", "", PAGE).lower()
    families = re.findall(r"^    (\w+)Config: ", tested, re.M)
    assert len(families) > 10 and not [family for family in families if family.lower() not in named]


def test_a_pickle_is_converted_as_the_page_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights = Path(tiny_base(tmp_path / "old").location) / "model.safetensors"
    torch.save(load_file(weights), tmp_path / "old" / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises(CourseError, match="pytorch_model.bin is a pickle"):
        _ = Base(str(tmp_path / "old")).location
    [conversion] = [body for kind, _, body in BLOCKS if kind == "py"]
    exec(conversion, {})
    assert Base(str(tmp_path / "new")).fingerprint()
    assert len(Base(str(tmp_path / "new")).tokenizer()) > 1_000


def test_predict_takes_texts_as_the_page_says(tmp_path, monkeypatch, capsys):
    """Everything but the model: that answers yes to every text here."""
    asked = []
    monkeypatch.chdir(tmp_path)
    Path("new.txt").write_text("one\ntwo\n")
    Path("new.csv").write_text("id,review\n1,three\n")

    def classify(run, texts):
        asked.append(texts.to_numpy().tolist())
        return texts.assign(label="yes", probability=1.0)

    monkeypatch.setattr(prediction, "check_usable", lambda run: None)
    monkeypatch.setattr(prediction, "classify", classify)
    [commands] = [body for kind, _, body in BLOCKS if kind == "bash"]
    for command in commands.splitlines():
        piped, _, called = command.rpartition(" | ")
        monkeypatch.setattr("sys.stdin", io.StringIO(Path("new.txt").read_text() if piped else ""))
        words = shlex.split(called)
        monkeypatch.setattr("sys.argv", words[2:])
        config = SimpleNamespace(text_column=None, text_pair_column=None, label_column=None)
        result = SimpleNamespace(data=SimpleNamespace(pairs="--pair" in words))
        run = SimpleNamespace(name="RUN", config=config, result=result, task=SENTIMENT)
        monkeypatch.setattr(runs, "read_run", lambda folder, run=run: run)
        status = main(words[words.index("course_utils") + 1 :])
        assert status == 0, (command, capsys.readouterr().err)
    assert asked == [
        [["It does what it should."]], [["one"], ["two"]], [["one"], ["two"]],
        [["It rains.", "The street is wet."]], [["three"]], [["three"]],
    ]  # fmt: skip
    assert Path("answers.csv").read_text() == "text,label,probability\nthree,yes,1.0\n"
