"""A report without what failed: one more try for all of it, and nothing left of an older report; forced steps."""

import subprocess
import sys

import pytest
from small import ADAPTER
from whole_project import copy_project

from course_utils.config import load_experiment
from course_utils.workflow import start

STEPS = """
import sys
from pathlib import Path
report = Path("reports", "smoke")
made = [report / name for name in ("report.html", "report.pdf", "comparison.csv", "gallery.html")]
made += [report / "paper.pdf"] if (report / "notebooks" / "06_comparison.ipynb").exists() else []
for file in made if sys.argv[1] == "report" else [Path("runs", "smoke", "baselines.parquet")]:
    if not file.exists():
        file.write_text("new")
"""


@pytest.fixture
def project(tmp_path):
    """A copy of the project in which the steps report and baselines only write what is missing of their outputs."""
    copy = copy_project(tmp_path / "a copy")
    (copy / "course_utils" / "__main__.py").write_text(STEPS)
    return copy


def snakemake(project, rule, *config):
    command = [sys.executable, "-m", "snakemake", rule, "--cores", "1", "--allowed-rules", rule, "--forcerun", rule]
    variables = start.variables() | {"PYTHONPATH": str(project)}
    variables |= {f"COURSE_{name.upper()}": str(project / name) for name in ("runs", "reports")}
    done = subprocess.run(
        [*command, "--config", "profile=smoke", *config], cwd=project, env=variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def write(project, *names):
    for file in (project / name for name in names):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("old")


@pytest.mark.slow
def test_a_report_without_chapters_leaves_no_older_copy_of_them_and_no_older_paper(project):
    chapters = sorted(path.name for path in (project / "notebooks").glob("[0-9]*.ipynb"))
    report = project / "reports" / "smoke"
    write(report, *(f"notebooks/{name}" for name in chapters), "paper.pdf")
    write(project, f"runs/smoke/main/{ADAPTER}/seed-0/result.json")  # the one run that there is
    snakemake(project, "report", "without=runs,07_pitfalls")
    left = ["01_data.ipynb", "02_lora.ipynb", "06_comparison.ipynb"]
    assert sorted(path.name for path in (report / "notebooks").iterdir()) == left
    assert (report / "paper.pdf").read_text() == "new"
    snakemake(project, "report", "without=06_comparison,07_pitfalls,runs")
    assert not (report / "paper.pdf").exists() and not (report / "notebooks" / "06_comparison.ipynb").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("config", "found"), [([], "old"), (["force=1"], "new")])
def test_baselines_are_found_unless_every_step_is_run_again(project, config, found):
    write(project, "runs/smoke/inputs.json", "runs/smoke/baselines.parquet")
    snakemake(project, "baselines", *config)
    assert (project / "runs" / "smoke" / "baselines.parquet").read_text() == found


def test_a_run_and_a_chapter_that_fail_are_left_out_in_one_more_try(tmp_path, monkeypatch, capsys):
    fail = {
        0: [(f"train_{ADAPTER}", "Train it"), ("notebook", "Run notebook 07_pitfalls")],
        1: [("notebook", "Run notebook 06_comparison"), ("measure", "Measure")],
    }
    commands = []

    def snakemake(command, variables, log, progress, elsewhere):
        failing = fail.get(len(commands), [])
        commands.append(command)
        for number, (rule, title) in enumerate(failing):
            progress.take({"event": "job_info", "jobid": number, "rule_name": rule, "rule_msg": title})
            progress.take({"event": "job_error", "jobid": number, "log": ["logs/none.log"]})
        return int(bool(failing))

    monkeypatch.setattr(start, "snakemake", snakemake)
    monkeypatch.setattr(start, "PROJECT", tmp_path)
    command = ["snakemake", "--forceall", "--config", "profile=smoke", "force=1"]
    assert start.follow(command, load_experiment("smoke"), cores=1, dry_run=False, elsewhere=True) == 1
    again = ["snakemake", "--config", "profile=smoke"]
    left_out = ["without=07_pitfalls,runs", "without=06_comparison,07_pitfalls,runs"]
    assert commands == [command, *([*again, word] for word in left_out)]
    said = capsys.readouterr()
    assert "without the runs that failed and 07_pitfalls." in said.out and "without 06_comparison." in said.out
    assert said.err.count("2 steps failed") == 2
