"""The arithmetic of a step: the count is that of the shapes, and an adapter leaves out the weights' gradients alone."""

import pytest
from small import ADAPTER, FULL, HEAD

from course_utils.comparison.arithmetic import flops_of_a_text
from course_utils.config import load_experiment


def test_the_count_is_that_of_the_shapes():
    """A product of (tokens, in) and (in, out) takes 2 · tokens · in · out operations (Kaplan et al. 2020, 2.1)."""
    experiment, tokens = load_experiment("smoke"), 26
    model = experiment.shared.base.without_weights(experiment.shared.task)
    weights = sum(p.numel() for n, p in model.base_model.transformer.named_parameters() if n.endswith("lin.weight"))
    weights += sum(p.numel() for n, p in model.named_parameters() if "ffn.lin" in n and n.endswith("weight"))
    blocks, width = model.config.n_layers, model.config.dim
    attention = blocks * 2 * (2 * tokens * tokens * width)  # queries with keys, and shares with values
    head = 2 * width * (width + 2)
    whole = flops_of_a_text(experiment.config(FULL), tokens)
    assert whole["forward"] == pytest.approx(2 * tokens * weights + attention + head, rel=1e-6)
    assert whole["backward"] == pytest.approx(2 * whole["forward"], rel=1e-3)
    adapter, head_only = (flops_of_a_text(experiment.config(name), tokens) for name in (ADAPTER, HEAD))
    assert adapter["backward"] == pytest.approx(whole["forward"], rel=0.03)
    assert head_only["forward"] == whole["forward"] and head_only["backward"] < 0.001 * whole["forward"]
