"""Adding a method costs one module and one line in the registry; nothing else knows it.

The method of this test is VeRA (Kopiczko et al. 2024), whose setting `d_initial` no other method has.
"""

import pytest
from peft import PeftModel, VeraConfig
from pydantic import Field
from small import FEW, SENTIMENT

from course_utils.audit.audit import REFUTED, audit_card
from course_utils.comparison import conclusions, tables
from course_utils.comparison.results import read_runs
from course_utils.config import load_experiment
from course_utils.errors import CourseError
from course_utils.inputs.bases import head_modules, target_modules
from course_utils.methods import METHODS
from course_utils.methods.base import LowRankSettings, Method
from course_utils.training.train import train


class VeraSettings(LowRankSettings):
    """Rank, and where the trained vector d starts."""

    d_initial: float = Field(0.1, description="where d starts")


class Vera(Method):
    """The module: everything that is known of the method."""

    name = "vera"
    title = "VeRA"
    citation = "hu2022lora"
    equation = r"W_0 + \mathrm{diag}(b)\,B\,\mathrm{diag}(d)\,A"
    description = "Two frozen random factors that all layers share, scaled by two trained vectors."
    marker = "h"
    color = "#f0e442"
    peft_type = "VERA"
    Settings = VeraSettings

    def trained_numbers(self, out, into, settings):
        return out + settings.rank

    def adapter_config(self, model, settings):
        return VeraConfig(
            task_type="SEQ_CLS",
            r=settings.rank,
            d_initial=settings.d_initial,
            save_projection=False,  # the shared factors are drawn again from their seed
            target_modules=list(settings.target_modules) or target_modules(model),
            modules_to_save=head_modules(model),
        )

    def measurements(self, model, settings):
        return {"shared_factors": 2}


@pytest.fixture
def experiment(monkeypatch, runs_in, tiny):
    monkeypatch.setitem(METHODS, "vera", Vera())  # the line in the registry
    return load_experiment("smoke", FEW | {"methods": "lora,vera", "base_model": tiny.name, "vera.d_initial": 0.2})


def test_another_method_trains_and_is_compared(experiment, tiny):
    assert experiment.methods == ["lora", "vera"] and experiment.takers["vera.d_initial"] == ["vera"]
    run = train(experiment.config("vera"))
    assert run.result.parameters.adapter == 4 * (64 + 8)
    plain = PeftModel.from_pretrained(tiny.load(SENTIMENT), run.folder / "adapter")
    assert plain.peft_config["default"].d_initial == 0.2
    results = read_runs(experiment)
    summary = tables.summary_table(results).set_index("method")
    assert summary.loc["vera", "seeds"] == 1 and summary.loc["lora", "seeds"] == 0
    assert any("VeRA (1 seed)" in sentence for sentence in conclusions.experiment_verdicts(results))
    refuted = [finding for finding in audit_card(run.folder / "adapter" / "README.md") if finding.verdict == REFUTED]
    card = run.card()
    assert "# VeRA - " in card and "- **LoRA**:" in card and not refuted
    assert "- **D Initial:** 0.2 (where d starts)" in card and "- **Measured Shared Factors:** 2" in card


def test_a_profile_serves_a_method_that_it_does_not_name_or_says_what_is_missing(experiment, tmp_path, monkeypatch):
    assert load_experiment("quick", {"methods": ["vera"]}).config("vera").settings.learning_rate == 1e-3
    assert "vera" not in load_experiment("quick").methods
    with pytest.raises(CourseError, match=r"\[methods.default\]"):
        profile = load_experiment("quick").profile
        bare = profile.model_copy(update={"methods": {"lora": {"learning_rate": 1e-3}}})
        type(experiment)("bare", bare, {"methods": ["vera"]}).config("vera")
