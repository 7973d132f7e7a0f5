"""The closing cell of a chapter answers as the command line does, and says which methods are not trained yet."""

import json

import pandas as pd

from course_utils.__main__ import main
from course_utils.config import load_experiment
from course_utils.playground import classify, playground, trained_runs
from course_utils.training import train

TEXT = "Slow at first, but <b>superb</b> at the end."
EXPERIMENT = load_experiment("smoke", {"max_train": 32, "max_validation": 32, "max_test": 32, "max_other": 16})


def click(widget):
    """What the widget shows after a click on its button."""
    (_, button), answer = widget.children[0].children, widget.children[1]
    button.click()
    return answer.value


def test_without_runs_it_says_what_is_missing(runs_in):
    assert trained_runs(EXPERIMENT) == []
    assert classify(TEXT, []).empty
    shown = click(playground(EXPERIMENT))
    assert "Not trained yet: Head only, Full fine-tuning, LoRA" in shown and "<table" not in shown


def test_it_answers_as_the_command_line_does(runs_in, capsys):
    run = train(EXPERIMENT.config("lora"))
    answers = classify(TEXT, trained_runs(EXPERIMENT))
    capsys.readouterr()
    assert main(["predict", str(run.folder), TEXT, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    expected = pd.DataFrame([{"method": "LoRA", "label": said["label"], "probability": said["probability"]}])
    pd.testing.assert_frame_equal(answers, expected)

    widget = playground(EXPERIMENT)
    widget.children[0].children[0].value = TEXT
    shown = click(widget)
    assert said["label"] in shown and f"{said['probability']:.3f}" in shown and "Not trained yet: Head only" in shown
    widget.children[0].children[0].value = "  "
    assert click(widget) == "Type a sentence first."
