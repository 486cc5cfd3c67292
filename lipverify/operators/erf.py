"""The error function."""

from dataclasses import dataclass
from functools import cached_property
from math import pi
from typing import final

import torch
from torch import Tensor

from lipverify.operators.curve import Curve, Piece, Rounded, relative

UNDERFLOW = 40.0
"""Beyond it exp(-x^2) is 0 in float64."""


@final
@dataclass(frozen=True, eq=False)
class Erf(Curve):
    """Convex below 0 and concave above; its derivative is 2 / sqrt(pi) exp(-x^2)."""

    name = "Erf"
    values = (-1.0, 1.0)
    slopes = (0.0, 1.1283791670955128)  # above 2 / sqrt(pi)

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        return (
            Piece(-torch.inf, 0.0, 1, self._value, self._slope),
            Piece(0.0, torch.inf, -1, self._value, self._slope),
        )

    def _value(self, x: Tensor) -> Rounded:
        return relative(torch.erf(x))

    def _slope(self, x: Tensor) -> Rounded:
        square = x.clamp(-UNDERFLOW, UNDERFLOW) ** 2
        return relative(2 / pi**0.5 * torch.exp(-square), 24 + 2 * square)
