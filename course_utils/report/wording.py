"""How the exhibits of a factor word their differences: cells of tables, labels, and what is said where nothing varies.

The words are those of templates/wording.md.jinja: each comparative one has a branch for each outcome.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import pandas as pd

from course_utils.comparison.agreement import variance_by_raters
from course_utils.comparison.axes import accuracy_with_ends
from course_utils.comparison.conclusions import OF_CONTRASTS, p_in_words
from course_utils.comparison.results import ExperimentRuns
from course_utils.comparison.robustness import seeds_apart
from course_utils.report.display import TEMPLATES, show_markdown, with_ends
from course_utils.stats import Judged
from course_utils.text import signed_interval, template

say: Any = template(TEMPLATES / "wording.md.jinja", OF_CONTRASTS).module


def judged_cells(contrast: Judged | None) -> dict[str, str]:
    """A contrast as cells of a table: its interval, its p-value and its verdict; empty ones where there is none."""
    found = ("", "", "")
    if contrast:
        p = p_in_words(contrast.p_holm) if contrast.judged else "–"
        found = (signed_interval(contrast.difference), p, say.verdict_in_table(contrast).strip())
    return dict(zip(("Difference [95%]", "p (Holm)", "Verdict"), found, strict=True))


def with_margin(caption: str, results: ExperimentRuns, methods: Collection[str]) -> str:
    """The `caption` of a table of `methods`, and whose seeds make the margin wide where none of these does."""
    apart = seeds_apart(results.predictions.correct, variance_by_raters(results))
    return caption if not apart or apart.method in methods else f"{caption.strip()} {say.margin_text(apart).strip()}"


def accuracy_cell(correct: pd.DataFrame) -> str:
    """Accuracy in per cent with its interval, as a cell of a table shows it."""
    return with_ends(**accuracy_with_ends(correct))


def labelled(judged: Mapping[Any, Judged], label: Callable[..., str], *known: Any) -> dict[str, Judged]:
    """`judged` by what `label` says of each key, whose parts are told one by one, and of what is `known`."""
    told = {key: key if isinstance(key, tuple) else (key,) for key in judged}
    return {label(*told[key], *known): contrast for key, contrast in judged.items()}


def alt_text(table: pd.DataFrame, line: dict[str, Any] | None = None) -> str:
    """The accuracies that a figure draws: those of each series of `table`, and that of a `line` for a baseline."""
    return say.alt({name: rows.to_dict("records") for name, rows in table.groupby("series", sort=False)}, line)


def show_one_value(results: ExperimentRuns, title: str, values: list[Any], *factors: str) -> None:
    """Say that no finished run varies what is called `title`, which `values` the main runs have, what is planned."""
    planned = any(planned_for(results, factor) for factor in factors)
    show_markdown(say.one_value_text(title, values, planned))


def values_of_mains(results: ExperimentRuns, setting: str) -> list[Any]:
    """The values that the main runs have of a setting that some methods have."""
    settings = (results.experiment.config(name).settings for name in results.experiment.methods)
    return [*dict.fromkeys(getattr(own, setting) for own in settings if hasattr(own, setting))]


def planned_for(results: ExperimentRuns, factor: str) -> bool:
    """Whether a run of the experiment's studies of `factor` is not finished."""
    studies = {name for name, study in results.experiment.studies.items() if study.varies[:1] == (factor,)}
    return any(missing.config.study in studies for missing in results.missing)
