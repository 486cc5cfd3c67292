"""x times the clipped line (x + 3) / 6."""

from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from lipverify.numerics import SMALLEST, UNIT_ROUNDOFF
from lipverify.operators.curve import Curve, Piece, Rounded, relative


@final
@dataclass(frozen=True, eq=False)
class HardSwish(Curve):
    """0 up to -3, x (x + 3) / 6 up to 3, x from there: the derivative jumps at both kinks."""

    name = "HardSwish"
    kinks = (-3.0, 3.0)
    turns = (-1.5,)
    values = (-0.375, torch.inf)
    slopes = (-0.5, 1.5)

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        return (
            Piece(-torch.inf, -3.0, 0, self._zero, self._zero),
            Piece(-3.0, 3.0, 1, self._middle, self._middle_slope),
            Piece(3.0, torch.inf, 0, self._line, self._one),
        )

    def _zero(self, x: Tensor) -> Rounded:
        return Rounded(torch.zeros_like(x), torch.zeros_like(x))

    def _middle(self, x: Tensor) -> Rounded:
        return relative(x * ((x + 3) / 6), 6)

    def _middle_slope(self, x: Tensor) -> Rounded:
        error = 4 * UNIT_ROUNDOFF * (2 * x.abs() + 3)
        return Rounded((2 * x + 3) / 6, error + SMALLEST)

    def _line(self, x: Tensor) -> Rounded:
        return Rounded(x, torch.zeros_like(x))

    def _one(self, x: Tensor) -> Rounded:
        return Rounded(torch.ones_like(x), torch.zeros_like(x))
