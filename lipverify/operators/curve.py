"""Scalar functions made of convex and concave pieces: range, gate and relaxation of all of them.

An operator lists its pieces; on each, the derivative is monotone. So the derivative's range on an
interval is that of its values at the interval's ends and at the pieces' ends. A line s x + t lies
above f where t is above f(x) - s x, which is largest at the ends of a convex piece, and below two
tangents on a concave one: any slope s gets a proved intercept, and the slope may be chosen freely.

Where a piece ends at an inflection point, that is known to about 1e-12 or better. f is nearly
linear there, so that calling a strip of width d around it convex or concave errs by d^3, and the
derivative by d^2: far below the rounding that is accounted for (`STRIP` for values at 0).
"""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from lipverify.errors import OutOfDomain
from lipverify.interval import Interval
from lipverify.numerics import (
    ELEMENTARY_ULPS,
    SMALLEST,
    UNIT_ROUNDOFF,
    round_down,
    round_up,
)
from lipverify.operators.base import Activation, Relaxation

STEPS = 30
"""Bisections of the point where a tangent has the wanted slope; only tightness depends on it."""

GRID = 12
"""Points on each side of the middle from which slopes are chosen; only tightness depends on it."""

ROUNDS = 2
"""Grids, each finer than the one before."""

STRIP = 2.0**-100
"""Above the cube of the error of every inflection point."""

INFINITE = float("inf")


class Rounded(NamedTuple):
    """A computed value, and a bound of its distance from the exact one."""

    value: Tensor
    error: Tensor


Function = Callable[[Tensor], Rounded]


def relative(value: Tensor, ulps: Tensor | float = ELEMENTARY_ULPS) -> Rounded:
    """A value whose relative error is at most `ulps` units of roundoff, or that underflowed."""
    return Rounded(value, ulps * UNIT_ROUNDOFF * value.abs() + SMALLEST)


@dataclass(frozen=True)
class Piece:
    """The function on [lower, upper]: convex (curvature 1), concave (-1) or linear (0)."""

    lower: float
    upper: float
    curvature: int
    value: Function
    slope: Function


@dataclass(frozen=True, eq=False)
class Part:
    """A piece's share [lower, upper] of each entry's interval; nothing where not `there`.

    `curvature` is 1, -1 or 0 for every entry, as in `Piece`.
    """

    lower: Tensor
    upper: Tensor
    there: Tensor
    curvature: Tensor
    value: Function
    slope: Function


