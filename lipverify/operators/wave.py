"""What sine and cosine share."""

from abc import abstractmethod
from math import pi
from typing import ClassVar

import torch
from torch import Tensor

from lipverify.interval import Interval
from lipverify.numerics import UNIT_ROUNDOFF, round_down, round_up
from lipverify.operators.base import Relaxation
from lipverify.operators.curve import Curve, Function, Part, Piece, Rounded

LARGEST = 2.0**16
"""Up to here multiples of pi are known to 1e-11; beyond, only [-1, 1] is claimed."""

PIECES = 4
"""An interval up to 2 pi long meets so many half-waves."""

NEAR = 1e-10
"""Multiples of pi are at most so far from their computed values."""


class Wave(Curve):
    """A wave of period 2 pi: concave where positive, convex where negative.

    Its half-waves depend on where an interval lies, so `pieces` only tells that it is defined
    everywhere; `_parts` finds those that an interval meets.
    """

    values = (-1.0, 1.0)
    slopes = (-1.0, 1.0)
    root: ClassVar[float]
    """The wave is 0 at (root + k) pi, rising for even k."""
    crest: ClassVar[float]
    """The wave is 1 at (crest + 2 k) pi."""

    @abstractmethod
    def value(self, x: Tensor) -> Rounded: ...

    @abstractmethod
    def slope(self, x: Tensor) -> Rounded: ...

    @property
    def pieces(self) -> tuple[Piece, ...]:
        return (Piece(-torch.inf, torch.inf, 0, self.value, self.slope),)

    def interval(self, *x: Interval) -> Interval:
        self._require_domain(x[0])
        return _range(x[0], self.value, self.crest)

    def gate(self, x: Interval) -> Interval:
        self._require_domain(x)
        return _range(x, self.slope, self.crest - 0.5)

    def relax(self, x: Interval, lower_choice: Tensor | None = None) -> Relaxation:
        self._require_domain(x)
        long = _is_long(x)
        middle = x.center
        short = Interval(torch.where(long, middle, x.lower), torch.where(long, middle, x.upper))
        short = Interval(*(end.clamp(-LARGEST, LARGEST) for end in (short.lower, short.upper)))
        curve = Curve.relax(self, short)
        zero, one = torch.zeros_like(middle), torch.ones_like(middle)
        return Relaxation(
            torch.where(long, zero, curve.lower_slope),
            torch.where(long, -one, curve.lower_intercept),
            torch.where(long, zero, curve.upper_slope),
            torch.where(long, one, curve.upper_intercept),
        )

    def _parts(self, x: Interval) -> list[Part]:
        first = torch.floor(x.lower / pi - self.root - NEAR)
        parts = []
        for index in range(PIECES + 1):
            number = first + index
            start = (number + self.root) * pi
            # Not beyond the interval: neighbours meet at one and the same computed root.
            end = (number + 1 + self.root) * pi
            there = (start <= x.upper) & (end >= x.lower)
            curvature = torch.where(number % 2 == 0, -1, 1)
            lower = torch.minimum(torch.maximum(start, x.lower), x.upper)
            upper = torch.maximum(torch.minimum(end, x.upper), x.lower)
            parts.append(Part(lower, upper, there, curvature, self.value, self.slope))
        return parts


def _is_long(x: Interval) -> Tensor:
    """Whole periods, and what is too far out to know where."""
    return (x.width >= 2 * pi) | (x.magnitude > LARGEST)


def _range(x: Interval, wave: Function, crest: float) -> Interval:
    """The range of a wave that is 1 at (crest + 2 k) pi, rounded outward."""
    ends = [wave(end) for end in (x.lower, x.upper)]
    low = torch.minimum(*(round_down(value - error) for value, error in ends))
    high = torch.maximum(*(round_up(value + error) for value, error in ends))
    long = _is_long(x)
    high = torch.where(long | _meets(x, crest), torch.ones_like(high), high)
    low = torch.where(long | _meets(x, crest + 1.0), -torch.ones_like(low), low)
    return Interval(low.clamp(-1.0, 1.0), high.clamp(-1.0, 1.0))


def _meets(x: Interval, phase: float) -> Tensor:
    """Whether a point (phase + 2 k) pi may be in the interval."""
    slack = 8 * UNIT_ROUNDOFF * (1 + x.magnitude)
    first = torch.ceil((x.lower - slack) / (2 * pi) - phase / 2 - 1e-11)
    return (2 * first + phase) * pi <= x.upper + slack
