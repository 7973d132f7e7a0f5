"""Profiles as files: a new one for somebody's own data, model and time, and the rates that a search found."""

import json
import re
import unicodedata
from math import ceil
from pathlib import Path
from typing import Any

from course_utils import config
from course_utils.config import Experiment, Profile, load_experiment
from course_utils.errors import CourseError
from course_utils.host import usable_cores
from course_utils.text import counted, duration
from course_utils.workflow.check import check_inputs
from course_utils.workflow.estimates import expected_total

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
NUMBERS_OF_TEXTS = (28_000, 14_000, 7_000, 3_500, 1_500, 500)  # in training; with fewer, a comparison says little
PLANS = ((5, 5), (5, 3), (3, 3), (3, 0))  # seeds, and rates of the search a method; the first that fits is taken
STEPS_OF_RATES = {5: (1 / 3, 2 / 3, 1.0, 5 / 3, 10 / 3), 3: (1 / 3, 1.0, 10 / 3)}  # times what `full` found


def name_of_data(data: str) -> str:
    """A profile's name from what the data are called: "My Reviews.csv" is my-reviews."""
    last = Path(data.partition("@")[0].removeprefix("hub:")).stem
    plain = unicodedata.normalize("NFKD", last).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")[:40] or "mine"


def new_profile(name: str, overrides: dict[str, str], minutes: float) -> tuple[Path, Experiment]:
    """Write the profile `name` for the data and base model of `overrides`; returns its file and its experiment.

    The profile has as many seeds, trials of a search and training texts as fit into `minutes` on this machine; seeds
    and trials are reduced before texts. Raises CourseError where a profile of that name is there, the data or the model
    cannot be read, the time is too short for 500 texts and three seeds, or `seeds` or `track` is an override.
    """
    if not NAME.fullmatch(name):
        raise CourseError(f"{name!r} is no name of a profile; type --name and small letters, digits and hyphens.")
    if name in config.profile_names():
        raise CourseError(f"There is a profile {name!r} already; type --name and another name.")
    for unfit in {"seeds", "track"} & overrides.keys():
        typed = f"-p {unfit}={overrides[unfit]}"
        raise CourseError(
            f"{unfit} is not written into a new profile; leave {typed} out, and type ./run_all.sh --profile {name}"
            f" {typed} afterwards."
        )
    usual = load_experiment("quick", {"max_train": "none"} | overrides)
    texts = check_inputs(usual)["data"]["sizes"]["train"]  # what would fail in hours is named now
    sizes = [texts, *(size for size in NUMBERS_OF_TEXTS if size < texts)]
    for size in sizes:
        for seeds, rates in PLANS:
            written = _profile(name, usual, seeds, rates, size, minutes)
            experiment = Experiment(name, Profile.model_validate(written))
            if (needed := expected_total(experiment, usable_cores())) <= 60 * minutes:
                file = config.PROFILES / f"{name}.toml"
                file.write_text(as_toml(written), encoding="utf-8")
                return file, load_experiment(name)
    raise CourseError(
        f"minutes: {minutes:g} is too short; {counted(PLANS[-1][0], 'seed')} with {sizes[-1]:,} texts take roughly"
        f" {duration(needed)} on this machine; type --minutes {ceil(needed / 60)} or more."
    )


def minutes_with_search(experiment: Experiment) -> int:
    """Roughly how many minutes an `experiment` without a search would take with the smallest search."""
    seeds, rates = PLANS[-2]
    size = experiment.shared.max_train or 0
    searching = Profile.model_validate(_profile(experiment.name, experiment, seeds, rates, size, 0))
    return ceil(expected_total(Experiment(experiment.name, searching), usable_cores()) / 60)


def _profile(name: str, usual: Experiment, seeds: int, rates: int, size: int, minutes: float) -> dict[str, Any]:
    shared, _ = usual.settings_of(usual.methods[0])
    methods = {method: usual.settings_of(method)[1] for method in usual.methods}
    profile: dict[str, Any] = {
        "title": name,
        "description": f"{size:,} training texts, {counted(seeds, 'seed')}, for {minutes:,.10g} minutes.",
        "disk_gb": usual.profile.disk_gb,
        "seeds": seeds,
        "settings": shared | {"max_train": size},
        "methods": methods,
    }
    if rates:
        grid = {
            method: sorted({min(1.0, float(f"{settings['learning_rate'] * s:.2g}")) for s in STEPS_OF_RATES[rates]})
            for method, settings in methods.items()
        }
        profile["search"] = {"seeds": 2, "rates": grid}  # shorter trials favour rates that are too high
    return profile


def as_toml(table: dict[str, Any], prefix: str = "") -> str:
    """A table of strings, numbers, truth values, lists and tables as TOML; what is None is left out."""
    plain = {key: value for key, value in table.items() if not isinstance(value, dict) and value is not None}
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in plain.items()]
    for key, value in table.items():
        if isinstance(value, dict):
            lines += ["", f"[{prefix}{key}]", as_toml(value, f"{prefix}{key}.")]
    return "\n".join(lines)


def with_rates(file: Path, rates: dict[str, float], found_by: dict[str, str]) -> None:
    """Write the learning rates that a search found, and the trials that found them, into the profile `file`.

    Raises CourseError where the profile has no learning rate of a method to replace.
    """
    text = file.read_text("utf-8")
    for method, rate in rates.items():
        text, number = re.subn(rf"(?m)(^\[methods\.{method}\]\nlearning_rate = ).*$", rf"\g<1>{rate:g}", text)
        if number != 1:
            raise CourseError(
                f"{file.name} has no [methods.{method}] whose first line is its learning_rate; write the section so."
            )
    listed = "".join(f'{method} = "{trial}"\n' for method, trial in sorted(found_by.items()))
    text, number = re.subn(r"(?m)^\[found_by\]\n(\w+ = \".*\"\n)*", f"[found_by]\n{listed}", text)
    file.write_text(text if number else f"{text.rstrip()}\n\n[found_by]\n{listed}", encoding="utf-8")
