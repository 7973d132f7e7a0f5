"""The project works wherever it lies and from wherever it is started, and records no place of the machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pypandoc
import pytest
from small import ADAPTER, tiny_base
from whole_project import copy_project

from course_utils import paths
from course_utils.config import RunConfig, load_experiment, parse_overrides
from course_utils.inputs import bases
from course_utils.inputs.bases import Base, base_of, name_for_adapters
from course_utils.paths import PROJECT
from course_utils.report.chapters import elements
from course_utils.runs import load_model, read_run
from course_utils.training.train import train
from course_utils.workflow import start

SMALL = {"max_train": 16, "max_validation": 8, "max_test": 8, "max_other": 8, "epochs": 1, "batch_size": 8}
ODD = "<b>prøject – 项目's"  # a folder's name with markup, a quote, a space and letters beyond ASCII


def write_table(file: Path) -> Path:
    rows = [f"film {n} is {'very ' * (n % 7)}{'good' if n % 2 else 'bad'},{n % 2}" for n in range(60)]
    file.write_text("\n".join(["text,label", *rows, ""]), encoding="utf-8")
    return file


# ---------------------------------------------------------------- names that are typed, and names that are recorded


def test_what_is_typed_is_seen_from_where_the_reader_stands_and_what_is_recorded_from_the_project(
    tmp_path, monkeypatch
):
    project, here = tmp_path / "project", tmp_path / "here"
    for folder in (project, here):
        folder.mkdir()
        write_table(folder / "mine.csv")
    write_table(here / "only here.csv")
    for module in (paths, sys.modules["course_utils.config"]):
        monkeypatch.setattr(module, "PROJECT", project)
    monkeypatch.setenv("COURSE_FROM", str(here))  # as run_all.sh does before it goes to the project
    monkeypatch.chdir(project)
    for typed in ("mine.csv", "./mine.csv", str(here / "mine.csv")):
        assert parse_overrides([f"data={typed}"])["data"] == "../here/mine.csv"
    assert parse_overrides(["data=only here.csv"])["data"] == "../here/only here.csv"
    assert parse_overrides([f"data={project}/mine.csv"])["data"] == "./mine.csv"
    assert parse_overrides(["data=embedded", "base_model=owner/name", "rank=4"]) == {
        "data": "embedded", "base_model": "owner/name", "rank": "4",
    }  # fmt: skip
    assert parse_overrides(["data=", "also_evaluate=none"]) == {"data": "", "also_evaluate": "none"}  # no folders
    # A record is read by someone who stands where a file of the same name lies.
    for place in (here, project):
        monkeypatch.chdir(place)
        config = load_experiment("smoke", {"data": "./mine.csv"}).config(ADAPTER)
        assert config.data == "./mine.csv" and config.source.files() == [project / "mine.csv"]
        assert RunConfig.model_validate_json(config.model_dump_json()) == config


def test_what_is_started_elsewhere_is_told_the_file_as_the_project_sees_it(tmp_path, monkeypatch):
    commands, table = [], write_table(tmp_path / "mine.csv")
    monkeypatch.setenv("COURSE_FROM", str(tmp_path))
    monkeypatch.setattr(start, "follow", lambda command, *_: commands.append(command) or 0)
    monkeypatch.setattr(start, "end_marked_processes", lambda: None)
    assert start.run("smoke", ["data=mine.csv"], 1, False, False, ["--executor", "slurm"]) == 0
    named = paths.named_from_project(table)  # which a cluster's job, in the project's folder, finds as well
    assert f'overrides=["data={named}"]' in commands[0] and start.variables()["COURSE_FROM"] == str(PROJECT)


def test_a_name_does_not_lead_through_the_home(tmp_path, monkeypatch):
    (tmp_path / "home" / "data").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(paths, "PROJECT", Path("/elsewhere/project"))  # so that the home's whole path would be named
    named = paths.named_from_project(tmp_path / "home" / "data")
    assert named == "~/data" and paths.find_path(named) == tmp_path / "home" / "data"
    monkeypatch.setenv("HOME", "/")
    assert str(tmp_path) in f"/{paths.named_from_project(tmp_path)}"


@pytest.mark.slow
def test_from_another_folder_every_process_reads_the_file_that_was_meant(tmp_path, tiny):
    project = copy_project(tmp_path / "project")
    here = tmp_path / "here"
    here.mkdir()
    write_table(here / "mine.csv")
    (project / "mine.csv").write_text("text,label\nwrong,a\n")  # where Snakemake and its children stand
    (here / "base").symlink_to(tiny.location)
    pairs = {"data": "mine.csv", "base_model": "base", "methods": ADAPTER} | SMALL
    options = [word for name, value in pairs.items() for word in ("-p", f"{name}={value}")]
    done = subprocess.run(
        [project / "run_all.sh", "--profile", "smoke", *options, "--", "--until", f"train_{ADAPTER}"],
        cwd=here,
        env=os.environ | {"VIRTUAL_ENV": sys.prefix, "COURSE_ASSETS": str(paths.assets_folder()), "LC_ALL": "C"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (record,) = project.glob("runs/*/main/*/seed-0/result.json")
    run = read_run(record.parent)
    assert run.config.data == "../here/mine.csv" and run.result.data.sizes["train"] == 16
    assert json.loads((record.parent / "adapter" / "adapter_config.json").read_text())["base_model_name_or_path"] == (
        Path(tiny.location).name
    )


# ---------------------------------------------------------------- what an adapter says of its base


def test_an_adapter_names_its_base_without_a_place_of_this_machine(tmp_path, monkeypatch):
    base = tiny_base(tmp_path / ODD)
    assert name_for_adapters(base) == ODD
    monkeypatch.setattr(bases, "PROJECT", tmp_path)
    assert name_for_adapters(base) == ODD  # as seen from the project's root
    assert name_for_adapters(Base("distilbert-base-uncased")) == "distilbert-base-uncased"


@pytest.mark.slow
def test_a_run_on_a_base_with_an_odd_name_is_loaded_from_anywhere_and_shows_no_markup(runs_in, tmp_path, monkeypatch):
    place = tmp_path / "place"
    place.mkdir()
    tiny_base(place / ODD)
    monkeypatch.setenv("HOME", str(place))
    overrides = SMALL | {"base_model": str(place / ODD), "data": str(write_table(place / "<i>texts.csv"))}
    run = train(load_experiment("smoke", overrides).config(ADAPTER))
    for file in run.folder.rglob("*"):
        assert file.is_dir() or str(place).encode() not in file.read_bytes(), file
    adapter = json.loads((run.folder / "adapter" / "adapter_config.json").read_text("utf-8"))
    assert adapter["base_model_name_or_path"] == ODD
    card = json.loads(pypandoc.convert_text(run.card(), "json", format="gfm"))
    assert not [*elements(card, "RawInline"), *elements(card, "RawBlock")]
    assert "elsewhere, give `from_pretrained` the place" in run.card()

    monkeypatch.chdir(tmp_path)
    model = load_model(read_run(run.folder), merged=False)
    assert Path(base_of(model.get_base_model()).location) == place / ODD
