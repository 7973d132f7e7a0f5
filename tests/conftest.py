"""What several test files use."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from small import tiny_base
from whole_project import SECRETS, copy_project, finish, outcome, start

from course_utils.paths import PROJECT

SST2 = Path(os.environ.get("COURSE_SST2", PROJECT.parent / "shared" / "data" / "SST-2"))


def pytest_itemcollected(item):
    """Side by side, a file's tests stay together, and so do all that look at the one smoke run."""
    group = "smoke" if "smoke" in item.fixturenames else str(item.path)
    item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session")
def sst2_folder():
    """The real SST-2 in GLUE's layout; tests that need it are skipped where it is missing."""
    if not (SST2 / "train.tsv").is_file():
        pytest.skip(f"the real SST-2 is not at {SST2}; set COURSE_SST2 to its folder to run this test")
    return SST2


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A tiny random base model."""
    return tiny_base(tmp_path_factory.mktemp("tiny") / "base")


@pytest.fixture
def runs_in(tmp_path, monkeypatch):
    """An empty folder that holds the runs of this test."""
    monkeypatch.setenv("COURSE_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@dataclass(frozen=True)
class Smoke:
    """A copy of the project in which `./run_all.sh --profile smoke` came to a good end, undisturbed."""

    project: Path
    output: str
    outcome: dict


@pytest.fixture(scope="session")
def smoke(tmp_path_factory):
    """One smoke run for all tests that look at one: in a folder with an odd name, with no home to write to."""
    project = copy_project(tmp_path_factory.mktemp("a copy") / "<b>prøject – 项目's")
    output = finish(start(project, OMP_NUM_THREADS="7", LC_ALL="C", **SECRETS))
    return Smoke(project, output, outcome(project))
