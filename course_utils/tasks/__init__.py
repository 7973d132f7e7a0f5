"""The tasks: `task=` names a task, and all other code asks the task's object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from course_utils.tasks.base import Task
from course_utils.tasks.classification import Classification
from course_utils.tasks.language_modelling import LanguageModelling

if TYPE_CHECKING:
    from torch import nn

TASKS: dict[str, type[Task]] = {task.name: task for task in (Classification, LanguageModelling)}


def task_of(model: nn.Module) -> Task:
    """The task that a loaded `model`, not adapted, has the head of; a decoder's own output layer is no head."""
    from course_utils.inputs.bases import output_layer

    if output_layer(model):
        return LanguageModelling()
    return Classification(tuple(model.config.id2label.values()))
