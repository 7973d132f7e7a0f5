"""The workflow on a real Slurm of one node, through Snakemake's own executor and the profile of this repository."""

import os
import shutil
import signal
import subprocess
import time

import pytest
from small import ADAPTER, HEAD, MULTIPLIED
from whole_project import finish, start

from course_utils.paths import PROJECT
from course_utils.runs import read_run

SLURM = ["--", "--profile", "cluster/slurm", "--slurm-status-command", "squeue"]  # there is no accounting here
SLURM += ["--slurm-init-seconds-before-status-checks", "3", "--seconds-between-status-checks", "3"]
SLURM += ["--latency-wait", "5"]
TOOLS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """A Slurm that lasts as long as the tests of this file."""
    missing = [name for name in TOOLS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    if missing or os.geteuid():
        pytest.skip(f"needs root and Debian's slurm-wlm and munge ({', '.join(missing) or 'not root'})")
    script = PROJECT / "tests" / "workflow" / "slurm.sh"
    environment = os.environ | {"PATH": f"{os.environ['PATH']}:/usr/sbin"}
    said = tmp_path_factory.mktemp("slurm") / "said"  # no pipe: the daemons would hold it open
    with said.open("w") as file:
        started = subprocess.run([script, "start"], env=environment, stdout=file, stderr=file)
    if started.returncode:
        pytest.skip(f"Slurm does not start here: {said.read_text()}")
    yield
    subprocess.run([script, "stop"], check=True, env=environment)


@pytest.fixture(scope="module")
def project(slurm, smoke, tmp_path_factory):
    """A copy of the project of the smoke run, whose inputs are at hand."""
    return shutil.copytree(smoke.project, tmp_path_factory.mktemp("cluster") / "project", symlinks=True)


def queue() -> list[str]:
    return subprocess.check_output(["squeue", "--noheader", "--format=%i"], text=True).split()


def poll(condition, seconds: float) -> bool:
    """Whether `condition` came true within so many `seconds`."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.2)
    return True


RUNS = {method: f"runs/smoke/main/{method}/seed-0" for method in (ADAPTER, MULTIPLIED)}


def start_without_runs(project):
    """A start on the cluster that has to make the runs of `RUNS`."""
    for run in RUNS.values():
        shutil.rmtree(project / run, ignore_errors=True)
    return start(project, *SLURM, *(f"{run}/result.json" for run in RUNS.values()))


def test_ctrl_c_takes_the_jobs_back(project):
    process = start_without_runs(project)
    under_way = poll(lambda: list(project.glob("runs/smoke/main/*/.seed-0.unfinished/checkpoints/*")), 240)
    assert under_way and process.poll() is None and queue()
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=90)
    assert process.returncode == 130 and "the same command goes on from here" in output
    # A job that is taken back stays in the queue until its processes have ended.
    assert poll(lambda: queue() == [], 30)


def test_runs_are_made_by_jobs_and_are_the_same(project, request):
    before = completed()
    finish(start_without_runs(project))
    assert queue() == [] and completed() == before + len(RUNS)
    smoke = request.getfixturevalue("smoke")
    for run in RUNS.values():
        here, there = read_run(project / run), read_run(smoke.project / run)
        assert here.result.metrics == there.result.metrics
        assert here.predictions().equals(there.predictions())


def completed() -> int:
    """How many jobs have come to a good end."""
    jobs = subprocess.check_output(["scontrol", "show", "jobs", "--oneliner"], text=True)
    return jobs.count("JobState=COMPLETED")


def test_several_processes_train_inside_one_job(project):
    run = project / "runs" / "smoke" / "main" / HEAD / "seed-0"
    shutil.rmtree(run)
    finish(start(project, *SLURM, f"{run.relative_to(project)}/result.json", COURSE_PROCESSES="2"))
    assert read_run(run).result.environment.processes == 2
    assert queue() == []
