"""x for x >= 0, slope x below."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lipverify.interval import Interval
from lipverify.operators import two_slopes
from lipverify.operators.base import Activation, Relaxation


@final
@dataclass(frozen=True, eq=False)
class LeakyReLU(Activation):
    """`slope` is any finite number (also negative, or above 1)."""

    name = "LeakyRelu"
    kinks = (0.0,)
    piecewise_linear = True
    has_choice = True
    slope: float = 0.01

    def evaluate(self, *x: Tensor) -> Tensor:
        return torch.where(x[0] >= 0, x[0], self.slope * x[0])

    def derivative(self, x: Tensor) -> Tensor:
        # Of two numbers, `where` makes the default dtype: a slope rounded to float32.
        return torch.where(x >= 0, torch.ones_like(x), self.slope)

    def interval(self, *x: Interval) -> Interval:
        return two_slopes.interval(x[0], self.slope, 1.0)

    def smooth_derivative(self, x: Tensor, width: float) -> Tensor:
        return self.slope + (1.0 - self.slope) * torch.sigmoid(x / width)

    def gate(self, x: Interval) -> Interval:
        return two_slopes.gate(x, self.slope, 1.0)

    def gate_within(self, x: Interval) -> Interval:
        return two_slopes.gate_within(x, self.slope, 1.0)

    def gate_lines(self, x: Interval) -> Relaxation:
        return two_slopes.gate_lines(x, self.slope, 1.0)

    def relax(self, x: Interval, lower_choice: Tensor | None = None) -> Relaxation:
        return two_slopes.relax(x, self.slope, 1.0, lower_choice)
