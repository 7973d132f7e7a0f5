"""Published records say what the runs said, are refused where they are spoiled, and are enough for the main table."""

import gzip
import json
import re
import runpy
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from made_up import finished
from small import ADAPTER, FULL, GATED, HEAD, flip_a_byte

from course_utils import runs
from course_utils.code_identity import FROM_RECORDS, KEEP_OLD_RUNS
from course_utils.comparison import measurements, published
from course_utils.comparison.results import read_runs
from course_utils.comparison.tables import comparison_frame, summary_table, write_comparison
from course_utils.config import load_experiment
from course_utils.errors import CourseError
from course_utils.methods import METHODS
from course_utils.paths import PROJECT
from course_utils.stats import compare_pairs
from course_utils.workflow.check import check_records

ACCURACY = {HEAD: 0.7, FULL: 0.9, ADAPTER: 0.85, GATED: 0.8}


@pytest.fixture
def experiment(runs_in, reports_in):
    """Three seeds of four methods."""
    return finished(ACCURACY, apart=0.02).experiment


def publish(experiment, monkeypatch):
    """The folder of the records of `experiment`, and its runs, which are then taken away."""
    results = read_runs(experiment)
    folder = published.publish_records(results)
    runs_in = runs.runs_folder()
    runs_in.rename(runs_in.with_name("gone"))
    monkeypatch.setenv(FROM_RECORDS, "1")
    return folder, results


def pruned(results):
    """What no records hold."""


def test_a_measurement_is_of_the_runs_that_there_are(experiment):
    def count(results):
        return len(results.runs)

    find = measurements.measurement(count)
    everything = read_runs(experiment)
    assert find(everything) == len(everything.runs)
    less = type(everything)(everything.experiment, everything.runs[1:], [])
    assert find(less) == len(everything.runs) - 1
    kept = runs.runs_folder() / experiment.name / published.MEASURED
    assert find(everything) == json.loads(kept.read_text("utf-8"))["count"]["found"] == len(everything.runs)


def test_records_say_what_the_runs_said(experiment, monkeypatch):
    asked = []

    def times(results):
        asked.append(results)
        return pd.DataFrame({"ms": {ADAPTER: 1.5}})

    find = measurements.measurement(times)
    assert find(read_runs(experiment)) == find(read_runs(experiment)) == {"ms": {ADAPTER: 1.5}} and len(asked) == 1
    monkeypatch.setattr(
        runs, "code_of", lambda method, task: {"another": "code"}
    )  # that of this checkout does not matter
    monkeypatch.setenv(KEEP_OLD_RUNS, "1")
    predictions = [run.predictions().set_index(["set", "example_id"]) for run in read_runs(experiment).runs]
    folder, results = publish(experiment, monkeypatch)
    monkeypatch.delenv(KEEP_OLD_RUNS)
    check_records(experiment)
    again = read_runs(experiment)
    pd.testing.assert_frame_equal(comparison_frame(again), comparison_frame(results))
    for run, own, other in zip(results.runs, predictions, again.runs, strict=True):
        published_ones = other.predictions().set_index(["set", "example_id"]).loc[own.index]
        assert run.result == other.result and (own["label"] == published_ones["label"]).all()
        assert [score[1] - score[0] for score in own["scores"]] == [score[1] for score in published_ones["scores"]]
    assert find(again) == {"ms": {ADAPTER: 1.5}} and len(asked) == 1
    with pytest.raises(CourseError, match=r"measured\.json lacks pruned"):
        measurements.measurement(pruned)(again)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert len(before) == 5 and all(b"sentence 1" not in content for content in before.values())


def spoil(folder, name):
    """Change one byte of a file of the records."""
    flip_a_byte(folder / name)


def write_lines(folder, name, lines):
    """Let the records hold these runs, and everything else fit."""
    (folder / name).write_bytes(gzip.compress("\n".join(map(json.dumps, lines)).encode()))
    sums = (folder / published.SUMS).read_text().splitlines()
    sums = [f"{published.sha256_of(folder / name)}  {name}" if line.endswith(name) else line for line in sums]
    (folder / published.SUMS).write_text("\n".join(sums))


