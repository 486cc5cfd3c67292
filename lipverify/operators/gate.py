"""Gates: the derivative of an activation as a factor in the backward graph, y = d g."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lipverify.errors import OutOfDomain
from lipverify.interval import Interval
from lipverify.numerics import SMALLEST, UNIT_ROUNDOFF, round_down, round_up, upper_share
from lipverify.operators.base import AbstractOperator, Activation, Relaxation, Shape


@final
@dataclass(frozen=True, eq=False)
class Gate(AbstractOperator):
    """Operands (z, g): y = activation'(z) g, entry by entry; z is shared with the forward graph."""

    name = "Gate"
    activation: Activation

    @property
    def arity(self) -> int:
        return 2

    def output_shape(self, *shapes: Shape) -> Shape:
        return shapes[1]

    @property
    def parameters(self) -> int:
        return 0

    def evaluate(self, *x: Tensor) -> Tensor:
        return self.activation.derivative(x[0]) * x[1]

    def interval(self, *x: Interval) -> Interval:
        return product(self.activation.gate(x[0]), x[1])


def product(slope: Interval, g: Interval) -> Interval:
    """All d g, entry by entry, rounded outward unless every slope is 0 or 1."""
    if not g.is_finite():
        raise OutOfDomain("Gate: an operand has an infinite bound")
    corners = torch.stack(
        torch.broadcast_tensors(
            slope.lower * g.lower,
            slope.lower * g.upper,
            slope.upper * g.lower,
            slope.upper * g.upper,
        )
    )
    lower, upper = corners.amin(0), corners.amax(0)
    exact = ((slope.lower == 0) | (slope.lower == 1)) & ((slope.upper == 0) | (slope.upper == 1))
    lower = torch.where(exact, lower, round_down(lower))
    upper = torch.where(exact, upper, round_up(upper))
    # Rounding does not cross 0 where the signs of both factors are known.
    rising, falling = slope.lower >= 0, slope.upper <= 0
    positive = (rising & (g.lower >= 0)) | (falling & (g.upper <= 0))
    negative = (rising & (g.upper <= 0)) | (falling & (g.lower >= 0))
    return Interval(
        torch.where(positive, lower.clamp(min=0.0), lower),
        torch.where(negative, upper.clamp(max=0.0), upper),
    )


def relax_chords(slope: Interval, g: Interval) -> Relaxation:
    """y = alpha g + (beta - alpha) h with -relu(-g) <= h <= relu(g), by their chords on g.

    Shi et al. 2022, section 3.2, for gates in [alpha, beta]. `slope` has one entry per gate and
    broadcasts over the rows of `g`.
    """
    if not g.is_finite():
        raise OutOfDomain("Gate: an operand has an infinite bound")
    alpha, beta = slope.lower.expand(g.shape), slope.upper.expand(g.shape)
    zero = torch.zeros_like(g.lower)
    above, below = g.lower >= 0, g.upper <= 0
    mixed = ~(above | below | (alpha == beta))

    def between(share: Tensor) -> Tensor:
        """alpha + share (beta - alpha); clamped, since rounding can lead past the end."""
        return torch.minimum(torch.maximum(alpha + share * (beta - alpha), alpha), beta)

    # relu(g) <= rise (g - lower) and relu(-g) <= fall (upper - g) where the sign is open.
    rising = between(upper_share(g.lower, g.upper))
    falling = between(upper_share(-g.upper, -g.lower))
    slack = 24 * UNIT_ROUNDOFF * (alpha.abs() + beta.abs()) * g.magnitude + SMALLEST
    return Relaxation(
        torch.where(mixed, falling, torch.where(above, alpha, beta)),
        torch.where(mixed, (alpha - falling) * g.upper - slack, zero),
        torch.where(mixed, rising, torch.where(above, beta, alpha)),
        torch.where(mixed, (alpha - rising) * g.lower + slack, zero),
    )


def relax_constant(slope: Interval, g: Interval) -> Relaxation:
    """RecurJac's relaxation (Zhang et al. 2019): an interval of constants where g's sign is open.

    Where it is known, y lies between alpha g and beta g.
    """
    alpha, beta = torch.broadcast_tensors(slope.lower, slope.upper)
    alpha, beta = alpha.expand(g.shape), beta.expand(g.shape)
    zero = torch.zeros_like(g.lower)
    above, below = g.lower >= 0, g.upper <= 0
    fixed = alpha == beta
    mixed = ~(above | below | fixed)
    constant = product(slope, g)
    lower_slope = torch.where(above, alpha, beta)
    upper_slope = torch.where(above, beta, alpha)
    return Relaxation(
        torch.where(mixed, zero, lower_slope),
        torch.where(mixed, constant.lower, zero),
        torch.where(mixed, zero, upper_slope),
        torch.where(mixed, constant.upper, zero),
    )
