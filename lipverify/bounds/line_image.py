"""Images of intervals under affine operators, exact where float arithmetic is.

Outward rounding turns a slope that is exactly 0, or a neuron that changes sign exactly at an end,
into a tiny interval around it, and leaves questions about them open. Hence, for each end of the
image:

- it is a sum over positive and negative weights on their own, rounded by no more than a share of
  these very products: sums of one sign never pass 0;
- it is exact if every product in it has a factor 0 (dead neurons, inputs that are not read);
- it is exact if all operands are points, and all products and partial sums are multiples of one
  power of two and too small to need more than 53 bits (small networks with short weights).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from operator import add

import torch
from torch import Tensor

from lipverify.errors import NumericalFailure, UnsupportedOperator
from lipverify.interval import Interval
from lipverify.numerics import SMALLEST, gamma, round_down, round_up
from lipverify.operators import (
    Add,
    AffineOperator,
    Choice,
    Conv,
    Dense,
    Pad,
    Reshape,
    Scale,
    Transpose,
)

MANTISSA = 53
LEAST_EXPONENT = -1000
"""Products of lower granularity could underflow."""
MOST_EXPONENT = 1000
SPLITTER = 2.0**27 + 1
LARGE = 1e140
"""Factors from 1/LARGE to LARGE can be split into parts whose products are exact."""
NO_BITS = 4000
"""Granularity of zeros: above every exponent."""


@dataclass(frozen=True, eq=False)
class Part:
    """The weights of one sign that an operator applies to one of its operands."""

    operator: AffineOperator
    operand: int
    positive: bool


@dataclass(frozen=True, eq=False)
class SignedOperator:
    """An affine operator, and its parts by the sign of the weights.

    `UnsupportedOperator` for one whose weights this file cannot tell apart.
    """

    operator: AffineOperator

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        operator = self.operator
        match operator:
            case Dense() | Conv():
                above = replace(operator, weight=operator.weight.clamp(min=0.0), bias=None)
                below = replace(operator, weight=operator.weight.clamp(max=0.0), bias=None)
                return Part(above, 0, True), Part(below, 0, False)
            case Scale(factor=Tensor() as factor):
                above = replace(operator, factor=factor.clamp(min=0.0), shift=None)
                below = replace(operator, factor=factor.clamp(max=0.0), shift=None)
                return Part(above, 0, True), Part(below, 0, False)
            case Scale():
                return (Part(replace(operator, shift=None), 0, True),)
            case Add() | Choice():
                signs = enumerate(operator.signs)
                return tuple(Part(operator, operand, sign > 0) for operand, sign in signs if sign)
        if operator.absolute is not operator:
            raise UnsupportedOperator(f"{operator.name}: no walk along a line (line_image.py)")
        return tuple(Part(operator, operand, True) for operand in range(operator.arity))


def image(signed: SignedOperator, operands: Sequence[Interval], *, shift: bool) -> Interval:
    """All values of the operator, or (without `shift`) of its linear part: [batch, *output].

    Operands are [batch, *shape]. `NumericalFailure` on overflow.
    """
    operator = signed.operator
    lower = _end(signed, operands, shift=shift, upper=False)
    upper = _end(signed, operands, shift=shift, upper=True)
    for end in (lower, upper):
        if not bool(torch.isfinite(end.value).all() and torch.isfinite(end.reach).all()):
            raise NumericalFailure(f"{operator.name}: overflow on a line")
    exact = _exact(operator, operands, torch.maximum(lower.reach, upper.reach), shift=shift)
    slack = 2 * gamma(operator.terms + len(signed.parts) + 4)
    low = round_down(lower.value - (slack * lower.reach + SMALLEST))
    high = round_up(upper.value + (slack * upper.reach + SMALLEST))
    return Interval(
        torch.where(exact | lower.zero, lower.value, low),
        torch.where(exact | upper.zero, upper.value, high),
    )


@dataclass(frozen=True, eq=False)
class _End:
    """One end of an image: its float value, and the sum of its terms' magnitudes.

    Where every product is 0 (`zero`), the value is the constant alone, without rounding.
    """

    value: Tensor
    reach: Tensor
    zero: Tensor


def _end(signed: SignedOperator, operands: Sequence[Interval], *, shift: bool, upper: bool) -> _End:
    value: list[Tensor] = []
    reach: list[Tensor] = []
    touched: list[Tensor] = []
    for part in signed.parts:
        operand = operands[part.operand]
        x = operand.upper if part.positive == upper else operand.lower
        absolute = part.operator.absolute_cached
        value.append(part.operator.linear(x, part.operand))
        reach.append(absolute.linear(x.abs(), part.operand))
        # Sums of indicators cannot underflow: 0 means that every product has a factor 0.
        touched.append(absolute.linear((x != 0).to(x), part.operand))
    constant = signed.operator.constant
    if shift and constant is not None:
        value.append(constant)
        reach.append(constant.abs())
    return _End(reduce(add, value), reduce(add, reach), reduce(add, touched) == 0)


def multiply_up(a: Tensor, b: Tensor) -> Tensor:
    """a b rounded up, for a, b >= 0: the float product itself where it is exact (Dekker 1971)."""
    total = a * b
    a_high, b_high = _high(a), _high(b)
    a_low, b_low = a - a_high, b - b_high
    error = ((a_high * b_high - total) + a_high * b_low + a_low * b_high) + a_low * b_low
    # Outside of this range, the parts above overflow or vanish.
    tame = (torch.maximum(a, b) < LARGE) & (torch.minimum(a, b) > 1.0 / LARGE)
    exact = (tame & (error <= 0)) | (a == 0) | (b == 0)
    return torch.where(exact, total, round_up(total))


def _high(a: Tensor) -> Tensor:
    """The upper 26 bits of each entry (Veltkamp's splitting)."""
    spread = SPLITTER * a
    return spread - (spread - a)


def _exact(
    operator: AffineOperator, operands: Sequence[Interval], reach: Tensor, *, shift: bool
) -> Tensor:
    """Whether all float arithmetic of each batch entry is exact: [batch, 1, ...].

    Products of multiples of 2^a and 2^b are multiples of 2^(a+b); sums of such numbers that stay
    within 2^(53+a+b) are floats, in whatever order they are made.
    """
    batch = [reach.shape[0], *[1] * (reach.dim() - 1)]
    weights = _weights(operator)
    if weights is None:
        return torch.zeros(batch, dtype=torch.bool)
    point = torch.ones(reach.shape[0], dtype=torch.bool)
    finest = torch.full((reach.shape[0],), NO_BITS, dtype=torch.int64)
    for operand in operands:
        point &= (operand.lower == operand.upper).flatten(1).all(1)
        finest = torch.minimum(finest, _lowest_bits(operand.lower))
    for weight in weights:
        finest = finest + _lowest_bits(weight.reshape(1, -1))
    if shift and operator.constant is not None:
        finest = torch.minimum(finest, _lowest_bits(operator.constant.reshape(1, -1)))
    limit = (finest + MANTISSA - 1).clamp(LEAST_EXPONENT, MOST_EXPONENT)
    room = torch.ldexp(torch.ones(reach.shape[0], dtype=torch.float64), limit)
    fits = (reach.flatten(1).amax(1) <= room) & (finest > LEAST_EXPONENT)
    return (point & fits).reshape(batch)


def _weights(operator: AffineOperator) -> tuple[Tensor, ...] | None:
    """The factors that one product of the operator can have; None where they are not floats."""
    match operator:
        case Dense() | Conv():
            return (operator.weight,)
        case Scale(rounding=0):
            return () if operator.factor is None else (operator.factor,)
        case Add() | Choice() | Reshape() | Transpose() | Pad():
            return ()
        case _:
            return None


def _lowest_bits(values: Tensor) -> Tensor:
    """The largest e such that all entries are multiples of 2^e: [batch, ...] -> [batch]."""
    mantissa, exponent = torch.frexp(values.flatten(1))
    integer = (mantissa * 2.0**MANTISSA).to(torch.int64).abs()
    lowest = (integer & -integer).to(torch.float64)
    zeros = torch.frexp(lowest)[1].to(torch.int64) - 1
    bits = exponent.to(torch.int64) - MANTISSA + zeros
    return torch.where(values.flatten(1) == 0, NO_BITS, bits).amin(1)
