"""Activations: ranges, slopes and lines on an interval, rounded outward (README 6.3, 6.4).

Preactivations and values are integers at 2^-P, slopes (of lines and of gates) at 2^-SLOPE.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import exp, isfinite, log, sqrt
from typing import NamedTuple

from lipverify.checker.errors import Unreadable
from lipverify.checker.exact import down, quotient_up, shift_up, up

SLOPE = 64
GUARD = 40
"""Fraction bits beyond P in the evaluation of smooth functions."""


class Span(NamedTuple):
    lower: int
    upper: int


class Line(NamedTuple):
    """slope z + intercept: slope at 2^-SLOPE, intercept at 2^-P."""

    slope: int
    intercept: int


class Activation(ABC):
    @abstractmethod
    def range(self, z: Span, bits: int) -> Span:
        """Values on the interval."""

    @abstractmethod
    def gate(self, z: Span, bits: int) -> Span:
        """Slopes on the interval, at 2^-SLOPE; at ends that are kinks, from inside."""

    @abstractmethod
    def open(self, z: Span, bits: int) -> bool:
        """Whether the function is not one line on the interval."""

    @abstractmethod
    def chosen(self, z: Span, bits: int, above: bool) -> int:
        """A slope for the line above or below; any would be sound."""

    @abstractmethod
    def intercept(self, slope: int, z: Span, bits: int, above: bool) -> int:
        """The least intercept with slope z + intercept above the function (greatest, below)."""

    def line(self, z: Span, bits: int, above: bool) -> Line:
        slope = self.chosen(z, bits, above)
        return Line(slope, self.intercept(slope, z, bits, above))

    two_sided = False
    """Whether its only kink is at 0, so that each side of 0 has one slope."""


@dataclass(frozen=True)
class TwoSlopes(Activation):
    """below z for z <= 0, above z for z >= 0; both slopes at 2^-SLOPE."""

    below: int
    above: int
    two_sided = True

    def value(self, z: int) -> int:
        """At 2^-(P + SLOPE)."""
        return z * (self.above if z > 0 else self.below)

    def slope_at(self, z: Fraction) -> Fraction | None:
        """None at a kink."""
        if z == 0 and self.above != self.below:
            return None
        return Fraction(self.above if z > 0 else self.below, 1 << SLOPE)

    def exact(self, z: Fraction) -> Fraction:
        return z * Fraction(self.above if z > 0 else self.below, 1 << SLOPE)

    def _points(self, z: Span) -> tuple[int, ...]:
        """Where a linear function plus this one has its extremes."""
        return (z.lower, 0, z.upper) if z.lower < 0 < z.upper else z

    def range(self, z: Span, bits: int) -> Span:
        values = [self.value(point) for point in self._points(z)]
        return Span(min(values) >> SLOPE, shift_up(max(values), SLOPE))

    def gate(self, z: Span, bits: int) -> Span:
        if z.lower >= 0:
            return Span(self.above, self.above)
        if z.upper <= 0:
            return Span(self.below, self.below)
        return Span(min(self.below, self.above), max(self.below, self.above))

    def open(self, z: Span, bits: int) -> bool:
        return z.lower < 0 < z.upper and self.below != self.above

    def chosen(self, z: Span, bits: int, above: bool) -> int:
        if not self.open(z, bits):
            return self.gate(z, bits).lower
        if above is (self.above > self.below):  # the side of the chord
            return (self.value(z.upper) - self.value(z.lower)) // (z.upper - z.lower)
        return self.above if z.upper >= -z.lower else self.below

    def intercept(self, slope: int, z: Span, bits: int, above: bool) -> int:
        gaps = [self.value(point) - slope * point for point in self._points(z)]
        return shift_up(max(gaps), SLOPE) if above else min(gaps) >> SLOPE


@dataclass(frozen=True)
class Pieces(Activation):
    """Continuous, piecewise linear: slopes[i] left of kinks[i], the last one right of all; `level`
    is the value at the first kink. All dyadic."""

    kinks: tuple[Fraction, ...]
    slopes: tuple[Fraction, ...]
    level: Fraction

    def __post_init__(self) -> None:
        for slope in self.slopes:
            if (slope.denominator.bit_length() - 1) > SLOPE:
                raise Unreadable(f"slope {float(slope)!r} of an activation has too fine a grid")

    def exact(self, z: Fraction) -> Fraction:
        first = self.kinks[0]
        if z <= first:
            return self.level + self.slopes[0] * (z - first)
        value, start = self.level, first
        for slope, kink in zip(self.slopes[1:], (*self.kinks[1:], z), strict=True):
            end = min(kink, z)
            value += slope * (end - start)
            if kink >= z:
                break
            start = kink
        return value

    def slope_at(self, z: Fraction) -> Fraction | None:
        """None at a kink."""
        if z in self.kinks:
            return None
        return self.slopes[sum(kink < z for kink in self.kinks)]

    def _points(self, z: Span, bits: int) -> list[tuple[Fraction, Fraction]]:
        """Ends, and kinks in between, with their values: extremes of anything linear are there."""
        lower, upper = Fraction(z.lower, 1 << bits), Fraction(z.upper, 1 << bits)
        inner = [kink for kink in self.kinks if lower < kink < upper]
        return [(point, self.exact(point)) for point in (lower, *inner, upper)]

    def range(self, z: Span, bits: int) -> Span:
        values = [value for _, value in self._points(z, bits)]
        return Span(down(min(values), bits), up(max(values), bits))

    def gate(self, z: Span, bits: int) -> Span:
        inside = self._inside(z, bits)
        return Span(down(min(inside), SLOPE), up(max(inside), SLOPE))

    def _inside(self, z: Span, bits: int) -> tuple[Fraction, ...]:
        lower, upper = Fraction(z.lower, 1 << bits), Fraction(z.upper, 1 << bits)
        first = sum(kink <= lower for kink in self.kinks)
        last = sum(kink < upper for kink in self.kinks)
        return self.slopes[min(first, last) : max(first, last) + 1]

    def open(self, z: Span, bits: int) -> bool:
        return len(self._inside(z, bits)) > 1 and z.lower < z.upper

    def chosen(self, z: Span, bits: int, above: bool) -> int:
        points = self._points(z, bits)
        (left, low), (right, high) = points[0], points[-1]
        if left == right:
            return 0
        if len(points) == 2:
            return round((high - low) * (1 << SLOPE) / (right - left))
        inside = self._inside(z, bits)
        convex = list(inside) == sorted(inside)
        concave = list(inside) == sorted(inside, reverse=True)
        if (convex and not above) or (concave and above):
            middle = points[1][0]
            return up(inside[-1] if right - middle >= middle - left else inside[0], SLOPE)
        return round((high - low) * (1 << SLOPE) / (right - left))

    def intercept(self, slope: int, z: Span, bits: int, above: bool) -> int:
        exact = Fraction(slope, 1 << SLOPE)
        values = [value - exact * point for point, value in self._points(z, bits)]
        return up(max(values), bits) if above else down(min(values), bits)


def exp_span(z: int, bits: int) -> Span:
    """e^(z 2^-bits) for z <= 0, at 2^-bits: Taylor after halving, remainder and rounding charged.

    With y = z / 2^k in [-1/2, 0], n terms leave at most |y|^n / n! <= 2^-n; squaring an
    enclosure k times encloses.
    """
    if z < -(bits + 8) << bits:
        return Span(0, 1)
    work, halvings = bits + GUARD, 1
    while (-z) >> halvings >= 1 << (bits - 1):
        halvings += 1
    y = (z << GUARD) >> halvings  # rounded down by at most one unit
    total = term = 1 << work
    for n in range(1, work + 1):
        term = (term * y >> work) // n
        total += term
        if term in (0, -1):
            break
    # A unit for y, one for each of two roundings per term carried on (|y| <= 1/2), the remainder.
    slack = 4 * n + 8
    lower, upper = max(0, total - slack), min(1 << work, total + slack)
    for _ in range(halvings):
        lower, upper = lower * lower >> work, shift_up(upper * upper, work)
    return Span(lower >> GUARD, shift_up(upper, GUARD))


def sigmoid_span(z: int, bits: int) -> Span:
    """1 / (1 + e^-z), at 2^-bits."""
    one = 1 << bits
    small = exp_span(-abs(z), bits)
    lower = (one << bits) // (one + small.upper)
    upper = quotient_up(one << bits, one + small.lower)
    return Span(lower, upper) if z >= 0 else Span(one - upper, one - lower)


def tanh_span(z: int, bits: int) -> Span:
    """2 sigmoid(2 z) - 1."""
    found = sigmoid_span(4 * z, bits + 1)  # 2 z at 2^-(P + 1)
    return Span(found.lower - (1 << bits), found.upper - (1 << bits))


def _sigmoid_slope(value: Span, bits: int) -> Span:
    """s (1 - s) of a value in `value`, which is above 1/2 or below, or around it."""
    one = 1 << bits
    ends = [value.lower * (one - value.lower), value.upper * (one - value.upper)]
    top = 1 << (2 * bits - 2) if value.lower <= one // 2 <= value.upper else max(ends)
    return Span(max(0, min(ends) >> bits), shift_up(top, bits))


def _tanh_slope(value: Span, bits: int) -> Span:
    """1 - t^2."""
    squares = [value.lower**2, value.upper**2]
    least = 0 if value.lower <= 0 <= value.upper else min(squares)
    one = 1 << bits
    return Span(max(0, one - shift_up(max(squares), bits)), one - (least >> bits))


@dataclass(frozen=True)
class SShaped(Activation):
    """Odd around (0, value there), increasing, convex below 0 and concave above."""

    value: Callable[[int, int], Span]
    slope_of_value: Callable[[Span, int], Span]
    steepest: Callable[[float], float]
    """A point > 0 with a slope near the one given, in floats: a hint."""
    rough: Callable[[float], tuple[float, float]]
    """Value and slope in floats: hints."""
    twice: int
    """f(z) + f(-z), a whole number."""

    def range(self, z: Span, bits: int) -> Span:
        return Span(self.value(z.lower, bits).lower, self.value(z.upper, bits).upper)

    def slope(self, z: int, bits: int) -> Span:
        return self.slope_of_value(self.value(z, bits), bits)

    def gate(self, z: Span, bits: int) -> Span:
        far = max(z.upper, -z.lower)
        near = 0 if z.lower <= 0 <= z.upper else min(abs(z.lower), abs(z.upper))
        lower, upper = self.slope(far, bits).lower, self.slope(near, bits).upper
        return Span(_rescaled(lower, bits, SLOPE), -_rescaled(-upper, bits, SLOPE))

    def open(self, z: Span, bits: int) -> bool:
        return z.lower < z.upper

    def chosen(self, z: Span, bits: int, above: bool) -> int:
        """The chord where it is the best line, a tangent elsewhere; in floats, a choice."""
        lower, upper = z.lower / (1 << bits), z.upper / (1 << bits)
        if not above:  # the mirror image of the line above on [-u, -l]
            lower, upper = -upper, -lower
        (low, _), (high, last) = self.rough(lower), self.rough(upper)
        chord = (high - low) / (upper - lower) if upper > lower else last
        if lower >= 0:
            chord = self.rough((lower + upper) / 2)[1]
        elif upper > 0 and chord > last:  # the tangent from the lower end touches in between
            left, right = 0.0, upper
            for _ in range(50):
                middle = (left + right) / 2
                value, slope = self.rough(middle)
                reach = low + slope * (middle - lower)
                left, right = (left, middle) if reach < value else (middle, right)
            chord = self.rough(right)[1]
        return down(chord, SLOPE)

    def intercept(self, slope: int, z: Span, bits: int, above: bool) -> int:
        """README 6.4: the convex part at its ends, the concave one by a tangent."""
        if not above:  # f(z) = twice - f(-z): the greatest gap of the mirror image
            mirrored = self.intercept(slope, Span(-z.upper, -z.lower), bits, True)
            return (self.twice << bits) - mirrored

        def gap(point: int) -> int:
            return self.value(point, bits).upper - (slope * point >> SLOPE)

        found = [gap(z.lower), gap(z.upper)]
        if z.upper > 0:
            start = max(0, z.lower)
            found.append(gap(start))
            hint = self.steepest(slope / (1 << SLOPE))
            touch = min(max(down(hint, bits), start), z.upper) if isfinite(hint) else z.upper
            rise = self.slope(touch, bits)
            for end in (start, z.upper):
                way = end - touch
                steep = rise.upper if way >= 0 else rise.lower
                tangent = self.value(touch, bits).upper + shift_up(steep * way, bits)
                found[-1] = max(found[-1], tangent - (slope * end >> SLOPE))
        return max(found)


def _rescaled(value: int, old: int, new: int) -> int:
    return value << (new - old) if new >= old else value >> (old - new)


def _sigmoid_point(slope: float) -> float:
    if not 0 < slope < 0.25:
        return 0.0 if slope >= 0.25 else float("inf")
    root = sqrt(1 - 4 * slope)
    return log((1 + root) / (1 - root)) if root < 1 else float("inf")


def _tanh_point(slope: float) -> float:
    return _sigmoid_point(slope / 4) / 2


def _rough_sigmoid(z: float) -> tuple[float, float]:
    small = exp(-min(abs(z), 700.0))
    value = 1 / (1 + small) if z >= 0 else small / (1 + small)
    return value, small / (1 + small) ** 2


def _rough_tanh(z: float) -> tuple[float, float]:
    value, slope = _rough_sigmoid(2 * z)
    return 2 * value - 1, 4 * slope


ONE = 1 << SLOPE
RELU = TwoSlopes(0, ONE)
ABS = TwoSlopes(-ONE, ONE)
SIGMOID = SShaped(sigmoid_span, _sigmoid_slope, _sigmoid_point, _rough_sigmoid, 1)
TANH = SShaped(tanh_span, _tanh_slope, _tanh_point, _rough_tanh, 0)


def leaky(slope: float) -> TwoSlopes:
    if down(slope, SLOPE) != up(slope, SLOPE):
        raise Unreadable(f"slope {slope!r} of LeakyRelu is no multiple of 2^-{SLOPE}")
    return TwoSlopes(down(slope, SLOPE), ONE)


def clip(lower: float | None, upper: float | None) -> Pieces:
    """min(max(z, lower), upper)."""
    ends = [Fraction(end) for end in (lower, upper) if end is not None]
    if not ends or sorted(set(ends)) != ends:
        raise Unreadable("Clip: expected min < max")
    inner = [Fraction(0)] if lower is not None else []
    last = [Fraction(0)] if upper is not None else []
    return Pieces(tuple(ends), (*inner, Fraction(1), *last), ends[0])
