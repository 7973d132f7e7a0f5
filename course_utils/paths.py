"""Where things lie: the project, its runs, its assets, its reports."""

import os
import tempfile
from pathlib import Path

from course_utils.errors import CourseError

PROJECT = Path(__file__).resolve().parent.parent


def runs_folder() -> Path:
    """Folder of all runs; COURSE_RUNS moves it."""
    return Path(os.environ.get("COURSE_RUNS") or PROJECT / "runs").resolve()


def assets_folder() -> Path:
    """Folder of the embedded encoder and sentences; COURSE_ASSETS moves it."""
    return Path(os.environ.get("COURSE_ASSETS") or PROJECT / "assets").resolve()


def reports_folder() -> Path:
    """Folder of all reports, one subfolder an experiment; COURSE_REPORTS moves it."""
    return Path(os.environ.get("COURSE_REPORTS") or PROJECT / "reports").resolve()


def check_writable(folder: Path, variable: str) -> None:
    """Make `folder` if it is missing; CourseError, naming the environment `variable` that moves it, if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise CourseError(
            f"{folder} cannot be written to ({error.strerror}); set {variable} to a folder that you may write to."
        ) from None


def relative_to_project(path: Path | str) -> str:
    """`path` as written from the project's root where it lies inside, so that no machine's paths are recorded."""
    path = Path(path).resolve()
    return path.relative_to(PROJECT).as_posix() if path.is_relative_to(PROJECT) else str(path)
