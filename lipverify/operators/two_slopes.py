"""Relaxation and gate of x -> negative x for x <= 0, positive x for x >= 0 (ReLU, Abs, ...)."""

from collections.abc import Callable

import torch
from torch import Tensor

from lipverify.errors import OutOfDomain
from lipverify.interval import Interval
from lipverify.numerics import SMALLEST, UNIT_ROUNDOFF, round_down, round_up, upper_share
from lipverify.operators.base import Relaxation

THIN = 2.0**-20
"""Ends nearer to 0 than this share of the other one get no line of their own."""


def gate(x: Interval, negative: float, positive: float) -> Interval:
    """{negative} below 0, {positive} above, the whole interval where 0 is in reach."""
    return _step(x, x.upper < 0, x.lower > 0, negative, positive)


def gate_within(x: Interval, negative: float, positive: float) -> Interval:
    """As `gate`, for the inner points of intervals with more than one."""
    point = x.lower == x.upper
    below = torch.where(point, x.upper < 0, x.upper <= 0)
    above = torch.where(point, x.lower > 0, x.lower >= 0)
    return _step(x, below, above, negative, positive)


def _step(x: Interval, below: Tensor, above: Tensor, negative: float, positive: float) -> Interval:
    low, high = min(negative, positive), max(negative, positive)

    def end(at_kink: float) -> Tensor:
        value = torch.full_like(x.lower, at_kink)
        value[below] = negative
        value[above] = positive
        return value

    return Interval(end(low), end(high))


def gate_lines(x: Interval, negative: float, positive: float) -> Relaxation:
    """Lines below and above the step from `negative` to `positive` at 0, where 0 lies inside.

    One leads from (lower, negative) to (0, positive) and on, the other from (0, negative) to
    (upper, positive): of a rising step, the first lies above and the second below; of a falling
    one, it is the other way round. Where one end is far nearer to 0 than the other, the line there
    is a constant: a steep one says no more, and carries huge coefficients.
    """
    step = gate(x, negative, positive)
    inside = (x.lower < 0) & (x.upper > 0)
    rise = positive - negative

    def line(width: Tensor, beyond: Tensor, at_zero: float) -> tuple[Tensor, Tensor]:
        slope = rise / torch.where(inside, width, torch.ones_like(width))
        use = inside & (width >= THIN * beyond) & torch.isfinite(slope)
        return torch.where(use, slope, 0.0).to(width), torch.full_like(width, at_zero)

    first = line(-x.lower, x.upper, positive)
    second = line(x.upper, -x.lower, negative)
    (lower_slope, low), (upper_slope, high) = (second, first) if rise >= 0 else (first, second)
    # The slope is rounded, and with it the line's value at the far end of its side.
    slack = 16 * UNIT_ROUNDOFF * (abs(negative) + abs(positive)) + SMALLEST
    return Relaxation(
        lower_slope,
        torch.where(inside, low - slack, step.lower),
        upper_slope,
        torch.where(inside, high + slack, step.upper),
    )


def relax(x: Interval, negative: float, positive: float, choice: Tensor | None) -> Relaxation:
    """The chord on one side; on the other, a line through 0 (Zhang et al. 2018, CROWN).

    Its slope is negative + choice (positive - negative); the default choice is the side of 0 that
    holds the larger part of the interval. The chord's intercept is moved outward by its rounding.
    """
    if not x.is_finite():
        raise OutOfDomain("a preactivation has an infinite bound")
    lower, upper = x.lower, x.upper
    stable_active, stable_inactive = lower >= 0, upper <= 0
    unstable = ~(stable_active | stable_inactive)
    zero = torch.zeros_like(lower)
    # A tensor, as `where` of two numbers makes the default dtype: a slope rounded to float32.
    slope = torch.where(stable_active, torch.full_like(lower, positive), negative)
    least, most = min(negative, positive), max(negative, positive)

    def between(share: Tensor) -> Tensor:
        """The slope at `share` of the way; clamped, since rounding can lead past the end."""
        return (negative + share * (positive - negative)).clamp(least, most)

    chord_slope = torch.where(unstable, between(upper_share(lower, upper)), slope)
    convex = positive >= negative
    slack = 16 * UNIT_ROUNDOFF * (abs(negative) + abs(positive)) * x.magnitude + SMALLEST
    # The chord through (0-extension) both ends: value at `lower` is negative * lower.
    anchored = (negative - chord_slope) * lower
    intercept = anchored + slack if convex else anchored - slack
    chord_intercept = torch.where(unstable, intercept, zero)

    if choice is None:
        choice = (upper > -lower).to(lower)
    through_zero = torch.where(unstable, between(choice.clamp(0.0, 1.0)), slope)
    if convex:
        return Relaxation(through_zero, zero, chord_slope, chord_intercept)
    return Relaxation(chord_slope, chord_intercept, through_zero, zero)


def interval(x: Interval, negative: float, positive: float) -> Interval:
    """The range; it is non-monotone if a slope is negative. Inexact products rounded outward."""

    def value(z: Tensor, outward: Callable[[Tensor], Tensor]) -> Tensor:
        return torch.where(z >= 0, _times(positive, z, outward), _times(negative, z, outward))

    low = torch.minimum(value(x.lower, round_down), value(x.upper, round_down))
    high = torch.maximum(value(x.lower, round_up), value(x.upper, round_up))
    through = (x.lower < 0) & (x.upper > 0)
    return Interval(
        torch.where(through, low.clamp(max=0.0), low),
        torch.where(through, high.clamp(min=0.0), high),
    )


def _times(slope: float, z: Tensor, outward: Callable[[Tensor], Tensor]) -> Tensor:
    if slope == 0.0:
        return torch.zeros_like(z)  # the product of 0 and infinity would be NaN
    if abs(slope) == 1.0:
        return slope * z
    moved = outward(slope * z)
    # Outward, but not past 0: the product's sign is known.
    return torch.where((z >= 0) == (slope > 0), moved.clamp(min=0.0), moved.clamp(max=0.0))
