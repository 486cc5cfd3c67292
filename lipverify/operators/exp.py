"""The exponential function."""

from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from lipverify.operators.curve import Curve, Piece, Rounded, relative


@final
@dataclass(frozen=True, eq=False)
class Exp(Curve):
    """Convex; refused (`OutOfDomain`) where it overflows float64."""

    name = "Exp"
    values = (0.0, torch.inf)
    slopes = (0.0, torch.inf)

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        return (Piece(-torch.inf, torch.inf, 1, self._value, self._value),)

    def _value(self, x: Tensor) -> Rounded:
        return relative(torch.exp(x))
