"""Training steps on a GPU that do not wait for Python: recorded as CUDA graphs, one for each length of text.

In a small model's step a GPU waits most of the time for Python to start the next kernel. A CUDA graph is a recording of
all kernels of a step, which the GPU starts by itself: "CUDA semantics" in the documentation of PyTorch describes them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.functional import pad

from course_utils.config import RunConfig
from course_utils.host import processes
from course_utils.methods.sizes import plain_model

# Families whose steps tests/training/test_gpu.py records: nothing in their code asks the GPU for a number.
FAMILIES = ("distilbert", "bert", "roberta", "llama", "qwen2")
MULTIPLE = 8  # of tokens: lengths are rounded up, so that few recordings serve all texts
MOST_RECORDINGS = 64  # recordings; steps on further shapes run as they are
PADDED_WITH = {"labels": -100}  # input → what pads it, where that is not zero


def can_record(config: RunConfig, model: nn.Module) -> bool:
    """Whether the run of `config` records its steps: on a GPU, where a step is one piece of known code."""
    in_parts = config.gradient_accumulation > 1 or config.tokens_at_once or config.gradient_checkpointing
    alone = torch.cuda.is_available() and processes() == 1
    known = plain_model(model).config.model_type in FAMILIES
    return bool(config.speedups and alone and known and not in_parts)


class RecordedSteps:
    """Steps of `model` on texts of at most `longest` tokens: called as they are, then recorded, then replayed.

    The first batch of a shape is a step as any other, the second is recorded, and from then on the recording is
    replayed on the batch's numbers. Texts are padded further, to a multiple of 8 tokens, which a mask hides: without
    dropout the gradients are the same, and with dropout they are equal in distribution.
    """

    def __init__(self, model: nn.Module, longest: int):
        self.model, self.longest = model, longest
        self.padding = PADDED_WITH | {"input_ids": plain_model(model).config.pad_token_id or 0}
        self.gradients: dict[nn.Parameter, torch.Tensor] = {}
        self.recordings: dict[tuple, Any] = {}  # shapes → graph, its inputs, its loss; None after one batch
        self.pool = None

    def __call__(self, step: Callable[[dict], torch.Tensor], inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """The loss of `step` on `inputs`; the gradients are in the parameters, as after `step` itself."""
        inputs = {name: self._padded(name, x) for name, x in inputs.items()}
        shapes = tuple((name, x.shape) for name, x in inputs.items())
        self._place_gradients()
        if shapes not in self.recordings:
            if len(self.recordings) < MOST_RECORDINGS:
                self.recordings[shapes] = None
            return self._from_zero(step, inputs)
        if self.recordings[shapes] is None:
            self.recordings[shapes] = self._record(step, inputs)
        graph, held, loss = self.recordings[shapes]
        for name, x in inputs.items():
            held[name].copy_(x)
        graph.replay()
        return loss.clone()

    def _padded(self, name: str, x: torch.Tensor) -> torch.Tensor:
        x = x.to(self.model.device, non_blocking=True)
        if x.dim() < 2:
            return x
        tokens = x.shape[1]
        width = max(tokens, min(-(-tokens // MULTIPLE) * MULTIPLE, self.longest))
        return pad(x, (0, width - tokens), value=self.padding.get(name, 0))

    def _place_gradients(self) -> None:
        """Give every trained parameter the one tensor in which all recordings leave its gradient."""
        if not self.gradients:
            self.gradients = {p: torch.zeros_like(p) for p in self.model.parameters() if p.requires_grad}
        for parameter, gradient in self.gradients.items():
            parameter.grad = gradient

    def _from_zero(self, step, inputs):
        for gradient in self.gradients.values():
            gradient.zero_()
        return step(inputs)

    def _record(self, step, inputs) -> tuple:
        graph, held = torch.cuda.CUDAGraph(), {name: x.clone() for name, x in inputs.items()}
        with torch.cuda.graph(graph, pool=self.pool):
            loss = self._from_zero(step, dict(held))
        self.pool = graph.pool()
        return graph, held, loss
