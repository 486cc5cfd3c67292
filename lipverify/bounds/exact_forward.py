"""A network's nodes as exact affine functions of the input, once gates are fixed.

Weights are dyadic rationals, so Fractions hold every coefficient: no rounding at all.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np
import torch

from lipverify.graph import ForwardGraph, Node
from lipverify.interval import Interval
from lipverify.operators import (
    Activation,
    Add,
    AffineOperator,
    Choice,
    Concat,
    Conv,
    Dense,
    Reshape,
    Select,
    Transpose,
)

Side = tuple[str, int, int]
"""A preactivation's node, the flat index in it, and the side of 0 that it is on: -1 or 1."""
Row = list[Fraction]
"""Coefficients of [1; x]."""

EXACT = (Add, Choice, Concat, Conv, Dense, Reshape, Select, Transpose)
"""Operators whose coefficients are stored numbers, so that float columns hold them exactly."""
LARGEST = 40_000
"""Most coefficients of all nodes together; Fractions are slow."""


def is_exact(forward: ForwardGraph) -> bool:
    """Whether every node is affine with stored coefficients, or piecewise linear with a kink at 0
    alone."""
    return all(_known(node) for node in forward)


def coefficients(forward: ForwardGraph) -> int:
    """How many coefficients `exact_values` gives."""
    return sum(node.size for node in forward) * (1 + forward.input_size)


def exact_values(
    forward: ForwardGraph, sides: Sequence[Side], preactivations: Mapping[str, Interval]
) -> dict[str, list[Row | None]]:
    """By node, the affine function of the input that each entry is, under the sides.

    Where neither a side nor the preactivation's interval fixes a gate, an entry that depends on it
    is None. `is_exact` has to hold.
    """
    split = {(node, index): side for node, index, side in sides}
    width = 1 + forward.input_size
    values: dict[str, list[Row | None]] = {}
    identity: list[Row | None] = []
    for place in range(forward.input_size):
        row = [Fraction(0)] * width
        row[1 + place] = Fraction(1)
        identity.append(row)
    values[ForwardGraph.INPUT] = identity
    for node in forward:
        if isinstance(node.operator, Activation):
            below = node.inputs[0]
            values[node.name] = [
                _activated(node.operator, row, split.get((below, place)), known)
                for place, (row, known) in enumerate(
                    zip(values[below], known_sides(preactivations[below]), strict=True)
                )
            ]
        elif node.operator is not None:
            values[node.name] = _affine(forward, node, values, width)
    return values


def _activated(operator: Activation, row: Row | None, split: int | None, known: int) -> Row | None:
    if row is None:
        return None
    if not any(row):
        return row  # every activation here is 0 at 0
    side = split or known
    if side == 0:
        return None
    slope = operator.derivative(torch.tensor([float(side)], dtype=torch.float64))
    factor = Fraction(float(slope))
    return [factor * value for value in row]


def _affine(
    forward: ForwardGraph, node: Node, values: Mapping[str, list[Row | None]], width: int
) -> list[Row | None]:
    operator = node.operator
    assert isinstance(operator, AffineOperator)
    result: list[Row | None] = [[Fraction(0)] * width for _ in range(node.size)]
    if operator.constant is not None:
        for row, value in zip(
            result, operator.constant.expand(node.shape).flatten().tolist(), strict=True
        ):
            assert row is not None
            row[0] += Fraction(value)
    for operand, name in enumerate(node.inputs):
        matrix = _matrix(forward, node, operand)
        for place in range(node.size):
            for column in np.flatnonzero(matrix[place]):
                row, source = result[place], values[name][column]
                if row is None or source is None:
                    result[place] = None
                    break
                factor = Fraction(float(matrix[place, column]))
                result[place] = [a + factor * b for a, b in zip(row, source, strict=True)]
    return result


def _matrix(forward: ForwardGraph, node: Node, operand: int) -> np.ndarray:
    operator = node.operator
    assert isinstance(operator, AffineOperator)
    shape = forward[node.inputs[operand]].shape
    size = forward[node.inputs[operand]].size
    columns = torch.eye(size, dtype=torch.float64).reshape(size, *shape)
    return operator.linear(columns, operand).reshape(size, node.size).T.numpy()


def _known(node: Node) -> bool:
    operator = node.operator
    if operator is None or isinstance(operator, EXACT):
        return True
    if not isinstance(operator, Activation) or not operator.piecewise_linear:
        return False
    return tuple(operator.kinks) == (0.0,)


def known_sides(preactivation: Interval) -> list[int]:
    """1 where z >= 0 is known, -1 where z <= 0 is, else 0."""
    lower, upper = preactivation.lower.flatten(), preactivation.upper.flatten()
    return torch.where(lower >= 0, 1, torch.where(upper <= 0, -1, 0)).tolist()
