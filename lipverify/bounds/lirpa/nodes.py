"""Our operators as auto_LiRPA nodes.

auto_LiRPA asks each node for `bound_backward`: given coefficients [specs, batch, *shape] of its
output in a lower and an upper linear bound, those of its operands. For an affine operator that is
its transpose; gates and smooth activations bring our own relaxations (0.3's own for tanh and
sigmoid are unsound for preactivations beyond 500). ReLU is auto_LiRPA's own node, whose slopes
alpha-CROWN optimises.
"""

from math import prod
from typing import Any

import torch
from auto_LiRPA.bound_ops import Bound, BoundInput, BoundRelu
from torch import Tensor

from lipverify.bounds.propagation import GateRelaxation
from lipverify.interval import Interval
from lipverify.operators import Activation, AffineOperator, Gate, Product, Relaxation
from lipverify.operators.gate_planes import GatePlanes

__all__ = ["AffineNode", "ActivationNode", "BoundInput", "BoundRelu", "GateNode", "ProductNode"]

Coefficients = Tensor | None


class _OwnNode(Bound):
    def __init__(self, operands: list[Any]) -> None:
        super().__init__({"device": "cpu"}, operands, 0, {})


class AffineNode(_OwnNode):
    """sum_i A_i x_i + b."""

    def __init__(self, operator: AffineOperator, operands: list[Any]) -> None:
        super().__init__(operands)
        self.operator = operator

    def forward(self, *x: Tensor) -> Tensor:
        return self.operator.evaluate(*x)

    def bound_backward(self, last_lA: Coefficients, last_uA: Coefficients, *x: Any) -> Any:
        below = [self._pull(last_lA, operand, node) for operand, node in enumerate(x)]
        above = [self._pull(last_uA, operand, node) for operand, node in enumerate(x)]
        return list(zip(below, above, strict=True)), self._shift(last_lA), self._shift(last_uA)

    def _pull(self, coefficient: Coefficients, operand: int, node: Any) -> Coefficients:
        if coefficient is None:
            return None
        specs, batch = coefficient.shape[:2]
        flat = coefficient.reshape(specs * batch, *coefficient.shape[2:])
        pulled = self.operator.transpose(flat, operand)
        return pulled.reshape(specs, batch, *node.output_shape[1:])

    def _shift(self, coefficient: Coefficients) -> Tensor | float:
        if coefficient is None or self.operator.constant is None:
            return 0.0
        constant = self.operator.constant.expand(coefficient.shape[2:])
        return (coefficient * constant).flatten(2).sum(-1)


