"""Messages for the reader: the one exception, and what to do where the system refuses something."""

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from course_utils.paths import PROJECT, assets_folder, reports_folder, runs_folder
from course_utils.text import first_line

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
TORCH_IS_OUT_OF_ROOM = ("file write failed", "unexpected pos", "iostream error")  # torch drops the number of the error
FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
TOO_MANY_FILES = {errno.EMFILE, errno.ENFILE}
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS}  # what flock says on some network file systems


class CourseError(Exception):
    """Something the reader can put right; the message says what was wrong and what to type instead.

    The command line prints the message alone and exits with status 2.
    """


@contextmanager
def explained(
    failure: str, remedy: str, kinds: type[Exception] | tuple[type[Exception], ...] = Exception
) -> Iterator[None]:
    """Turn what goes wrong, if of these `kinds`, into the CourseError "FAILURE (reason); REMEDY"."""
    try:
        yield
    except CourseError:
        raise
    except kinds as error:  # by default any: libraries and the hub's client raise all kinds
        reason = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
        raise CourseError(f"{failure} ({reason}); {remedy}.") from error


def check_writable(folder: Path, variable: str) -> None:
    """Make `folder` if it is missing; CourseError, naming the environment `variable` that moves it, if that fails."""
    with explained(f"{folder} cannot be written to", f"set {variable} to a folder that you may write to", OSError):
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()


def check_output(file: Path) -> None:
    """Raise CourseError where `file`, the --output of a command, cannot be written."""
    if file.is_dir() or not os.access(file.parent, os.W_OK):
        raise CourseError(
            f"--output {file} cannot be written; type the name of a file in a folder that you may write to."
        )


def refusal(error: BaseException | str) -> str | None:
    """What to do about `error`, an exception or a library's message; None where the system refused nothing.

    Libraries wrap the system's error in exceptions of their own; at best their message holds its number.
    """
    chain = [error]
    while isinstance(last := chain[-1], BaseException) and (
        cause := last.__cause__ or (None if last.__suppress_context__ else last.__context__)
    ):
        chain.append(cause)
    words = "\n".join(map(str, chain))
    numbers = {int(number) for number in re.findall(r"(?:[Ee]rrno|os error|Error code) (\d+)", words)}

    if numbers & FULL or any(phrase in words for phrase in TORCH_IS_OUT_OF_ROOM):
        return _disk_is_full()
    if forbidden := numbers & FORBIDDEN:
        files = [one.filename for one in chain if isinstance(one, OSError) and isinstance(one.filename, str)]
        files += re.findall(r"Errno \d+\] [^:\n]*: '([^'\n]+)'", words)
        return _is_forbidden(os.strerror(min(forbidden)), files[0] if files else None)
    if numbers & TOO_MANY_FILES:
        return "Too many files are open at once; type ulimit -n 4096, then the same command again."
    if errno.ENOMEM in numbers or any(isinstance(one, MemoryError) for one in chain):
        return "Memory is used up; end other programs, or train fewer runs at once: ./run_all.sh --cores 1."
    if numbers & NO_LOCKS:
        return (
            "A file system here keeps no locks, without which two starts could overwrite each other's files; put the"
            " project, and the folders of COURSE_RUNS and COURSE_ASSETS, on a file system with locks, such as a local"
            " disk."
        )
    return None


def _disk_is_full() -> str:
    """Names the place with the least room, because a failed call seldom says where it was writing."""
    places = _movable() | {"TMPDIR": Path(tempfile.gettempdir()), "": PROJECT}
    room = {variable: shutil.disk_usage(_nearest(folder)).free for variable, folder in places.items()}
    tightest = min(room, key=room.__getitem__)
    move = f", or move the folder to a larger disk and set {tightest} to its new place" if tightest else ""
    return (
        f"The disk is full: {places[tightest]} has {room[tightest] / 1e6:.1f} MB left, which was not enough (df -h and"
        f" df -i tell more); free some space there{move}; the same command then goes on."
    )


def _is_forbidden(reason: str, file: str | None) -> str:
    inside = [variable for variable, folder in _movable().items() if file and Path(file).is_relative_to(folder)]
    if inside:
        instead = f", or set {inside[0]} to a folder that is"
    else:
        instead = ", or start in a copy of the project that is" if file and Path(file).is_relative_to(PROJECT) else ""
    return f"{file or 'A file'} cannot be used ({reason}); make it readable and writable for you{instead}."


def _movable() -> dict[str, Path]:
    """Environment variable → folder that it moves."""
    return {"COURSE_RUNS": runs_folder(), "COURSE_REPORTS": reports_folder(), "COURSE_ASSETS": assets_folder()}


def _nearest(place: Path) -> Path:
    """`place`, or the nearest folder above it that there is."""
    return next(folder for folder in (place, *place.parents) if folder.is_dir())
