"""Gaussian error linear units, exact (by erf) and in the approximation by tanh."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import exp, pi, sqrt
from typing import final

import torch
from torch import Tensor

from lipverify.errors import UnsupportedOperator
from lipverify.numerics import SMALLEST, UNIT_ROUNDOFF
from lipverify.operators.curve import Curve, Piece, Rounded, relative

FAR = 40.0
"""Beyond it the distribution function is 0 or 1 in float64, and so is the tanh form's factor."""

CUBIC = 0.044715
CUBICS = (0.0446, 0.0448)
"""Factors of x^3 for which the tanh form is known to have two inflection points."""

ROOT = sqrt(2 / pi)


@final
@dataclass(frozen=True, eq=False)
class Gelu(Curve):
    """x times the normal distribution function of x.

    Its second derivative is (2 - x^2) times the density: inflection points at +-sqrt(2).
    """

    name = "Gelu"
    turns = (-0.7517915246935645,)

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        bend = sqrt(2.0)
        return (
            Piece(-torch.inf, -bend, -1, self._value, self._slope),
            Piece(-bend, bend, 1, self._value, self._slope),
            Piece(bend, torch.inf, -1, self._value, self._slope),
        )

    def _value(self, x: Tensor) -> Rounded:
        # erfc magnifies its argument's rounding by its square, in its small tail.
        tail = x.clamp(-FAR, 0.0) ** 2
        return relative(x * _distribution(x), 32 + 4 * tail)

    def _slope(self, x: Tensor) -> Rounded:
        near = x.clamp(-FAR, FAR)
        below = _distribution(x)
        density = near * torch.exp(-(near**2) / 2) / sqrt(2 * pi)
        ulps = 32 + 4 * near**2
        error = UNIT_ROUNDOFF * (
            (32 + 4 * x.clamp(-FAR, 0.0) ** 2) * below + ulps * density.abs() + 4 * below
        )
        return Rounded(below + density, error + SMALLEST)


def _distribution(x: Tensor) -> Tensor:
    return torch.special.erfc(-x / sqrt(2.0)) / 2


@final
@dataclass(frozen=True, eq=False)
class GeluTanh(Curve):
    """x / 2 (1 + tanh(sqrt(2 / pi) (x + cubic x^3))), `cubic` about 0.044715.

    That is x sigmoid(v) with v = 2 sqrt(2 / pi) (x + cubic x^3). The two inflection points are
    roots of the second derivative; it is even, since f(x) - f(-x) = x. `cubic` may itself be
    rounded (a few units): what is proved holds for all such factors.
    """

    name = "GeluTanh"
    cubic: float = CUBIC

    def __post_init__(self) -> None:
        if not CUBICS[0] <= self.cubic <= CUBICS[1]:
            raise UnsupportedOperator(
                f"the tanh form of Gelu has the factor {self.cubic:g} for x^3; {CUBIC} is expected"
            )

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        bend = _root(self._second, 1.0, 2.0)
        return (
            Piece(-torch.inf, -bend, -1, self._value, self._slope),
            Piece(-bend, bend, 1, self._value, self._slope),
            Piece(bend, torch.inf, -1, self._value, self._slope),
        )

    @cached_property
    def turns(self) -> tuple[float, ...]:  # type: ignore[override]  # it depends on `cubic`
        return (_root(self._first, -1.0, -0.5),)

    def _argument(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """v and its derivative; constant beyond FAR, where sigmoid(v) is 0 or 1."""
        near = x.clamp(-FAR, FAR)
        square = near * near
        return 2 * ROOT * near * (1 + self.cubic * square), 2 * ROOT * (1 + 3 * self.cubic * square)

    def _value(self, x: Tensor) -> Rounded:
        v, _ = self._argument(x)
        return relative(x * torch.sigmoid(v), 32 + 24 * v.clamp(max=0.0).abs())

    def _slope(self, x: Tensor) -> Rounded:
        v, speed = self._argument(x)
        near = x.clamp(-FAR, FAR)
        share = torch.sigmoid(v)
        bump = near * speed * share * torch.sigmoid(-v)
        error = (32 + 24 * v.clamp(max=0.0).abs()) * share + (64 + 48 * v.abs()) * bump.abs()
        return Rounded(share + bump, UNIT_ROUNDOFF * error + SMALLEST)

    def _first(self, x: float) -> float:
        share, speed, _ = self._parts_at(x)
        return share + x * share * (1 - share) * speed

    def _second(self, x: float) -> float:
        share, speed, turn = self._parts_at(x)
        bump = share * (1 - share)
        return bump * (2 * speed + x * ((1 - 2 * share) * speed**2 + turn))

    def _parts_at(self, x: float) -> tuple[float, float, float]:
        """sigmoid(v) and the first two derivatives of v."""
        v = 2 * ROOT * (x + self.cubic * x**3)
        speed, turn = 2 * ROOT * (1 + 3 * self.cubic * x * x), 12 * ROOT * self.cubic * x
        return 1 / (1 + exp(-v)), speed, turn


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """The root between two points with values of different signs, by bisection."""
    rising = function(high) > 0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (low, middle) if (function(middle) > 0) == rising else (middle, high)
    return high
