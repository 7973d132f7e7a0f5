"""The memory that a run on a CPU will take, estimated from its settings and the shape of its base model."""

from __future__ import annotations

from math import ceil

from course_utils.config import RunConfig
from course_utils.host import has_bf16, has_gpu
from course_utils.methods import CEILING, METHODS
from course_utils.tasks import TASKS

LIBRARIES = 535e6  # bytes of the imported libraries and of their code that a step reads: less in a fork, more otherwise
FULL_PRECISION, HALF_PRECISION = 4, 2  # bytes of a number
OF_AN_OPTIMISER = 12  # bytes of a trained number beside its weight: its gradient and AdamW's two averages
OF_NF4 = 0.6  # bytes of a number in 4 bits, with the constants of its block and what is not in 4 bits
# Numbers that a step keeps for its backward pass: of a token's vector in a layer, of a pair of tokens in a head.
# Korthikanti et al. (2022), section 4, count 17 and 2.5 in 16 bits where every weight is trained.
OF_A_VECTOR, OF_A_PAIR = 10, 2.2
VOCABULARY = 50_000  # tokens to which a language model gives a logit; the embedded decoder has 49,152


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
    return ceil((LIBRARIES + weights + kept) / 1e6)
