"""What several test files use."""

import gc
import os
import pickle
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock
from small import WITHOUT_DROPOUT, tiny_base
from whole_project import SECRETS, copy_project, finish, outcome, start

from course_utils.paths import PROJECT

# What is promised to the bit, and memory that is foreseen, are of processors; only training/test_gpu.py uses a GPU.
os.environ["CUDA_VISIBLE_DEVICES"] = ""

SST2 = Path(os.environ.get("COURSE_SST2", PROJECT.parent / "shared" / "data" / "SST-2"))


def pytest_xdist_make_scheduler(config, log):
    """Side by side, a file's tests stay together, and each test that looks at the one smoke run may go anywhere."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file, test = nodeid.split("::", 1)
            source, name = (config.rootpath / file).read_text("utf-8"), test.partition("[")[0]
            looks_at_it = re.search(rf"^def {name}\(.*\b(own_)?smoke\b", source, re.MULTILINE)
            return nodeid if looks_at_it else file

    config.option.loadscopereorder = False  # the order is that below
    return ByFile(config, log)


def pytest_collection_modifyitems(config, items):
    """Side by side, what takes long goes first: the smoke run, files with slow tests, other tests that look at it."""
    if hasattr(config, "workerinput"):
        slow = {item.path for item in items if item.get_closest_marker("slow") and "smoke" not in item.fixturenames}
        makes_it = next((item for item in items if "smoke" in item.fixturenames), None)

        def place(item):
            return 0 if item is makes_it else 2 if "smoke" in item.fixturenames else 1 if item.path in slow else 3

        items.sort(key=place)


def pytest_collection_finish():
    """What is imported by now stays: every training looks for what can be freed, and need not look there."""
    gc.collect()
    gc.freeze()


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


@pytest.fixture(scope="session")
def still(tmp_path_factory):
    """The tiny base without dropout: who takes a batch in another way would otherwise draw other masks."""
    return tiny_base(tmp_path_factory.mktemp("still") / "base", **WITHOUT_DROPOUT)


@pytest.fixture
def runs_in(tmp_path, monkeypatch):
    """An empty folder that holds the runs of this test."""
    monkeypatch.setenv("COURSE_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture
def reports_in(tmp_path, monkeypatch):
    """An empty folder that holds the reports of this test."""
    monkeypatch.setenv("COURSE_REPORTS", str(tmp_path / "reports"))
    return tmp_path / "reports"


@pytest.fixture
def shown(monkeypatch):
    """What exhibits and the advice show: axes, caption and alt text of a figure, a table and its caption, sentences."""
    from made_up import make_up_baselines

    from course_utils.report import (
        choice,
        criteria,
        dependence,
        exhibits,
        other_choices,
        plots,
        rates,
        sparsity,
        training_size,
        wording,
    )

    make_up_baselines(monkeypatch)
    said = []

    def table(frame, caption, *_):
        said.extend([frame, caption])

    def sentences(text):
        said.extend([text.strip()] if text.strip() else [])

    for module in (choice, criteria, dependence, exhibits, other_choices, rates, sparsity, training_size, wording):
        monkeypatch.setattr(module, "show_markdown", sentences, raising=False)
        monkeypatch.setattr(module, "show_table", table, raising=False)
    for module in (dependence, exhibits, sparsity, training_size):
        monkeypatch.setattr(module, "show_figure", lambda figure, *words: said.extend([figure.axes[0], *words]))
    yield said
    plots.plt.close("all")


@dataclass(frozen=True)
class Smoke:
    """A copy of the project in which `./run_all.sh --profile smoke` came to a good end, undisturbed."""

    project: Path
    output: str
    outcome: dict


@pytest.fixture(scope="session")
def smoke(tmp_path_factory):
    """One smoke run for all tests that look at one: in a folder with an odd name, without a locale or a home.

    Whoever needs it first makes it; the others, in other processes too, wait. Tests that change it take `own_smoke`.
    """
    place = tmp_path_factory.getbasetemp()
    place = (place.parent if "PYTEST_XDIST_WORKER" in os.environ else place) / "a copy"
    place.mkdir(exist_ok=True)
    project, kept, begun = place / "<b>prøject – 项目's", place / "smoke.pickle", place / "begun"
    with FileLock(place / "lock"):
        if not kept.exists():
            assert not begun.exists(), "the smoke run has failed: see the first test that looked at it"
            begun.touch()
            output = finish(start(copy_project(project), OMP_NUM_THREADS="7", LC_ALL="C", **SECRETS))
            kept.write_bytes(pickle.dumps(Smoke(project, output, outcome(project))))
    return pickle.loads(kept.read_bytes())


@pytest.fixture
def own_smoke(smoke, tmp_path):
    """A copy of the project of the smoke run, to change, in a folder of the same name."""
    project = tmp_path / "own" / smoke.project.name
    yield shutil.copytree(smoke.project, project, symlinks=True)
    shutil.rmtree(tmp_path / "own")
