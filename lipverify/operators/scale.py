"""Multiplication by, and addition of, constants: Mul, Div, Add, Sub, BatchNormalization."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lipverify.numerics import DTYPE
from lipverify.operators.base import AffineOperator, Shape


@final
@dataclass(frozen=True, eq=False)
class Scale(AffineOperator):
    """y = factor * x + shift, entry by entry.

    `factor` and `shift` have the shape of x (or are None for 1 and 0). `rounding` counts the
    float operations that made them from stored weights (a folded BatchNormalization: 4).
    """

    name = "Scale"
    factor: Tensor | None
    shift: Tensor | None
    rounding: int = 0

    def output_shape(self, *shapes: Shape) -> Shape:
        return shapes[0]

    @property
    def parameters(self) -> int:
        return sum(0 if values is None else values.numel() for values in (self.factor, self.shift))

    def linear(self, x: Tensor, operand: int = 0) -> Tensor:
        return x if self.factor is None else x * self.factor.to(x)

    def transpose(self, g: Tensor, operand: int = 0) -> Tensor:
        return self.linear(g)

    @property
    def constant(self) -> Tensor | None:
        return self.shift

    @property
    def absolute(self) -> "Scale":
        return Scale(
            None if self.factor is None else self.factor.abs(),
            None if self.shift is None else self.shift.abs(),
            self.rounding,
        )

    def sign_parts(self) -> tuple["Scale", "Scale"]:
        factor, shift = self.factor, self.shift
        return (
            Scale(
                None if factor is None else (factor > 0).to(factor),
                None if shift is None else (shift > 0).to(shift),
            ),
            Scale(
                torch.zeros(1, dtype=DTYPE) if factor is None else (factor < 0).to(factor),
                None if shift is None else (shift < 0).to(shift),
            ),
        )

    @property
    def terms(self) -> int:
        return 1 + self.rounding
