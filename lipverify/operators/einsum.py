"""Products of a tensor and a constant with sums over named dimensions."""

from dataclasses import dataclass, replace
from math import prod
from typing import final

import torch
from torch import Tensor

from lipverify.operators.base import AffineOperator, Shape

BATCH = "Z"
"""The batch's letter; no dimension may have it."""


@final
@dataclass(frozen=True, eq=False)
class Einsum(AffineOperator):
    """y[outputs] = sum over all other letters of x[inputs] weight[weights].

    One letter per dimension, none twice in a tensor (nor the batch's own). Every letter of x is one
    of y's or of the weight's: that makes the transpose a product of the same kind.
    """

    name = "Einsum"
    inputs: str
    weights: str
    outputs: str
    weight: Tensor
    source: Shape

    def _sizes(self) -> dict[str, int]:
        named = dict(zip(self.inputs, self.source, strict=True))
        return named | dict(zip(self.weights, self.weight.shape, strict=True))

    def output_shape(self, *shapes: Shape) -> Shape:
        sizes = self._sizes()
        return tuple(sizes[letter] for letter in self.outputs)

    @property
    def parameters(self) -> int:
        return self.weight.numel()

    def linear(self, x: Tensor, operand: int = 0) -> Tensor:
        equation = f"{BATCH}{self.inputs},{self.weights}->{BATCH}{self.outputs}"
        return torch.einsum(equation, x, self.weight.to(x))

    def transpose(self, g: Tensor, operand: int = 0) -> Tensor:
        equation = f"{BATCH}{self.outputs},{self.weights}->{BATCH}{self.inputs}"
        return torch.einsum(equation, g, self.weight.to(g))

    @property
    def constant(self) -> Tensor | None:
        return None

    @property
    def absolute(self) -> "Einsum":
        return replace(self, weight=self.weight.abs())

    def sign_parts(self) -> tuple["Einsum", "Einsum"]:
        weight = self.weight
        return (
            replace(self, weight=(weight > 0).to(weight)),
            replace(self, weight=(weight < 0).to(weight)),
        )

    @property
    def terms(self) -> int:
        sizes = self._sizes()
        summed = prod(size for letter, size in sizes.items() if letter not in self.outputs)
        pulled = prod(size for letter, size in sizes.items() if letter not in self.inputs)
        return max(summed, pulled)
