"""max(x, 0)."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lipverify.interval import Interval
from lipverify.operators import two_slopes
from lipverify.operators.base import Activation, Relaxation


@final
@dataclass(frozen=True, eq=False)
class ReLU(Activation):
    name = "Relu"
    kinks = (0.0,)
    piecewise_linear = True
    has_choice = True

    def evaluate(self, *x: Tensor) -> Tensor:
        return torch.relu(x[0])

    def derivative(self, x: Tensor) -> Tensor:
        return (x >= 0).to(x)

    def smooth_derivative(self, x: Tensor, width: float) -> Tensor:
        return torch.sigmoid(x / width)

    def gate(self, x: Interval) -> Interval:
        return two_slopes.gate(x, 0.0, 1.0)

    def gate_within(self, x: Interval) -> Interval:
        return two_slopes.gate_within(x, 0.0, 1.0)

    def gate_lines(self, x: Interval) -> Relaxation:
        return two_slopes.gate_lines(x, 0.0, 1.0)

    def relax(self, x: Interval, lower_choice: Tensor | None = None) -> Relaxation:
        return two_slopes.relax(x, 0.0, 1.0, lower_choice)
