"""Where things lie: the project, its runs, its assets, its reports."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
LFS_POINTER = b"version https://git-lfs"
BIBLIOGRAPHY = PROJECT / "course_utils" / "references.bib"


def runs_folder() -> Path:
    """Folder of all runs; COURSE_RUNS moves it."""
    return Path(os.environ.get("COURSE_RUNS") or PROJECT / "runs").resolve()


def assets_folder() -> Path:
    """Folder of the embedded models and sentences; COURSE_ASSETS moves it."""
    return Path(os.environ.get("COURSE_ASSETS") or PROJECT / "assets").resolve()


def reports_folder() -> Path:
    """Folder of all reports, one subfolder per experiment; COURSE_REPORTS moves it."""
    return Path(os.environ.get("COURSE_REPORTS") or PROJECT / "reports").resolve()


def relative_to_project(path: Path | str) -> str:
    """`path` from the project's root if it lies in the project, so that no path of this machine is recorded."""
    path = Path(path).resolve()
    return path.relative_to(PROJECT).as_posix() if path.is_relative_to(PROJECT) else str(path)


def named_from_project(path: Path | str) -> str:
    """`path` as a record names it: "./x" or "../x" from the project's root, "~/x" where that would name the home."""
    path, home = os.path.realpath(path), os.path.realpath(os.path.expanduser("~"))
    relative = os.path.relpath(path, PROJECT)
    if home != "/" and home in f"/{relative}":
        return f"~/{os.path.relpath(path, home)}"
    return relative if relative.startswith("..") else f"./{relative}"


def write_whole(file: Path, text: str) -> Path:
    """Write `text` to `file`, whole or not at all, and make the folder if it is missing; returns `file`.

    What is no file, such as a pipe or /dev/stdout, is written to and stays what it is.
    """
    if file.exists() and not file.is_file():
        file.write_text(text, encoding="utf-8")
        return file
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        new.write_text(text, encoding="utf-8")
        return new.replace(file)
    finally:
        new.unlink(missing_ok=True)


def is_new_folder(folder: Path) -> bool:
    """Whether nothing lies at `folder` yet, or an empty folder."""
    return not os.path.lexists(folder) or (folder.is_dir() and not any(folder.iterdir()))


def find_folder(name: str) -> Path | None:
    """The folder called `name`, seen from the project's root, where records start, or from the current folder."""
    place = find_path(name)
    return place if place and place.is_dir() else None


def find_path(name: str, starts: Iterable[Path] = ()) -> Path | None:
    """The folder or file called `name`, seen from the project's root, where records start, or from the current folder.

    `starts` are other places to look from instead, in their order.
    """
    name = os.path.expanduser(name)
    # os.path.exists is false, where Path.exists raises, for text that cannot be a file name
    place = next((start / name for start in starts or (PROJECT, Path.cwd()) if os.path.exists(start / name)), None)
    return place and Path(os.path.realpath(place.parent), place.name)  # without the way from the project to it


def find_typed(name: str) -> Path | None:
    """The folder or file called `name` by a reader, seen from where they stand or from the project's root.

    COURSE_FROM is where they stand when a script has taken them elsewhere.
    """
    return find_path(name, (Path(os.environ.get("COURSE_FROM") or Path.cwd()), PROJECT))


def is_lfs_pointer(file: Path) -> bool:
    """Whether `file` is only a pointer of Git LFS to the real file; raises OSError where it is unreadable."""
    with file.open("rb") as content:
        return content.read(len(LFS_POINTER)) == LFS_POINTER


def sha256_of(file: Path) -> str:
    """SHA-256 of what is in `file`, in hex."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
