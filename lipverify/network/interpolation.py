"""Which entries of a line a resized one is made of (ONNX's definition of Resize)."""

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

import torch
from torch import Tensor

from lipverify.errors import UnsupportedOperator


@dataclass(frozen=True)
class Positions:
    """A line of `length` entries becomes one of `target`, `factor` times as long."""

    length: int
    target: int
    factor: float
    transform: str

    def of(self, index: int) -> Fraction:
        """Where entry `index` of the result is on the old line."""
        factor = Fraction(self.factor)
        if Fraction(self.target, self.length).limit_denominator(10**6) == factor.limit_denominator(
            10**6
        ):
            factor = Fraction(self.target, self.length)  # as meant, before it was rounded
        if self.transform == "asymmetric":
            return index / factor
        if self.transform == "align_corners":
            return Fraction(index * (self.length - 1), max(1, self.target - 1))
        if self.transform == "pytorch_half_pixel" and self.target == 1:
            return Fraction(0)
        if self.transform in ("half_pixel", "pytorch_half_pixel"):
            return (index + Fraction(1, 2)) / factor - Fraction(1, 2)
        raise UnsupportedOperator(
            f"coordinate_transformation_mode={self.transform} is not supported"
        )


def nearest_index(positions: Positions, rounding: str) -> list[int]:
    """The old entry that each new one is a copy of."""
    half = Fraction(1, 2)
    rules = {
        "floor": floor,
        "ceil": ceil,
        "round_prefer_floor": lambda at: ceil(at - half),
        "round_prefer_ceil": lambda at: floor(at + half),
    }
    if rounding not in rules:
        raise UnsupportedOperator(f"nearest_mode={rounding} is not supported")
    found = (rules[rounding](positions.of(index)) for index in range(positions.target))
    return [min(max(place, 0), positions.length - 1) for place in found]


def linear_matrix(positions: Positions) -> Tensor:
    """[target, length]: the weights of the two neighbours of each position.

    A weight that float64 does not hold is rounded once, and so is what it adds up with: operators
    count one product per old entry, of which only two are not zero.
    """
    matrix = torch.zeros(positions.target, positions.length, dtype=torch.float64)
    for index in range(positions.target):
        at = positions.of(index)
        place = floor(at)
        for neighbour, weight in ((place, 1 - (at - place)), (place + 1, at - place)):
            matrix[index, min(max(neighbour, 0), positions.length - 1)] += float(weight)
    return matrix
