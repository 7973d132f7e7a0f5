"""The hub, by a stand-in on this machine: what is loaded from it, what is pushed to it, and what it may answer."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import transformers
from hub_stand_in import COMMIT, stand_in
from huggingface_hub.constants import DOWNLOAD_CHUNK_SIZE
from made_up import write_run
from small import ADAPTER, EMBEDDED, FEW, HEAD

from course_utils.__main__ import main
from course_utils.config import load_experiment
from course_utils.paths import PROJECT
from course_utils.workflow.fork_server import SOCKET, fork_server

pytestmark = pytest.mark.slow

TOKEN = "hf_canaryCanaryCanary"
BASE = "someone/tiny"
ASKS = "import sys; from course_utils.workflow.fork_server import ask; sys.exit(ask(sys.argv[1:]))"


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    """The files of a DistilBERT of two narrow layers with random weights, by name: 16 MB."""
    folder = tmp_path_factory.mktemp("tiny")
    config = transformers.DistilBertConfig(dim=128, n_layers=2, n_heads=2, hidden_dim=64)
    transformers.set_seed(0)
    transformers.DistilBertModel(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path(EMBEDDED.location, name), folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def shared_hub():
    """One hub for all tests, so that the processes that are forked for them know its address."""
    with stand_in() as hub:
        yield hub


@pytest.fixture
def hub(shared_hub, tiny_model):
    """A hub that holds the tiny model, and that nobody has asked yet."""
    shared_hub.files, shared_hub.nonsense = {BASE: dict(tiny_model)}, None
    for kept in (shared_hub.asked, shared_hub.cut, shared_hub.sent):
        kept.clear()
    return shared_hub


@pytest.fixture(scope="module")
def home(shared_hub, tmp_path_factory):
    """Variables of a user with a cache of their own, and a function that adds the server that forks for such users."""
    servers, cache = {}, tmp_path_factory.mktemp("home") / "cache"
    usual = {
        "HF_ENDPOINT": shared_hub.address,
        "HF_HOME": str(cache),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DOWNLOAD_TIMEOUT": "3",
        "HF_HUB_ETAG_TIMEOUT": "3",
        "PYTHONPATH": str(PROJECT),
        "OMP_NUM_THREADS": "1",
    }
    with contextlib.ExitStack() as stack:

        def with_server(variables: dict[str, str]) -> dict[str, str]:
            key = tuple(variables.get(name) for name in ("HF_ENDPOINT", "HF_HUB_OFFLINE"))  # read where it is imported
            if key not in servers:
                found = stack.enter_context(fork_server(variables))[SOCKET]
                while not os.path.exists(found):
                    time.sleep(0.05)
                servers[key] = found
            return variables | {SOCKET: servers[key]}

        environment = {name: value for name, value in os.environ.items() if name != "HF_TOKEN"}
        yield environment | usual, cache, with_server


@pytest.fixture
def command(home, hub, tmp_path):
    """A function that runs `python -m course_utils` against the stand-in, with a home and an empty cache at first."""
    environment, cache, with_server = home
    shutil.rmtree(cache, ignore_errors=True)
    environment = environment | {"COURSE_RUNS": str(tmp_path / "runs")}

    def run(*words: str, **variables: str) -> subprocess.CompletedProcess:
        done = subprocess.run(
            [sys.executable, "-c", ASKS, *words],
            env=with_server(environment | variables),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert "Traceback" not in done.stderr and TOKEN not in done.stdout + done.stderr
        return done

    return run


def training(method: str = ADAPTER) -> list[str]:
    settings = FEW | {"base_model": BASE, "precision": "fp32"}
    return ["train", "--profile", "smoke", "--method", method] + [
        word for name, value in settings.items() for word in ("-p", f"{name}={value}")
    ]


def test_from_the_hub_and_back_to_it(hub, command, tmp_path):
    done = command(*training(), HF_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    assert any(headers.get("Authorization") == f"Bearer {TOKEN}" for _, _, headers in hub.asked)
    (run,) = (tmp_path / "runs").rglob("seed-0")
    for file in run.rglob("*"):
        assert file.is_dir() or TOKEN.encode() not in file.read_bytes(), file
    adapter = json.loads((run / "adapter" / "adapter_config.json").read_text())
    assert (adapter["base_model_name_or_path"], adapter["revision"]) == (BASE, COMMIT)
    assert f"hub:{BASE}@{COMMIT}" in (run / "result.json").read_text()

    asked = len(hub.asked)
    dry = command("push", str(run), "me/adapter", HF_TOKEN=TOKEN)
    assert dry.returncode == 0 and "adapter_model.safetensors" in dry.stdout and "add --yes" in dry.stdout
    assert len(hub.asked) == asked  # nothing was written, and nobody asked
    assert "type hf auth login" in command("push", str(run), "me/adapter", "--yes").stderr
    assert "HF_HUB_OFFLINE is set" in command("push", str(run), "me/adapter", "--yes", HF_HUB_OFFLINE="1").stderr
    assert "'me/a/b' is no name on the hub" in command("push", str(run), "me/a/b").stderr

    pushed = command("push", str(run), "me/adapter", "--yes", HF_TOKEN=TOKEN)
    assert pushed.returncode == 0 and COMMIT in pushed.stdout, pushed.stderr
    there = hub.files["me/adapter"]
    written = [path for path in (run / "adapter").rglob("*") if path.is_file()]
    assert there == {path.relative_to(run / "adapter").as_posix(): path.read_bytes() for path in written}

    code = pushed.stdout.partition("This code loads the adapter:\n")[2].replace('"A dull one."', '"A fine film."')
    loads = code + "print('LOGITS', *logits[0].softmax(0).tolist())"
    environment = os.environ | {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "another cache")}
    loaded = subprocess.run([sys.executable, "-c", loads], env=environment, capture_output=True, text=True)
    probabilities = [float(word) for word in loaded.stdout.partition("LOGITS")[2].split()]
    predicted = json.loads(command("predict", str(run), "A fine film.", "--json").stdout)
    np.testing.assert_allclose(max(probabilities), predicted["probability"], atol=1e-5)

    for hub.nonsense in NONSENSE.values():
        refused = command("push", str(run), "me/adapter", "--yes", HF_TOKEN=TOKEN)
        print(refused.stderr)
        assert refused.returncode == 2 and "me/adapter was not written" in refused.stderr


def test_a_download_that_broke_off_goes_on_and_then_needs_no_network(hub, command):
    whole = len(hub.files[BASE]["model.safetensors"])
    hub.cut["model.safetensors"] = DOWNLOAD_CHUNK_SIZE + 1_000_000
    done = command(*training())
    assert done.returncode == 0, done.stderr
    parts = [(start, sent) for file, start, sent in hub.sent if file == "model.safetensors"]
    assert parts == [(0, DOWNLOAD_CHUNK_SIZE + 1_000_000), (DOWNLOAD_CHUNK_SIZE, whole - DOWNLOAD_CHUNK_SIZE)]
    other = [file for file, _, _ in hub.sent if file != "model.safetensors"]
    assert len(set(other)) == len(other)
    asked = len(hub.asked)
    offline = command(*training(HEAD), HF_HUB_OFFLINE="1")
    assert offline.returncode == 0, offline.stderr
    assert len(hub.asked) == asked


NONSENSE = {
    "an error": (500, b"oops"),
    "a web page": (200, b"<!doctype html><title>Log in to the hotel's network</title>"),
    "nobody there": (404, b"not found"),
    "no entrance": (403, b"{}"),
}


@pytest.mark.parametrize("kind", NONSENSE)
def test_nonsense_from_the_hub_is_one_sentence(kind, hub, command, tmp_path):
    hub.nonsense = NONSENSE[kind]
    done = command(*training())
    print(done.stderr)
    assert done.returncode == 2
    assert f"base_model={BASE}" in done.stderr and "base_model=embedded" in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("error:")]) == 1
    assert not list(tmp_path.rglob("result.json"))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_damaged_file_from_the_hub_is_one_sentence(name, hub, command):
    hub.files[BASE][name] = hub.files[BASE][name][:100]
    done = command(*training())
    print(done.stderr)
    assert done.returncode == 2 and f"base_model={BASE}" in done.stderr


def test_what_cannot_be_reached_is_one_sentence(command):
    done = command(*training(), HF_ENDPOINT="http://127.0.0.1:9")
    print(done.stderr)
    assert done.returncode == 2 and f"base_model={BASE}" in done.stderr
    done = command(*training(), HF_HUB_OFFLINE="1")
    print(done.stderr)
    assert done.returncode == 2 and f"base_model={BASE}" in done.stderr
    done = command("train", "--profile", "smoke", "--method", "head", "-p", "data=sst2", HF_HUB_OFFLINE="1")
    print(done.stderr)
    assert done.returncode == 2 and "data=sst2" in done.stderr


@pytest.mark.parametrize(
    ("method", "said"), [(ADAPTER, "nobody could load the adapter"), (HEAD, "which has no adapter")]
)
def test_what_nobody_could_use_is_not_pushed(method, said, runs_in, capsys):
    run = write_run(load_experiment("smoke").config(method), accuracy=0.8)
    assert main(["push", str(run.folder), "me/adapter", "--yes"]) == 2
    assert said in capsys.readouterr().err
