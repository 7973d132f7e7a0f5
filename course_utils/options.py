"""What the commands share: -p and --profile, and how errors are printed."""

import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from course_utils.config import NAMES_OF_PLACES, as_seen_from_project, profile_names
from course_utils.errors import CourseError, refusal
from course_utils.paths import find_typed
from course_utils.text import and_joined, one_line

INTERRUPTED = 130  # exit status after Ctrl-C

Profile = Annotated[
    str,
    typer.Option(
        help=f"{and_joined(profile_names())}: what is run, and at what size.",
        autocompletion=profile_names,
    ),
]
Overrides = Annotated[
    list[str],
    typer.Option(
        "-p",
        metavar="NAME=VALUE",
        help="A setting for every run that has it, or METHOD.NAME=VALUE for one method; may be repeated.",
    ),
]


def exit_status(work: Callable[[], int | None]) -> int:
    """Do `work` and return its exit status; an error that the reader can put right is printed as one sentence."""
    try:
        return work() or 0
    except KeyboardInterrupt:
        print("\nStopped. What is finished is kept; the same command goes on from here.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the program that reads the output, such as head, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        said = error if isinstance(error, CourseError) else refusal(error)
        if said is None:
            raise
        print(f"error: {one_line(str(said))}", file=sys.stderr)  # names of files can hold control characters
        return 2


def parse_overrides(pairs: list[str]) -> dict[str, str]:
    """["rank=4", …] → {"rank": "4", …}; files and folders as seen from the project, wherever they were typed."""
    overrides: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or not name:
            raise CourseError(f"-p {pair!r}: type -p NAME=VALUE, for example -p rank=4.")
        if not pair.isprintable():
            raise CourseError(f"-p {pair!r} holds a character that cannot be shown; leave that character out.")
        if name in overrides:
            raise CourseError(f"{name} is given twice, as {overrides[name]!r} and {value!r}; type it once.")
        overrides[name] = as_seen_from_project(value, find_typed) if name in NAMES_OF_PLACES else value
    return overrides
