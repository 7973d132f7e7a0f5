"""A metric is an entry of one module: records, tables and cards take its name, direction, unit and decimals from it."""

import json
import os
import subprocess
import sys

import pytest
from small import ADAPTER

from course_utils.paths import PROJECT
from course_utils.stats import Interval
from course_utils.tasks.classification import METRICS

# Another metric, added before anything else of the package is imported, as an entry in its module would be.
ADDED = """
import json, sys
from sklearn.metrics import matthews_corrcoef
from course_utils.stats import Interval
from course_utils.tasks import classification

def mcc(logits, labels):
    return float(matthews_corrcoef(labels, logits.argmax(axis=1)))

classification.METRICS["mcc"] = classification.Metric(
    "MCC", "Matthews' correlation coefficient", mcc, lambda logits, labels: Interval(mcc(logits, labels), 0.6, 0.8),
    lambda predicted, labels: Interval(0.7, 0.6, 0.8), decimals=2,
)

import numpy as np
from huggingface_hub import ModelCard
from made_up import write_run
from safetensors.numpy import save_file
from course_utils.comparison.tables import readable_summary, summary_table, write_comparison
from course_utils.comparison.results import read_runs
from course_utils.config import load_experiment
from course_utils.training.card import write_card

method = sys.argv[1]
settings = {"methods": [method], "target_modules": "q_lin", "precision": "fp32"}
experiment = load_experiment("smoke", settings)
run = write_run(experiment.config(method), 0.85, validated=True)
adapter = run.folder / "adapter"
adapter.mkdir()
(adapter / "adapter_config.json").write_text('{"modules_to_save": []}')
save_file({"tensor": np.zeros(1)}, adapter / "adapter_model.safetensors")
write_card(run)
results = read_runs(experiment)
json.dump({
    "record": json.loads((run.folder / "result.json").read_text())["metrics"]["test"],
    "csv": write_comparison(results).read_text(),
    "columns": write_comparison(results).with_name("comparison_columns.csv").read_text(),
    "table": readable_summary(summary_table(results)).to_dict("records"),
    "card": run.card(),
    "hub": [each.metric_type for each in ModelCard(run.card()).data.eval_results],
}, sys.stdout)
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What a process shows in which MCC is a metric."""
    place = tmp_path_factory.mktemp("mcc")
    folders = {"COURSE_RUNS": str(place / "runs"), "COURSE_REPORTS": str(place / "reports")}
    path = os.pathsep.join(map(str, (PROJECT, PROJECT / "tests")))
    command = [sys.executable, "-c", ADDED, ADAPTER]
    done = subprocess.run(command, env=os.environ | folders | {"PYTHONPATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_another_metric_is_in_the_record_and_the_tables(found):
    assert "mcc" in found["record"]
    assert "test_mcc" in found["csv"] and "Matthews' correlation coefficient" in found["columns"]
    (row,) = (row for row in found["table"] if row["Seeds"] == "1")
    assert row["MCC"] == "0.70 [0.60, 0.80]" and row["Accuracy (%)"].startswith("85.0 [")


@pytest.mark.slow
def test_another_metric_is_on_the_card(found):
    assert "| MCC |" in found["card"] and "| 0.700 [0.60, 0.80] |" in found["card"]
    assert "mcc" in found["hub"]


def test_a_metric_says_how_it_is_written():
    accuracy, nll = METRICS["accuracy"], METRICS["nll"]
    assert (accuracy.heading, accuracy.short(0.92204), accuracy.exact(0.92204)) == ("Accuracy (%)", "92.2", "0.9220")
    assert (nll.heading, nll.short(0.25004), nll.exact(0.1, "+")) == ("NLL (nats)", "0.250", "+0.1000")
    assert accuracy.exact_interval(Interval(0.9, 0.8888, 0.911)) == "0.9000 [0.889, 0.911]"
    assert accuracy.higher_is_better and not nll.higher_is_better
