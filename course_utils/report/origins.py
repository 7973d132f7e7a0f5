"""Where a figure, a table or a computed sentence of the report comes from: a mark that leads to a page of origins.

A mark is a link to `origin:CHAPTER/CELL/FUNCTION` until the report is bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from course_utils.config import Experiment
from course_utils.methods import METHODS
from course_utils.text import and_joined, code_span

SCHEME, PREFIX = "origin:", "origin-"
REPORT = "course_utils.report."
OF_EVERY_RUN = ("exhibits.what_was_run", "exhibits.audits")  # functions that read every run
TELLING = ("exhibits", "dependence", "choice", "loop")  # modules whose sentences are computed from runs


class Origin(NamedTuple):
    """Where something is shown: the chapter, the number of its cell in the executed copy, and the function called."""

    chapter: str
    cell: int
    function: str

    @property
    def anchor(self) -> str:
        """The identifier of the entry."""
        return PREFIX + "-".join((self.chapter, str(self.cell), self.function.replace(".", "-"))).rstrip("-")


def mark(chapter: str, cell: int | None, shown_by: str) -> str:
    """The Markdown of a mark."""
    return f"[source]({SCHEME}{chapter}/{cell or 0}/{shown_by.removeprefix(REPORT)})"


def is_computed(course: Mapping[str, Any]) -> bool:
    """Whether Markdown with this metadata holds sentences that a function made of results."""
    return course.get("shown_by", "").removeprefix(REPORT).partition(".")[0] in TELLING


def resolve(links: list[dict]) -> list[Origin]:
    """Let every mark among pandoc's `links` lead to its entry; returns all origins, each once, in reading order."""
    found: dict[Origin, None] = {}
    for link in links:
        attributes, _, target = link["c"]
        if target[0].startswith(SCHEME):
            chapter, cell, function = target[0].removeprefix(SCHEME).split("/")
            origin = Origin(chapter, int(cell), function)
            found[origin] = None
            target[0] = f"#{origin.anchor}"
            attributes[1].append("origin")
    return [*found]


def entry(origin: Origin, experiment: Experiment) -> str:
    """What the page says of `origin`, Markdown."""
    called = f"{REPORT}{origin.function}" if origin.function else ""
    place = f"cell {origin.cell} of {code_span(f'notebooks/{origin.chapter}.ipynb')}"
    shown = f"{code_span(called)}, called in {place}" if called else f"The code of {place}"
    return f"{shown}. {_reads(origin, experiment)}"


def _reads(origin: Origin, experiment: Experiment) -> str:
    subject = origin.chapter.partition("_")[2]
    if subject in METHODS:
        return f"Runs of {METHODS[subject].title}, seed 0."
    if subject != "comparison":
        return "No run of this experiment."
    if origin.function in OF_EVERY_RUN:
        return "All runs of this experiment."
    if origin.function == "exhibits.across":
        return "Runs of `main`, and `conclusions.json` of the reports beside this one."
    if origin.function == "exhibits.learning_rates":
        studies = [name for name, study in experiment.studies.items() if not study.final]
    else:
        # A start of the workflow imports this module, and would wait for torch.
        from course_utils.comparison.axes import at_other_rates
        from course_utils.report.dependence import AT_BEST_RATE, FACTORS_OF

        function = origin.function.removeprefix("dependence.").removeprefix("choice.")
        factors = FACTORS_OF.get(function, ())
        axis = {name: study for name, study in experiment.studies.items() if {*study.varies[:1]} & {*factors}}
        beside = [*dict.fromkeys(study.beside for study in axis.values())]
        if function in AT_BEST_RATE:
            beside += [
                at for each in beside for name in experiment.methods for at in at_other_rates(experiment, name, each)
            ]
        studies = [*dict.fromkeys([*beside, *axis])] or ["main"]
    return f"Runs of {and_joined([code_span(study) for study in studies])}." if studies else "No run."
