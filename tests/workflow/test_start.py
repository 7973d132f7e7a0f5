"""The one command: it refuses what is wrong, does what is not up to date, and leaves nothing running."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import psutil
import pytest
from small import ADAPTER, FULL, GATED, MULTIPLIED, QUANTISED
from whole_project import finish, marked, start, steps

from course_utils.__main__ import main
from course_utils.config import load_experiment
from course_utils.errors import CourseError
from course_utils.inputs import sources
from course_utils.methods import METHODS
from course_utils.paths import PROJECT
from course_utils.text import duration
from course_utils.workflow import doctor
from course_utils.workflow import progress as progress_module
from course_utils.workflow import start as one_command
from course_utils.workflow.notebooks import NOTEBOOKS, check_parameters, notebook_names
from course_utils.workflow.progress import Progress


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--profile", "quik"], "quick"),
        (["-p", "rnk=4"], "rank"),
        (["-p", "rank"], "NAME=VALUE"),
        (["--seeds", "0"], "1 to 1000"),
        (["--seeds", "three"], "1 to 1000"),
        (["--cores", "0"], "greater than or equal to 1"),
        (["--cores", "two"], "--cores"),
        (["--nonsense"], "course_utils run --help"),
        (["smoke"], "smoke"),
    ],
)
def test_what_is_wrong_is_said_before_any_work(options, said, runs_in, capsys):
    assert main(["run", *options]) == 2
    printed = capsys.readouterr()
    assert said in printed.err and printed.err.count("\n") == 1
    assert printed.out == ""
    assert not runs_in.exists()


def test_a_start_does_not_wait_for_torch():
    """What the start and Snakemake import, before either knows whether there is anything to do."""
    snakefile = (PROJECT / "Snakefile").read_text("utf-8")
    imports = re.findall(r"^from course_utils.* import .*$", snakefile, re.MULTILINE)
    code = "\n".join(["import sys, course_utils.workflow.start", *imports, "sys.exit('torch' in sys.modules)"])
    assert len(imports) > 5 and subprocess.run([sys.executable, "-c", code], cwd=PROJECT).returncode == 0


def test_settings_are_announced_with_who_takes_them(capsys):
    experiment = load_experiment("smoke", {"rank": "4", f"{ADAPTER}.alpha": "32", "epochs": "2"})
    one_command.announce(experiment, cores=2)
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert f"rank = 4: {ADAPTER}, {GATED}, {QUANTISED}, {MULTIPLIED}" in lines
    assert f"{ADAPTER}.alpha = 32.0: {ADAPTER}" in lines
    assert "epochs = 2: every run" in lines


# ---------------------------------------------------------------- how it gets on

SNAKEFILE = """
rule all:
    input: "trained", "full", "02_lora"
rule train_lora:
    output: "trained"
    message: "Train LoRA, seed 0 (main)"
    shell: "touch {output}"
rule train_full:
    input: "trained"
    output: "full"
    log: "full.log"
    message: "Train Full fine-tuning, seed 0 (lr-1e-3)"
    priority: 1
    shell: "(echo Traceback; echo error: there is no such folder) > {log}; exit 3"
rule notebook:
    input: "trained"
    output: "02_lora"
    message: "Run notebook 02_lora"
    shell: "touch {output}"
