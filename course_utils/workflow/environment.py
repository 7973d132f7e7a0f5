"""Decides which Python runs the course: the active environment if it has what is needed, else `.venv`, made if missing.

As a script, run by any Python from 3.11 on, this module prints the path of the chosen Python. It imports only the
standard library.
"""

from __future__ import annotations

import ast
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata, util
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
LOCK, INSTALLER, ABOUT = (PROJECT / name for name in ("requirements.lock", "installer.lock", "pyproject.toml"))
LOG = PROJECT / "logs" / "set-up.log"
VENV = PROJECT / ".venv"
PYTHON = VENV / "bin" / "python"
CACHE = PROJECT / ".venv.cache"  # beside .venv, so that uv can link its files; the home folder may be full
STAMP = VENV / "set-up"  # the first file of a .venv that is ours; in the end it says what was installed, and where
UNFINISHED = "unfinished\n"

# JupyterLab would ask at its first start whether it may fetch news, and look for newer versions than the lock's.
LAB_SETTINGS = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}

# uv does not read pip's settings: these are uv's names for them. A reader's UV_DEFAULT_INDEX overrides UV_INDEX_URL.
UV_NAMES = {
    "index-url": "UV_INDEX_URL", "extra-index-url": "UV_EXTRA_INDEX_URL", "find-links": "UV_FIND_LINKS",
    "no-index": "UV_OFFLINE", "constraint": "UV_CONSTRAINT", "trusted-host": "UV_INSECURE_HOST", "proxy": "ALL_PROXY",
    "timeout": "UV_HTTP_TIMEOUT", "default-timeout": "UV_HTTP_TIMEOUT", "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
}  # fmt: skip
CAUSES = {
    "no space left": "the disk is full: free some gigabytes",
    "do not match the hashes|hash mismatch": "a file is not the one whose hash the lock has: try another package index",
    "resolution|NewConnection|ConnectTimeout|Max retries|ProxyError|dns error|connect error|timed out|versions: none":
        "the package index cannot be reached or lacks a package: check the network, and the index that pip is set to",
}  # fmt: skip


class SetUpError(Exception):
    """The environment could not be made; the message is one sentence for the reader."""


def pins(lock: Path = LOCK) -> list[tuple[str, str, bool]]:
    """Name and version of every package of `lock` and pyproject.toml, and whether only some machines need it."""
    lines = lock.read_text(encoding="utf-8").splitlines() + tomllib.loads(ABOUT.read_text())["project"]["dependencies"]
    found = (re.match(r"([\w.-]+)==([^\s;]+)( ;)?", line) for line in lines)
    return [(pin[1], pin[2], bool(pin[3])) for pin in found if pin]


def satisfied(lock: Path = LOCK) -> bool:
    """Whether the Python that runs this has all packages in their versions; "2.13.0+cpu" will do for "2.13.0"."""
    mark = Path(sys.prefix, STAMP.name)
    if mark.is_file() and mark.read_text(encoding="utf-8") == UNFINISHED:
        return False
    installed = {re.sub(r"[-_.]+", "-", each.name).lower(): each.version for each in metadata.distributions()}
    return all(
        installed[name].partition("+")[0] == version if name in installed else optional
        for name, version, optional in ((name.lower(), *rest) for name, *rest in pins(lock))
    )


def choose_python() -> Path:
    """Path of the Python to use; makes `.venv`, or finishes it, where the active environment will not do."""
    active = [os.path.realpath(os.environ.get(name) or "none") for name in ("VIRTUAL_ENV", "CONDA_PREFIX")]
    if (os.path.realpath(sys.prefix) in active or not is_set_up()) and satisfied():
        return Path(sys.executable)
    if not is_set_up():
        with only_one_at_a_time() as held:
            if not is_set_up():
                set_up(held)
    return PYTHON


def is_set_up() -> bool:
    """Whether `.venv` was finished, at this very place, by this code from the locks as they are now."""
    return STAMP.is_file() and STAMP.read_text(encoding="utf-8") == finished() and PYTHON.exists()


def finished() -> str:
    """What the mark of a finished `.venv` says."""
    made_of = b"".join(path.read_bytes() for path in (LOCK, INSTALLER, ABOUT, Path(__file__)))
    return f"{hashlib.sha256(made_of).hexdigest()} {VENV}\n"


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


