"""A full disk, no permission, no network: one sentence says what to do, and the work goes on.

Disks that are full and folders that cannot be written to are real ones, mounted where no other process sees them.
"""

import contextlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from course_utils import host
from course_utils.__main__ import main
from course_utils.config import load_experiment
from course_utils.errors import refusal
from course_utils.methods import PLAIN
from course_utils.paths import PROJECT
from course_utils.runs import find_run
from course_utils.workflow import fork_server, start
from course_utils.workflow.progress import Progress

pytestmark = pytest.mark.slow


def can_mount() -> bool:
    trial = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", tempfile.gettempdir()]
    with contextlib.suppress(FileNotFoundError):
        return subprocess.run(trial, capture_output=True).returncode == 0
    return False


mounts = pytest.mark.skipif(not can_mount(), reason="no disk can be mounted here for a test alone (unshare -rm mount)")


def with_own_mounts(function, *arguments) -> None:
    """Call `function` of this file in a process that mounts what only it sees."""
    call = f"import test_faults; test_faults.{function.__name__}(*{[str(argument) for argument in arguments]!r})"
    done = subprocess.run(
        ["unshare", "-rm", sys.executable, "-c", call],
        cwd=Path(__file__).parent,
        env=os.environ | {"PYTHONPATH": f"{PROJECT}:{PROJECT / 'tests'}"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def mount(folder: str, size: str, *options: str) -> None:
    """Put a disk of `size` at `folder`; with the option remount, change that of the one that is there."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join([*options, f"size={size}"]), "none", folder], check=True)


def make_read_only(folder: str) -> None:
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)


def command(*arguments: str) -> tuple[int, str]:
    """Exit status of a command, and what it said last on standard error."""
    with contextlib.redirect_stderr(io.StringIO()) as said:
        status = main(list(arguments))
    return status, said.getvalue().rstrip().rpartition("\n")[2]


# ---------------------------------------------------------------- a full disk


@mounts
def test_training_goes_on_once_there_is_room(tmp_path):
    with_own_mounts(train_on_a_full_disk, tmp_path)


def train_on_a_full_disk(folder):
    os.environ["COURSE_RUNS"] = folder
    lora = ["train", "--profile", "smoke", "--method", PLAIN.name]
    # First a checkpoint's optimiser does not fit, then the adapter.
    for number, size in enumerate(["1600k", "2800k"]):
        mount(folder, size, *["remount"][:number])
        status, said = command(*lora)
        assert status == 2
        assert said.startswith(f"error: The disk is full: {folder} has "), said
        assert "set COURSE_RUNS to its new place" in said and said.endswith("the same command then goes on.")
        assert find_run(load_experiment("smoke").config(PLAIN.name)) is None
    mount(folder, "64m", "remount")
    assert command(*lora)[0] == 0
    assert find_run(load_experiment("smoke").config(PLAIN.name))


@mounts
def test_an_older_report_stays_until_there_is_room_for_a_new_one(tmp_path, own_smoke):
    (tmp_path / "disk").mkdir()
    with_own_mounts(report_on_a_full_disk, tmp_path / "disk", own_smoke)


def report_on_a_full_disk(folder, project):
    os.environ |= {"COURSE_RUNS": f"{project}/runs", "COURSE_REPORTS": folder, "JUPYTER_PREFER_ENV_PATH": "1"}
    mount(folder, "64m")
    other_chapters = shutil.ignore_patterns("0[2-9]_*")  # one is quicker to bind than all
    report = shutil.copytree(Path(project, "reports", "smoke"), Path(folder, "smoke"), ignore=other_chapters)
    before = {path: path.read_bytes() for path in report.rglob("*") if path.is_file()}
    filler = Path(folder, "filler")
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(2**20)):
            pass
    bind = ["report", "--profile", "smoke"]
    for status, said in (command(*bind), command("notebook", "01_data", "--profile", "smoke")):
        assert status == 2
        assert said.startswith(f"error: The disk is full: {folder} has 0.0 MB left, "), said
        assert "set COURSE_REPORTS to its new place" in said
    assert {path: path.read_bytes() for path in before} == before
    filler.unlink()
    assert command(*bind)[0] == 0


def test_libraries_say_in_words_of_their_own_that_the_disk_is_full():
    for words in (
        "Error while serializing: I/O error: No space left on device (os error 28)",  # safetensors
        "[enforce fail at inline_container.cc:672] . unexpected pos 606080 vs 605972",  # torch
        "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",  # pip
    ):
        assert refusal(RuntimeError(words)).startswith("The disk is full: ")
    try:
        try:
            raise OSError(28, "No space left on device")
        finally:
            raise RuntimeError("of a library")
    except RuntimeError as error:
        assert refusal(error).startswith("The disk is full: ")


# ---------------------------------------------------------------- no permission, and what else the system refuses


@mounts
def test_a_read_only_checkout_is_one_sentence(tmp_path):
    with_own_mounts(start_in_a_read_only_checkout, tmp_path)


def start_in_a_read_only_checkout(folder):
    os.environ.pop("COURSE_RUNS", None)
    (PROJECT / "runs").mkdir(exist_ok=True)
    make_read_only(str(PROJECT))
    status, said = command("run", "--profile", "smoke")
    assert status == 2
    assert said.startswith(f"error: {PROJECT}/runs cannot be written to (Read-only file system); set COURSE_RUNS")
    os.environ |= {"COURSE_RUNS": f"{folder}/runs", "COURSE_REPORTS": f"{folder}/reports"}
    status, said = command("run", "--profile", "smoke")
    assert status == 2
    assert said.startswith(f"error: {PROJECT}/") and "start in a copy of the project" in said


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(13, "Permission denied", "/our/runs/smoke"), "set COURSE_RUNS to a folder that is"),
        (RuntimeError("PermissionError: [Errno 13] Permission denied: '/our/runs'"), "/our/runs cannot be used"),
        (OSError(24, "Too many open files"), "ulimit -n 4096"),
        (MemoryError(), "--cores 1"),
        (RuntimeError("can't allocate memory: Error code 12 (Cannot allocate memory)"), "--cores 1"),
        (OSError(37, "No locks available"), "keeps no locks"),
    ],
)
def test_what_the_system_refuses_is_one_sentence(error, said, monkeypatch):
    monkeypatch.setenv("COURSE_RUNS", "/our/runs")
    assert said in refusal(error)


def test_other_errors_are_no_refusals():
    try:
        try:
            Path("/no/such/file").read_text()
        except FileNotFoundError:
            raise ValueError("of another kind") from None
    except ValueError as error:
        assert refusal(error) is None


def test_a_step_that_ends_without_a_word_is_explained(capsys):
    with Progress({}, at_once=1, dry_run=False, found={}) as progress:
        begun = {"event": "job_info", "jobid": 1, "rule_name": "notebook", "rule_msg": "Run notebook 01_data"}
        for event in (begun, {"event": "job_error", "jobid": 1, "log": ["logs/never-written.log"]}):
            progress.take(event)
    assert "it ended without a message, as when memory" in capsys.readouterr().out


# ---------------------------------------------------------------- this machine


def test_a_home_that_cannot_be_written_to_is_not_needed(tmp_path, monkeypatch):
    for variable in start.HOMELY:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert start.private_folders() == {}
    monkeypatch.setenv("HOME", str(tmp_path / "nowhere"))
    monkeypatch.setenv("MPLCONFIGDIR", "of-the-user")
    folders = start.private_folders()
    assert set(folders) == set(start.HOMELY) - {"MPLCONFIGDIR"}
    assert all(Path(folder).is_relative_to(start.STATE) for folder in folders.values())


def test_a_long_name_of_the_temporary_folder_costs_the_fork_server_alone(tmp_path, monkeypatch):
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with fork_server.fork_server({}) as variables:
        assert variables == {}


def test_memory_is_what_the_container_may_use(tmp_path, monkeypatch):
    monkeypatch.setattr(host, "CONTROL_GROUPS", tmp_path)
    (tmp_path / "memory").mkdir()
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        (tmp_path / name).write_text(f"{2**30}\n")
    if not Path("/proc/self/cgroup").is_file():
        pytest.skip("only Linux limits the memory of a group of processes")
    assert host.memory_mib() == 1024