def change_a_code(folder, name):
    """Let one run be of other code than the others."""
    lines = [json.loads(line) for line in gzip.decompress((folder / name).read_bytes()).splitlines()]
    lines[0]["code"]["training.train"] = "0" * 16
    lines[0]["checksum"] = runs.checksum_of(lines[0])
    write_lines(folder, name, lines)


@pytest.mark.parametrize(
    ("deed", "name", "said"),
    [
        (spoil, published.PREDICTIONS, "predictions.parquet is damaged; restore it: git checkout"),
        (lambda folder, name: (folder / name).write_text(""), published.SUMS, "SHA256SUMS has no line for"),
        (lambda folder, name: (folder / name).unlink(), published.RUN_RECORDS, "lacks records.jsonl.gz; restore it"),
        (lambda folder, name: (folder / name).unlink(), published.SUMS, "no published records; ./run_all.sh without"),
        (
            lambda folder, name: write_lines(folder, name, []),
            published.RUN_RECORDS,
            "holds no main run of .+ yet; leave",
        ),
        (change_a_code, published.RUN_RECORDS, r"seed-0 cannot be bound: made by other code \(training.train\); leave"),
    ],
)
def test_spoiled_records_are_refused_in_one_sentence(experiment, monkeypatch, deed, name, said):
    folder, _ = publish(experiment, monkeypatch)
    deed(folder, name)
    with pytest.raises(CourseError, match=said):
        check_records(experiment)


def test_a_run_without_a_record_is_left_out_and_said(experiment, monkeypatch, capsys):
    publish(experiment, monkeypatch)
    more = load_experiment("smoke", {"seeds": 4, "precision": "fp32", "methods": list(ACCURACY)})
    assert more.name == experiment.name
    check_records(more)
    assert f"  {len(ACCURACY)} runs without a record in" in capsys.readouterr().out
    assert {run.reason for run in read_runs(more).missing} == {"no record"}


def test_the_workflow_goes_on_from_records(experiment, monkeypatch):
    """Runs of today's code come back without weights, those whose weights a chapter reads do not."""
    folder, results = publish(experiment, monkeypatch)
    monkeypatch.delenv(FROM_RECORDS)
    assert not read_runs(experiment).runs
    monkeypatch.setattr(published, "fingerprint", lambda *inputs: "f" * 64)  # that of the made-up runs
    restored = published.restore_runs(experiment)
    assert restored == [config for config in experiment.configs() if config.seed]
    again = read_runs(experiment)
    assert [run.config for run in again.runs] == restored and all(runs.find_run(config) for config in restored)
    for run in again.runs:
        (own,) = (other for other in results.runs if other.config == run.config)
        assert run.result.metrics == own.result.metrics and run.result.timing == own.result.timing
    assert not published.restore_runs(experiment)  # they are there
    monkeypatch.setattr(published, "fingerprint", lambda *inputs: "e" * 64)  # other data, say
    lost = runs.runs_folder() / restored[0].path / "result.json"
    lost.unlink()
    assert not published.restore_runs(experiment)
    monkeypatch.setattr(published, "fingerprint", lambda *inputs: "f" * 64)
    monkeypatch.setattr(runs, "code_of", lambda *run: {"methods.base": "changed"})
    assert not published.restore_runs(experiment)  # of other code
    monkeypatch.setenv(KEEP_OLD_RUNS, "1")
    assert published.restore_runs(experiment) == restored[:1] and lost.is_file()


@pytest.fixture
def printed_by(monkeypatch, capsys):
    """A function that runs a script of docs/ on folders in this process: its exit status, and what it prints."""
    monkeypatch.syspath_prepend(PROJECT / "docs")

    def run(name, *folders):
        monkeypatch.setattr("sys.argv", [name, *map(str, folders)])
        try:
            runpy.run_path(str(PROJECT / "docs" / name), run_name="__main__")
            status = 0
        except SystemExit as stop:
            status = stop.code
        return status, capsys.readouterr().out

    return run


