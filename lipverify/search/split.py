"""Splits of neurons, and neurons that are split together."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import isfinite

import torch
from torch import Tensor

from lipverify.graph import ForwardGraph
from lipverify.numerics import SMALLEST
from lipverify.operators import Dense

PARALLEL = 1e-6
"""Rows whose angle is this small are compared exactly."""


@dataclass(frozen=True)
class Split:
    """Preactivation `index` of forward node `node` is <= position (side -1) or >= it (side +1).

    ValueError for another side, or a position that is no finite number.
    """

    node: str
    index: int
    side: int
    position: float = 0.0

    def __post_init__(self) -> None:
        if self.side not in (-1, 1) or not isfinite(self.position):
            raise ValueError(f"no closed half: side {self.side}, position {self.position!r}")

    @property
    def from_zero(self) -> bool:
        """Whether it implies the half with its position at 0."""
        return self.side * self.position >= 0


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
        """What a split at 0 implies for its twins; nothing is said of others."""
        if split.position != 0:
            return ()
        twins = self._groups.get((split.node, split.index), ())
        return tuple(Split(split.node, other, split.side * sign) for other, sign in twins)


def sides(splits: Iterable[Split]) -> list[tuple[str, int, int]]:
    """(node, index, side) where the splits imply side z >= 0."""
    return [(split.node, split.index, split.side) for split in splits if split.from_zero]


def tightest(splits: Iterable[Split]) -> tuple[Split, ...]:
    """Of halves of one neuron to the same side, the smallest: it lies in the others."""
    found: dict[tuple[str, int, int], Split] = {}
    for split in splits:
        key = split.node, split.index, split.side
        old = found.get(key)
        if old is None or split.side * split.position > old.side * old.position:
            found[key] = split
    return tuple(found.values())


def _parallel(rows: Tensor) -> list[int]:
    """The rows [k, n] that may be multiples of others: exact arithmetic is slow, and few are."""
    scale = rows.abs().amax(1, keepdim=True).clamp(min=SMALLEST)
    unit = torch.nn.functional.normalize(rows / scale, dim=1)
    alike = (unit @ unit.T).abs() > 1 - PARALLEL
    return (alike.sum(1) > 1).nonzero().flatten().tolist()
