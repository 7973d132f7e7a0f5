"""Where things lie: the project, its runs, its assets, its reports."""

import hashlib
import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
BIBLIOGRAPHY = PROJECT / "course_utils" / "references.bib"


def runs_folder() -> Path:
    """Folder of all runs; COURSE_RUNS moves it."""
    return Path(os.environ.get("COURSE_RUNS") or PROJECT / "runs").resolve()


def assets_folder() -> Path:
    """Folder of the embedded encoder and sentences; COURSE_ASSETS moves it."""
    return Path(os.environ.get("COURSE_ASSETS") or PROJECT / "assets").resolve()


def reports_folder() -> Path:
    """Folder of all reports, one subfolder an experiment; COURSE_REPORTS moves it."""
    return Path(os.environ.get("COURSE_REPORTS") or PROJECT / "reports").resolve()


def relative_to_project(path: Path | str) -> str:
    """`path` as written from the project's root where it lies inside, so that no machine's paths are recorded."""
    path = Path(path).resolve()
    return path.relative_to(PROJECT).as_posix() if path.is_relative_to(PROJECT) else str(path)


def find_folder(name: str) -> Path | None:
    """The folder called `name`, seen from the current folder or from the project's root."""
    place = find_path(name)
    return place if place and place.is_dir() else None


def find_path(name: str) -> Path | None:
    """The folder or file called `name`, seen from the current folder or from the project's root."""
    return next((place / name for place in starts() if os.path.exists(place / name)), None)


def starts() -> list[Path]:
    """Where relative names start: where the reader stands, whom a script may have taken elsewhere, then the project."""
    return [Path(os.environ.get("COURSE_FROM") or Path.cwd()), PROJECT]


def sha256_of(file: Path) -> str:
    """SHA-256 of what is in `file`, in hex."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
