"""Relaxation and gate of x -> negative x for x <= 0, positive x for x >= 0 (ReLU, LeakyReLU)."""

from collections.abc import Callable

import torch
from torch import Tensor

from lipverify.errors import OutOfDomain
from lipverify.interval import Interval
from lipverify.numerics import SMALLEST, UNIT_ROUNDOFF, round_down, round_up, upper_share
from lipverify.operators.base import Relaxation


def gate(x: Interval, negative: float, positive: float) -> Interval:
    """{negative} below 0, {positive} above, the whole interval where 0 is in reach."""
    low, high = min(negative, positive), max(negative, positive)
    below, above = x.upper < 0, x.lower > 0

    def end(at_kink: float) -> Tensor:
        value = torch.full_like(x.lower, at_kink)
        value[below] = negative
        value[above] = positive
        return value

    return Interval(end(low), end(high))


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