@pytest.mark.slow
def test_the_script_recomputes_the_main_table(experiment, monkeypatch, printed_by):
    publish(experiment, monkeypatch)
    write_comparison(read_runs(experiment))
    report = experiment.report_folder
    script = [sys.executable, PROJECT / "docs" / "recompute.py", report]
    done = subprocess.run(script, capture_output=True, text=True, check=True)
    again = read_runs(experiment)
    summary = summary_table(again).set_index("method")
    for method in ACCURACY:
        row = summary.loc[method]
        values = " ".join(f"{100 * row[name]:.2f}" for name in ("accuracy", "accuracy_low", "accuracy_high"))
        assert f"{method} 3 {values}" in squeezed(done.stdout)
    for pair in compare_pairs(again.predictions.correct, margin=0.0):
        values = [100 * value for value in (pair.difference.estimate, *pair.difference.ends)]
        line = f"{pair.first} - {pair.second} {' '.join(f'{value:+.2f}' for value in values)} {pair.p_holm:.4f}"
        assert line in squeezed(done.stdout)
    assert "agrees with comparison.csv: 12 of 12" in done.stdout
    full = PROJECT / "reports" / "full"
    status, fitted = printed_by("recompute.py", full)
    assert status == 0
    for row in pd.read_csv(full / "baselines.csv").query("baseline != 'majority'").itertuples():
        assert f"{row.baseline} 1 {100 * row.test_accuracy:.2f} " in squeezed(fitted)
    assert len(script[1].read_text(encoding="utf-8").splitlines()) <= 100  # to be read whole by who doubts the table
    _, itself = printed_by("another_machine.py", report, report / "records")
    for method in ACCURACY:
        assert re.search(rf"{method} 3 (\S+) \1 \+0.000 \+0.000 \+0.000 100.000", squeezed(itself))

    path = report / "comparison.csv"
    path.write_text(path.read_text().replace("0.87", "0.88"))
    assert printed_by("recompute.py", report)[0] == 1


def squeezed(text):
    """`text` with single spaces."""
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("folder", "methods", "seeds", "most_points", "equal", "between_seeds"),
    [
        ("full/on_a_gpu", 4, 3, 0.5, (96, 97), (94, 95)),  # two methods had other rates there
        ("full/on_amx", 4, 5, 0.3, (98, 98), (94, 96)),
        ("decoder/on_a_gpu", 6, 2, 0.8, (95, 98), (89, 93)),
    ],
)
def test_what_is_said_of_runs_on_another_machine_is_what_the_script_finds(
    folder, methods, seeds, most_points, equal, between_seeds, printed_by
):
    elsewhere = PROJECT / "reports" / folder
    _, printed = printed_by("another_machine.py", elsewhere.parent, elsewhere)
    told = (PROJECT / "docs" / "scale_out.md").read_text(encoding="utf-8").replace("−", "-")
    rows = [line.split() for line in printed.splitlines()[1:] if "left out" not in line]
    assert len(rows) == methods
    here, there = np.array([[float(row[place]) for row in rows] for place in (2, 3)])
    assert (np.diff(here[np.argsort(there)]) >= 0).all()  # the order of the means
    for method, of_seeds, one, other, *difference in (row[:7] for row in rows):
        mean, low, high = map(float, difference)
        assert int(of_seeds) >= seeds and low < 0 < high and abs(mean) < most_points
        accuracies = f"{float(one):.1f} | {float(other):.1f}"
        assert f"| {METHODS[method].title} | {accuracies} | {mean:+.1f} [{low:+.1f}, {high:+.1f}] |" in told
    for place, (least, most) in {7: equal, 8: between_seeds}.items():
        assert (least, most) == tuple(round(end(float(row[place]) for row in rows)) for end in (min, max))
