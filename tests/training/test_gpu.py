"""On a GPU, where there is one, every method trains, and what it saved gives the recorded scores on a processor."""

import os
import subprocess
import sys

import numpy as np
import pytest

from course_utils.config import load_experiment
from course_utils.methods import METHODS
from course_utils.paths import PROJECT
from course_utils.runs import UPDATES, find_run, load_model
from course_utils.tasks.classification import scores_of
from course_utils.training.evaluation import predict_as_trained
from course_utils.training.recorded_steps import FAMILIES

SEES_GPUS = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
IN_FOUR_BITS = [name for name, method in METHODS.items() if "four_bit" in method.Settings.model_fields]
CASES = {name: (name, {}) for name in METHODS}
CASES |= {f"{name} in 4 bits": (name, {f"{name}.four_bit": "true"}) for name in IN_FOUR_BITS}


@pytest.fixture(scope="module", autouse=True)
def _gpu():
    try:
        listed = subprocess.run(["nvidia-smi", "--list-gpus"], env=SEES_GPUS, capture_output=True, text=True).stdout
    except OSError:
        listed = ""
    if not listed:
        pytest.skip("nvidia-smi finds no GPU on this machine")


@pytest.mark.parametrize(("method", "more"), CASES.values(), ids=list(CASES))
def test_a_run_on_a_gpu_is_a_run_anywhere(method, more, tiny, runs_in):
    chosen = {"base_model": str(tiny.location), "methods": method, "precision": "bf16", "max_train": "300"} | more
    options = [word for name, value in chosen.items() for word in ("-p", f"{name}={value}")]
    train = [sys.executable, "-m", "course_utils", "train", "--profile", "smoke", "--method", method, *options]
    subprocess.run(train, cwd=PROJECT, env=SEES_GPUS | {"COURSE_RUNS": str(runs_in)}, check=True)
    config = load_experiment("smoke", chosen).config(method)
    run = find_run(config)
    assert "CUDA" in run.result.memory.measured_as
    assert (run.folder / UPDATES).is_file()
    frame, tokenizer = config.load_data().sets["test"], config.base.tokenizer()
    recorded = scores_of(run.predictions().query("set == 'test'"))
    here = predict_as_trained(config, load_model(run), tokenizer, frame)
    np.testing.assert_allclose(here, recorded, atol=0.02)  # products in bf16, added up in another order


@pytest.mark.parametrize("family", FAMILIES)
def test_recorded_steps_have_the_gradients_of_plain_ones(family):
    script = [sys.executable, "tests/training/recorded_steps.py", family]
    done = subprocess.run(script, cwd=PROJECT, env=SEES_GPUS, check=True, capture_output=True, text=True)
    assert all(float(difference) < 0.02 for difference in done.stdout.split())  # products in bf16
