"""Splits of neurons, and neurons that are split together."""

from collections import defaultdict
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from lipverify.graph import ForwardGraph
from lipverify.numerics import SMALLEST
from lipverify.operators import Dense

PARALLEL = 1e-6
"""Rows whose angle is this small are compared exactly."""


@dataclass(frozen=True)
class Split:
    """Preactivation `index` of forward node `node` is <= 0 (side -1) or >= 0 (side +1)."""

    node: str
    index: int
    side: int


class Twins:
    """Neurons whose preactivations are multiples of each other, in exact arithmetic.

    Wherever one is on one side of 0, so are its twins (or on the other side, for negative
    multiples). Splitting them apart would leave a subproblem without inner points, whose bound
    no input attains.
    """

    def __init__(self, forward: ForwardGraph) -> None:
        self._groups: dict[tuple[str, int], tuple[tuple[int, int], ...]] = {}
        for node in forward.activations:
            name = node.inputs[0]
            operator = forward[name].operator
            if isinstance(operator, Dense) and len(forward[name].shape) == 1:
                self._add(name, operator)

    def _add(self, name: str, operator: Dense) -> None:
        families: dict[tuple[Fraction, ...], list[tuple[int, int]]] = defaultdict(list)
        rows = operator.weight
        if operator.bias is not None:
            rows = torch.cat([rows, operator.bias.unsqueeze(1)], 1)
        for index in _parallel(rows):
            exact = [Fraction(value) for value in rows[index].tolist()]
            lead = next((value for value in exact if value), None)
            if lead is None:
                continue
            sign = 1 if lead > 0 else -1
            families[tuple(value / lead for value in exact)].append((index, sign))
        for family in families.values():
            for index, sign in family:
                others = tuple((other, sign * its) for other, its in family if other != index)
                if others:
                    self._groups[name, index] = others

    def of(self, split: Split) -> tuple[Split, ...]:
        """What a split implies for its twins."""
        twins = self._groups.get((split.node, split.index), ())
        return tuple(Split(split.node, other, split.side * sign) for other, sign in twins)


def _parallel(rows: Tensor) -> list[int]:
    """The rows [k, n] that may be multiples of others: exact arithmetic is slow, and few are."""
    scale = rows.abs().amax(1, keepdim=True).clamp(min=SMALLEST)
    unit = torch.nn.functional.normalize(rows / scale, dim=1)
    alike = (unit @ unit.T).abs() > 1 - PARALLEL
    return (alike.sum(1) > 1).nonzero().flatten().tolist()
