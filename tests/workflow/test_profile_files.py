"""A profile for one's own data and time: it fits the time, is read like any other, and takes what its search found."""

import io
import tomllib

import pytest
from small import ADAPTER, MULTIPLIED

from course_utils import config as configuration
from course_utils.__main__ import main
from course_utils.config import PROFILES, load_experiment, parse_overrides
from course_utils.errors import CourseError
from course_utils.host import usable_cores
from course_utils.methods import METHODS
from course_utils.workflow.estimates import expected_total
from course_utils.workflow.profile_files import minutes_with_search, new_profile, with_rates

UNNAMED = next(name for name in METHODS if name not in load_experiment("quick").methods)  # by the profile


@pytest.fixture
def profiles(tmp_path, monkeypatch):
    """A folder of profiles with those that there are."""
    for file in PROFILES.glob("*.toml"):
        (tmp_path / file.name).write_text(file.read_text("utf-8"), encoding="utf-8")
    monkeypatch.setattr(configuration, "PROFILES", tmp_path)
    return tmp_path


@pytest.fixture
def guests(tmp_path):
    """A table of three classes in another language."""
    said = {"gut": "schön war es", "mittel": "es ging so", "schlecht": "nie wieder"}
    rows = [f"{text} Nummer {i},{label}" for i in range(1_000) for label, text in said.items()]
    file = tmp_path / "gäste.csv"
    file.write_text("\n".join(["text,label", *rows]), encoding="utf-8")
    return str(file)


def test_more_time_buys_seeds_and_trials_before_texts(profiles, guests):
    found = {}
    for minutes in (600, 40, 20):  # enough also for a processor without units for bf16
        file, experiment = new_profile(f"guests-{minutes}", {"data": guests}, minutes)
        assert expected_total(experiment, usable_cores()) <= 60 * minutes
        assert experiment.shared.data.endswith("gäste.csv") and tomllib.loads(file.read_text("utf-8"))
        trials = [config for config in experiment.configs() if not config.final]
        assert bool(trials) or minutes_with_search(experiment) > minutes
        found[minutes] = len(experiment.seeds), len(trials), experiment.shared.max_train
    assert found[600] == (5, 60, 1_800) and found[600] > found[40] > found[20]
    with pytest.raises(CourseError, match=r"minutes: 1 is too short; 3 seeds with [0-9]+ texts take roughly"):
        new_profile("guests-1", {"data": guests}, 1)
    with pytest.raises(CourseError, match="There is a profile 'guests-20' already"):
        new_profile("guests-20", {"data": guests}, 20)


@pytest.mark.parametrize(
    "typed",
    [
        ["rank=4"],
        [f"{ADAPTER}.alpha=32", "alpha=8"],
        [f"methods={ADAPTER},{MULTIPLIED}", "learning_rate=1e-3"],
        [f"methods={UNNAMED}", "target_modules=q_lin,v_lin", "dropout=0"],
        [f"{MULTIPLIED}.four_bit=true", "learning_rate=0.9"],
        ["max_length=64", "max_validation=none", "class_names=schlecht,mittel,gut"],
    ],
)
def test_a_profile_means_what_was_typed(typed, profiles, guests, capsys):
    options = [word for pair in typed for word in ("-p", pair)]
    assert main(["new-report", "--data", guests, "--base-model", "embedded", "--minutes", "600", *options]) == 0
    assert "Type ./run_all.sh --profile gaste;" in capsys.readouterr().out
    made = load_experiment("gaste")
    meant = load_experiment("quick", parse_overrides([f"data={guests}", f"max_train={made.shared.max_train}", *typed]))
    assert made.methods == meant.methods and made.profile.search
    for name in made.methods:
        assert made.config(name) == meant.config(name).model_copy(update={"experiment": "gaste"})


@pytest.mark.parametrize("typed", ["seeds=7", "track=mlflow"])
def test_what_a_profile_cannot_hold_is_refused(typed, profiles, guests, capsys):
    assert main(["new-report", "--data", guests, "--base-model", "embedded", "--minutes", "600", "-p", typed]) == 2
    said = capsys.readouterr().err
    assert f"type ./run_all.sh --profile gaste -p {typed} afterwards" in said and said.count("\n") == 1
    assert not (profiles / "gaste.toml").exists()


def test_three_answers_make_a_profile(profiles, guests, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{guests}\n\n60\n"))
    assert main(["new-report"]) == 0
    assert "Type ./run_all.sh --profile gaste" in capsys.readouterr().out
    made = load_experiment("gaste")
    assert made.profile.search and made.shared.base_model == "embedded"
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{guests}\n"))  # and then the input ends
    assert main(["new-report"]) == 2
    assert "not every question was answered" in capsys.readouterr().err


def test_a_profile_takes_what_its_search_found(profiles):
    before = load_experiment("quick")
    rates = {name: 0.5 for name in before.methods}
    with_rates(profiles / "quick.toml", rates, dict.fromkeys(rates, "f" * 64))
    again = load_experiment("quick")
    assert all(again.config(name).settings.learning_rate == 0.5 for name in again.methods)
    assert again.profile.found_by == dict.fromkeys(rates, "f" * 64) and again.shared == before.shared.model_copy(
        update={"settings": again.shared.settings}
    )
