"""log(1 + exp(x)), a smooth ReLU."""

from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from lipverify.operators.curve import Curve, Piece, Rounded, relative


@final
@dataclass(frozen=True, eq=False)
class Softplus(Curve):
    """Convex; its derivative is the logistic function."""

    name = "Softplus"
    values = (0.0, torch.inf)
    slopes = (0.0, 1.0)

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        return (Piece(-torch.inf, torch.inf, 1, self._value, self._slope),)

    def _value(self, x: Tensor) -> Rounded:
        return relative(torch.relu(x) + torch.log1p(torch.exp(-x.abs())), 24)

    def _slope(self, x: Tensor) -> Rounded:
        return relative(torch.sigmoid(x))
