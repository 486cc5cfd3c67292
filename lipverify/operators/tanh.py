"""The hyperbolic tangent."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lipverify.interval import Interval
from lipverify.numerics import ELEMENTARY_ULPS, SMALLEST, UNIT_ROUNDOFF
from lipverify.operators import s_shaped
from lipverify.operators.base import Activation, Relaxation


@final
@dataclass(frozen=True, eq=False)
class Tanh(Activation):
    name = "Tanh"

    def evaluate(self, *x: Tensor) -> Tensor:
        return torch.tanh(x[0])

    def round_value(self, y: Tensor, *, up: bool) -> Tensor:
        slack = ELEMENTARY_ULPS * UNIT_ROUNDOFF * y.abs() + SMALLEST
        return (y + slack if up else y - slack).clamp(-1.0, 1.0)

    def derivative(self, x: Tensor) -> Tensor:
        # 1 - tanh^2 cancels for large |x|; this form keeps its relative precision.
        decay = torch.exp(-2 * x.abs())
        return (4 * decay / (1 + decay) ** 2).clamp(max=1.0)  # rounding can lead past the maximum

    def gate(self, x: Interval) -> Interval:
        return s_shaped.gate(x, self.derivative, 1.0)

    def gate_lines(self, x: Interval) -> Relaxation:
        return s_shaped.gate_lines(x, self.derivative, self.gate(x), curvature=2.0)

    def relax(self, x: Interval, lower_choice: Tensor | None = None) -> Relaxation:
        return s_shaped.relax(x, torch.tanh, self.derivative)
