"""Joining tensors along one dimension."""

from dataclasses import dataclass
from typing import final

from torch import Tensor
from torch.nn import functional

from lipverify.operators.base import AffineOperator, Shape


@final
@dataclass(frozen=True, eq=False)
class Concat(AffineOperator):
    """Operand i fills the places starts[i], ... of dimension `axis`; others are 0 (constants).

    `target` is the shape of the result, `sizes` the operands' lengths along the dimension.
    """

    name = "Concat"
    target: Shape
    axis: int
    starts: tuple[int, ...]
    sizes: tuple[int, ...]

    @property
    def arity(self) -> int:
        return len(self.starts)

    def output_shape(self, *shapes: Shape) -> Shape:
        return self.target

    @property
    def parameters(self) -> int:
        return 0

    def linear(self, x: Tensor, operand: int = 0) -> Tensor:
        start, size = self.starts[operand], self.sizes[operand]
        behind = self.target[self.axis] - start - size
        after = len(self.target) - 1 - self.axis
        return functional.pad(x, [0, 0] * after + [start, behind])

    def transpose(self, g: Tensor, operand: int = 0) -> Tensor:
        return g.narrow(1 + self.axis, self.starts[operand], self.sizes[operand])

    @property
    def constant(self) -> Tensor | None:
        return None

    @property
    def absolute(self) -> "Concat":
        return self

    def sign_parts(self) -> tuple["Concat", None]:
        return self, None

    @property
    def terms(self) -> int:
        return 1
