"""What the binding of a spec needs to know of its network."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lipverify.norms import AbstractNorm
from lipverify.numerics import DTYPE
from lipverify.spec.arrays import Vector
from lipverify.spec.problem import Misfit, hint


@dataclass(frozen=True, eq=False)
class Around:
    """The parts of a region that was given as a ball: centre [n], norm, clip [n] each.

    `largest` is its radius, None where every input has its own.
    """

    center: Tensor
    norm: AbstractNorm
    largest: float | None
    clip: tuple[Tensor, Tensor] | None = None


@dataclass(frozen=True, eq=False)
class Sizes:
    """The network's numbers of inputs and outputs, and the names of its inputs; what is known of
    the spec's region."""

    inputs: int
    outputs: int
    features: tuple[str, ...]
    around: Around | None = None

    def per_input(self, values: Vector, *at: str | int) -> Tensor:
        """One number per input [n]; a single number [] holds for all."""
        tensor = torch.tensor(values, dtype=DTYPE)
        if tensor.ndim == 0:
            return tensor.expand(self.inputs).clone()
        if len(tensor) != self.inputs:
            raise Misfit(
                f"expected {self.inputs} numbers, one per input of the network, found "
                f"{len(tensor)}",
                *at,
            )
        return tensor

    def weights(self, values: Vector, *at: str | int) -> tuple[float, ...]:
        """One weight per output [m]."""
        if len(values) != self.outputs:
            raise Misfit(
                f"expected {self.outputs} weights, one per output of the network, found "
                f"{len(values)}",
                *at,
            )
        return tuple(float(value) for value in values)

    def output(self, index: int, *at: str | int) -> int:
        if not 0 <= index < self.outputs:
            raise Misfit(
                f"{index} is out of range: the network has {self.outputs} outputs, 0 to "
                f"{self.outputs - 1}",
                *at,
            )
        return index

    def input(self, feature: int | str, *at: str | int) -> int:
        """The position of a feature given by position or by name."""
        if isinstance(feature, str):
            if feature not in self.features:
                message = f"no feature is named {feature!r}; {hint(feature, self.features)}"
                raise Misfit(message, *at)
            return self.features.index(feature)
        if not 0 <= feature < self.inputs:
            raise Misfit(
                f"{feature} is out of range: the network has {self.inputs} inputs, 0 to "
                f"{self.inputs - 1}",
                *at,
            )
        return feature

    def unit(self, output: int) -> tuple[float, ...]:
        """The row vector that picks one output."""
        return tuple(1.0 if j == output else 0.0 for j in range(self.outputs))
