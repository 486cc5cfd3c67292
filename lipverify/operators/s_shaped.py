"""Relaxation and gate of increasing functions that are convex below 0 and concave above it.

With f(-x) = 2 f(0) - f(x), and a derivative that grows up to 0 and falls after it (tanh, sigmoid).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from lipverify.errors import OutOfDomain
from lipverify.interval import Interval
from lipverify.numerics import ELEMENTARY_ULPS, SMALLEST, UNIT_ROUNDOFF
from lipverify.operators.base import Relaxation

BISECTION_STEPS = 60
SATURATED = 1000.0
"""Beyond it, tanh and sigmoid equal their limits, and their derivatives 0, in float64."""

PIECES = 128
"""Of an interval, on which a derivative is compared with a line."""
SHORTEST, LONGEST = 1e-6, 64.0
"""Widths between which lines are drawn below and above a derivative."""

Function = Callable[[Tensor], Tensor]


def gate(x: Interval, derivative: Function, largest: float) -> Interval:
    """The derivative's range: smallest at the end farther from 0, largest at the nearer one."""
    at_lower, at_upper = derivative(x.lower), derivative(x.upper)
    relative = ELEMENTARY_ULPS * UNIT_ROUNDOFF
    low = torch.minimum(at_lower, at_upper) * (1 - relative) - SMALLEST
    high = torch.maximum(at_lower, at_upper) * (1 + relative) + SMALLEST
    through = (x.lower <= 0) & (x.upper >= 0)
    high = torch.where(through, torch.full_like(high, largest), high.clamp(max=largest))
    return Interval(low.clamp(min=0.0, max=largest), high)


def gate_lines(x: Interval, derivative: Function, ends: Interval, curvature: float) -> Relaxation:
    """Parallel lines below and above the derivative, with the slope of its chord on [lower, upper].

    Their offsets are the extremes of derivative - line at the nodes of a grid, moved outward by
    curvature h^2 / 8: a function lies that near to its chords on pieces of length h, where
    `curvature` bounds its second derivative. `ends` holds the range of the derivative, which is
    all there is to say on very short, very long or far intervals.
    """
    width = x.upper - x.lower
    use = (width >= SHORTEST) & (width <= LONGEST) & (x.magnitude <= SATURATED)
    lower, upper = torch.where(use, x.lower, 0.0), torch.where(use, x.upper, 1.0)
    width = upper - lower
    slope = (derivative(upper) - derivative(lower)) / width
    share = torch.linspace(0.0, 1.0, PIECES + 1, dtype=lower.dtype)
    share = share.reshape(-1, *[1] * lower.ndim)
    nodes = (1 - share) * lower + share * upper  # both ends are hit exactly
    apart = derivative(nodes) - slope * (nodes - lower)
    # Nodes are rounded, so pieces are a little longer than width / PIECES.
    bend = 1.01 * curvature * (width / PIECES) ** 2 / 8
    magnitude = torch.maximum(lower.abs(), upper.abs())
    slack = 4 * ELEMENTARY_ULPS * UNIT_ROUNDOFF * (1.0 + slope.abs() * magnitude) + bend
    start = slope * lower
    flat = torch.zeros_like(slope)
    return Relaxation(
        torch.where(use, slope, flat),
        torch.where(use, apart.amin(0) - start - slack, ends.lower),
        torch.where(use, slope, flat),
        torch.where(use, apart.amax(0) - start + slack, ends.upper),
    )


def relax(x: Interval, f: Function, derivative: Function) -> Relaxation:
    """Tangents and chords (Zhang et al. 2018, CROWN, section 4.3)."""
    if not x.is_finite():
        raise OutOfDomain("a preactivation has an infinite bound")
    upper_slope, upper_intercept = _line_above(x.lower, x.upper, f, derivative)
    twice = 2 * f(torch.zeros_like(x.lower))

    # By the symmetry f(x) = 2 f(0) - f(-x), a line above on [-upper, -lower] gives one below.
    mirrored_slope, mirrored_intercept = _line_above(-x.upper, -x.lower, f, derivative)
    return Relaxation(mirrored_slope, twice - mirrored_intercept, upper_slope, upper_intercept)


def _line_above(
    lower: Tensor, upper: Tensor, f: Function, derivative: Function
) -> tuple[Tensor, Tensor]:
    """Slope and intercept of a line above f on [lower, upper]."""
    # A tangent at d >= 0 lies above f on [lower, upper] if it does so at `lower`. The least such
    # d is found by bisection that keeps its upper end on the proved side.
    low, high = torch.zeros_like(lower), upper.clamp(0.0, SATURATED)

    def above_at_lower(point: Tensor) -> Tensor:
        # Halved, since the distance of two float64 can overflow.
        return f(point) + 2 * derivative(point) * (lower / 2 - point / 2) >= f(lower)

    for _ in range(BISECTION_STEPS):
        middle = (low + high) / 2
        proved = above_at_lower(middle)
        high = torch.where(proved, middle, high)
        low = torch.where(proved, low, middle)
    concave = lower >= 0
    point = torch.where(concave, lower / 2 + upper / 2, high)
    tangent = (concave | above_at_lower(point)) & (upper > 0)

    slope = torch.where(tangent, derivative(point), _chord_slope(lower, upper, f, derivative))
    anchor = torch.where(tangent, point, lower)
    value = f(anchor)
    reach = 1.0 + slope * torch.maximum(lower.abs(), upper.abs())
    slack = 4 * ELEMENTARY_ULPS * UNIT_ROUNDOFF * reach
    return slope, value - slope * anchor + slack


def _chord_slope(lower: Tensor, upper: Tensor, f: Function, derivative: Function) -> Tensor:
    """The slope between both ends, kept within the range of the derivative.

    On short intervals the quotient is rounding noise, possibly far above any slope of f or below
    zero; rounding slacks computed from the range of the derivative would then be too small.
    """
    at_lower, at_upper = derivative(lower), derivative(upper)
    least, most = torch.minimum(at_lower, at_upper), torch.maximum(at_lower, at_upper)
    most = torch.where((lower <= 0) & (upper >= 0), derivative(torch.zeros_like(lower)), most)
    half_width = (upper / 2 - lower / 2).clamp(min=SMALLEST)
    quotient = (f(upper) / 2 - f(lower) / 2) / half_width
    return torch.minimum(torch.maximum(quotient, least), most)
