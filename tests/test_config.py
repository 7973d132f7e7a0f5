"""Settings: what is accepted, who takes it, and what a reader is told otherwise."""

import re

import pytest
from small import ADAPTER, GATED, MULTIPLIED, QUANTISED

from course_utils import config as configuration
from course_utils.__main__ import main
from course_utils.config import PROFILES, SharedSettings, load_experiment, parse_overrides, profile_names
from course_utils.errors import CourseError
from course_utils.methods import METHODS
from course_utils.paths import PROJECT
from course_utils.training.trainer import warmup_steps


def test_overrides_reach_those_who_have_the_setting():
    experiment = load_experiment("quick", {"rank": "4", f"{ADAPTER}.rank": "6", "alpha": "8", "epochs": "1"})
    assert experiment.takers["rank"] == [ADAPTER, GATED, QUANTISED, MULTIPLIED]
    assert experiment.takers["alpha"] == [ADAPTER, GATED, QUANTISED]
    assert experiment.takers["epochs"] == ["every run"]
    assert experiment.config(ADAPTER).settings.rank == 6  # the narrower name wins
    assert experiment.config(MULTIPLIED).settings.rank == 4
    assert {config.epochs for config in experiment.configs()} == {1}


def test_the_contract_lists_every_setting():
    table = [
        line.split("|")[1] for line in (PROJECT / "docs" / "contract.md").read_text("utf-8").splitlines() if "|" in line
    ]
    experiment = load_experiment("quick", {"methods": [*METHODS]})
    own = {name for method in METHODS for name in experiment.config(method).settings.model_fields}
    assert own | {*SharedSettings.model_fields} <= {*re.findall(r"`(\w+)`", "".join(table))}


def test_an_experiment_is_named_by_its_settings_alone():
    plain = load_experiment("quick")
    assert plain.name == "quick"
    names = {load_experiment("quick", o).name for o in ({"rank": "4"}, {"rank": 4}, {"rank": 4, "seeds": 5})}
    assert len(names) == 1 and names.pop().startswith("quick+")
    assert load_experiment("quick", {"rank": 4}).name != load_experiment("quick", {"rank": 5}).name
    assert load_experiment("quick", {"seeds": "5"}).seeds == [0, 1, 2, 3, 4]


def test_a_profile_s_words_are_not_those_of_other_settings():
    usual = load_experiment("smoke")
    assert usual.description == usual.profile.description
    for overrides in ({"data": "embedded", "epochs": 2}, {"seeds": 2}):
        assert load_experiment("smoke", overrides).description == "The profile smoke, with other settings."


def test_a_folder_is_recorded_as_seen_from_the_project(tmp_path, monkeypatch):
    (tmp_path / "reviews").mkdir()
    monkeypatch.chdir(tmp_path)
    config = load_experiment("quick", {"data": "reviews"}).config(ADAPTER)
    assert config.data.endswith("/reviews") and not config.data.startswith("/")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"rnak": "4"}, "did you mean 'rank'"),
        ({"methods": f"{ADAPTER},sora"}, f"'sora' is {GATED} here"),
        ({f"{ADAPTER}.alhpa": "4"}, f"did you mean '{ADAPTER}.alpha'"),
        ({f"{MULTIPLIED}.alpha": "4"}, f"no setting '{MULTIPLIED}.alpha'; {MULTIPLIED} has"),
        ({f"{ADAPTER}.epochs": "4"}, "epochs is shared by all methods"),
        ({"rank": "four"}, "rank: 'four' is not allowed"),
        ({"rank": "0"}, "greater than or equal to 1"),
        ({"dropout": "1"}, "less than 1"),
        ({"epochs": "0"}, "greater than or equal to 1"),
        ({"epochs": "1.5"}, "must be a whole number"),
        ({"precision": "int8"}, "'auto', 'bf16' or 'fp32'"),
        ({"seeds": "0"}, "whole number from 1"),
        ({"track": "wanb"}, "tensorboard, trackio, mlflow and wandb"),
    ],
)
def test_what_cannot_be_is_refused_in_words(overrides, message):
    with pytest.raises(CourseError, match=message):
        load_experiment("quick", overrides)


def test_unknown_profiles_methods_studies_and_commands(capsys):
    with pytest.raises(CourseError, match="did you mean 'quick'"):
        load_experiment("quik")
    with pytest.raises(CourseError, match="no method 'lorra'; it has head, full"):
        load_experiment("quick").config("lorra")
    with pytest.raises(CourseError, match="no study 'own'; it has main, "):
        load_experiment("sst2").config(ADAPTER, study="own")
    with pytest.raises(CourseError, match="type -p NAME=VALUE"):
        parse_overrides(["rank"])
    assert main(["trian"]) == 2
    assert "did you mean 'train'" in capsys.readouterr().err.lower()


def test_every_profile_compares_every_method_on_equal_terms():
    for name in profile_names():
        experiment = load_experiment(name, {"methods": list(METHODS)})
        assert experiment.methods == list(METHODS)
        shared = [config.model_dump(exclude={"method", "settings"}) for config in experiment.configs()]
        pairs = [(one, other) for one in shared for other in shared if one["study"] == other["study"]]
        assert all(one == other for one, other in pairs if one["seed"] == other["seed"])


def test_sst2_holds_the_published_recipe():
    recipe = {"base_model": "distilbert-base-uncased", "epochs": 3, "batch_size": 16, "warmup_steps": 100}
    for config in load_experiment("sst2", recipe).configs():
        if config.study == "published":
            assert (config.epochs, config.batch_size, warmup_steps(config, 10_000)) == (3, 16, 100)
            assert (config.settings.learning_rate, config.settings.weight_decay) == (3e-4, 0.01)
            assert (getattr(config.settings, "rank", 8), getattr(config.settings, "alpha", 16)) == (8, 16)


def test_a_misspelt_setting_of_a_profile_is_named_with_its_file(tmp_path, monkeypatch):
    text = (PROFILES / "smoke.toml").read_text(encoding="utf-8")
    text = text.replace(f"[methods.{ADAPTER}]", f"[methods.{ADAPTER}]\nrnak = 4")
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    monkeypatch.setattr(configuration, "PROFILES", tmp_path)
    with pytest.raises(CourseError, match=r"mine\.toml: .*rnak"):
        load_experiment("mine")


@pytest.mark.parametrize(
    ("typed", "here"),
    [
        ("r", "rank"), ("lr", "learning_rate"), ("num_train_epochs", "epochs"), ("model_name_or_path", "base_model"),
        ("per_device_train_batch_size", "batch_size"), ("warmup_ratio", "warmup_steps"), ("seed", "seeds"),
        ("gradient_accumulation_steps", "gradient_accumulation"),
    ],
)  # fmt: skip
def test_words_of_other_programs_get_a_hint(typed, here):
    with pytest.raises(CourseError, match=f"no setting '{typed}'; its name here is {here}"):
        load_experiment("smoke", {typed: "1"})


@pytest.mark.parametrize(("settings", "said"), [
    ({"warmup_steps": 500}, "is not less than the 7 steps of a run; type fewer, or a share"),
    ({"warmup_steps": 1.5, "max_train": 16}, "is not less than the 1 steps"),
    ({"data": "texts.csv", "text_column": "a", "label_column": "a"}, "'a' is named for two of them"),
    ({"data": "texts.csv", "text_column": "a", "text_pair_column": "b", "label_column": "b"}, "'b' is named for two"),
])  # fmt: skip
def test_settings_that_contradict_the_data_or_each_other_are_refused(settings, said):
    with pytest.raises(CourseError, match=said):
        load_experiment("smoke", settings).shared.load_data()
