"""Our operators as auto_LiRPA nodes.

auto_LiRPA asks each node for `bound_backward`: given coefficients [specs, batch, *shape] of its
output in a lower and an upper linear bound, those of its operands. For an affine operator that is
its transpose; gates and smooth activations bring our own relaxations (0.3's own for tanh and
sigmoid are unsound for preactivations beyond 500). ReLU is auto_LiRPA's own node, whose slopes
alpha-CROWN optimises.
"""

from typing import Any

from auto_LiRPA.bound_ops import Bound, BoundInput, BoundRelu
from torch import Tensor

from lipverify.bounds.propagation import GateRelaxation
from lipverify.interval import Interval
from lipverify.operators import Activation, AffineOperator, Gate, Relaxation

__all__ = ["AffineNode", "ActivationNode", "BoundInput", "BoundRelu", "GateNode"]

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


def _relaxed(
    relaxation: Relaxation, last_lA: Coefficients, last_uA: Coefficients
) -> tuple[tuple[Coefficients, Coefficients], Tensor | float, Tensor | float]:
    """Coefficients and constants behind an elementwise node, by the signs of its coefficients."""
    low = (relaxation.lower_slope, relaxation.lower_intercept)
    high = (relaxation.upper_slope, relaxation.upper_intercept)

    def one_side(coefficient: Coefficients, for_positive: Any, for_negative: Any) -> Any:
        if coefficient is None:
            return None, 0.0
        positive, negative = coefficient.clamp(min=0.0), coefficient.clamp(max=0.0)
        constant = positive * for_positive[1] + negative * for_negative[1]
        return (
            positive * for_positive[0] + negative * for_negative[0],
            constant.flatten(2).sum(-1),
        )

    below, below_constant = one_side(last_lA, low, high)
    above, above_constant = one_side(last_uA, high, low)
    return (below, above), below_constant, above_constant


class ActivationNode(_OwnNode):
    """An activation with our relaxation."""

    def __init__(self, operator: Activation, operands: list[Any]) -> None:
        super().__init__(operands)
        self.operator = operator
        self.requires_input_bounds = [0]

    def forward(self, *x: Tensor) -> Tensor:
        return self.operator.evaluate(*x)

    def bound_backward(self, last_lA: Coefficients, last_uA: Coefficients, *x: Any) -> Any:
        relaxation = self.operator.relax(Interval(x[0].lower, x[0].upper))
        pair, below, above = _relaxed(relaxation, last_lA, last_uA)
        return [pair], below, above


class GateNode(_OwnNode):
    """Operands (z, g): activation'(z) g, relaxed as a function of g alone."""

    def __init__(self, operator: Gate, relax_gate: GateRelaxation, operands: list[Any]) -> None:
        super().__init__(operands)
        self.operator = operator
        self.relax_gate = relax_gate
        self.requires_input_bounds = [0, 1]

    def forward(self, *x: Tensor) -> Tensor:
        return self.operator.evaluate(*x)

    def bound_backward(self, last_lA: Coefficients, last_uA: Coefficients, *x: Any) -> Any:
        preactivation, adjoint = x
        slope = self.operator.activation.gate(Interval(preactivation.lower, preactivation.upper))
        relaxation = self.relax_gate(slope, Interval(adjoint.lower, adjoint.upper))
        pair, below, above = _relaxed(relaxation, last_lA, last_uA)
        return [(None, None), pair], below, above
