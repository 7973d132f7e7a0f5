"""The panels of the laboratory: they measure what the run has recorded, and the slider measures anew."""

import pytest
import torch
from small import ADAPTER, MULTIPLIED, QUANTISED

from course_utils.comparison.weights import run_deltas
from course_utils.config import load_experiment
from course_utils.report.laboratory import PANEL_TEXTS, Laboratory, panel
from course_utils.tasks.classification import scores_of
from course_utils.training.train import train


@pytest.mark.parametrize("method", [ADAPTER, QUANTISED, MULTIPLIED])
def test_with_the_whole_update_it_is_as_accurate_as_the_record_says(method, runs_in, tiny):
    config = load_experiment("smoke", {"base_model": tiny.name, "learning_rate": "1e-2"}).config(method)
    run = train(config)
    laboratory = Laboratory(run, run_deltas(run))
    rows = run.predictions().query("set == 'validation'").head(PANEL_TEXTS)
    recorded = (scores_of(rows).argmax(axis=1) == rows["label"]).mean()
    laboratory.accuracy(lambda frozen, delta: torch.zeros_like(frozen))  # leaves nothing behind
    assert laboratory.accuracy(torch.add) == pytest.approx(recorded, abs=0.02)


def test_the_slider_measures_at_the_value_that_it_is_given(capsys):
    asked = []
    widget = panel(lambda value: asked.append(value) or value / 10, [0, 1, 2], "a setting", 100)
    (slider,) = widget.kwargs_widgets
    assert asked[:3] == [0, 1, 2] and slider.options == (0, 1, 2)
    slider.value = 1
    assert asked[-1] == 1 and "10.0%" in capsys.readouterr().out
