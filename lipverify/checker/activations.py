"""Activations: ranges, slopes and lines on an interval, rounded outward (README 6.3, 6.4).

Preactivations and values are integers at 2^-P, slopes (of lines and of gates) at 2^-SLOPE.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, partial
from typing import Any, NamedTuple

from lipverify.checker.errors import Rejected, Unreadable
from lipverify.checker.exact import down, quotient_up, shift_up, up

SLOPE = 64
GUARD = 40
"""Fraction bits beyond P in the evaluation of smooth functions."""
FARTHEST = 17
"""Exponentials of numbers above 2^16 are refused: they have too many digits."""


class Span(NamedTuple):
    lower: int
    upper: int


class Line(NamedTuple):
    """slope z + intercept: slope at 2^-SLOPE, intercept at 2^-P."""

    slope: int
    intercept: int


class Activation(ABC):
    @property
    @abstractmethod
    def kinks(self) -> tuple[int, ...]:
        """Where the slope jumps, or may jump."""

    @abstractmethod
    def gate(self, z: Span, bits: int) -> Span:
        """Slopes on the interval, at 2^-SLOPE; at ends that are kinks, from inside."""

    @abstractmethod
    def chosen(self, z: Span, bits: int, above: bool) -> int:
        """A slope for the line above or below; any would be sound."""

    @abstractmethod
    def intercept(self, slope: int, z: Span, bits: int, above: bool) -> int:
        """The least intercept with slope z + intercept above the function (greatest, below)."""

    def line(self, z: Span, bits: int, above: bool, slope: int | None = None) -> Line:
        """With the default slope if none is given."""
        slope = self.chosen(z, bits, above) if slope is None else slope
        return Line(slope, self.intercept(slope, z, bits, above))

    def range(self, z: Span, bits: int) -> Span:
        """Values on the interval."""
        return Span(self.intercept(0, z, bits, False), self.intercept(0, z, bits, True))

    def open(self, z: Span, bits: int) -> bool:
        """Whether the function is not one line on the interval."""
        return z.lower < z.upper and len(set(self.gate(z, bits))) > 1


@dataclass(frozen=True)
class TwoSlopes(Activation):
    """below z for z <= 0, above z for z >= 0; both slopes at 2^-SLOPE."""

    below: int
    above: int

    @property
    def kinks(self) -> tuple[int, ...]:
        return (0,) if self.below != self.above else ()

    def gate(self, z: Span, bits: int) -> Span:
        if z.lower >= 0:
            return Span(self.above, self.above)
        if z.upper <= 0:
            return Span(self.below, self.below)
        return Span(min(self.below, self.above), max(self.below, self.above))

    def _value(self, z: int) -> int:
        """At 2^-(P + SLOPE)."""
        return z * (self.above if z > 0 else self.below)

    def chosen(self, z: Span, bits: int, above: bool) -> int:
        """The chord on its side of the function, else the slope of the longer side."""
        if z.lower < 0 < z.upper and above is (self.above > self.below):
            return (self._value(z.upper) - self._value(z.lower)) // (z.upper - z.lower)
        return self.above if z.upper >= -z.lower else self.below

    def intercept(self, slope: int, z: Span, bits: int, above: bool) -> int:
        points = (z.lower, 0, z.upper) if z.lower < 0 < z.upper else z
        gaps = [self._value(point) - slope * point for point in points]
        return shift_up(max(gaps), SLOPE) if above else min(gaps) >> SLOPE


@dataclass(slots=True)
class Enclosure:
    """A number between two integers at 2^-bits; results of operations are rounded outward."""

    lower: int
    upper: int
    bits: int

    def _like(self, other: Any) -> "Enclosure":
        if isinstance(other, Enclosure):
            return other
        return Enclosure(down(other, self.bits), up(other, self.bits), self.bits)

    def __lt__(self, other: int) -> bool:
        return self.upper < other << self.bits

    def __neg__(self) -> "Enclosure":
        return Enclosure(-self.upper, -self.lower, self.bits)

    def __add__(self, other: Any) -> "Enclosure":
        other = self._like(other)
        return Enclosure(self.lower + other.lower, self.upper + other.upper, self.bits)

    def __sub__(self, other: Any) -> "Enclosure":
        return self + -other

    def __rsub__(self, other: Any) -> "Enclosure":
        return -self + other

    def __mul__(self, other: Any) -> "Enclosure":
        other = self._like(other)
        ends = [a * b for a in (self.lower, self.upper) for b in (other.lower, other.upper)]
        return Enclosure(min(ends) >> self.bits, shift_up(max(ends), self.bits), self.bits)

    def __rtruediv__(self, other: Any) -> "Enclosure":
        """By a number > 0."""
        one = 1 << 2 * self.bits
        return other * Enclosure(one // self.upper, quotient_up(one, self.lower), self.bits)

    __radd__, __rmul__ = __add__, __mul__


Number = Any
"""A float, for guesses, or an `Enclosure`: functions are written once for both."""


def exp(z: Number) -> Number:
    """Taylor after halving, remainder and rounding charged (README 6.4)."""
    if isinstance(z, float):
        return math.exp(min(z, 700.0))
    if z.lower < z.upper:
        low, high = (exp(Enclosure(end, end, z.bits)) for end in (z.lower, z.upper))
        return Enclosure(low.lower, high.upper, z.bits)
    bits, halvings = z.bits, max(0, abs(z.lower).bit_length() + 1 - z.bits)
    if z < -bits - 8:
        return Enclosure(0, 1, bits)
    if halvings > FARTHEST:
        raise Rejected("the exponential of a preactivation is too large")
    y = z.lower >> halvings  # |y| <= 1/2, rounded down by less than a unit
    total = term = 1 << bits
    for n in range(1, bits + 2):
        term = (term * y >> bits) // n
        total += term
        if term in (0, -1):
            break
    # A unit for y, one for each of two roundings per term carried on (|y| <= 1/2), the remainder.
    lower, upper = max(0, total - 4 * n - 8), total + 4 * n + 8
    for _ in range(halvings):
        lower, upper = lower * lower >> bits, shift_up(upper * upper, bits)
    return Enclosure(lower, upper, bits)


def log1p(y: Number) -> Number:
    """log(1 + y) for 0 <= y <= 1, by Newton's method: with r = (1 + y) e^-g - 1, it is
    g + log(1 + r), and r - r^2 <= log(1 + r) <= r for |r| <= 1/2."""
    if isinstance(y, float):
        return math.log1p(y)
    guess = y._like(math.log1p(y.lower / (1 << y.bits)))
    for _ in range((y.bits // 53).bit_length()):
        rest = (1 + y) * exp(-guess) - 1
        if rest.lower < -1 << (y.bits - 1):
            raise Rejected("log1p: the guess was no guess")
        found = guess + rest - Enclosure(0, (rest * rest).upper, y.bits)
        guess = Enclosure(found.lower, found.lower, y.bits)
    return found


Piece = Callable[[Number], tuple[Number, Number]]
"""Value and slope at a number."""


def sigmoid(z: Number) -> tuple[Number, Number]:
    value = 1 / (1 + exp(z if z < 0 else -z))
    return 1 - value if z < 0 else value, value * (1 - value)


def tanh(z: Number) -> tuple[Number, Number]:
    value, slope = sigmoid(2 * z)
    return 2 * value - 1, 4 * slope


def softplus(z: Number) -> tuple[Number, Number]:
    more = log1p(exp(z if z < 0 else -z))
    return more if z < 0 else z + more, sigmoid(z)[0]


def exponential(z: Number) -> tuple[Number, Number]:
    value = exp(z)
    return value, value


def softsign(z: Number) -> tuple[Number, Number]:
    share = 1 / (1 - z if z < 0 else 1 + z)
    return z * share, share * share


def hard_swish(z: Number) -> tuple[Number, Number]:
    return z * (z + 3) * Fraction(1, 6), (2 * z + 3) * Fraction(1, 6)


def straight(slope: Fraction, z: Number) -> tuple[Number, Number]:
    return slope * z, slope + 0 * z


def saturating(size: Fraction, rate: Fraction, z: Number) -> tuple[Number, Number]:
    """size (e^(rate z) - 1)."""
    small = exp(rate * z)
    return size * (small - 1), size * rate * small


@lru_cache(maxsize=1 << 14)
def at(piece: Piece, point: int, bits: int) -> tuple[Span, Span]:
    """Value at 2^-bits and slope at 2^-SLOPE at a point, rounded outward."""
    work = max(bits, SLOPE) + GUARD
    start = point << (work - bits)
    value, slope = piece(Enclosure(start, start, work))
    drops = (value, work - bits), (slope, work - SLOPE)
    return tuple(Span(x.lower >> drop, shift_up(x.upper, drop)) for x, drop in drops)  # type: ignore


@dataclass(frozen=True)
class Curve(Activation):
    """`pieces[i]` left of `ends[i]`, the last one right of all; on each, the slope is monotone."""

    ends: tuple[int, ...]
    pieces: tuple[Piece, ...]

    @property
    def kinks(self) -> tuple[int, ...]:
        sides = zip(self.ends, self.pieces, self.pieces[1:], strict=False)
        return tuple(end for end, left, right in sides if left is not right)

    def _parts(self, z: Span, bits: int) -> list[tuple[Piece, int, int]]:
        """The pieces that the inside of the interval meets, each with its part of it."""
        ends = [end << bits for end in self.ends]
        sides = zip(self.pieces, [z.lower, *ends], [*ends, z.upper], strict=True)
        parts = [(f, max(a, z.lower), min(b, z.upper)) for f, a, b in sides]
        inside = [part for part in parts if part[1] < part[2]]
        return inside or [part for part in parts if part[1] == part[2]] or parts  # a point; nothing

    def gate(self, z: Span, bits: int) -> Span:
        spans = [at(f, end, bits)[1] for f, *ends in self._parts(z, bits) for end in ends]
        return Span(min(span.lower for span in spans), max(span.upper for span in spans))

    def chosen(self, z: Span, bits: int, above: bool) -> int:
        """README 6.4: the chord, or where the function lies beyond it, a tangent; in floats."""
        low, high, sign = z.lower / (1 << bits), z.upper / (1 << bits), 1 if above else -1
        (first, rise), (last, fall) = self._rough(low), self._rough(high)
        chord = (last - first) / (high - low) if low < high else rise
        beyond = sign * (rise - chord) > 0, sign * (fall - chord) < 0  # behind low, before high
        if all(beyond) and len(self._parts(z, bits)) == 1:
            chord = self._rough((low + high) / 2)[1]
        elif any(beyond):  # the tangent through one end
            left = above if all(beyond) else beyond[1]
            end, value, far = (low, first, high) if left else (high, last, low)
            near = end
            for _ in range(40):
                middle = (near + far) / 2
                touched, slope = self._rough(middle)
                passed = sign * (touched + slope * (end - middle) - value) >= 0
                near, far = (near, middle) if passed else (middle, far)
            chord = self._rough(far)[1]
        return down(float(chord), SLOPE)

    def _rough(self, point: float) -> tuple[float, float]:
        return self.pieces[sum(end < point for end in self.ends)](point)

    def intercept(self, slope: int, z: Span, bits: int, above: bool) -> int:
        """README 6.4: where the gap to the line is convex, at the ends; where it is concave, below
        a tangent."""
        sign = 1 if above else -1

        def gap(piece: Piece, point: int) -> tuple[int, Span]:
            """Above sign (f - slope z), and its slopes."""
            value, steep = at(piece, point, bits)
            high = value.upper if above else -value.lower
            rises = sorted((sign * (steep.lower - slope), sign * (steep.upper - slope)))
            return high + shift_up(-sign * slope * point, SLOPE), Span(*rises)

        found = []
        for piece, low, high in self._parts(z, bits):
            (left, first), (right, last) = gap(piece, low), gap(piece, high)
            found += [left, right]
            if first.upper > 0 > last.lower:
                touch = self._touch(piece, slope, low, high, bits)
                top, rise = gap(piece, touch)
                found.append(top + shift_up(rise.upper * (high - touch), SLOPE))
                found.append(top + shift_up(rise.lower * (low - touch), SLOPE))
        return sign * max(found)

    def _touch(self, piece: Piece, slope: int, low: int, high: int, bits: int) -> int:
        """A point at which the slope is near the one given; any would be sound."""
        wanted, left, right = slope / (1 << SLOPE), low / (1 << bits), high / (1 << bits)
        falls = piece(left)[1] > piece(right)[1]
        for _ in range(40):
            middle = (left + right) / 2
            left, right = (
                (middle, right) if (piece(middle)[1] > wanted) == falls else (left, middle)
            )
        return min(max(down(left, bits), low), high)


def leaky(alpha: float | Fraction = 0.009999999776482582) -> TwoSlopes:
    if down(alpha, SLOPE) != up(alpha, SLOPE):
        raise Unreadable(f"slope {float(alpha)!r} of LeakyRelu is no multiple of 2^-{SLOPE}")
    return TwoSlopes(down(alpha, SLOPE), 1 << SLOPE)


def elu(alpha: float = 1.0, gamma: float = 1.0, rate: Fraction = Fraction(1)) -> Curve:
    """gamma z above 0, gamma alpha (e^(rate z) - 1) below."""
    size = Fraction(alpha) * Fraction(gamma)
    return Curve((0,), (partial(saturating, size, rate), partial(straight, Fraction(gamma))))


RELU = TwoSlopes(0, 1 << SLOPE)
ABS = TwoSlopes(-1 << SLOPE, 1 << SLOPE)
SIGMOID, TANH = Curve((0,), (sigmoid, sigmoid)), Curve((0,), (tanh, tanh))
FLAT, IDENTITY = (partial(straight, Fraction(slope)) for slope in (0, 1))
ACTIVATIONS: dict[str, Callable[..., Activation]] = {
    "Abs": lambda: ABS,
    "Celu": lambda alpha=1.0: elu(alpha, 1.0, 1 / Fraction(alpha)),
    "Elu": elu,
    "Exp": lambda: Curve((), (exponential,)),
    "HardSwish": lambda: Curve((-3, 3), (FLAT, hard_swish, IDENTITY)),
    "LeakyRelu": leaky,
    "Relu": lambda: RELU,
    "Selu": lambda alpha=1.67326319217681884765625, gamma=1.05070102214813232421875: elu(
        alpha, gamma
    ),
    "Sigmoid": lambda: SIGMOID,
    "Softplus": lambda: Curve((), (softplus,)),
    "Softsign": lambda: Curve((0,), (softsign, softsign)),
    "Tanh": lambda: TANH,
}
"""By operator; of its attributes."""
