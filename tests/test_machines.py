"""One run by several processes, and runs that were made elsewhere."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import load_file

from course_utils import training
from course_utils.assets import embedded_model
from course_utils.config import load_experiment
from course_utils.paths import PROJECT
from course_utils.runs import find_run, read_run


@pytest.fixture(scope="module")
def without_dropout(tmp_path_factory):
    """The embedded encoder with its dropout off: where masks are drawn, two processes draw others than one."""
    folder = tmp_path_factory.mktemp("model") / "encoder"
    shutil.copytree(embedded_model(), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"dropout": 0, "attention_dropout": 0, "seq_classif_dropout": 0}))
    return folder


def command(model, processes: int) -> list[str]:
    """The command line that trains a small LoRA run with as many processes."""
    settings = ["precision=fp32", "max_train=96", "epochs=2", "lora.dropout=0", f"base_model={model}"]
    launch = ["accelerate.commands.launch", "--num_processes", str(processes), "-m"] if processes > 1 else []
    train = ["course_utils", "train", "--profile", "smoke", "--method", "lora"]
    return [sys.executable, "-m", *launch, *train, *(word for pair in settings for word in ("-p", pair))]


def environment(runs) -> dict[str, str]:
    return os.environ | {"COURSE_RUNS": str(runs), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)}


@pytest.mark.slow
def test_two_processes_train_what_one_trains(without_dropout, tmp_path):
    found = {}
    for processes in (1, 2):
        runs = tmp_path / f"by {processes}"
        done = subprocess.run(
            command(without_dropout, processes), env=environment(runs), cwd=PROJECT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("The run is in") == 1
        (record,) = runs.rglob("result.json")
        found[processes] = read_run(record.parent)
    one, two = found[1], found[2]
    assert (one.result.environment.processes, two.result.environment.processes) == (1, 2)
    assert one.result.fingerprint == two.result.fingerprint
    columns = ["step", "epoch", "loss", "learning_rate", "validation_loss"]
    np.testing.assert_allclose(one.history()[columns], two.history()[columns], rtol=2e-4)
    weights = [load_file(run.folder / "adapter" / "adapter_model.safetensors") for run in (one, two)]
    for name, tensor in weights[0].items():
        np.testing.assert_allclose(tensor, weights[1][name], atol=2e-4, err_msg=name)
    logits = [run.predictions()[["logit_0", "logit_1"]] for run in (one, two)]
    np.testing.assert_allclose(*logits, atol=5e-3)