"""


def follow(folder, *options, dry_run=False):
    """Snakemake at work on `SNAKEFILE` in `folder`, followed by a Progress; its exit status, and what that learned."""
    (folder / "Snakefile").write_text(SNAKEFILE)
    command = [sys.executable, "-m", "snakemake", "--snakefile", folder / "Snakefile", "--directory", folder]
    command += ["--logger", "course", "--cores", "1", "--keep-going", *["--dry-run"] * dry_run, *options]
    with (
        (folder / "snakemake.log").open("w") as log,
        Progress({"train_lora": 60.0, "train_full": 150.0}, at_once=2, dry_run=dry_run, found={}) as progress,
    ):
        return one_command.snakemake(command, one_command.variables(), log, progress, elsewhere=False), progress


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--groups", "train_lora=g"]])
def test_progress_says_which_step_of_how_many_and_why_one_failed(options, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress_module, "PROJECT", tmp_path)  # which names of logs are relative to
    status, progress = follow(tmp_path, *options)
    lines = capsys.readouterr().out.splitlines()
    assert status == 1
    assert lines[0].startswith("[1/3]  Train LoRA, seed 0 (") and " s), about " in lines[0]
    assert lines[1] == "FAILED  Train Full fine-tuning, seed 0 (lr-1e-3): there is no such folder (see full.log)"
    assert lines[2].startswith("[2/3]  Run notebook 02_lora (")
    assert progress.reason(tmp_path / "snakemake.log") == "1 step failed"
    assert progress.failed_rules == {"train_full"}


@pytest.mark.slow
def test_a_dry_run_lists_the_steps(tmp_path, capsys):
    status, progress = follow(tmp_path, dry_run=True)
    lines = capsys.readouterr().out.splitlines()
    assert status == 0 and progress.total == len(lines) == 3 and lines[0] == "    1  Train LoRA, seed 0"
    assert "This was a dry-run" in (tmp_path / "snakemake.log").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("option", "said"), [("--nonsense", "--nonsense"), ("no-such-file", "no-such-file")])
def test_what_snakemake_refuses_is_the_reason(option, said, tmp_path):
    status, progress = follow(tmp_path, option)
    reason = progress.reason(tmp_path / "snakemake.log")
    assert status != 0 and said in reason and "\n" not in reason


def test_ctrl_c_is_said_and_has_its_own_exit_status(monkeypatch, capsys):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "main", interrupted)
    assert main(["doctor"]) == 130
    assert "the same command goes on from here" in capsys.readouterr().err


def test_durations_are_rough():
    assert [duration(s) for s in (0.4, 99, 600, 7200)] == ["0 s", "99 s", "10 min", "2.0 h"]


# ---------------------------------------------------------------- one at a time, and no orphans


HOLD = """
import pathlib, time
from course_utils.workflow import start
start.STATE = pathlib.Path()
with start.only_one_at_a_time():
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_start_waits_and_says_so(tmp_path):
    def hold():
        environment = os.environ | {"PYTHONPATH": str(PROJECT)}
        return subprocess.Popen(
            [sys.executable, "-c", HOLD], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
        )

    first = hold()
    assert first.stdout.readline() == "held\n"
    second = hold()
    assert f"(process {first.pid} on " in second.stdout.readline()
    first.kill()  # it cannot take back its lock
    assert second.stdout.readline() == "held\n"
    second.kill()
    for process in (first, second):
        process.communicate()


@pytest.mark.slow
def test_what_a_killed_start_left_running_is_ended_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(one_command, "STATE", tmp_path)
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    left, other = (
        subprocess.Popen(
            [sys.executable, "-c", stubborn], env=environment, stdout=subprocess.PIPE, start_new_session=True
        )
        for environment in (one_command.variables(), dict(os.environ))
    )
    try:
        for process in (left, other):
            process.stdout.readline()
        one_command.end_marked_processes()
        assert not psutil.pid_exists(left.pid)
        assert other.poll() is None
    finally:
        for process in (left, other):
            process.kill()
            process.communicate()


# ---------------------------------------------------------------- notebooks and inputs


def test_every_notebook_takes_the_parameters_that_the_workflow_gives():
    names = notebook_names(list(METHODS))
    assert names
    for name in names:
        check_parameters(NOTEBOOKS / f"{name}.ipynb", {"profile", "seed", "overrides"})


def test_a_parameter_that_a_notebook_does_not_take_is_refused(tmp_path):
    cell = nbformat.v4.new_code_cell("profile = 'quick'\nsede: int = 0")
    cell.metadata["tags"] = ["parameters"]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=metadata), tmp_path / "07_more.ipynb")
    with pytest.raises(CourseError, match="sede"):
        check_parameters(tmp_path / "07_more.ipynb", {"profile", "seed"})


def test_notebooks_of_methods_that_a_profile_lacks_are_left_out():
    assert set(notebook_names(["head", "full", ADAPTER])) == {"01_data", "02_lora", "06_comparison", "07_pitfalls"}


def test_changed_files_of_the_readers_own_are_noticed(tmp_path):
    (tmp_path / "train.tsv").touch()
    (tmp_path / "notes.txt").touch()
    config = load_experiment("smoke", {"data": str(tmp_path)}).config(ADAPTER)
    assert [path.name for path in config.files()] == ["train.tsv"]
    assert load_experiment("smoke").config(ADAPTER).files() == []


def test_doctor_names_what_a_profile_lacks(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "PROJECT", tmp_path)  # where no copy of the data lies
    small = {"memory": 1.0, "disk": 0.1, "hub": False}
    replication = load_experiment("sst2", {"base_model": "distilbert-base-uncased"})
    assert doctor.obstacles(replication, memory=512.0, disk=900.0, hub=True) == []
    lacking = " ".join(doctor.obstacles(replication, **small))
    assert "disk" in lacking and "memory" in lacking and "-p base_model=FOLDER -p data=FOLDER" in lacking
    assert "hub" not in " ".join(doctor.obstacles(load_experiment("quick"), **small))