class Curve(Activation):
    """An activation that is a row of convex, concave and linear pieces."""

    turns: ClassVar[tuple[float, ...]] = ()
    """Where the function changes between rising and falling (to a relative 1e-15)."""

    values: ClassVar[tuple[float, float]] = (-INFINITE, INFINITE)
    """All values lie between these."""

    slopes: ClassVar[tuple[float, float]] = (-INFINITE, INFINITE)
    """All derivatives lie between these."""

    defined: ClassVar[str] = ""
    """Where the function is differentiable, for users; empty for everywhere."""

    @property
    @abstractmethod
    def pieces(self) -> tuple[Piece, ...]:
        """From left to right. A gap between pieces is no part of the domain."""

    def evaluate(self, *x: Tensor) -> Tensor:
        return self._pick(x[0], [piece.value for piece in self.pieces])

    def derivative(self, x: Tensor) -> Tensor:
        return self._pick(x, [piece.slope for piece in self.pieces])

    def _pick(self, x: Tensor, functions: list[Function]) -> Tensor:
        result, last = functions[-1](x).value, functions[-1]
        for piece, function in list(zip(self.pieces, functions, strict=True))[-2::-1]:
            if function != last:
                here = function(x.clamp(max=piece.upper)).value
                result, last = torch.where(x < piece.upper, here, result), function
        return result

    def interval(self, *x: Interval) -> Interval:
        self._require_domain(x[0])
        ends = [x[0].lower, x[0].upper]
        ends += [torch.full_like(ends[0], turn).clamp(*ends) for turn in self.turns]
        lows, highs = [], []
        for part in self._parts(x[0]):
            for end in ends:
                value, error = part.value(end.clamp(part.lower, part.upper))
                lows.append(torch.where(part.there, round_down(value - error), INFINITE))
                highs.append(torch.where(part.there, round_up(value + error), -INFINITE))
        return self._bounds(lows, highs, self.values, "values")

    def gate(self, x: Interval) -> Interval:
        self._require_domain(x)
        return self._slopes_of([(part, part.there) for part in self._parts(x)])

    def gate_within(self, x: Interval) -> Interval:
        if not self.kinks:
            return self.gate(x)
        self._require_domain(x)
        point = x.lower == x.upper
        return self._slopes_of(
            [(part, part.there & (point | (part.lower < part.upper))) for part in self._parts(x)]
        )

    def _slopes_of(self, parts: list[tuple[Part, Tensor]]) -> Interval:
        """The range of the derivative over the parts, each where it counts."""
        lows, highs = [], []
        for part, there in parts:
            for end in (part.lower, part.upper):
                value, error = part.slope(end)
                lows.append(torch.where(there, round_down(value - error), INFINITE))
                highs.append(torch.where(there, round_up(value + error), -INFINITE))
        return self._bounds(lows, highs, self.slopes, "derivatives")

    def _bounds(
        self, lows: list[Tensor], highs: list[Tensor], limits: tuple[float, float], what: str
    ) -> Interval:
        lower = torch.stack(lows).amin(0).clamp(*limits)
        upper = torch.stack(highs).amax(0).clamp(*limits)
        if not bool((torch.isfinite(lower) & torch.isfinite(upper)).all()):
            raise OutOfDomain(f"{self.name}: its {what} overflow float64 on the region")
        return Interval(lower, upper)

    def relax(self, x: Interval, lower_choice: Tensor | None = None) -> Relaxation:
        slopes, values = self.gate(x), self.interval(x)
        parts = self._parts(x)
        lines = []
        for sign in (1, -1):
            slope = sign * self._envelope_slope(x, sign)
            slope = torch.minimum(torch.maximum(slope, slopes.lower), slopes.upper)
            intercept = sign * _intercept_above(parts, slope, sign)
            if not bool(torch.isfinite(intercept).all()):
                raise OutOfDomain(f"{self.name}: its relaxation overflows float64 on the region")
            lines.append((slope, intercept))
        (upper_slope, upper_intercept), (lower_slope, lower_intercept) = lines
        # Where a constant is as good, it is also exact for any argument: no rounding of products.
        flat_above = upper_slope == 0
        flat_below = lower_slope == 0
        upper_intercept = torch.where(
            flat_above, torch.minimum(upper_intercept, values.upper), upper_intercept
        )
        lower_intercept = torch.where(
            flat_below, torch.maximum(lower_intercept, values.lower), lower_intercept
        )
        return Relaxation(lower_slope, lower_intercept, upper_slope, upper_intercept)

    def _envelope_slope(self, x: Interval, sign: int) -> Tensor:
        """The slope of the line above sign f that is lowest in the middle.

        Of all chords across the middle between points of a grid, that of the highest one there;
        then once more on a finer grid around its ends. The tangent where no chord is higher than
        the function itself. Only a choice: soundness is the intercept's matter.
        """
        middle = x.center
        reach = middle - x.lower, x.upper - middle
        steps = torch.arange(1, GRID + 1, dtype=middle.dtype).reshape(-1, *[1] * middle.dim())
        best, slope = sign * self.evaluate(middle), sign * self.derivative(middle)
        shares = [steps / GRID, steps / GRID]
        for _ in range(ROUNDS):
            runs = [share * side for share, side in zip(shares, reach, strict=True)]
            left = sign * self.evaluate((middle - runs[0]).clamp(x.lower, x.upper))
            right = sign * self.evaluate((middle + runs[1]).clamp(x.lower, x.upper))
            at = [share[:1].expand(1, *middle.shape) for share in shares]
            for i in range(GRID):
                width = runs[0][i : i + 1] + runs[1]
                share = (runs[0][i : i + 1] / width).nan_to_num(nan=0.5)
                height, where = (left[i : i + 1] * (1 - share) + right * share).max(0, keepdim=True)
                chord = (right - left[i : i + 1]) / width.clamp(min=SMALLEST)
                higher = height[0] > best
                best = torch.where(higher, height[0], best)
                slope = torch.where(higher, chord.gather(0, where)[0], slope)
                ends = shares[0].expand_as(left)[i : i + 1], shares[1].expand_as(right)
                at[0] = torch.where(higher, ends[0], at[0])
                at[1] = torch.where(higher, ends[1].gather(0, where), at[1])
            shares = [(one + (steps - GRID / 2) / GRID**2 * 2).clamp(1e-9, 1.0) for one in at]
        return torch.nan_to_num(slope)

    def _parts(self, x: Interval) -> list[Part]:
        parts = []
        for piece in self.pieces:
            there = (x.upper >= piece.lower) & (x.lower <= piece.upper)
            if not bool(there.any()):
                continue
            parts.append(
                Part(
                    x.lower.clamp(piece.lower, piece.upper),
                    x.upper.clamp(piece.lower, piece.upper),
                    there,
                    torch.full_like(there, piece.curvature, dtype=torch.int8),
                    piece.value,
                    piece.slope,
                )
            )
        return parts

    def _require_domain(self, x: Interval) -> None:
        """`OutOfDomain` where an interval is infinite, or not inside adjoining pieces."""
        if not x.is_finite():
            raise OutOfDomain(f"{self.name}: its operand has an infinite bound")
        inside = torch.zeros_like(x.lower, dtype=torch.bool)
        for lower, upper in _stretches(self.pieces):
            inside |= (x.lower >= lower) & (x.upper <= upper)
        if not bool(inside.all()):
            worst = int((~inside).flatten().nonzero()[0])
            low, high = float(x.lower.flatten()[worst]), float(x.upper.flatten()[worst])
            raise OutOfDomain(
                f"{self.name}: its operand may be anywhere in [{low:g}, {high:g}] on the region, "
                f"but it has a finite derivative only for {self.defined}; choose a smaller region"
            )


