"""Exponential linear units: Elu, Selu and Celu."""

from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from lipverify.operators.curve import Curve, Piece, Rounded, relative

UNDERFLOW = -800.0
"""Below it exp is 0 in float64."""


@final
@dataclass(frozen=True, eq=False)
class Elu(Curve):
    """scale x for x >= 0, scale alpha (exp(input_scale x) - 1) below; both scales > 0.

    Selu is alpha = 1.67..., scale = 1.05...; Celu(a) is alpha = a, input_scale = 1/a.
    """

    name = "Elu"
    kinks = (0.0,)
    turns = (0.0,)
    alpha: float = 1.0
    scale: float = 1.0
    input_scale: float = 1.0

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        bend = (self.alpha > 0) - (self.alpha < 0)
        return (
            Piece(-torch.inf, 0.0, bend, self._below, self._below_slope),
            Piece(0.0, torch.inf, 0, self._above, self._above_slope),
        )

    def _argument(self, x: Tensor) -> Tensor:
        return (self.input_scale * x).clamp(min=UNDERFLOW)

    def _below(self, x: Tensor) -> Rounded:
        return relative(self.scale * (self.alpha * torch.expm1(self._argument(x))), 24)

    def _below_slope(self, x: Tensor) -> Rounded:
        argument = self._argument(x)
        factor = self.scale * self.alpha * self.input_scale
        # The argument's own rounding (of 1/a too, for Celu) is magnified by exp.
        return relative(factor * torch.exp(argument), 24 + 4 * argument.abs())

    def _above(self, x: Tensor) -> Rounded:
        value = x if self.scale == 1.0 else self.scale * x
        return Rounded(value, torch.zeros_like(x)) if self.scale == 1.0 else relative(value, 2)

    def _above_slope(self, x: Tensor) -> Rounded:
        return Rounded(torch.full_like(x, self.scale), torch.zeros_like(x))
