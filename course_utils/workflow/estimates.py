"""Roughly how long the steps of the workflow take, to order them and to say the time left; and the memory of a run."""

from math import ceil

from course_utils.config import SMALL, Experiment, RunConfig
from course_utils.host import at_once, has_bf16, has_gpu
from course_utils.inputs.bases import SHAPES, Shape
from course_utils.methods import CEILING, METHODS
from course_utils.report.chapters import notebook_names
from course_utils.tasks import TASKS

OTHER_SECONDS = 15  # a step that trains nothing: the report, the baselines
SST2_SIZE = 67_349
MEASURED_WITH = SHAPES["embedded"]  # what durations were measured with

LIBRARIES = 535e6  # bytes of the imported libraries and of their code that a step reads: less in a fork, more otherwise
BESIDE_BF16 = 120e6  # what small runs in bf16 took beyond all this: 90 to 230 MB, from machine to machine
FULL_PRECISION, HALF_PRECISION = 4, 2  # bytes of a number
OF_AN_OPTIMISER = 12  # bytes of a trained number beside its weight: its gradient and AdamW's two averages
OF_NF4 = 0.6  # bytes of a number in 4 bits, with the constants of its block and what is not in 4 bits
# Numbers that a step keeps for its backward pass: of a token's vector in a layer, of a pair of tokens in a head.
# Korthikanti et al. (2022), section 4, count 17 and 2.5 in 16 bits where every weight is trained.
OF_A_VECTOR, OF_A_PAIR = 10, 2.2
VOCABULARY = 50_000  # tokens to which a language model gives a logit; the embedded decoder has 49,152


def expected_seconds(config: RunConfig, texts: int | None = None) -> float:
    """Rough duration of a run, in seconds; of so many training `texts`, where these were counted."""
    most = texts or (7_000 if config.data.startswith("embedded") else SST2_SIZE)
    examples = min(config.max_train or most, most)
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


def expected_total(experiment: Experiment, cores: int, texts: int | None = None) -> float:
    """Rough duration, in seconds, of the whole workflow with nothing done before; `texts` as in `expected_seconds`."""
    training = sum(expected_seconds(config, texts) for config in experiment.configs()) / at_once(cores)
    of = seconds_of_chapters(experiment)
    side_by_side = (of["measure"] + of["notebook"] * len(notebook_names(experiment.methods))) / cores
    return training + side_by_side + OTHER_SECONDS * 3


def expected_memory(config: RunConfig, processes: int = 1) -> int:
    """Peak memory, in MB, of one of the `processes` that train the run of `config` together on a CPU.

    Texts are taken to be as long as the settings allow. In measurements, runs on shorter texts of many lengths took as
    much, since memory that is freed in pieces of many sizes is not all used again.
    """
    method, shape = METHODS[config.method], config.base.shape
    in_half = config.precision == "bf16" and (has_gpu() or has_bf16())  # else bf16.py keeps factors in 32 bits
    width = HALF_PRECISION if in_half else FULL_PRECISION
    weights: float = shape.parameters * FULL_PRECISION
    if method is CEILING:
        weights += shape.parameters * OF_AN_OPTIMISER
    elif method.in_four_bits(config.settings):
        weights += shape.parameters * OF_NF4
    if method is not CEILING and in_half and config.speedups:
        weights += shape.parameters * HALF_PRECISION  # frozen matrices are also kept in bf16

    tokens = config.max_length
    texts = ceil(config.batch_size / processes / config.gradient_accumulation)
    if config.tokens_at_once:
        texts = min(texts, max(1, config.tokens_at_once // tokens))
    kept = texts * tokens * (OF_A_VECTOR * shape.width + OF_A_PAIR * shape.heads * tokens) * width  # of one layer
    if config.gradient_checkpointing:
        kept += shape.layers * texts * tokens * shape.width * width
    else:
        kept *= shape.layers
    if not TASKS[config.task].has_head:
        kept += 2 * texts * tokens * VOCABULARY * FULL_PRECISION  # the logits and their gradient
    return ceil((LIBRARIES + BESIDE_BF16 * in_half + weights + kept) / 1e6)


def memory_needed(experiment: Experiment) -> int:
    """Peak memory, in MB, of the largest run of `experiment`."""
    return max(expected_memory(experiment.config(method)) for method in experiment.methods)
