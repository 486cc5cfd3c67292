"""Points and what they are worth."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lipverify.graph import BackwardGraph

SAME = 1e-9
"""Values closer than this, relatively, count as one."""


@dataclass(frozen=True, eq=False)
class Population:
    """Points [k, n] with their values [k]."""

    points: Tensor
    values: Tensor

    def top(self, count: int) -> "Population":
        """The best, of each value only one: points of one linear region share their value."""
        order = self.values.argsort(descending=True, stable=True)
        ordered = self.values[order]
        new = torch.ones(len(ordered), dtype=torch.bool)
        new[1:] = ordered[1:] < ordered[:-1] - SAME * ordered[:-1].abs()
        order = order[new][:count]
        return Population(self.points[order], self.values[order])

    def join(self, other: "Population") -> "Population":
        return Population(
            torch.cat([self.points, other.points]), torch.cat([self.values, other.values])
        )


def affordable(backward: BackwardGraph, rows: int, work: float, most: int) -> int:
    """How many points cost about `work` numbers (points x rows x nodes' sizes); at least 8."""
    per_point = rows * sum(node.size for node in backward)
    return max(8, min(most, int(work / max(1, per_point))))
