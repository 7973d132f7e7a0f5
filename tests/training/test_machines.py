"""One run by several processes, and runs that were made elsewhere."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from safetensors.numpy import load_file
from small import ADAPTER, two_gpus

from course_utils.config import load_experiment
from course_utils.paths import PROJECT
from course_utils.runs import find_run, read_run
from course_utils.tasks.classification import scores_of
from course_utils.training.train import train

pytestmark = pytest.mark.slow


def test_two_processes_train_what_one_trains_though_one_of_them_died_on_the_way(still, tmp_path, monkeypatch):
    own = {"precision": "fp32", "max_train": 96, "epochs": 2, f"{ADAPTER}.dropout": 0, "checkpoint_steps": 1}
    own |= {"base_model": still.name}
    settings = {name: str(value) for name, value in own.items()}
    monkeypatch.setenv("COURSE_RUNS", str(tmp_path / "by 1"))
    one = train(load_experiment("smoke", settings).config(ADAPTER))

    together = tmp_path / "by 2"
    pairs = [word for name, value in settings.items() for word in ("-p", f"{name}={value}")]
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--main_process_port", "0", "--num_processes", "2"]
    command = [sys.executable, *launch, "-m", "course_utils", "train", "--profile", "smoke", "--method", ADAPTER]
    variables = {"COURSE_RUNS": str(together), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)}
    options = {"env": os.environ | variables, "cwd": PROJECT, "text": True, "stdout": subprocess.PIPE}
    dying = subprocess.Popen([*command, *pairs], **options)
    while len(list(together.rglob("checkpoint-*"))) < 2:  # so that the first is whole
        assert dying.poll() is None
        time.sleep(0.1)
    second = next(
        child for child in psutil.Process(dying.pid).children(recursive=True) if child.environ().get("RANK") == "1"
    )
    second.send_signal(signal.SIGKILL)
    dying.communicate(timeout=120)
    assert dying.returncode != 0
    assert not list(together.rglob("result.json"))  # nothing passes for a run

    done = subprocess.run([*command, *pairs], **options)
    assert done.returncode == 0 and "training goes on from step" in done.stdout
    assert done.stdout.count("The run is in") == 1
    (record,) = together.rglob("result.json")
    two = read_run(record.parent)
    assert (one.result.environment.processes, two.result.environment.processes) == (1, 2)
    assert one.result.fingerprint == two.result.fingerprint
    columns = ["step", "epoch", "loss", "learning_rate", "validation_loss"]
    np.testing.assert_allclose(one.history()[columns], two.history()[columns], rtol=2e-4)
    weights = [load_file(run.folder / "adapter" / "adapter_model.safetensors") for run in (one, two)]
    for name, tensor in weights[0].items():
        np.testing.assert_allclose(tensor, weights[1][name], atol=2e-4, err_msg=name)
    logits = [scores_of(run.predictions()) for run in (one, two)]
    np.testing.assert_allclose(*logits, atol=5e-3)


def test_a_run_copied_from_another_machine_is_found_and_a_changed_one_is_not(smoke, tmp_path, monkeypatch):
    elsewhere = tmp_path / "runs"
    shutil.copytree(smoke.project / "runs" / "smoke" / "main" / ADAPTER, elsewhere / "smoke" / "main" / ADAPTER)
    for file in elsewhere.rglob("*"):
        os.utime(file, (1e9, 1e9))  # as old as copies may be
    monkeypatch.setenv("COURSE_RUNS", str(elsewhere))
    config = load_experiment("smoke").config(ADAPTER)
    assert train(config).folder == elsewhere / config.path
    with (elsewhere / config.path / "adapter" / "adapter_config.json").open("a") as file:
        file.write(" ")
    assert find_run(config) is None


def test_each_of_several_gpus_has_one_run_or_as_many_as_are_asked_for(tmp_path):
    (tmp_path / "tmp").mkdir()
    code = (
        "import os, sys; from course_utils import host; print(host.at_once(8), end=' ', flush=True);"
        "host.take_a_gpu(); print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True); sys.stdin.read()"
    )
    variables = {"PATH": f"{two_gpus(tmp_path)}:{os.environ['PATH']}", "TMPDIR": str(tmp_path / "tmp")}

    def run(**more):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
        return subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT, env=environment | variables | more, **pipes)

    with run() as first, run() as second:
        assert {first.stdout.readline(), second.stdout.readline()} == {"2 0\n", "2 1\n"}
        with run() as third:
            assert third.stdout.read(2) == "2 "
            time.sleep(0.5)
            second.kill()  # whoever dies frees its GPU
            freed = third.stdout.readline()
            assert freed in ("0\n", "1\n")
            third.stdin.close()
        first.stdin.close()
    with run(CUDA_VISIBLE_DEVICES="3") as only:
        assert only.stdout.readline() == "1 3\n"
        only.stdin.close()
    with run(COURSE_RUNS_A_GPU="2") as first, run(COURSE_RUNS_A_GPU="2") as second:
        assert {first.stdout.readline(), second.stdout.readline()} == {"4 0\n", "4 1\n"}  # a GPU each, though two fit
        with run(COURSE_RUNS_A_GPU="2") as third:
            assert third.stdout.readline() in ("4 0\n", "4 1\n")
            third.stdin.close()
        first.stdin.close()
        second.stdin.close()