def set_up(held: int) -> None:
    """Make `.venv`, or bring it up to date; its commands keep the descriptor `held` open. Raises SetUpError."""
    if VENV.is_symlink() or (VENV.exists() and not STAMP.exists() and any(VENV.iterdir())):
        raise SetUpError(
            f".venv {'is a link' if VENV.is_symlink() else 'was made by something else'} and is left alone: move it"
            " away, or activate it if it has what requirements.lock lists, and start again."
        )
    if not (util.find_spec("ensurepip") and util.find_spec("venv")):
        package = f"python3.{sys.version_info.minor}-venv"
        raise SetUpError(f"{sys.executable} lacks its venv module: install it (Debian, Ubuntu: apt install {package}).")
    LOG.parent.mkdir(exist_ok=True)
    LOG.write_bytes(b"")
    say("Setting up .venv, once; this takes a minute or more. Details: logs/set-up.log")
    say("Downloads: about 0.6 GB with torch's CPU build, several GB with the CUDA build (see requirements.lock).")
    works = STAMP.is_file() and STAMP.read_text(encoding="utf-8").endswith(f" {VENV}\n") and PYTHON.exists()
    VENV.mkdir(exist_ok=True)
    STAMP.write_text(UNFINISHED, encoding="utf-8")
    if not works:  # half made, or moved here: made anew, mostly from the cache
        for left in set(VENV.iterdir()) - {STAMP}:
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
        python = sys._base_executable  # type: ignore[attr-defined]  # the running Python may have been in .venv
        run([python, "-I", "-m", "venv", VENV], held)
    pip: list[str | Path] = [PYTHON, "-I", "-m", "pip", "--no-input", "--disable-pip-version-check", "install"]
    pip += ["--progress-bar", "off"]
    try:
        run([*pip, "--no-deps", "--only-binary", ":all:", "-r", INSTALLER], held)
        install([VENV / "bin" / "uv", "pip", "install", "--python", PYTHON], held)
    except (SetUpError, OSError):
        say("uv cannot be had or used here, so pip installs the packages, which takes longer.")
        install([*pip, "--no-compile"], held)
    lab_settings = VENV / "share" / "jupyter" / "lab" / "settings" / "overrides.json"
    lab_settings.parent.mkdir(parents=True, exist_ok=True)
    lab_settings.write_text(json.dumps(LAB_SETTINGS), encoding="utf-8")
    STAMP.write_text(finished(), encoding="utf-8")
    shutil.rmtree(CACHE, ignore_errors=True)


def install(command: Sequence[str | Path], held: int) -> None:
    """Install with `command` what the lock lists, then torch and the project itself. Raises SetUpError."""
    run([*command, "--no-deps", "-r", LOCK], held)
    run([*command, "--no-build-isolation", "-e", PROJECT], held)


def run(command: Sequence[str | Path], held: int) -> None:
    """Run `command`, its output going to the log. Raises SetUpError, which says why the command failed."""
    with LOG.open("ab") as log:
        start = log.tell()
        done = subprocess.run(command, stdout=log, stderr=log, env=variables(), pass_fds=[held])
    if done.returncode:
        said = LOG.read_bytes()[start:].decode(errors="replace")
        errors = re.findall(r"(?i)^.*error.*$", said, re.MULTILINE) or said.splitlines() or ["no reason was given"]
        why = next((cause for words, cause in CAUSES.items() if re.search(words, said, re.IGNORECASE)), errors[-1])
        raise SetUpError(f"Set-up failed: {why.strip()}; then start again (details: logs/set-up.log).")


def variables() -> dict[str, str]:
    """The environment of installers: uv gets pip's settings, unless uv has settings of its own."""
    # Like pip, uv is to look for a version in every index; the hashes say whether it is the right file.
    ours = {"UV_CACHE_DIR": str(CACHE), "UV_INDEX_STRATEGY": "unsafe-best-match"}
    command: list[str | Path] = [PYTHON, "-I", "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True).stdout if PYTHON.exists() else ""
    for section in ("global", "install", ":env:"):
        for name, value in re.findall(rf"^{section}\.([\w-]+)=(.+)$", listed, re.MULTILINE):
            if name in UV_NAMES and (words := ast.literal_eval(value).split()):
                ours[UV_NAMES[name]] = ("," if name == "find-links" else " ").join(words)
    return ours | os.environ | {"PIP_USER": "0"}


def say(sentence: str) -> None:
    """Tell the reader; standard output is for the answer."""
    print(sentence, file=sys.stderr, flush=True)


def main() -> int:
    """Print the path of the Python to use."""
    try:
        print(choose_python())
        return 0
    except SetUpError as error:
        say(str(error))
    except OSError as error:
        why = f"{error.filename or PROJECT} cannot be written ({error.strerror})"
        say(f"{why}; make room, or get the right to write there, and start again.")
    except KeyboardInterrupt:
        say("\nStopped. The same command goes on from here.")
        return 130
    return 1


if __name__ == "__main__":
    sys.exit(main())
