"""Products in bf16 on a processor that has no units for them: rounded as there, and multiplied in 32 bits.

PyTorch's own kernels take dozens of times as long on such a processor. The numbers are those of a processor with the
units, up to the order of additions: such units also add up in 32 bits and round the sum to bf16. This holds for every
product under `torch.autocast`, and for its gradients.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch.library import Library

PRODUCTS: dict[str, Callable[..., torch.Tensor]] = {
    "linear": torch.nn.functional.linear,
    "matmul": torch.matmul,
    "mm": torch.mm,
    "bmm": torch.bmm,
    "addmm": torch.addmm,
    "baddbmm": torch.baddbmm,
}
_OPERATORS = Library("aten", "IMPL")


def rounded(product: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """`product`, of numbers that are rounded to autocast's precision, computed in 32 bits, and rounded once more."""

    def of_rounded(*factors: torch.Tensor | None, **more: float) -> torch.Tensor:
        half = torch.get_autocast_dtype("cpu")
        with torch.autocast("cpu", enabled=False):
            exact = (x.to(half).float() if x is not None and x.is_floating_point() else x for x in factors)
            return product(*exact, **more).to(half)

    return of_rounded


def multiply_in_32_bits() -> None:
    """From now on, compute the products of this process under autocast on the processor as `rounded` does."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Warning only once for all operators")  # that they replace PyTorch's is meant
        for name, product in PRODUCTS.items():
            _OPERATORS.impl(name, rounded(product), "AutocastCPU")
