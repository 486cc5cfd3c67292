"""Gates y = d g, bounded by planes over the preactivation z and the adjoint g (DESIGN 4.2).

With d in [alpha, beta], g in [gl, gu] and lines p z + q below and above d as a function of z, the
bilinear hull of d g (McCormick 1976) gives, from above,

    y <= alpha g + gu (d - alpha),    y <= beta g + gl (d - beta),

and d is replaced by its line, or by its end, on the side that the sign of gu or gl asks for. With
the chord of Shi et al. 2022 these are five planes, and every mixture of them (weights >= 0 of sum
1) is a bound. From below: the same for -y = d (-g).

For a ReLU (d = 0 for z < 0, 1 for z > 0) the five contain the three facets of the concave hull of
y over the box of z and g, so mixtures reach whatever a linear program could; those of chord and
one pair of planes with alpha (or beta) are the family t = b gl + (1 - b) gu, a = s t / |l| of
DESIGN 4.2, in b and s. In its parameters b and s, the chord is a kink at which descent is stuck
on many gates (tried: no gain at all on deep networks); in the weights the bound is linear.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lipverify.errors import NumericalFailure
from lipverify.interval import Interval
from lipverify.numerics import SMALLEST, UNIT_ROUNDOFF
from lipverify.operators.base import Relaxation
from lipverify.operators.gate import relax_chords

PLANES = 5
"""The chord, and for alpha and for beta one plane without z and one with it."""


@dataclass(frozen=True, eq=False)
class Planes:
    """y <= z_slope z + g_slope g + intercept (or >=), entry by entry."""

    z_slope: Tensor
    g_slope: Tensor
    intercept: Tensor


@dataclass(frozen=True, eq=False)
class GatePlanes:
    """Planes below and above; all fields [PLANES, *shape], or [*shape] of a mixture."""

    below: Planes
    above: Planes


def gate_planes(slope: Interval, lines: Relaxation, z: Interval, g: Interval) -> GatePlanes:
    """The five planes on either side, rounded outward, the chord first.

    `slope`, `lines` (below and above the slope as a function of z) and `z` broadcast to the shape
    of `g`. Raises `OutOfDomain` where g is infinite, `NumericalFailure` where a chord overflows.
    """
    chord = relax_chords(slope, g)
    shape = g.shape
    slope = Interval(slope.lower.expand(shape), slope.upper.expand(shape))
    low = (lines.lower_slope.expand(shape), lines.lower_intercept.expand(shape))
    high = (lines.upper_slope.expand(shape), lines.upper_intercept.expand(shape))
    reach = z.magnitude.expand(shape)
    above = _above(slope, low, high, reach, g, chord.upper_slope, chord.upper_intercept)
    mirrored = Interval(-g.upper, -g.lower)
    below = _above(slope, low, high, reach, mirrored, chord.lower_slope, -chord.lower_intercept)
    return GatePlanes(Planes(-below.z_slope, below.g_slope, -below.intercept), above)


def _above(
    slope: Interval,
    low: tuple[Tensor, Tensor],
    high: tuple[Tensor, Tensor],
    reach: Tensor,
    g: Interval,
    chord_slope: Tensor,
    chord_intercept: Tensor,
) -> Planes:
    alpha, beta = slope.lower, slope.upper
    zero = torch.zeros_like(alpha)

    def along(end: Tensor, corner: Tensor) -> tuple[Tensor, Tensor]:
        """end (line - corner), with the line above or below d as the sign of `end` asks."""
        rising = end >= 0
        steepness = torch.where(rising, high[0], low[0])
        offset = torch.where(rising, high[1], low[1])
        return end * steepness, end * (offset - corner)

    at_alpha, at_beta = along(g.upper, alpha), along(g.lower, beta)
    gap = beta - alpha
    z_slope = torch.stack([zero, zero, at_alpha[0], zero, at_beta[0]])
    g_slope = torch.stack([chord_slope, alpha, alpha, beta, beta])
    intercept = torch.stack(
        [
            chord_intercept,
            gap * g.upper.clamp(min=0.0),
            at_alpha[1],
            gap * (-g.lower).clamp(min=0.0),
            at_beta[1],
        ]
    )
    # Rounding of the coefficients, and of mixtures: their weights have sum 1 only up to rounding,
    # which moves the bound by that share of |y| and of every term.
    steep = torch.maximum(alpha.abs(), beta.abs()) + torch.maximum(low[1].abs(), high[1].abs())
    terms = z_slope.abs() * reach + steep * g.magnitude + intercept.abs()
    underflow = SMALLEST * (1 + reach) + SMALLEST * g.magnitude
    moved = intercept + 64 * UNIT_ROUNDOFF * terms + underflow
    if not bool(torch.isfinite(moved[0]).all()):
        raise NumericalFailure("Gate: overflow in the relaxation of d g")
    # The chord is exact where the gate is fixed; elsewhere, it stands in for what overflows.
    use = (alpha < beta) & torch.isfinite(z_slope * reach) & torch.isfinite(moved)
    return Planes(
        torch.where(use, z_slope, 0.0),
        torch.where(use, g_slope, chord_slope),
        torch.where(use, moved, moved[0]),
    )


def mixed(planes: GatePlanes, weights: Tensor) -> GatePlanes:
    """One plane on either side: weights [2, PLANES - 1, *shape], of the planes after the chord.

    First those below, then those above; each >= 0, with a sum of at most 1: the chord has the rest.
    """
    return GatePlanes(_mixed(planes.below, weights[0]), _mixed(planes.above, weights[1]))


def _mixed(planes: Planes, weights: Tensor) -> Planes:
    share = torch.cat([(1 - weights.sum(0, keepdim=True)).clamp(min=0.0), weights])

    def mean(values: Tensor) -> Tensor:
        extra = share.ndim - values.ndim
        return (share * values.reshape(PLANES, *[1] * extra, *values.shape[1:])).sum(0)

    return Planes(mean(planes.z_slope), mean(planes.g_slope), mean(planes.intercept))
