"""The workflow on a real Slurm of one node, through Snakemake's own executor and the profile of this repository."""

import os
import shutil
import signal
import subprocess
import time

import pytest
from small import ADAPTER, HEAD
from whole_project import finish, start

from course_utils.paths import PROJECT
from course_utils.runs import read_run

SLURM = ["--", "--profile", "cluster/slurm", "--slurm-status-command", "squeue"]  # there is no accounting here
SLURM += ["--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "1"]
SLURM += ["--latency-wait", "1"]
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


def test_ctrl_c_takes_a_job_back_and_the_next_one_goes_on_to_the_same_run(project, request):
    run = project / "runs" / "smoke" / "main" / ADAPTER / "seed-0"
    shutil.rmtree(run)
    command = [project, *SLURM, f"{run.relative_to(project)}/result.json"]
    process = start(*command)
    under_way = poll(lambda: list(run.parent.glob(".seed-0.unfinished/checkpoints/*")), 240)
    assert under_way and process.poll() is None and queue()
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=90)
    assert process.returncode == 130 and "the same command goes on from here" in output
    # A job that is taken back stays in the queue until its processes have ended.
    assert poll(lambda: queue() == [], 30) and not run.exists()

    before = completed()
    finish(start(*command))
    assert queue() == [] and completed() == before + 1
    assert "training goes on from step" in (project / "logs" / "smoke" / f"main-{ADAPTER}-seed-0.log").read_text()
    # Not an argument, by which this test could run beside the other of this file.
    there = request.getfixturevalue("smoke").project / run.relative_to(project)
    assert read_run(run).result.metrics == read_run(there).result.metrics
    assert read_run(run).predictions().equals(read_run(there).predictions())


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
