"""x tanh(softplus(x))."""

from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from lipverify.numerics import SMALLEST, UNIT_ROUNDOFF
from lipverify.operators.curve import Curve, Piece, Rounded, relative

BENDS = (-2.25637639636079312, 1.49057117948542846)
"""The second derivative's only roots."""

FAR = 40.0
"""Beyond it tanh(softplus(x)) is 1 in float64."""


@final
@dataclass(frozen=True, eq=False)
class Mish(Curve):
    """With n = exp(x), tanh(softplus(x)) = p / (p + 2) for p = n (n + 2): nothing cancels."""

    name = "Mish"
    turns = (-1.1924312145154952,)

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        low, high = BENDS
        return (
            Piece(-torch.inf, low, -1, self._value, self._slope),
            Piece(low, high, 1, self._value, self._slope),
            Piece(high, torch.inf, -1, self._value, self._slope),
        )

    def _value(self, x: Tensor) -> Rounded:
        n = torch.exp(x.clamp(max=FAR))
        p = n * (n + 2)
        return relative(x * (p / (p + 2)), 96)

    def _slope(self, x: Tensor) -> Rounded:
        n = torch.exp(x.clamp(max=FAR))
        p = n * (n + 2)
        share = p / (p + 2)
        bump = x.clamp(-1000.0, FAR) * (4 * (n / (p + 2)) * ((n + 1) / (p + 2)))
        return Rounded(share + bump, 160 * UNIT_ROUNDOFF * (share + bump.abs()) + SMALLEST)
