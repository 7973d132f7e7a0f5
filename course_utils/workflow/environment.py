"""Decides which Python runs the course: the active environment if it satisfies the lock, else `.venv`, made if missing.

Run as a script by any Python from 3.11 on it prints that Python's path; it imports nothing but the standard library.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata, util
from pathlib import Path
from typing import TextIO

PROJECT = Path(__file__).resolve().parents[2]
LOCK = PROJECT / "requirements.lock"
VENV = PROJECT / ".venv"
LOG = PROJECT / "logs" / "set-up.log"

# JupyterLab would ask at its first start whether it may fetch news, and look for newer versions than the lock's.
LAB_SETTINGS = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}

NO_NETWORK = re.compile(r"name resolution|NewConnectionError|ConnectTimeout|Max retries|ProxyError|from versions: none")


class SetUpError(Exception):
    """The environment could not be made; the message is one sentence for the reader."""


def pins(lock: Path = LOCK) -> dict[str, str]:
    """Package → exact version, as `lock` says."""
    lines = (line.partition("#")[0].strip() for line in lock.read_text(encoding="utf-8").splitlines())
    return dict(line.split("==") for line in lines if line)


def satisfied(lock: Path = LOCK) -> bool:
    """Whether the Python that runs this has every package of `lock` in its exact version.

    A local version ("2.13.0+cpu") satisfies the public one.
    """
    try:
        return all(metadata.version(name).partition("+")[0] == version for name, version in pins(lock).items())
    except metadata.PackageNotFoundError:
        return False


def choose_python() -> Path:
    """Path of the Python to use; makes `.venv`, or finishes it, where the active environment will not do."""
    active = [os.environ[name] for name in ("VIRTUAL_ENV", "CONDA_PREFIX") if os.environ.get(name)]
    if any(os.path.samefile(folder, sys.prefix) for folder in active) and satisfied():
        return Path(sys.executable)
    if not is_set_up():
        if satisfied():
            return Path(sys.executable)
        with only_one_at_a_time() as held:
            if not is_set_up():
                make_venv(held)
    return venv_python()


def venv_python() -> Path:
    """The Python of `.venv`."""
    return VENV / "bin" / "python"


def is_set_up() -> bool:
    """Whether `.venv` was finished, at this very place, by this code from the lock as it is now."""
    stamp = VENV / "set-up"
    return stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted_stamp() and venv_python().exists()


def wanted_stamp() -> str:
    """What the file `.venv/set-up`, written last, says of a finished `.venv`."""
    made_of = hashlib.sha256(LOCK.read_bytes() + Path(__file__).read_bytes())
    return f"{made_of.hexdigest()} {VENV}\n"


@contextmanager
def only_one_at_a_time() -> Iterator[int]:
    """Hold the lock of `.venv` and yield its descriptor; the system frees it when all who have it open have ended."""
    with open(PROJECT / ".venv.lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another start is making .venv; waiting for it.")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def make_venv(held: int) -> None:
    """Make or finish `.venv` from the lock, pip keeping the descriptor `held` open. Raises SetUpError."""
    if VENV.is_symlink():
        raise SetUpError(
            f"{shown(VENV)} is a link to {VENV.readlink()}, which is not this project's to change; remove the link, or"
            " activate that environment if it has what requirements.lock lists, and start again."
        )
    if util.find_spec("ensurepip") is None or util.find_spec("venv") is None:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise SetUpError(
            f"{sys.executable} cannot make a virtual environment, for its venv module is missing; install it"
            f" (Debian and Ubuntu: apt install python{version}-venv) and start again."
        )
    LOG.parent.mkdir(exist_ok=True)
    with LOG.open("w", encoding="utf-8") as log:
        if not was_made_here():
            command = [sys.executable, "-I", "-m", "venv", "--clear", str(VENV)]
            if subprocess.run(command, stdout=log, stderr=log).returncode:
                raise SetUpError(f"Python could not make {VENV}: {last_error()}; details: {shown(LOG)}")
        install(log, held)
    site = next((VENV / "lib").glob("python*/site-packages"))
    # So that notebooks and scripts import the package wherever they are started.
    (site / "course_project.pth").write_text(f"{PROJECT}\n", encoding="utf-8")
    lab_settings = VENV / "share" / "jupyter" / "lab" / "settings" / "overrides.json"
    lab_settings.parent.mkdir(parents=True, exist_ok=True)
    lab_settings.write_text(json.dumps(LAB_SETTINGS), encoding="utf-8")
    (VENV / "set-up").write_text(wanted_stamp(), encoding="utf-8")


def was_made_here() -> bool:
    """Whether `.venv` holds an environment that was made at this place: one that was moved does not work."""
    made = VENV / "pyvenv.cfg"
    works = venv_python().exists() and any((VENV / "lib").glob("python*/site-packages/pip/__main__.py"))
    return works and made.is_file() and f" {VENV}\n" in made.read_text(encoding="utf-8")


def install(log: TextIO, held: int) -> None:
    """Install the lock into `.venv`, pip's words going to `log`. Raises SetUpError."""
    for record in (VENV / "lib").glob("python*/site-packages/*.dist-info"):
        if not (record / "RECORD").exists():  # a killed pip writes it last, and would take the rest for whole
            shutil.rmtree(record)
    say(f"Setting up .venv from requirements.lock, once; this takes minutes. Details: {shown(LOG)}")
    say("Downloads: about 0.6 GB with torch's CPU build, several GB with the CUDA build (see requirements.lock).")
    command = [str(venv_python()), "-I", "-m", "pip", "install", "--requirement", str(LOCK)]
    command += ["--no-input", "--progress-bar", "off", "--disable-pip-version-check"]
    started, total, seen = time.monotonic(), len(pins()), 0
    pip = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=os.environ | {"PIP_USER": "0"},
        pass_fds=[held],  # should this process be killed, its pip still keeps others out
    )
    for line in pip.stdout:
        log.write(line)
        log.flush()
        seen += line.startswith(("Collecting ", "Requirement already satisfied:"))
        doing = "installing" if line.startswith("Installing collected") else f"package {min(seen, total)} of {total}"
        show_live(f"{doing}, {time.monotonic() - started:.0f} s")
    show_live("")
    if pip.wait():
        raise SetUpError(explain_failure(LOG.read_text(encoding="utf-8")))
    say(f"Set up in {time.monotonic() - started:.0f} s.")


