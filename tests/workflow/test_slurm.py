"""The workflow on a real Slurm of one node, through Snakemake's own executor and the profile of this repository."""

import os
import shutil
import signal
import subprocess
import time

import pytest
from small import ADAPTER, MULTIPLIED
from whole_project import copy_project, finish, start

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
def project(slurm, tmp_path_factory):
    return copy_project(tmp_path_factory.mktemp("cluster") / "project")


def queue() -> list[str]:
    return subprocess.check_output(["squeue", "--noheader", "--format=%i"], text=True).split()


def test_runs_are_made_by_jobs_and_are_the_same(project, smoke):
    wanted = {method: f"runs/smoke/main/{method}/seed-0" for method in (ADAPTER, MULTIPLIED)}
    finish(start(project, *SLURM, *(f"{run}/result.json" for run in wanted.values())))
    assert queue() == []
    jobs = subprocess.check_output(["scontrol", "show", "jobs", "--oneliner"], text=True)
    assert jobs.count("JobState=COMPLETED") == 1 + len(wanted), jobs  # the inputs, then a job a run
    for run in wanted.values():
        here, there = read_run(project / run), read_run(smoke.project / run)
        assert here.result.metrics == there.result.metrics
        assert here.predictions().equals(there.predictions())


def test_ctrl_c_takes_the_jobs_back(project):
    process = start(project, "-p", "epochs=50", *SLURM)
    until = time.monotonic() + 120
    while not list(project.glob("runs/smoke+*/main/*/.seed-0.unfinished/checkpoints/*")):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(1)
    assert queue()
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=90)
    assert process.returncode == 130 and "the same command goes on from here" in output
    time.sleep(5)  # a job that is taken back stays in the queue until its processes have ended
    assert queue() == []


def test_several_processes_train_inside_one_job(project):
    run = project / "runs" / "smoke" / "main" / "head" / "seed-0"
    finish(start(project, *SLURM, f"{run.relative_to(project)}/result.json", COURSE_PROCESSES="2"))
    assert read_run(run).result.environment.processes == 2
    assert queue() == []
