"""Judges: values in exact or high-precision arithmetic, independent of torch.

Lines and piecewise linear functions are exact (mpmath numbers wide enough for any sum of products
of float64); tanh and sigmoid are enclosed to 2^-250 of their value.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from typing import final

from mpmath import exp, mp, mpf
from torch import Tensor

EXACT_BITS = 4500
"""Holds every sum of a few products of two float64: their bits span at most 2^2048 to 2^-2148."""

FUNCTION_BITS = 300
FUNCTION_ERROR = mpf(2) ** -250
CHORD_WIDTH = 1e-6
"""Shortest interval, relative to its ends, whose difference quotient is computed."""


@dataclass(frozen=True)
class Enclosure:
    """An exact number lies between the two (equal ones for an exact one)."""

    low: mpf
    high: mpf


class Judge(ABC):
    """A scalar function and its derivative, exactly or nearly so."""

    @abstractmethod
    def value(self, x: float) -> Enclosure: ...

    @abstractmethod
    def one_sided(self, x: float) -> list[Enclosure]:
        """The derivative at x; from the left and from the right at a kink."""

    def quotient(self, x: float, y: float) -> Enclosure:
        """(f(y) - f(x)) / (y - x), for x < y: by the mean value theorem a Clarke derivative."""
        first, second = self.value(x), self.value(y)
        with mp.workprec(EXACT_BITS):
            step = mpf(y) - mpf(x)
            return Enclosure((second.low - first.high) / step, (second.high - first.low) / step)


@final
@dataclass(frozen=True)
class TwoSlopes(Judge):
    """negative x for x <= 0, positive x for x >= 0: exact."""

    negative: float
    positive: float

    def value(self, x: float) -> Enclosure:
        with mp.workprec(EXACT_BITS):
            y = mpf(self.positive if x >= 0 else self.negative) * mpf(x)
        return Enclosure(y, y)

    def one_sided(self, x: float) -> list[Enclosure]:
        slopes = [self.negative] * (x <= 0) + [self.positive] * (x >= 0)
        return [Enclosure(mpf(slope), mpf(slope)) for slope in slopes]


def _around(value: mpf) -> Enclosure:
    slack = abs(value) * FUNCTION_ERROR
    return Enclosure(value - slack, value + slack)


@final
@dataclass(frozen=True)
class TanhJudge(Judge):
    def value(self, x: float) -> Enclosure:
        with mp.workprec(FUNCTION_BITS):
            return _around(mp.tanh(mpf(x)))

    def one_sided(self, x: float) -> list[Enclosure]:
        with mp.workprec(FUNCTION_BITS):
            decay = exp(-2 * abs(mpf(x)))
            return [_around(4 * decay / (1 + decay) ** 2)]


@final
@dataclass(frozen=True)
class SigmoidJudge(Judge):
    def value(self, x: float) -> Enclosure:
        with mp.workprec(FUNCTION_BITS):
            decay = exp(-abs(mpf(x)))
            return _around(1 / (1 + decay) if x >= 0 else decay / (1 + decay))

    def one_sided(self, x: float) -> list[Enclosure]:
        with mp.workprec(FUNCTION_BITS):
            decay = exp(-abs(mpf(x)))
            return [_around(decay / (1 + decay) ** 2)]


def line(slope: float, intercept: float, x: float) -> mpf:
    """slope x + intercept, exactly; an infinite intercept (nothing is claimed) stays infinite."""
    if intercept in (float("inf"), float("-inf")):
        return mpf(intercept)
    with mp.workprec(EXACT_BITS):
        return mpf(slope) * mpf(x) + mpf(intercept)


def product(a: float, b: float) -> mpf:
    with mp.workprec(EXACT_BITS):
        return mpf(a) * mpf(b)


def fractions(values: Tensor) -> list[Fraction]:
    """Every entry as the rational number that it is, in row-major order."""
    return [Fraction(value) for value in values.flatten().tolist()]


def rows(matrix: Tensor) -> list[list[Fraction]]:
    """The rows of [m, n] as exact numbers."""
    return [fractions(row) for row in matrix]


def dot(a: list[Fraction], b: list[Fraction]) -> Fraction:
    return sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0))


def apply(matrix: list[list[Fraction]], x: list[Fraction]) -> list[Fraction]:
    return [dot(row, x) for row in matrix]


def transposed(matrix: list[list[Fraction]]) -> list[list[Fraction]]:
    return [list(column) for column in zip(*matrix, strict=True)]


def is_positive_definite(matrix: list[list[Fraction]]) -> bool:
    """Of a symmetric matrix, by exact elimination: every pivot is positive."""
    work = [row[:] for row in matrix]
    for k, pivot_row in enumerate(work):
        if pivot_row[k] <= 0:
            return False
        for i in range(k + 1, len(work)):
            factor = work[i][k] / pivot_row[k]
            work[i] = [a - factor * b for a, b in zip(work[i], pivot_row, strict=True)]
    return True


def scaled(value: mpf, factor: float) -> mpf:
    with mp.workprec(FUNCTION_BITS + 100):
        return value * mpf(factor)