# ---------------------------------------------------------------- the real thing


@pytest.mark.slow
def test_smoke_run_makes_everything(smoke):
    project = smoke.project
    assert "reports/smoke/report.html" in smoke.output.splitlines()[-1]
    assert marked(smoke.project) == []
    for config in load_experiment("smoke").configs():
        assert (smoke.project / "runs" / config.path / "result.json").is_file()
    report = smoke.project / "reports" / "smoke"
    for name in ("report.html", "report.pdf", "gallery.html", "comparison.csv"):
        assert (report / name).stat().st_size > 500
    executed = sorted(path.name for path in (report / "notebooks").iterdir())
    assert executed == sorted(path.name for path in NOTEBOOKS.glob("[0-9]*.ipynb"))
    for path in (report / "notebooks").iterdir():
        text = path.read_text(encoding="utf-8")
        assert json.loads(text)["metadata"]["papermill"]["exception"] is None
        assert str(project) not in text and str(Path.home()) not in text


def trained(project, *options) -> set[str]:
    """The runs that Snakemake says are to be made in `project`; unlike a dry run of ours, this looks at no data."""
    shutil.rmtree(project / "logs")
    finish(start(project, *options, "--", "--dry-run"))
    [log] = (project / "logs").glob("*-smoke.log")
    return set(re.findall(r"^Job \d+: (Train .*), seed 0 \(main\)$", log.read_text("utf-8"), re.MULTILINE))


@pytest.mark.slow
def test_what_is_up_to_date_is_not_done_again_and_what_is_not_is(own_smoke):
    """In a copy of the checkout in another place, which is as up to date as the one that it is a copy of."""
    assert "Everything is up to date" in finish(start(own_smoke))

    path = own_smoke / "notebooks" / "01_data.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].source += "\n\nOne sentence more."
    nbformat.write(notebook, path)
    shutil.rmtree(own_smoke / "runs" / "smoke" / "main" / MULTIPLIED)
    chapters = {f"Run notebook {name}" for name in ("01_data", "05_hira", "06_comparison")}
    of_all = {"Measure what needs weights or a clock", "Bind the report"}
    lines = finish(start(own_smoke, "--dry-run")).splitlines()
    listed = {words.group(1) for words in (re.match(r" +\d+  (.+)", line) for line in lines) if words}
    assert listed == {"Train HiRA, seed 0", *chapters, *of_all}

    module = own_smoke / "course_utils" / "methods" / f"{GATED}.py"
    module.write_text(module.read_text("utf-8") + "\nCHANGED = True\n", "utf-8")
    assert trained(own_smoke) == {"Train HiRA", "Train Sparse LoRA"}
    assert trained(own_smoke, "--keep-old-runs") == {"Train HiRA"}


@pytest.mark.slow
def test_runs_and_a_chapter_that_fail_are_missing_from_a_report_of_the_others(own_smoke):
    chapter = own_smoke / "notebooks" / "07_pitfalls.ipynb"
    notebook = nbformat.read(chapter, as_version=4)
    notebook.cells.insert(1, nbformat.v4.new_code_cell("raise ValueError"))
    nbformat.write(notebook, chapter)
    runs = own_smoke / "runs" / "smoke"
    for method in (FULL, GATED, QUANTISED, MULTIPLIED):
        shutil.rmtree(runs / "main" / method)
        (runs / "main" / method).mkdir()
        (runs / "main" / method / ".seed-0.unfinished").write_text("a file where the run's folder should be")
    (runs / "measured.json").unlink()  # as where the runs have failed from the first start on
    process = start(own_smoke)
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 1
    assert "FAILED  Train HiRA, seed 0" in output and "Not everything could be made: 5 steps failed" in output
    assert {step for step in steps(output) if step.startswith("Train")} == set()
    assert output.count("Going on to a report without") == 1  # what failed, runs and chapters together
    report = own_smoke / "reports" / "smoke"
    assert "not run, or failed" in (report / "comparison.csv").read_text(encoding="utf-8")
    html = (report / "report.html").read_text(encoding="utf-8")
    assert "Runs that cannot be used" in html and "How a comparison goes wrong</h" not in html
    left = ["01_data", "02_lora", "06_comparison"]  # and not those of the smoke run before, which are no part of this
    assert sorted(path.stem for path in (report / "notebooks").iterdir()) == left
    assert "07_pitfalls" in html.partition("Not run")[2] or "07_pitfalls" in html.rpartition("Not run")[2]
