"""A run that the fork server trains is the run that a process of its own trains, and ends with whoever asked."""

import os
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import psutil
import pytest
from small import ADAPTER

from course_utils.__main__ import main
from course_utils.paths import PROJECT
from course_utils.tasks.classification import scores_of
from course_utils.workflow.fork_server import SOCKET, ask, fork_server

pytestmark = pytest.mark.slow

OPTIONS = ["--profile", "smoke", "-p", "max_train=32", "-p", "max_other=16", "--method", ADAPTER]
TRAIN = [sys.executable, "-m", "course_utils", "train", *OPTIONS]


@pytest.fixture(scope="module")
def variables():
    with fork_server(os.environ | {"TQDM_DISABLE": "1"}) as environment:
        while not os.path.exists(environment[SOCKET]):
            time.sleep(0.05)
        yield environment


def train(variables, runs, *more):
    return subprocess.run(
        [*TRAIN, *more], env=variables | {"COURSE_RUNS": str(runs)}, cwd=PROJECT, capture_output=True, text=True
    )


def test_a_forked_run_has_the_numbers_of_any_other(variables, tiny, tmp_path, monkeypatch):
    base = ["-p", f"base_model={tiny.name}"]
    forked, alone = tmp_path / "forked", tmp_path / "alone"
    done = train(variables, forked, *base)
    assert done.returncode == 0 and "accuracy" in done.stdout, done.stderr
    monkeypatch.setenv(SOCKET, str(tmp_path / "nobody"))
    monkeypatch.setenv("COURSE_RUNS", str(alone))
    assert main(["train", *OPTIONS, *base]) == 0
    (one,), (other,) = (sorted(folder.rglob("predictions.parquet")) for folder in (forked, alone))
    one, other = pd.read_parquet(one), pd.read_parquet(other)
    assert np.array_equal(scores_of(one), scores_of(other)) and len(one) > 32


def test_what_is_wrong_comes_back_as_it_would_without(variables, tmp_path):
    done = train(variables, tmp_path, "-p", "batch_size=64")
    assert done.returncode == 2
    assert done.stderr.startswith("error: batch_size: 64 is more than the 32 training examples")


def test_a_run_ends_with_the_process_that_asked_for_it(variables, tmp_path):
    server = next(child for child in psutil.Process().children() if fork_server.__module__ in child.cmdline())
    asking = subprocess.Popen([*TRAIN, "-p", "epochs=50"], env=variables | {"COURSE_RUNS": str(tmp_path)}, cwd=PROJECT)
    lock = f"smoke+*/main/{ADAPTER}/.seed-0.unfinished/checkpoints/checkpoint-*"
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(lock)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert list(tmp_path.glob(lock)), "it never got under way"
    [forked] = server.children()
    asking.kill()
    asking.wait()
    assert not psutil.wait_procs([forked], timeout=10)[1], "it goes on without whoever asked for it"
    assert not server.children() and not list(tmp_path.rglob("result.json"))


def test_the_server_ends_with_the_process_that_started_it(tmp_path):
    start = "import os, course_utils.workflow.fork_server as f\nwith f.fork_server(dict(os.environ)):\n    os._exit(9)"
    killed = subprocess.Popen([sys.executable, "-c", start], cwd=PROJECT, stdout=subprocess.PIPE)
    killed.communicate(timeout=30)  # the server has inherited the pipe and holds it as long as it lives
    assert killed.returncode == 9


def test_without_a_server_the_command_works_alone(monkeypatch, tmp_path):
    monkeypatch.delenv(SOCKET, raising=False)
    assert ask(TRAIN[3:]) is None
    monkeypatch.setenv(SOCKET, str(tmp_path / "nobody"))
    assert ask(TRAIN[3:]) is None
