"""gallery.html: an experiment's runs to sort, filter and plot, and the sentences that its methods miss.

The page is one file that is opened from disk. Without scripts the page shows two tables.
"""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pandas as pd

from course_utils.comparison.agreement import test_sentences
from course_utils.comparison.results import ExperimentRuns
from course_utils.comparison.tables import COLUMNS, comparison_frame, describe_columns
from course_utils.methods import METHODS
from course_utils.paths import write_whole
from course_utils.report.display import TEMPLATES
from course_utils.stats import error_over_seeds
from course_utils.text import one_line, template

COLUMNS_AT_FIRST = [  # the reader can choose the others
    *("study", "method", "seed", "learning_rate", "max_train", "validation_accuracy", "test_accuracy", "test_nll"),
    *("parameters_adapter", "train_seconds"),
]
PLOTTED = (
    "learning_rate", "rank", "max_train", "parameters", "bytes", "train_", "step_", "eval_", "peak", "forgetting",
)  # fmt: skip
MOST_MISSED = 300  # sentences in the table at most


def write_gallery(results: ExperimentRuns) -> Path:
    """Write reports/<experiment>/gallery.html."""
    runs = comparison_frame(results).loc[:, lambda frame: ~(frame.isna() | frame.eq("")).all()]
    script = (TEMPLATES / "gallery.js").read_text("utf-8")
    page = template(TEMPLATES / "gallery.html.jinja", {"cell": _cell}).render(
        experiment=results.experiment,
        runs=runs,
        shown=COLUMNS_AT_FIRST,
        descriptions=describe_columns(runs).set_index("column")["description"],
        missed=missed_sentences(results),
        style=(TEMPLATES / "page.css").read_text("utf-8"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        points=json.dumps(points(runs)).replace("<", "\\u003c"),  # so that no text in the data ends the element
    )
    return write_whole(results.experiment.report_folder / "gallery.html", page)


def points(runs: pd.DataFrame) -> list[dict[str, Any]]:
    """A point for each method and study: its name, and metric → [mean over seeds, low, high].

    The ends are those of the 95% t interval of the mean over seeds, none with one seed.
    """
    measured = [name for name in runs.select_dtypes("number") if name not in COLUMNS or name.startswith(PLOTTED)]
    found = []
    for (study, method), rows in runs[runs["status"] == "finished"].groupby(["study", "method"], sort=False):
        values = {}
        for name in measured:
            column = rows[name].dropna().to_numpy(float)
            if len(column):
                half = error_over_seeds(column).half_width(0.95) if len(column) > 1 else None
                mean = float(column.mean())
                values[name] = [mean, *([None, None] if half is None else [mean - half, mean + half])]
        of = METHODS[str(method)]
        found.append({"study": study, "method": of.title, "marker": of.marker, "seeds": len(rows), "values": values})
    return found


def missed_sentences(results: ExperimentRuns) -> pd.DataFrame:
    """The sentences missed most: columns text, label, and for each method the share of its seeds that miss, in %."""
    correct = results.predictions.correct
    if not correct:
        return pd.DataFrame()
    wrong = pd.DataFrame({METHODS[name].title: 100 * (1 - frame.mean()) for name, frame in correct.items()})
    missed = wrong.sum(axis=1).sort_values(ascending=False, kind="stable")
    wrong = wrong.loc[missed[missed > 0].index[:MOST_MISSED]]
    sentences = test_sentences(results).set_index("example_id").loc[wrong.index]
    labels = sentences["label"].map(results.experiment.shared.load_task().labels)
    return pd.concat([sentences["text"].map(one_line), labels, wrong.round()], axis=1).reset_index(drop=True)


def _cell(value: Any) -> str:
    if pd.isna(value):
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return one_line(str(value))
