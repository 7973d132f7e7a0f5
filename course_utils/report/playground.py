"""A sentence of the reader's own, classified by every trained method: the last cell of a chapter."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from scipy.special import softmax

from course_utils.config import Experiment
from course_utils.errors import CourseError
from course_utils.methods import METHODS
from course_utils.runs import Run, find_run, load_model, read_run
from course_utils.training.evaluation import predict_as_trained

if TYPE_CHECKING:
    from ipywidgets import interactive


def trained_runs(experiment: Experiment, seed: int = 0) -> list[Run]:
    """The finished main runs of `seed`, in the order of every table; methods that are not trained yet are left out."""
    found = [find_run(experiment.config(name, seed)) for name in experiment.methods]
    return [run for run in found if run]


def classify(text: str, runs: list[Run]) -> pd.DataFrame:
    """The class that each of `runs` gives to the sentence `text`: columns method (title), label, probability.

    A run's model is loaded at its first sentence and kept. Raises CourseError for a run on pairs of texts.
    """
    rows = []
    for run in runs:
        if run.result.data.pairs:
            raise CourseError(f"{run.name} was trained on pairs of texts; type predict {run.name} TEXT --pair TEXT.")
        model, tokenizer = _loaded(run.folder, run.result.fingerprint)
        logits = predict_as_trained(run.config, model, tokenizer, pd.DataFrame({"text": [text], "label": 0}))
        probabilities = softmax(logits[0])
        label = run.task.class_names[probabilities.argmax()]
        rows.append({"method": run.method.title, "label": label, "probability": float(probabilities.max())})
    return pd.DataFrame(rows, columns=["method", "label", "probability"])


@cache
def _loaded(folder: Path, fingerprint: str) -> tuple[Any, Any]:
    run = read_run(folder)
    return load_model(run), run.config.base.tokenizer()


def playground(experiment: Experiment, seed: int = 0) -> interactive:
    """A widget: a line for a sentence, a button, and a table of what every trained method answers."""
    import ipywidgets as widgets
    from IPython.display import display

    def answer(sentence: str) -> None:
        if not (text := sentence.strip()):
            print("Type a sentence first.")
            return
        runs = trained_runs(experiment, seed)
        if runs:
            display(classify(text, runs).round(3))
        trained = {run.config.method for run in runs}
        if missing := [METHODS[name].title for name in experiment.methods if name not in trained]:
            print(f"Not trained yet: {', '.join(missing)}.")

    sentence = widgets.Text("Slow at first, but the last half hour is superb.", layout={"width": "80%"})
    return widgets.interactive(answer, {"manual": True, "manual_name": "Classify"}, sentence=sentence)
