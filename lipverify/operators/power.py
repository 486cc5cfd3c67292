"""x^p for a constant p: Pow, Square, Sqrt and Reciprocal."""

from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from lipverify.errors import UnsupportedOperator
from lipverify.numerics import SMALLEST
from lipverify.operators.curve import Curve, Piece, Rounded, relative


@final
@dataclass(frozen=True, eq=False)
class Pow(Curve):
    """x^exponent, where it has a finite derivative: everywhere for natural exponents, away from 0
    for negative integers, for x >= 0 (above 1) or x > 0 (below 1) for fractions.

    `UnsupportedOperator` for the exponents 0 and 1: a constant and the identity.
    """

    name = "Pow"
    exponent: float

    def __post_init__(self) -> None:
        if not abs(self.exponent) < torch.inf or self.exponent in (0.0, 1.0):
            raise UnsupportedOperator(
                f"the exponent {self.exponent:g} makes it no curve; any finite one but 0 and 1 does"
            )

    @property
    def _is_integer(self) -> bool:
        return float(self.exponent).is_integer()

    @property
    def turns(self) -> tuple[float, ...]:  # type: ignore[override]  # it depends on the exponent
        return (0.0,) if self._is_integer and self.exponent > 0 and self.exponent % 2 == 0 else ()

    @property
    def defined(self) -> str:  # type: ignore[override]  # it depends on the exponent
        if self._is_integer:
            return "x > 0, and for x < 0"
        return "x >= 0" if self.exponent > 1 else "x > 0"

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        p = self.exponent
        above = 1 if p > 1 or p < 0 else -1
        positive = Piece(0.0 if p > 1 else SMALLEST, torch.inf, above, self._value, self._slope)
        if not self._is_integer:
            return (positive,)
        below = 1 if p % 2 == 0 else -1
        end = 0.0 if p > 1 else -SMALLEST
        return (Piece(-torch.inf, end, below, self._value, self._slope), positive)

    def _value(self, x: Tensor) -> Rounded:
        return _power(x, self.exponent)

    def _slope(self, x: Tensor) -> Rounded:
        power, error = _power(x, self.exponent - 1)
        return Rounded(
            self.exponent * power,
            abs(self.exponent) * error + relative(self.exponent * power, 2).error,
        )


def _power(x: Tensor, exponent: float) -> Rounded:
    if exponent == 0.0:
        return Rounded(torch.ones_like(x), torch.zeros_like(x))
    if exponent == 1.0:
        return Rounded(x, torch.zeros_like(x))
    if exponent == 2.0:
        return relative(x * x, 2)
    if exponent == 3.0:
        return relative(x * x * x, 4)
    if exponent == 0.5:
        return relative(torch.sqrt(x), 2)
    if exponent == -1.0:
        return relative(1 / x, 2)
    return relative(torch.pow(x, exponent), 32)
