"""What several test files use."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from small import tiny_base
from whole_project import SECRETS, copy_project, finish, outcome, start

from course_utils.paths import PROJECT

SST2 = Path(os.environ.get("COURSE_SST2", PROJECT.parent / "shared" / "data" / "SST-2"))


def pytest_xdist_make_scheduler(config, log):
    """Side by side, a file's tests stay together, and so do all files with tests that look at the one smoke run."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.partition("::")[0]
            looks_at_it = re.search(
                r"^def test_\w+\(.*\bsmoke\b", (config.rootpath / file).read_text("utf-8"), re.MULTILINE
            )
            return "smoke" if looks_at_it else file

    return ByFile(config, log)


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
