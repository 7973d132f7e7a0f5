"""What several test files use."""

import os
from pathlib import Path

import pytest

from course_utils.paths import PROJECT

SST2 = Path(os.environ.get("COURSE_SST2", PROJECT.parent / "shared" / "data" / "SST-2"))


@pytest.fixture(scope="session")
def sst2_folder():
    """The real SST-2 in GLUE's layout; tests that need it are skipped where it is missing."""
    if not (SST2 / "train.tsv").is_file():
        pytest.skip(f"the real SST-2 is not at {SST2}; set COURSE_SST2 to its folder to run this test")
    return SST2


@pytest.fixture
def runs_in(tmp_path, monkeypatch):
    """An empty folder that holds the runs of this test."""
    monkeypatch.setenv("COURSE_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"
