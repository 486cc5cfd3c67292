"""The product of two branches, entry by entry, and the gate of each factor: the other factor.

Matrix products of branches, quotients and gated units are all written with it.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from lipverify.errors import NumericalFailure, OutOfDomain
from lipverify.interval import Interval
from lipverify.numerics import SMALLEST, UNIT_ROUNDOFF, round_down, round_up
from lipverify.operators.base import AbstractOperator, Relaxation, Shape
from lipverify.operators.curve import Curve, Piece, Rounded, relative
from lipverify.operators.gate import product


@final
@dataclass(frozen=True, eq=False)
class Factor(Curve):
    """x^2 / 2, whose derivative at x is x itself.

    As the activation of a `Gate` it makes the gate d g with d = x: the derivative of a product by
    one factor is the other one.
    """

    name = "Factor"
    turns = (0.0,)
    values = (0.0, torch.inf)

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        return (Piece(-torch.inf, torch.inf, 1, _half_square, _itself),)

    def gate(self, x: Interval) -> Interval:
        """Exactly the operand: no function is evaluated."""
        if not x.is_finite():
            raise OutOfDomain(f"{self.name}: its operand has an infinite bound")
        return x

    def gate_lines(self, x: Interval) -> Relaxation:
        zero, one = torch.zeros_like(x.lower), torch.ones_like(x.lower)
        return Relaxation(one, zero, one, zero)


def _half_square(x: Tensor) -> Rounded:
    return relative(x * x / 2, 2)


def _itself(x: Tensor) -> Rounded:
    return Rounded(x, torch.zeros_like(x))


FACTOR = Factor()


@dataclass(frozen=True, eq=False)
class PlaneRelaxation:
    """x_slope x + y_slope y + lower_intercept <= z <= x_slope x + y_slope y + upper_intercept."""

    x_slope: Tensor
    y_slope: Tensor
    lower_intercept: Tensor
    upper_intercept: Tensor


@final
@dataclass(frozen=True, eq=False)
class Product(AbstractOperator):
    """z = x y for two branches of one shape."""

    name = "Product"

    @property
    def arity(self) -> int:
        return 2

    def output_shape(self, *shapes: Shape) -> Shape:
        assert len(set(shapes)) == 1, "factors must have one shape"
        return shapes[0]

    @property
    def parameters(self) -> int:
        return 0

    def evaluate(self, *x: Tensor) -> Tensor:
        return x[0] * x[1]

    def interval(self, *x: Interval) -> Interval:
        self._require_finite(*x)
        result = product(x[0], x[1])
        if not result.is_finite():
            raise OutOfDomain(f"{self.name}: it overflows float64 on the region")
        return result

    def relax(self, x: Interval, y: Interval) -> PlaneRelaxation:
        """Parallel planes with the slopes at the box's centre, rounded outward.

        On either side, the mean of the two planes of the bilinear hull (McCormick 1976): their
        distance is half the product of the widths everywhere. What is left of x y without the
        planes' slopes is bilinear, so largest and smallest at a corner, whatever the slopes are.
        """
        self._require_finite(x, y)
        x_slope, y_slope = torch.broadcast_tensors(y.center, x.center)
        rests, errors = [], []
        for one in (x.lower, x.upper):
            for other in (y.lower, y.upper):
                terms = one * other, x_slope * one, y_slope * other
                rests.append(terms[0] - terms[1] - terms[2])
                errors.append(8 * UNIT_ROUNDOFF * sum(term.abs() for term in terms) + 4 * SMALLEST)
        rest, error = torch.stack(rests), torch.stack(errors).amax(0)
        lower, upper = round_down(rest.amin(0) - error), round_up(rest.amax(0) + error)
        if not bool((torch.isfinite(lower) & torch.isfinite(upper)).all()):
            raise NumericalFailure(f"{self.name}: overflow in its relaxation")
        return PlaneRelaxation(x_slope, y_slope, lower, upper)

    def _require_finite(self, *x: Interval) -> None:
        if not all(operand.is_finite() for operand in x):
            raise OutOfDomain(f"{self.name}: an operand has an infinite bound")