def explain_failure(text: str) -> str:
    """One sentence on what went wrong, from what pip said."""
    if "No space left on device" in text:
        return f"The disk is full: free some gigabytes and start again; details: {shown(LOG)}"
    if NO_NETWORK.search(text):
        return (
            "pip could not get the packages: check the network, or the package index that pip is set to use,"
            f" and start again (what is there is kept); details: {shown(LOG)}"
        )
    return f"pip could not install requirements.lock ({last_error()}); details: {shown(LOG)}"


def last_error() -> str:
    """Last line of the log that names an error, or its last line."""
    lines = [line.strip() for line in LOG.read_text(encoding="utf-8").splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if "error" in line.lower()]
    return (errors or lines or ["no reason given"])[-1].rstrip(".")


def shown(path: Path) -> str:
    """`path` as seen from the project."""
    return str(path.relative_to(PROJECT))


def say(sentence: str) -> None:
    """Tell the reader; standard output is for the answer."""
    print(sentence, file=sys.stderr, flush=True)


def show_live(text: str) -> None:
    """Overwrite the line that a watching person sees; nothing where nobody watches."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def main() -> int:
    """Print the path of the Python to use."""
    try:
        print(choose_python())
    except SetUpError as error:
        say(str(error))
        return 1
    except OSError as error:
        place = error.filename or PROJECT
        say(f"{place} cannot be written ({error.strerror}); make room, or make it yours, and start again.")
        return 1
    except KeyboardInterrupt:
        say("\nStopped. The same command goes on from here.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
