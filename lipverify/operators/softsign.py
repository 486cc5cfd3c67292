"""x / (1 + |x|)."""

from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from lipverify.operators.curve import Curve, Piece, Rounded, relative


@final
@dataclass(frozen=True, eq=False)
class Softsign(Curve):
    """Convex below 0 and concave above; its derivative 1 / (1 + |x|)^2 is continuous."""

    name = "Softsign"
    values = (-1.0, 1.0)
    slopes = (0.0, 1.0)

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        return (
            Piece(-torch.inf, 0.0, 1, self._value, self._slope),
            Piece(0.0, torch.inf, -1, self._value, self._slope),
        )

    def _value(self, x: Tensor) -> Rounded:
        return relative(x / (1 + x.abs()), 8)

    def _slope(self, x: Tensor) -> Rounded:
        return relative((1 / (1 + x.abs())) ** 2, 12)
