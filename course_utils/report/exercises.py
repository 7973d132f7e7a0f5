"""The exercises: the numbers that `check` knows, and the notebooks without their solutions."""

import re
from math import isclose, sqrt
from pathlib import Path
from typing import Any

import nbformat

from course_utils.errors import CourseError, explained
from course_utils.paths import PROJECT, is_new_folder

# Chapter.exercise → what is asked for, and its value. Exercises whose numbers depend on the runs are not here.
CHECKED: dict[str, tuple[str, float]] = {
    "01.1": ("the number of parameters of the published DistilBERT's encoder", 66_362_880),
    "02.1": ("the number of parameters of the adapter at rank 8", 8 * 6 * (4 * (768 + 768) + 2 * (768 + 3072))),
    "02.2": ("the first such rank for a layer of 768 × 768", 768 * 768 / (768 + 768)),
    "03.1": ("the share of the run after which the gate is zero, at a strength of 1.25", 1 - sqrt(1 - 8 / (9 * 1.25))),
    "03.2": ("the new penalty divided by the old one", 0.5),
    "04.1": ("the number of bits for each weight in blocks of 256", 4 + 8 / 256 + 32 / (256 * 256)),
    "04.3": ("the least possible share", (4 + 8 / 64 + 32 / (64 * 256)) / 32),
    "05.2": ("the share of the matrix of ones that HiRA misses", sqrt(12 / 16)),
    "06.1": ("the largest number of disagreements with which eight are significant", 12),
    "06.2": ("the probability of at least one, without a correction", 1 - 0.95**15),
    "07.1": ("the largest difference in points", 100 * (1 / 16 - 40 / 1_000)),
    "07.3": ("the difference in points for four seeds", 1.96 * sqrt(2 / 4)),
}


# What stands above the exercises, and above those of the student edition.
WITH_SOLUTIONS = (
    "Every question is followed by a solution that runs. JupyterLab shows it folded; the report leaves it out."
)
WITHOUT = "Write your solution into the cell below each question. Where that cell calls `check`, it tests one number."


def check(exercise: str, answer: Any) -> bool:
    """Whether `answer` is the number that `exercise` ("02.1") asks for; the verdict is also printed.

    A number of Python, NumPy or torch is right that is right to one per cent and to two decimals. Raises CourseError
    for an exercise that no number decides.
    """
    if exercise not in CHECKED:
        raise CourseError(f"check knows no number for {exercise!r}; type one of {', '.join(CHECKED)}.")
    wanted, value = CHECKED[exercise]
    answer = answer.item() if hasattr(answer, "item") else answer
    right = isinstance(answer, int | float) and isclose(answer, value, rel_tol=0.01) and abs(answer - value) <= 0.005
    print("That is right." if right else f"Not right yet: {wanted} is another number.")
    return right


def write_student_edition(folder: Path) -> list[Path]:
    """Write every notebook into the new `folder` with an empty cell in the place of each solution.

    Raises CourseError where there is something in `folder`.
    """
    if not is_new_folder(folder):
        raise CourseError(f"{folder} is not empty or is a file; type the name of a new folder.")
    with explained(f"{folder} cannot be written", "type the name of a folder that you may write to", OSError):
        folder.mkdir(parents=True, exist_ok=True)
    written = []
    for path in sorted((PROJECT / "notebooks").glob("*.ipynb")):
        notebook, exercise = nbformat.read(path, as_version=4), ""
        for cell in notebook.cells:
            if numbers := re.findall(r"^\*\*(\d+)\. ", cell.source, re.MULTILINE):
                exercise = f"{path.stem[:2]}.{numbers[-1]}"
            cell.source = cell.source.replace(WITH_SOLUTIONS, WITHOUT)
            if "solution" in cell.metadata.get("tags", []):
                cell.source, cell.metadata = _empty(exercise), nbformat.NotebookNode()
        written.append(folder / path.name)
        nbformat.write(notebook, written[-1])
    return written


def _empty(exercise: str) -> str:
    """What stands in the place of the solution of `exercise`."""
    if exercise not in CHECKED:
        return "# your solution"
    wanted, _ = CHECKED[exercise]
    return (
        "from course_utils.report.exercises import check\n\n# your solution\n"
        f'answer = None  # {wanted}\ncheck("{exercise}", answer)'
    )
