"""What a step of the workflow depends on."""

from pathlib import Path

from small import ADAPTER

from course_utils.code_identity import code_of, summary
from course_utils.config import load_experiment
from course_utils.workflow.steps import training_code


def test_a_run_depends_on_the_code_of_its_own_task():
    config = load_experiment("language").config(ADAPTER)
    assert "tasks.language_modelling" in code_of(config.method, config.task)
    assert training_code(Path("no record"), config) == summary(code_of(config.method, config.task))
    assert training_code(Path("no record"), config) != training_code(
        Path("no record"), load_experiment().config(ADAPTER)
    )
