"""Data sets of the hub, by a stand-in on this machine: splits, classes, configurations, commits, and no network."""

import io
import json
import os
import subprocess
import sys

import datasets
import pytest
from hub_stand_in import COMMIT, stand_in

from course_utils.config import load_experiment
from course_utils.errors import CourseError
from course_utils.inputs.sources import find_source
from course_utils.paths import PROJECT

pytestmark = pytest.mark.slow

TOPICS = ["World", "Sports", "Business"]
OLDER = "01d" + 37 * "0"
CARD = """---
configs:
- {config_name: long, data_files: [{split: train, path: long/train.parquet}, {split: test, path: long/test.parquet}]}
- {config_name: short, data_files: [{split: train, path: short/train.parquet}]}
---
"""
READ = """
import json, sys
from course_utils.errors import CourseError
from course_utils.inputs.splits import load_data
for name in sys.argv[1:]:
    try:
        data = load_data(name)
        sets = {name: sorted(frame.text) for name, frame in data.sets.items()}
        found = {"classes": data.class_names, "revision": data.revision, "understood": data.understood, "sets": sets}
    except CourseError as error:
        found = {"refused": str(error)}
    print(json.dumps(found))
"""


def parquet(word, size, label=None):
    """`size` texts that begin with `word`, as a Parquet file that says the names of its classes."""
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=TOPICS)})
    rows = [{"text": f"{word} {n}", "label": n % 3 if label is None else label} for n in range(size)]
    content = io.BytesIO()
    datasets.Dataset.from_list(rows, features=features).to_parquet(content)
    return content.getvalue()


@pytest.fixture(scope="module")
def hub():
    """A hub with a set whose test is unlabelled and which had an older commit, and one of two configurations."""
    with stand_in() as hub:
        hub.files["datasets/someone/topics"] = {
            "data/train-00000-of-00001.parquet": parquet("news", 60),
            "data/test-00000-of-00001.parquet": parquet("hidden", 6, label=-1),
        }
        hub.files[f"datasets/someone/topics@{OLDER}"] = {"train.parquet": parquet("old", 60)}
        hub.files["datasets/someone/two"] = {
            "README.md": CARD.encode(),
            "long/train.parquet": parquet("long", 60),
            "long/test.parquet": parquet("tested", 9),
            "short/train.parquet": parquet("short", 60),
        }
        yield hub


@pytest.fixture
def read(hub, tmp_path):
    """A function that reads sources in a process of its own, with an empty cache at first: what each of them gave."""

    def read(*names, **variables):
        environment = os.environ | {
            "HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_DISABLE_XET": "1",
            "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        environment.pop("HF_HUB_OFFLINE", None)
        done = subprocess.run(
            [sys.executable, "-c", READ, *names],
            env=environment | variables,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return read


def test_a_set_of_the_hub_is_read_at_a_commit_with_and_without_a_network(hub, read, tmp_path):
    (tmp_path / "someone" / "topics").mkdir(parents=True)  # a folder of that name is not what hub: means
    [online] = read("hub:someone/topics")
    assert online["classes"] == TOPICS
    assert online["revision"] == COMMIT and f"someone/topics at its commit {COMMIT}" in online["understood"]
    assert "hub:someone/topics, split test has no labels and is left out" in online["understood"]
    assert {name: len(texts) for name, texts in online["sets"].items()} == {"train": 36, "validation": 9, "test": 15}

    asked = len(hub.asked)
    offline, other = read("hub:someone/topics", f"hub:someone/topics@{OLDER}", HF_HUB_OFFLINE="1")
    assert offline == online and len(hub.asked) == asked
    assert f"this machine has its commit {COMMIT}, not {OLDER}" in other["refused"]

    [pinned] = read(f"hub:someone/topics@{OLDER}")
    assert pinned["revision"] == OLDER
    assert all(text.startswith("old ") for texts in pinned["sets"].values() for text in texts)


def test_a_configuration_is_named_behind_the_set(read):
    several, long, short, unknown = read(*(f"hub:someone/two{part}" for part in ("", "/long", "/short", "/middle")))
    assert "type hub:OWNER/NAME/CONFIGURATION, such as hub:someone/two/long" in several["refused"]
    assert {text.split()[0] for text in long["sets"]["train"]} == {"long"}
    assert {text.split()[0] for text in long["sets"]["test"]} == {"tested"}
    assert {text.split()[0] for text in short["sets"]["test"]} == {"short"}  # held out of train
    assert "'middle' not found" in unknown["refused"]


@pytest.mark.parametrize("variables", [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}])
def test_without_a_network_one_sentence_says_what_to_type(read, variables):
    [found] = read("hub:someone/topics", **variables)
    assert "data=hub:someone/topics: it could not be loaded from the hub" in found["refused"]
    assert "type data=FILE, a folder of files, or data=embedded" in found["refused"] and "\n" not in found["refused"]


def test_what_the_hub_does_not_have_is_refused(read):
    for found in read("hub:someone/nothing", "hub:someone/topics@no-such-tag"):
        assert "could not be loaded from the hub" in found["refused"]


def test_the_name_of_a_set():
    source = load_experiment("quick", {"data": "hub:a/b/c@v1.0"}).shared.source
    assert (source.path, source.part, source.revision, source.title) == ("a/b", "c", "v1.0", "b")
    with pytest.raises(CourseError, match="type hub:OWNER/NAME"):
        find_source("hub:a")
