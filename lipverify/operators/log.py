"""The natural logarithm."""

from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from lipverify.numerics import SMALLEST
from lipverify.operators.curve import Curve, Piece, Rounded, relative


@final
@dataclass(frozen=True, eq=False)
class Log(Curve):
    """Concave, for x > 0 only."""

    name = "Log"
    slopes = (0.0, torch.inf)
    defined = "x > 0"

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        return (Piece(SMALLEST, torch.inf, -1, self._value, self._slope),)

    def _value(self, x: Tensor) -> Rounded:
        return relative(torch.log(x))

    def _slope(self, x: Tensor) -> Rounded:
        return relative(1 / x, 2)
