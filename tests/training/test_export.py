"""What `export` writes: loaded without this project, by the code in its README, it answers as the run did."""

import contextlib
import io
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from made_up import write_run
from peft import AutoPeftModelForSequenceClassification
from small import ADAPTER, FULL, QUANTISED
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from course_utils.__main__ import main
from course_utils.config import load_experiment
from course_utils.tasks.classification import scores_of
from course_utils.training.train import train

pytestmark = pytest.mark.slow

NAMES = ("Freude", "nichts", "Ärger")
BOUND = 1e-4  # of a logit, in 32 bits: other kernels, batches and padding give other last digits


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny):
    """Where the data, the base and the runs of these tests lie."""
    place = tmp_path_factory.mktemp("export")
    shutil.copytree(tiny.location, place / "mine")
    texts = [f"Satz {n}, ein {'guter' if n % 2 else 'schlechter'} 😀 Film" for n in range(90)]
    pandas.DataFrame({"text": texts, "label": [NAMES[n % 3] for n in range(90)]}).to_csv(place / "t.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_RUNS", str(place / "runs"))
        yield place


@pytest.fixture(scope="module")
def run_of(place):
    """The run of a method, trained once."""

    def trained(method):
        own = {"base_model": str(place / "mine"), "data": str(place / "t.csv"), "precision": "fp32"}
        config = load_experiment("smoke", own | {"methods": [method], "learning_rate": "1e-2"}).config(method)
        with contextlib.redirect_stdout(io.StringIO()):
            return train(config)

    return trained


def recorded(run):
    """The texts of the test set and the logits that the run recorded of them."""
    rows = run.predictions().query("set == 'test'")
    texts = run.config.load_data().sets["test"].set_index("example_id").text[rows.example_id]
    return texts.tolist(), scores_of(rows)


def logits_of(model, tokenizer, texts):
    with torch.inference_mode():
        return model(**tokenizer(texts, padding=True, return_tensors="pt")).logits.numpy()


def said_by_readme(folder, monkeypatch, capsys):
    """What the code in the README of `folder` prints, run in that folder, and the names that it leaves."""
    monkeypatch.chdir(folder)
    [code] = re.findall(r"```python\n(.*?)```", Path("README.md").read_text("utf-8"), re.DOTALL)
    capsys.readouterr()
    exec(code, left := {})
    return capsys.readouterr().out, left


def names_a_place_of_this_machine(folder, place):
    """Files that name `place` in full or, as a record does, on the way from the project to it."""
    texts = [file for file in folder.rglob("*") if file.suffix in (".json", ".md", ".yaml")]
    return [file for file in texts if f"{place.parent.name}/{place.name}" in file.read_text("utf-8")]


@pytest.mark.parametrize("method", [ADAPTER, QUANTISED, FULL])
def test_a_merged_model_answers_as_the_record_does(method, run_of, place, tmp_path, monkeypatch, capsys):
    run, folder = run_of(method), tmp_path / "new" / "merged"
    assert main(["export", str(run.folder), "--merged", str(folder)]) == 0
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    texts, logits = recorded(run)
    assert np.ptp(logits) > 100 * BOUND  # they say something
    np.testing.assert_allclose(logits_of(model, AutoTokenizer.from_pretrained(folder), texts), logits, atol=BOUND)
    assert model.config.id2label == dict(enumerate(NAMES)) and "quant" not in (folder / "config.json").read_text()
    printed, _ = said_by_readme(folder, monkeypatch, capsys)
    assert len(eval(printed)) == 2 and {*eval(printed)} <= {*NAMES}
    assert not names_a_place_of_this_machine(folder, place) and [*folder.parent.iterdir()] == [folder]


@pytest.mark.parametrize("method", [ADAPTER, QUANTISED])
def test_an_adapter_brings_the_base_that_nobody_else_has(method, run_of, place, tmp_path, monkeypatch, capsys):
    run, folder = run_of(method), tmp_path / "adapter"
    assert main(["export", str(run.folder), "--adapter", str(folder)]) == 0
    assert not names_a_place_of_this_machine(folder, place)
    elsewhere = folder.rename(tmp_path / "elsewhere")
    _, left = said_by_readme(elsewhere, monkeypatch, capsys)
    texts, logits = recorded(run)
    np.testing.assert_allclose(logits_of(left["model"], left["tokenizer"], texts), logits, atol=BOUND)
    if method == ADAPTER:  # PEFT finds the base by itself
        model = AutoPeftModelForSequenceClassification.from_pretrained(".").eval()
        np.testing.assert_allclose(logits_of(model, left["tokenizer"], texts), logits, atol=BOUND)


def test_onnx_answers_as_the_merged_model_does(run_of, tmp_path, monkeypatch, capsys):
    for package in ("onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"ONNX is not tested: pip install {package}")
    run = run_of(ADAPTER)
    assert main(["export", str(run.folder), "--onnx", str(tmp_path / "onnx"), "--merged", str(tmp_path / "m")]) == 0
    printed, left = said_by_readme(tmp_path / "onnx", monkeypatch, capsys)
    assert len(eval(printed)) == 2
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "m")
    texts, _ = recorded(run)
    for batch in (texts, texts[:1], ["Film " * 300], [*texts[:6], "ein " * 40]):
        inputs = left["tokenizer"](batch, padding=True, return_tensors="np")
        names = [name.name for name in left["session"].get_inputs()]
        (found,) = left["session"].run(["logits"], {name: inputs[name] for name in names})
        np.testing.assert_allclose(found, logits_of(model, left["tokenizer"], batch), atol=BOUND)


def test_what_cannot_be_exported_is_refused_in_one_sentence(run_of, tmp_path, monkeypatch, capsys):
    run, full = run_of(ADAPTER), run_of(FULL)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    bare = shutil.copytree(run.folder, tmp_path / "bare")
    new, taken = str(tmp_path / "new"), str(tmp_path / "full")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for words, said in (
        ([str(run.folder)], "--merged FOLDER"),
        ([str(run.folder), "--merged", taken], "there is something already"),
        ([str(run.folder), "--merged", new, "--adapter", os.path.join(new, "a")], "another folder for each form"),
        ([str(full.folder), "--adapter", new], "which has no adapter"),
        ([str(run.folder), "--onnx", new], "pip install onnxscript"),
        ([str(run.folder), "--merged", "/proc/new"], "a folder that you may write to"),
    ):
        assert main(["export", *words]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1 and said in error
    weights = bare / "adapter" / "adapter_model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-4] + b"1234")
    assert main(["export", str(bare), "--merged", new]) == 2 and "is damaged" in capsys.readouterr().err
    for method in (FULL, ADAPTER):  # as the records of a run give it back
        restored = write_run(load_experiment("smoke", {"methods": [method]}).config(method, seed=7), 0.5)
        for command in (["export", str(restored.folder), "--merged", new], ["predict", str(restored.folder), "eins"]):
            assert main(command) == 2 and "--seed 7 --force" in capsys.readouterr().err
    assert not Path(new).exists()
