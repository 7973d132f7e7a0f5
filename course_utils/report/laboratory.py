"""What a reader tries on trained runs: a number that changes a model, and a sentence of the reader's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from scipy.special import softmax

from course_utils.config import Experiment
from course_utils.errors import CourseError
from course_utils.inputs.nf4 import as_out_in
from course_utils.methods import METHODS
from course_utils.report import plots
from course_utils.report.display import show_figure, show_markdown
from course_utils.runs import Run, find_run, load_model, read_run
from course_utils.stats import wilson_interval
from course_utils.text import and_joined
from course_utils.training.evaluation import predict, predict_as_trained

if TYPE_CHECKING:
    from ipywidgets import interactive

PANEL_TEXTS = 100  # that a panel classifies: an answer takes about a second


class Laboratory:
    """The merged model of `run`, whose adapted weights can be exchanged; `deltas` are its `weights.run_deltas`."""

    def __init__(self, run: Run, deltas: dict[str, tuple[torch.Tensor, torch.Tensor]]):
        self.run, self.model, self.deltas = run, load_model(run), deltas
        self.texts = run.config.load_data().sets["validation"].head(PANEL_TEXTS)

    def accuracy(self, weight: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> float:
        """Accuracy on the first validation texts, a share, if every adapted layer has `weight(W₀, ΔW)` (out, in)."""
        for name, (frozen, delta) in self.deltas.items():
            layer = self.model.get_submodule(name)
            layer.weight.data.copy_(as_out_in(weight(frozen, delta), layer))
        logits = predict(self.run.config, self.model, self.run.config.base.tokenizer(), self.texts)
        return float((logits.argmax(axis=1) == self.texts["label"]).mean())


def panel(measure: Callable[[float], float], values: Iterable[float], setting: str, texts: int) -> interactive:
    """A slider over `values` of a `setting` with the accuracy that `measure` finds, and a figure of all of them.

    `measure` returns the share of `texts` texts that is right.
    """
    import ipywidgets as widgets

    found = pd.Series({value: measure(value) for value in values})
    ends = f"{found.iloc[0]:.0%} at {found.index[0]:g}, {found.iloc[-1]:.0%} at {found.index[-1]:g}"
    show_figure(
        plots.accuracy_by_setting(100 * found, f"Right: {ends}", setting),
        f"Share of right answers to the first {texts} validation texts, by {setting}. In JupyterLab the slider below "
        "the figure measures the accuracy again at the value that you choose.",
        f"A line over {setting}: " + ", ".join(f"{value:g} {share:.0%}" for value, share in found.items()) + ".",
    )
    interval = [round(end, 2) for end in wilson_interval(round(texts * found.max()), texts)]
    at_top, inside = (
        and_joined([f"{value:g}" for value in found.index[chosen]] or ["none"])
        for chosen in (found == found.max(), found.round(2).between(*interval) & (found < found.max()))
    )
    show_markdown(
        f"The highest share is {found.max():.0%}, at {at_top}. On {texts} texts, its 95% interval is {interval[0]:.0%}"
        f" to {interval[1]:.0%}. Other values with a share inside this interval: {inside}. The order of such points can"
        " be luck; no difference between two points of the curve is tested."
    )

    def answer(value: float) -> None:
        print(f"{setting} {value:g}: {measure(value):.1%} are right")

    slider = widgets.SelectionSlider(options=[*found.index], value=found.index[-1], continuous_update=False)
    return widgets.interactive(answer, value=slider)


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
    return pd.DataFrame(rows)


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
