"""A copy of the project in which tests start the one command, as a user does."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import psutil
import pytest
from safetensors.numpy import load_file

from course_utils.paths import PROJECT
from course_utils.runs import is_unchanged, read_run
from course_utils.workflow.start import MARK

# A shell lets what it starts in the background ignore Ctrl-C, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# In the environment of a run whose every file is then searched for them.
SECRETS = {"HF_TOKEN": "hf_" + "canary" * 6, "HUGGING_FACE_HUB_TOKEN": "hf_" + "finch" * 6, "HOME": "/nonexistent"}


def copy_project(folder: Path) -> Path:
    """A copy of the project's files in `folder`, which shares nothing but the assets with this checkout."""
    files = subprocess.check_output(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=PROJECT, text=True
    )
    for name in filter(None, files.split("\0")):
        if (PROJECT / name).is_file() and not name.startswith("reports/full"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, folder / name)
    return folder


def start(project: Path, *options: str, **variables: str) -> subprocess.Popen:
    """`./run_all.sh --profile smoke` with `options`, in an environment with `variables`."""
    places = {"COURSE_RUNS": "runs", "COURSE_REPORTS": "reports"}
    return subprocess.Popen(
        [project / "run_all.sh", "--profile", "smoke", *options],
        env=os.environ
        | {name: str(project / folder) for name, folder in places.items()}
        | {"VIRTUAL_ENV": sys.prefix, "COURSE_ASSETS": os.environ.get("COURSE_ASSETS", str(PROJECT / "assets"))}
        | variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen) -> str:
    """The output of a start that must come to a good end."""
    try:
        output, _ = process.communicate(timeout=900)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        pytest.fail(f"It has not come to an end in a quarter of an hour. It said:\n{output}")
    assert process.returncode == 0, output
    return output


def steps(output: str) -> list[str]:
    """The steps that a start says it has done."""
    return [line.partition("]  ")[2].partition(" (")[0] for line in output.splitlines() if line.startswith("[")]


def marked(project: Path) -> list[psutil.Process]:
    """The processes that starts in `project` have started and that still run."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == str(project / ".snakemake"):
                found.append(process)
        except psutil.Error:
            pass
    return found


def outcome(project: Path) -> dict:
    """What a smoke run in `project` came to, without times and memory; every file of it is checked to be whole."""
    found = {}
    for record in sorted((project / "runs" / "smoke").rglob("result.json")):
        run, result = read_run(record.parent), read_run(record.parent).result
        assert is_unchanged(run), record
        history = run.history().drop(columns="step_ms")
        found[record.parent.relative_to(project).as_posix()] = {
            **{name: getattr(result, name) for name in ("fingerprint", "config", "metrics", "parameters", "method")},
            "predictions": _bytes(run.predictions()),
            "history": _bytes(history),
            "tensors": {
                f"{file.name}/{name}": tensor.tobytes()
                for file in sorted(record.parent.rglob("*.safetensors"))
                for name, tensor in load_file(file).items()
            },
        }
    assert not list(project.glob("runs/**/.*.unfinished")), "a run that is neither finished nor gone"
    report = project / "reports" / "smoke"
    assert (report / "report.html").read_text(encoding="utf-8").rstrip().endswith("</html>")
    for name in ("report.pdf", "paper.pdf"):
        assert (report / name).read_bytes().rstrip().endswith(b"%%EOF")
    for path in sorted((report / "notebooks").glob("*.ipynb")):
        papermill = nbformat.read(path, as_version=4).metadata.papermill
        assert papermill.end_time and papermill.exception is None, path
        found[path.name] = "executed to its end"
    found["comparison.csv"] = len(pd.read_csv(report / "comparison.csv"))
    return found


def _bytes(frame: pd.DataFrame) -> dict[str, bytes]:
    """The columns of `frame` to the bit, so that two missing numbers are equal."""
    return {name: b"\0".join(repr(value).encode() for value in column) for name, column in frame.items()}