def _side(
    coefficient: Tensor, positive: tuple[Tensor, Tensor], negative: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Coefficients and constants behind an elementwise node, from (slope, intercept) by the sign.

    [specs, batch, *shape] -> the same, and [specs, batch].
    """
    # Half of a coefficient 0 on either side: a derivative of `clamp` would count it on both.
    above = (coefficient + coefficient.abs()) / 2
    below = coefficient - above
    constant = (above * positive[1] + below * negative[1]).flatten(2).sum(-1)
    return above * positive[0] + below * negative[0], constant


def _relaxed(
    relaxation: Relaxation, last_lA: Coefficients, last_uA: Coefficients
) -> tuple[tuple[Coefficients, Coefficients], Tensor | float, Tensor | float]:
    """Both sides behind an elementwise node with this relaxation."""
    low = (relaxation.lower_slope, relaxation.lower_intercept)
    high = (relaxation.upper_slope, relaxation.upper_intercept)
    below, below_constant = (None, 0.0) if last_lA is None else _side(last_lA, low, high)
    above, above_constant = (None, 0.0) if last_uA is None else _side(last_uA, high, low)
    return (below, above), below_constant, above_constant


def _parted(coefficient: Coefficients, index: Tensor) -> tuple[Coefficients, Coefficients]:
    """The coefficients elsewhere (None: nowhere), and those at the flat positions `index`."""
    if coefficient is None:
        return None, None
    flat = coefficient.flatten(2)
    if index.numel() == flat.shape[2]:  # all of them, in order
        return None, flat
    return flat.index_fill(2, index, 0.0).reshape(coefficient.shape), flat[:, :, index]


def _joined(rest: Coefficients, own: Coefficients, index: Tensor, node: Any) -> Coefficients:
    """The inverse of `_parted`, for coefficients of `node`."""
    if own is None:
        return rest
    shape = (*own.shape[:2], *node.output_shape[1:])
    if own.shape[2] == prod(shape[2:]):
        return own.reshape(shape)
    if rest is None:
        rest = own.new_zeros(shape)
    return rest.flatten(2).index_add(2, index, own).reshape(shape)


class ActivationNode(_OwnNode):
    """An activation with our relaxation.

    `relaxation`, where set, is used instead of the one that the operand's bounds tell. `chosen`,
    where set, holds flat positions and relaxations [specs, batch, k] of their own for these.
    """

    def __init__(self, operator: Activation, operands: list[Any]) -> None:
        super().__init__(operands)
        self.operator = operator
        self.requires_input_bounds = [0]
        self.relaxation: Relaxation | None = None
        self.chosen: tuple[Tensor, Relaxation] | None = None

    def forward(self, *x: Tensor) -> Tensor:
        return self.operator.evaluate(*x)

    def bound_backward(self, last_lA: Coefficients, last_uA: Coefficients, *x: Any) -> Any:
        relaxation = self.relaxation
        if relaxation is None:
            relaxation = self.operator.relax(Interval(x[0].lower, x[0].upper))
        if self.chosen is None:
            pair, below, above = _relaxed(relaxation, last_lA, last_uA)
            return [pair], below, above
        index, chosen = self.chosen
        low, high = _parted(last_lA, index), _parted(last_uA, index)
        rest, below, above = _relaxed(relaxation, low[0], high[0])
        own, own_below, own_above = _relaxed(chosen, low[1], high[1])
        pair = tuple(_joined(a, b, index, x[0]) for a, b in zip(rest, own, strict=True))
        return [pair], below + own_below, above + own_above


class ProductNode(_OwnNode):
    """Operands (x, y): x y, between our planes."""

    def __init__(self, operator: Product, operands: list[Any]) -> None:
        super().__init__(operands)
        self.operator = operator
        self.requires_input_bounds = [0, 1]

    def forward(self, *x: Tensor) -> Tensor:
        return self.operator.evaluate(*x)

    def bound_backward(self, last_lA: Coefficients, last_uA: Coefficients, *x: Any) -> Any:
        first, second = (Interval(node.lower, node.upper) for node in x)
        planes = self.operator.relax(first, second)
        ends = planes.lower_intercept, planes.upper_intercept
        for_x = Relaxation(planes.x_slope, ends[0], planes.x_slope, ends[1])
        zero = torch.zeros_like(ends[0])
        for_y = Relaxation(planes.y_slope, zero, planes.y_slope, zero)
        x_pair, below, above = _relaxed(for_x, last_lA, last_uA)
        y_pair, _, _ = _relaxed(for_y, last_lA, last_uA)
        return [x_pair, y_pair], below, above


class GateNode(_OwnNode):
    """Operands (z, g): activation'(z) g.

    Relaxed as a function of g alone; but by planes over (z, g) [specs, batch, k] at the flat
    positions that `mixture`, where set, holds with them. `relaxation` is as for activations.
    """

    def __init__(self, operator: Gate, relax_gate: GateRelaxation, operands: list[Any]) -> None:
        super().__init__(operands)
        self.operator = operator
        self.relax_gate = relax_gate
        self.requires_input_bounds = [0, 1]
        self.relaxation: Relaxation | None = None
        self.mixture: tuple[Tensor, GatePlanes] | None = None

    def forward(self, *x: Tensor) -> Tensor:
        return self.operator.evaluate(*x)

    def bound_backward(self, last_lA: Coefficients, last_uA: Coefficients, *x: Any) -> Any:
        z, adjoint = x
        relaxation = self.relaxation
        if relaxation is None:
            slope = self.operator.activation.gate(Interval(z.lower, z.upper))
            relaxation = self.relax_gate(slope, Interval(adjoint.lower, adjoint.upper))
        if self.mixture is None:
            pair, below, above = _relaxed(relaxation, last_lA, last_uA)
            return [(None, None), pair], below, above
        index, planes = self.mixture
        low, high = _parted(last_lA, index), _parted(last_uA, index)
        rest, below, above = _relaxed(relaxation, low[0], high[0])
        for_g, for_z = _of_each_operand(planes)
        own, own_below, own_above = _relaxed(for_g, low[1], high[1])
        crossing, _, _ = _relaxed(for_z, low[1], high[1])
        pair = tuple(_joined(a, b, index, adjoint) for a, b in zip(rest, own, strict=True))
        return (
            [tuple(_joined(None, part, index, z) for part in crossing), pair],
            below + own_below,
            above + own_above,
        )


def _of_each_operand(planes: GatePlanes) -> tuple[Relaxation, Relaxation]:
    """What planes say of g, with their constants, and what of z, without."""
    below, above = planes.below, planes.above
    zero = torch.zeros((), dtype=below.z_slope.dtype)
    return (
        Relaxation(below.g_slope, below.intercept, above.g_slope, above.intercept),
        Relaxation(below.z_slope, zero, above.z_slope, zero),
    )
