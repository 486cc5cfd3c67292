"""What each method can do with an operator, read off the operator's class."""

from collections.abc import Callable, Mapping

from lipverify.bounds.line_enclosure import can_walk
from lipverify.errors import UnsupportedOperator
from lipverify.milp.problem import slopes_of
from lipverify.operators import AbstractOperator, Activation, AffineOperator, Product

Ability = Callable[[type[AbstractOperator]], bool]


def _is_bounded(operator: type[AbstractOperator]) -> bool:
    """Affine operators have a transpose, activations and factors a gate: all that the backward
    graph needs."""
    return issubclass(operator, AffineOperator | Activation | Product)


def _has_program(operator: type[AbstractOperator]) -> bool:
    if not issubclass(operator, Activation):
        return issubclass(operator, AffineOperator)
    if not operator.piecewise_linear:
        return False
    try:
        slopes_of(operator(), "")
    except UnsupportedOperator:
        return False
    return True


def _can_walk(operator: type[AbstractOperator]) -> bool:
    if not issubclass(operator, Activation):
        return issubclass(operator, AffineOperator)
    return can_walk(operator)


ABILITIES: Mapping[str, Ability] = {
    "interval": lambda operator: True,  # an operator has to have an interval rule
    "mean-split": _is_bounded,
    "linear": _is_bounded,
    "quadratic": _is_bounded,
    "gate branching": _is_bounded,  # halves fix a gate or narrow it; affine operators have none
    "milp": _has_program,
    "line walk": _can_walk,
}
"""By method, whether it takes networks with the operator."""
