"""Adding a method costs one module, one line in the registry and its entry in a profile; nothing else knows it."""

import shutil

import pytest
from peft import PeftModel

from course_utils import config
from course_utils.comparison import conclusions, tables
from course_utils.inputs.bases import load_classifier
from course_utils.methods import METHODS
from course_utils.methods.lora import Lora
from course_utils.training.train import train

SETTINGS = {"max_train": 64, "max_validation": 32, "max_test": 32, "max_other": 16}


class RankStabilisedLora(Lora):
    """The module of the seventh method: LoRA scaled by alpha / √rank."""

    name = "rslora"
    title = "rsLoRA"
    equation = r"W_0 + \tfrac{\alpha}{\sqrt r} BA"
    description = "LoRA whose scale falls with the square root of the rank."
    marker = "X"
    color = "#56b4e9"

    def adapter_config(self, model, settings):
        adapter = super().adapter_config(model, settings)
        adapter.use_rslora = True
        return adapter


@pytest.fixture
def seventh(monkeypatch, tmp_path, runs_in):
    monkeypatch.setitem(METHODS, "rslora", RankStabilisedLora())  # the line in the registry
    profiles = shutil.copytree(config.PROFILES, tmp_path / "profiles")
    with (profiles / "smoke.toml").open("a") as profile:  # the entry in the profile
        profile.write("\n[methods.rslora]\nlearning_rate = 1e-3\n")
    monkeypatch.setattr(config, "PROFILES", profiles)
    return config.load_experiment("smoke", SETTINGS)


def test_a_seventh_method_trains_and_is_compared(seventh):
    assert seventh.methods == [*METHODS] and seventh.methods[-1] == "rslora"
    assert "rslora" in config.load_experiment("smoke", SETTINGS | {"rank": 2}).takers["rank"]

    run = train(seventh.config("rslora"))
    plain = PeftModel.from_pretrained(Base("embedded").load(SENTIMENT), run.folder / "adapter")
    layer = next(m for m in plain.modules() if hasattr(m, "lora_A"))
    assert layer.scaling["default"] == pytest.approx(16 / 8**0.5)
    assert "rsLoRA" in run.card() and "square root" in run.card()
    summary = tables.summary_table(tables.read_runs(seventh)).set_index("method")
    assert summary.loc["rslora", "seeds"] == 1 and summary.loc["lora", "seeds"] == 0
    assert any("rsLoRA (1 seed)" in sentence for sentence in conclusions.experiment_verdicts(tables.read_runs(seventh)))
