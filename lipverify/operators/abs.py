"""|x|."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lipverify.interval import Interval
from lipverify.operators import two_slopes
from lipverify.operators.base import Activation, Relaxation


@final
@dataclass(frozen=True, eq=False)
class Abs(Activation):
    name = "Abs"
    kinks = (0.0,)
    piecewise_linear = True
    has_choice = True

    def evaluate(self, *x: Tensor) -> Tensor:
        return x[0].abs()

    def derivative(self, x: Tensor) -> Tensor:
        return torch.where(x >= 0, torch.ones_like(x), -1.0)

    def interval(self, *x: Interval) -> Interval:
        return two_slopes.interval(x[0], -1.0, 1.0)

    def smooth_derivative(self, x: Tensor, width: float) -> Tensor:
        return torch.tanh(x / (2 * width))

    def gate(self, x: Interval) -> Interval:
        return two_slopes.gate(x, -1.0, 1.0)

    def gate_within(self, x: Interval) -> Interval:
        return two_slopes.gate_within(x, -1.0, 1.0)

    def relax(self, x: Interval, lower_choice: Tensor | None = None) -> Relaxation:
        return two_slopes.relax(x, -1.0, 1.0, lower_choice)
