"""Operators that only move entries: Reshape (with Flatten, Squeeze, Unsqueeze), Transpose, Pad."""

from dataclasses import dataclass
from math import prod
from typing import final

from torch import Tensor
from torch.nn import functional

from lipverify.operators.base import AffineOperator, Shape


@final
@dataclass(frozen=True, eq=False)
class Reshape(AffineOperator):
    """The same entries in row-major order, in another shape."""

    name = "Reshape"
    source: Shape
    target: Shape

    def output_shape(self, *shapes: Shape) -> Shape:
        assert prod(self.source) == prod(self.target)
        return self.target

    @property
    def parameters(self) -> int:
        return 0

    def linear(self, x: Tensor, operand: int = 0) -> Tensor:
        return x.reshape(x.shape[0], *self.target)

    def transpose(self, g: Tensor, operand: int = 0) -> Tensor:
        return g.reshape(g.shape[0], *self.source)

    @property
    def constant(self) -> Tensor | None:
        return None

    @property
    def absolute(self) -> "Reshape":
        return self

    def sign_parts(self) -> tuple["Reshape", None]:
        return self, None

    @property
    def terms(self) -> int:
        return 1


@final
@dataclass(frozen=True, eq=False)
class Transpose(AffineOperator):
    """Dimension i of the result is dimension order[i] of the operand (batch not counted)."""

    name = "Transpose"
    order: tuple[int, ...]

    def output_shape(self, *shapes: Shape) -> Shape:
        return tuple(shapes[0][dimension] for dimension in self.order)

    @property
    def parameters(self) -> int:
        return 0

    def linear(self, x: Tensor, operand: int = 0) -> Tensor:
        return x.permute(0, *(dimension + 1 for dimension in self.order))

    def transpose(self, g: Tensor, operand: int = 0) -> Tensor:
        inverse = sorted(range(len(self.order)), key=self.order.__getitem__)
        return g.permute(0, *(dimension + 1 for dimension in inverse))

    @property
    def constant(self) -> Tensor | None:
        return None

    @property
    def absolute(self) -> "Transpose":
        return self

    def sign_parts(self) -> tuple["Transpose", None]:
        return self, None

    @property
    def terms(self) -> int:
        return 1


@final
@dataclass(frozen=True, eq=False)
class Pad(AffineOperator):
    """Zeros put around the entries; padding (begin, end) per dimension, both >= 0."""

    name = "Pad"
    source: Shape
    padding: tuple[tuple[int, int], ...]

    def output_shape(self, *shapes: Shape) -> Shape:
        return tuple(
            size + begin + end for size, (begin, end) in zip(self.source, self.padding, strict=True)
        )

    @property
    def parameters(self) -> int:
        return 0

    def linear(self, x: Tensor, operand: int = 0) -> Tensor:
        return functional.pad(x, [size for pair in reversed(self.padding) for size in pair])

    def transpose(self, g: Tensor, operand: int = 0) -> Tensor:
        inside = tuple(
            slice(begin, begin + size)
            for (begin, _), size in zip(self.padding, self.source, strict=True)
        )
        return g[(slice(None), *inside)]

    @property
    def constant(self) -> Tensor | None:
        return None

    @property
    def absolute(self) -> "Pad":
        return self

    def sign_parts(self) -> tuple["Pad", None]:
        return self, None

    @property
    def terms(self) -> int:
        return 1