def _stretches(pieces: tuple[Piece, ...]) -> list[tuple[float, float]]:
    """The intervals that adjoining pieces make up."""
    joined: list[tuple[float, float]] = []
    for piece in pieces:
        if joined and joined[-1][1] == piece.lower:
            joined[-1] = (joined[-1][0], piece.upper)
        else:
            joined.append((piece.lower, piece.upper))
    return joined


def _intercept_above(parts: list[Part], slope: Tensor, sign: int) -> Tensor:
    """t with sign f(x) <= sign slope x + t on all parts, rounded up."""
    wanted = sign * slope
    result = torch.full_like(slope, -INFINITE)
    for part in parts:
        ends = [_height(part, point, wanted, sign) for point in (part.lower, part.upper)]
        height = torch.maximum(ends[0], ends[1])
        bent = part.there & (sign * part.curvature < 0)
        if bool(bent.any()):
            height = torch.where(bent, _concave_height(part, wanted, sign), height)
        result = torch.maximum(result, torch.where(part.there, height, -INFINITE))
    return round_up(result)


def _height(part: Part, point: Tensor, wanted: Tensor, sign: int) -> Tensor:
    """sign f(point) - wanted point, rounded up."""
    value, error = part.value(point)
    shift = wanted * point
    return sign * value - shift + error + _slack(value, shift)


def _slack(*terms: Tensor) -> Tensor:
    """Above the rounding of a short sum of these terms."""
    magnitude = torch.stack([term.abs() for term in torch.broadcast_tensors(*terms)]).sum(0)
    return 16 * UNIT_ROUNDOFF * magnitude + STRIP


def _concave_height(part: Part, wanted: Tensor, sign: int) -> Tensor:
    """max of sign f(x) - wanted x on a part where sign f is concave, rounded up.

    By the tangents at two points low <= high around where the derivative is `wanted`: the first
    one bounds everything up to `high`, the second one the rest. Sound for any two points.
    """
    low, high = part.lower, part.upper
    low_angle, high_angle = torch.asinh(low), torch.asinh(high)  # huge parts are bisected too
    for _ in range(STEPS):
        angle = (low_angle + high_angle) / 2
        point = torch.sinh(angle).clamp(part.lower, part.upper)
        steep = sign * part.slope(point).value > wanted
        low, low_angle = torch.where(steep, point, low), torch.where(steep, angle, low_angle)
        high, high_angle = torch.where(steep, high, point), torch.where(steep, high_angle, angle)
    low, high = torch.minimum(low, high), torch.maximum(low, high)

    def excess(point: Tensor, side: int) -> Tensor:
        """How much faster than `wanted` sign f may rise (side 1) or fall short (-1) at a point."""
        value, error = part.slope(point)
        gap = side * (sign * value - wanted)
        return (gap + error + 4 * UNIT_ROUNDOFF * (value.abs() + wanted.abs())).clamp(min=0.0)

    between = excess(low, 1) * (high - low)
    before = excess(low, -1) * (low - part.lower)
    after = excess(high, 1) * (part.upper - high)
    # Products of an excess of 0 and an overflowing width are 0.
    gains = [torch.nan_to_num(gain, nan=0.0, posinf=INFINITE) for gain in (between, before, after)]
    at_low = _height(part, low, wanted, sign) + torch.maximum(gains[0], gains[1]) * (1 + 1e-15)
    at_high = _height(part, high, wanted, sign) + gains[2] * (1 + 1e-15)
    return torch.maximum(at_low, at_high)
