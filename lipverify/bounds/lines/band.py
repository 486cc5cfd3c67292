"""What is known of one node on many intervals of lines, and how operators carry it on.

A float sum of products errs by at most gamma(n) times the sum of their magnitudes (numerics.py);
errors are themselves sums of numbers >= 0, which `INFLATE` rounds up. A number that is exactly 0
stays exactly 0: dead neurons give slopes without an error.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from lipverify.errors import NumericalFailure, UnsupportedOperator
from lipverify.numerics import SMALLEST, UNIT_ROUNDOFF, gamma
from lipverify.operators import Add, AffineOperator, Conv, Dense, Scale

INFLATE = 1.0 + 2.0**-30
"""Above 1 + gamma(n) for all n below 2^22: covers the rounding of sums of numbers >= 0."""
MOST_TERMS = 2**21
NORMWISE = 128 * 128
"""Weights beyond which errors go through a layer by norms (Cauchy-Schwarz): half the work."""
UNDERFLOW = 2.0**-900
"""Products of smaller factors may underflow, which no relative error bound covers."""


@dataclass(frozen=True, eq=False)
class Band:
    """One node on p intervals: everything [p, *shape].

    For |t - middle| <= radius of the interval, with v within `value_error` of `value` and s within
    `slope_error` of `slope`, the node at t is v + s (t - middle). Its derivative by t, at every t
    inside where it exists, lies within `slope_error` of `slope`.
    """

    value: Tensor
    value_error: Tensor
    slope: Tensor
    slope_error: Tensor

    def picked(self, rows: Tensor) -> "Band":
        return Band(
            self.value[rows], self.value_error[rows], self.slope[rows], self.slope_error[rows]
        )

    def moved(self, parent: Tensor, step: Tensor) -> "Band":
        """On parts of the intervals: row k is of interval parent[k], its middle `step` further.

        `step` may err by its last bit.
        """
        old = self.picked(parent)
        step = step.reshape(-1, *[1] * (self.value.dim() - 1))
        change = old.slope * step
        value = old.value + change
        error = change.abs_().add_(value.abs()).mul_(4 * UNIT_ROUNDOFF)
        error.add_(old.slope_error * step.abs()).add_(old.value_error).mul_(INFLATE).add_(SMALLEST)
        # What is not moved, or does not move, has no new rounding.
        same = (step == 0) | ((old.slope == 0) & (old.slope_error == 0))
        return Band(value, torch.where(same, old.value_error, error), old.slope, old.slope_error)


def affine(operator: AffineOperator, operands: Sequence[Band]) -> Band:
    """The image; `NumericalFailure` on overflow."""
    count = len(operands[0].value)
    centers = [torch.cat([band.value, band.slope]) for band in operands]
    errors = [torch.cat([band.value_error, band.slope_error]) for band in operands]
    center, error = linear_image(operator, centers, errors)
    value, slope = center[:count], center[count:]
    value_error, slope_error = error[:count], error[count:]
    constant = operator.constant
    if constant is not None:
        value = value + constant
        rounding = (2 * UNIT_ROUNDOFF * value.abs() + _slack(operator) * constant.abs()) * INFLATE
        value_error = (value_error + rounding) * INFLATE
    # Sums keep what is not finite, without a mask as large as their terms.
    if not bool(torch.isfinite(center.sum() + error.sum() + value.sum())):
        raise NumericalFailure(f"{operator.name}: overflow on a line")
    return Band(value, value_error, slope, slope_error)


def linear_image(
    operator: AffineOperator, centers: Sequence[Tensor], errors: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """sum_i A_i x_i for all x_i within errors_i of centers_i: centre and error, [b, *output]."""
    slack = _slack(operator)
    center = operator.linear(centers[0], 0)
    for operand, x in enumerate(centers[1:], start=1):
        center = center + operator.linear(x, operand)
    spread = [e + slack * c.abs() for c, e in zip(centers, errors, strict=True)]
    if isinstance(operator, Dense) and operator.weight.numel() > NORMWISE:
        error = _norm(spread[0]) * _row_norms(operator)
    else:
        absolute = operator.absolute_cached
        error = absolute.linear(spread[0], 0)
        for operand, x in enumerate(spread[1:], start=1):
            error = error + absolute.linear(x, operand)
    tiny = _may_underflow(operator, centers, spread)
    tiny = tiny.reshape(-1, *[1] * (error.dim() - 1)).to(error)
    return center, error * INFLATE + SMALLEST * tiny


def _slack(operator: AffineOperator) -> float:
    """Relative error of the sums of one entry, their constant and their operands included."""
    terms = operator.terms + operator.arity + 4
    if terms > MOST_TERMS:
        raise UnsupportedOperator(
            f"{operator.name} sums {terms} numbers; at most {MOST_TERMS} on lines"
        )
    return 2 * gamma(terms)


def _norm(x: Tensor) -> Tensor:
    """The l2 norm along the last dimension, kept; scaled, so that no square underflows."""
    most = x.amax(-1, keepdim=True)
    scaled = x / torch.where(most > 0, most, 1.0)
    return most * torch.linalg.vector_norm(scaled, dim=-1, keepdim=True)


def _smallest(x: Tensor) -> float:
    """The smallest magnitude other than 0."""
    return float(torch.where(x == 0, torch.inf, x.abs()).min())


def _may_underflow(
    operator: AffineOperator, centers: Sequence[Tensor], spread: Sequence[Tensor]
) -> Tensor:
    """Whether a product of each row, or a share of it, may underflow: [b]."""
    least = _least_weight(operator)
    # Errors are shares of the centres, or grow from such: far from underflow, all is well.
    if least and all(_smallest(x) * min(least, 1.0) >= UNDERFLOW for x in (*centers, *spread)):
        return torch.zeros(len(centers[0]), dtype=torch.bool)
    found = torch.zeros(len(centers[0]), dtype=torch.bool)
    for center, x in zip(centers, spread, strict=True):
        flat = x.flatten(1)
        smallest = torch.where(flat > 0, flat, torch.inf).amin(1)
        found |= ((center.flatten(1) != 0) & (flat == 0)).any(1)
        found |= ~(smallest * least >= UNDERFLOW)
    return found


@lru_cache(maxsize=256)
def _least_weight(operator: AffineOperator) -> float:
    """The smallest magnitude of a factor other than 0; 0 where it is not known."""
    match operator:
        case Dense() | Conv():
            weights = operator.weight.abs()
        case Scale(factor=None) | Add():
            return 1.0
        case Scale(factor=torch.Tensor() as factor):
            weights = factor.abs()
        case _:
            return 0.0
    some = weights[weights > 0]
    return float(some.min()) if some.numel() else 1.0


@lru_cache(maxsize=256)
def _row_norms(operator: Dense) -> Tensor:
    """The l2 norm of every row of weights [out], rounded up."""
    return torch.linalg.vector_norm(operator.weight, dim=1) * INFLATE
