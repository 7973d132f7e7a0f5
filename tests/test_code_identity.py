"""A run knows the code that made it: other code makes it again and is named, a comment is not other code."""

import shutil
from importlib.metadata import version

import pandas as pd
import pytest
from small import ADAPTER, FEW, GATED, HEAD, MULTIPLIED

from course_utils import code_identity, runs
from course_utils.code_identity import KEEP_OLD_RUNS, code_of, differing, digest, reading_code, training_code
from course_utils.comparison.results import read_runs
from course_utils.config import load_experiment, profile_names
from course_utils.inputs import sources
from course_utils.paths import PROJECT
from course_utils.runs import find_run
from course_utils.text import hash_of_json
from course_utils.training import train as training
from course_utils.training.train import train


@pytest.fixture
def project(tmp_path):
    """A copy of the package whose code a test may change."""
    shutil.copytree(PROJECT / "course_utils", tmp_path / "course_utils", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def change(project, file, old, new):
    path = project / "course_utils" / file
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")


@pytest.mark.parametrize(
    ("file", "old", "new", "named"),
    [
        (f"methods/{ADAPTER}.py", "=settings.alpha", "=100 * settings.alpha", [f"methods.{ADAPTER}"]),
        ("training/trainer.py", "weight_decay=", "adam_beta1=0.8, weight_decay=", ["training.trainer"]),
        ("inputs/bases.py", "USUAL_SHAPE = ", "USUAL = USUAL_SHAPE = ", ["inputs.bases"]),
        ("inputs/splits.py", "HELD_OUT = 1_000", "HELD_OUT = 900", []),  # the texts are in the fingerprint
        ("tasks/classification.py", "CALIBRATION_BINS = 15", "CALIBRATION_BINS = 10", ["tasks.classification"]),
        (f"methods/{ADAPTER}.py", "    def adapter_config", "    # a comment\n\n    def adapter_config", []),
        (f"methods/{ADAPTER}.py", '"""LoRA: a frozen', '"""Another docstring. LoRA: a frozen', []),
        (f"methods/{MULTIPLIED}.py", "control = ", "cost = 3; control = ", []),  # a module that the run does not use
        ("report/plots.py", "WIDTH = 6.3", "WIDTH = 7.3", []),
        ("training/card.py", "SHOWN_PACKAGES = {", 'SHOWN_PACKAGES = {"numpy": "NumPy", ', []),
    ],
)
def test_what_counts_as_other_code(project, file, old, new, named, monkeypatch):
    here = code_of(ADAPTER)
    change(project, file, old, new)
    monkeypatch.setattr(code_identity, "PROJECT", project)
    assert differing(code_of.__wrapped__(ADAPTER), here) == named


def test_another_version_of_a_library_is_other_code(monkeypatch):
    here = code_of(ADAPTER)
    assert here.keys() >= {"torch", "transformers", "peft", "bitsandbytes"}
    monkeypatch.setattr(code_identity, "version", lambda name: "0.99" if name == "peft" else version(name))
    assert differing(code_of.__wrapped__(ADAPTER), here) == ["peft"]


def test_a_run_knows_the_modules_that_it_uses_and_no_other():
    plain, gated = code_of(ADAPTER), code_of(GATED)
    assert {"training.train", "training.trainer", "training.speed", "inputs.bases"} <= plain.keys()
    assert gated.keys() - plain.keys() == {"methods.gates", f"methods.{GATED}"}
    assert digest("x = 1") == digest('"""Text."""\nx = 1  # one\n') != digest("x = 2")


def test_a_step_of_the_workflow_depends_on_the_code_of_its_own_task(runs_in):
    language, other = (load_experiment(profile).config(ADAPTER) for profile in ("language", "quick"))
    assert "tasks.language_modelling" in code_of(ADAPTER, language.task)
    assert training_code(language) == hash_of_json(code_of(ADAPTER, language.task))
    assert training_code(language) != training_code(other)


@pytest.fixture
def experiment(runs_in, tiny):
    return load_experiment("smoke", FEW | {"base_model": tiny.name, "methods": [HEAD], "seeds": 2})


@pytest.mark.slow
def test_other_code_makes_a_run_again_and_is_named(experiment, monkeypatch, capsys):
    config = experiment.config(HEAD)
    first = train(config)
    changed = code_of(HEAD) | {"training.trainer": "0" * 16, "peft": "0.99"}
    monkeypatch.setattr(runs, "code_of", lambda method, task: changed)
    monkeypatch.setattr(training, "code_of", lambda method, task: changed)
    assert find_run(config) is None
    [missing] = [run for run in read_runs(experiment).missing if run.config == config]
    assert missing.reason == "made by other code (peft, training.trainer)"

    monkeypatch.setenv(KEEP_OLD_RUNS, "1")
    assert train(config).result == first.result
    monkeypatch.delenv(KEEP_OLD_RUNS)
    again = train(config)
    assert "(peft, training.trainer)" in capsys.readouterr().out
    assert again.result.fingerprint != first.result.fingerprint and again.result.code == changed


@pytest.mark.slow
def test_other_code_that_reads_the_data_makes_a_run_again_where_it_reads_them_otherwise(experiment, monkeypatch):
    config = experiment.config(HEAD)
    first = train(config)
    monkeypatch.setattr(code_identity, "digest", lambda source: "0" * 16)  # of modules that read the data
    assert not code_identity.reads_as_now(first.result.code) and read_runs(experiment).runs == [first]
    assert train(config).result == first.result
    monkeypatch.setattr(sources, "CLEAR_RATING", 1.5)
    (missing, _) = read_runs(experiment).missing
    assert missing.reason == "made from other texts than are read now"
    again = train(config).result
    assert again.data.fingerprint != first.result.data.fingerprint and again.code == first.result.code


def test_the_workflow_looks_at_runs_again_when_texts_are_read_by_other_code(project, monkeypatch):
    config, here = load_experiment("smoke").config(ADAPTER), reading_code()
    looked_at, read_now = training_code(config), code_identity.reads_as_now(code_of(ADAPTER))
    change(project, "inputs/columns.py", "MOST_CLASSES = 100", "MOST_CLASSES = 99")
    monkeypatch.setattr(code_identity, "PROJECT", project)
    monkeypatch.setattr(code_identity, "code_of", code_of.__wrapped__)
    assert reading_code() != here and training_code(config) != looked_at
    assert read_now and not code_identity.reads_as_now(code_of(ADAPTER))


@pytest.mark.slow
def test_no_mean_is_taken_over_runs_of_different_code(experiment, monkeypatch):
    train(experiment.config(HEAD, 0))
    monkeypatch.setattr(training, "code_of", lambda method, task: code_of(method) | {"torch": "1.0"})
    train(experiment.config(HEAD, 1))
    for keep in ("0", "1"):  # where old runs are kept, those of one code are still kept apart from those of another
        monkeypatch.setenv(KEEP_OLD_RUNS, keep)
        results = read_runs(experiment)
        assert len(results.runs) == 1 and results.missing[0].reason == "made by other code (torch)"


def test_the_trial_that_found_a_profile_s_rate_can_be_looked_up():
    reports = [pd.read_csv(file) for file in (PROJECT / "reports").glob("*/comparison.csv")]
    published = pd.concat(reports).drop_duplicates("fingerprint").set_index("fingerprint")
    for name in profile_names():
        profile = load_experiment(name).profile
        for method, fingerprint in profile.found_by.items():
            trial = published.loc[fingerprint]
            assert trial["method"] == method
            assert trial["study"].startswith("size-" if name == "quick" else "lr-")  # of another size, or of a search
            assert trial["learning_rate"] == profile.methods[method]["learning_rate"]
