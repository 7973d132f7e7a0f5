"""The checklist page says what the runs and settings say."""

import json
import shutil

import pandas as pd
import pytest
from made_up import write_run
from small import ADAPTER, MULTIPLIED

from course_utils import runs
from course_utils.comparison.results import read_runs
from course_utils.config import RunConfig, load_experiment
from course_utils.inputs.splits import Data
from course_utils.report import checklist


def write_scored_run(config, data):
    """A whole run, right in 80% of the test sentences and in 90% of those of validation."""
    record = write_run(config, 0.8, data=data).folder / "result.json"
    result = json.loads(record.read_text())
    result["metrics"]["validation"] = result["metrics"]["test"] | {"accuracy": 0.9}
    result["checksum"] = None  # an older record has none
    record.write_text(json.dumps(result))


@pytest.fixture
def experiment(runs_in, monkeypatch):
    """Two seeds of every method of the smoke profile; the data are four sentences, of which two were removed."""
    frame = pd.DataFrame({"example_id": list("abcd"), "text": list("abcd"), "label": [0, 1, 1, 1]})
    data = Data(
        "embedded", {"test": frame}, {"test": "movie test"}, {"movies, duplicates": 2}, ("negative", "positive")
    )
    monkeypatch.setattr(RunConfig, "load_data", lambda config: data)
    experiment = load_experiment("smoke", {"seeds": 2, "precision": "fp32"})
    for config in experiment.configs():
        write_scored_run(config, data.fingerprint)
    return experiment


def section(page, title):
    """The lines of one section of `page`."""
    return page.partition(f"## {title}\n\n")[2].partition("\n\n")[0].splitlines()


def test_a_whole_experiment(experiment):
    page = checklist.checklist(read_runs(experiment))
    assert section(page, "Data")[1:] == [
        "- movie test: 4 texts, 75.0% in the largest class", "- Classes: negative, positive",
        r"- Removed (movies\, duplicates): 2"
    ]  # fmt: skip
    assert section(page, "Runs")[0] == "- All studies: 12 of 12 planned runs are finished: `main` 12 of 12."
    assert "- HiRA: validation 90.0%, test 80.0% (2 seeds)" in section(page, "Validation beside test")
    # 12 runs of 9 s, and 400 sentences of 2 ms
    assert "2.0 minutes" in section(page, "Compute")[0] and "- LoRA: 10 s a main run" in section(page, "Compute")
    assert "`./run_all.sh --profile smoke -p precision=fp32 -p seeds=2`" in page
    rate, trial = experiment.config(MULTIPLIED).settings.learning_rate, experiment.profile.found_by[MULTIPLIED]
    found = (
        f"- HiRA: {rate:g}, found by a trial whose run with seed 0 has the fingerprint"
        f" `{trial[:16]}` (experiment `full`, study `lr-6e-3`)"
    )
    assert found in section(page, "Learning rates")
    assert not [line for line in section(page, "Not run") if "seed" in line]


def test_a_missing_run_appears_with_its_reason(experiment):
    folder = {name: runs.runs_folder() / experiment.config(name, 1).path for name in (ADAPTER, MULTIPLIED)}
    shutil.rmtree(folder[ADAPTER])
    (folder[MULTIPLIED] / "predictions.parquet").write_bytes(b"torn")
    page = checklist.checklist(read_runs(experiment))
    assert section(page, "Runs")[0] == "- All studies: 10 of 12 planned runs are finished: `main` 10 of 12."
    lora, hira = section(page, "Not run")[:2]
    assert lora == r"- LoRA, `main`, seed 1: not run\, or failed"
    assert hira.startswith("- HiRA, `main`, seed 1: damaged") and "predictions" in hira


def test_runs_of_other_data_than_those_described_are_pointed_out(experiment):
    for seed in (0, 1):
        for name in experiment.methods:
            shutil.rmtree(runs.runs_folder() / experiment.config(name, seed).path)
            write_scored_run(experiment.config(name, seed), "e" * 64)
    assert "**12 main runs used other data**" in section(checklist.checklist(read_runs(experiment)), "Data")[0]


def test_an_experiment_without_runs_has_a_page(experiment):
    shutil.rmtree(runs.runs_folder())
    page = checklist.checklist(read_runs(experiment))
    assert len([line for line in section(page, "Not run") if "not run" in line]) == 12
