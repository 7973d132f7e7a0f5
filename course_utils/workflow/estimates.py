"""Roughly how long the steps of the workflow take: used only to order them and to estimate the time left."""

from math import ceil

from course_utils.config import SMALL, Experiment, RunConfig
from course_utils.host import at_once, has_bf16, has_gpu
from course_utils.inputs.bases import SHAPES, Shape
from course_utils.methods import METHODS
from course_utils.report.chapters import notebook_names

OTHER_SECONDS = 15  # a step that trains nothing: the report, the baselines
SST2_SIZE = 67_349
MEASURED_WITH = SHAPES["embedded"]  # what durations were measured with


def expected_seconds(config: RunConfig) -> float:
    """Rough duration of a run, in seconds."""
    examples = min(config.max_train or SST2_SIZE, 7_000 if config.data.startswith("embedded") else SST2_SIZE)
    step = 0.16 * METHODS[config.method].relative_cost * _in_layers(config.base.shape) / _in_layers(MEASURED_WITH)
    start_and_evaluation = 20
    steps = config.epochs * ceil(examples / config.batch_size)
    return _times_as_long() * (start_and_evaluation + steps * step / (20 if has_gpu() else 1))


def _in_layers(shape: Shape) -> int:
    """Roughly the numbers in the layers of a model, which take the time of a step; embeddings take next to none."""
    return 12 * shape.layers * shape.width**2


def _times_as_long() -> int:
    """1 with a GPU or a processor that has units for bf16, with which durations were measured; else 2."""
    return 1 if has_gpu() or has_bf16() else 2


def seconds_of_chapters(experiment: Experiment) -> dict[str, float]:
    """Rule → rough duration of one of its steps, in seconds, where these train small models or load trained ones."""
    small = min(experiment.shared.max_train or SMALL, SMALL) / SMALL
    seconds = {"notebook": 8 + 32 * small, "measure": 20 + 50 * small}
    return {rule: _times_as_long() * spent for rule, spent in seconds.items()}


def expected_total(experiment: Experiment, cores: int) -> float:
    """Rough duration, in seconds, of the whole workflow with nothing done before."""
    training = sum(expected_seconds(config) for config in experiment.configs()) / at_once(cores)
    of = seconds_of_chapters(experiment)
    side_by_side = (of["measure"] + of["notebook"] * len(notebook_names(experiment.methods))) / cores
    return training + side_by_side + OTHER_SECONDS * 3
