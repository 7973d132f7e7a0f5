"""Where a figure, a table or a computed sentence of the report comes from: a mark that leads to a page of origins.

A mark is a link to `origin:CHAPTER/CELL/FUNCTION` until the report is bound.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from course_utils.config import Experiment
from course_utils.methods import METHODS
from course_utils.text import and_joined, code_span

SCHEME, PREFIX = "origin:", "origin-"
REPORT = "course_utils.report."
# Modules whose sentences are computed from runs.
TELLING = ("exhibits", "training_size", "dependence", "sparsity", "rates", "choice", "loop")
RUNS_OF = {  # function → what it reads, where that is not the main runs
    "exhibits.what_was_run": "All runs of this experiment.",
    "exhibits.audits": "All runs of this experiment.",
    "exhibits.across": "Runs of `main`, and `conclusions.json` of the reports beside this one.",
}
FACTORS_OF = {  # function → the factors whose studies it reads
    "training_size.accuracy_by_size": ("max_train",),
    "dependence.placements": ("target_modules", "trained_modules", "max_train"),
    "dependence.ranks": ("rank",),
    "sparsity.against_size": ("sparsity", "rank"),
    "sparsity.other_gates": ("gate_reach", "rank"),
    "dependence.four_bits": ("four_bit",),
    "rates.learning_rates": ("learning_rate",),
    "rates.head_rates": ("head_learning_rate",),
    "rates.without_dropout": ("dropout",),
    "choice.which_when": ("max_train", "learning_rate"),
}
AT_BEST_RATE = ("dependence.placements", "dependence.ranks", "sparsity.against_size")  # that read other rates as well


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
    """The Markdown of a mark, which stays on the line of the word before it."""
    return f"\N{NO-BREAK SPACE}[source]({SCHEME}{chapter}/{cell or 0}/{shown_by.removeprefix(REPORT)})"


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
    place = f"cell {origin.cell} of {code_span(f'notebooks/{origin.chapter}.ipynb')}"
    shown = f"{code_span(REPORT + origin.function)}, called in {place}" if origin.function else f"The code of {place}"
    return f"{shown}. {_reads(origin, experiment)}"


def _reads(origin: Origin, experiment: Experiment) -> str:
    subject = origin.chapter.partition("_")[2]
    if subject in METHODS:
        return f"Runs of {METHODS[subject].title}, seed 0."
    if subject != "comparison":
        return "No run of this experiment."
    if said := RUNS_OF.get(origin.function):
        return said
    if origin.function == "exhibits.learning_rates":
        studies = [name for name, study in experiment.studies.items() if not study.final]
        return f"Runs of {and_joined([*map(code_span, studies)])}." if studies else "No run."
    factors = FACTORS_OF.get(origin.function, ())
    axis = [name for name, study in experiment.studies.items() if {*study.varies[:1]} & {*factors}]
    if origin.function == "sparsity.other_gates":  # which reads studies of gated methods alone
        axis = [name for name in axis if any(METHODS[own].picture.gated for own in experiment.studies[name].methods)]
    studies = [*dict.fromkeys(experiment.studies[name].beside for name in axis)]
    if origin.function in AT_BEST_RATE:
        from course_utils.comparison.axes import at_other_rates  # a start of the workflow would wait for torch

        methods = experiment.methods
        studies += [at for beside in studies for name in methods for at in at_other_rates(experiment, name, beside)]
    return f"Runs of {and_joined([*map(code_span, dict.fromkeys([*studies, *axis] or ['main']))])}."
