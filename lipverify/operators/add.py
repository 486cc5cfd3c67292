"""Sums and differences of branches of equal shape (residual connections)."""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from lipverify.operators.base import AffineOperator, Shape


@final
@dataclass(frozen=True, eq=False)
class Add(AffineOperator):
    """y = sum_i sign_i x_i, with signs +1 or -1 (0 only in `sign_parts`)."""

    name = "Add"
    signs: tuple[int, ...]

    @property
    def arity(self) -> int:
        return len(self.signs)

    def output_shape(self, *shapes: Shape) -> Shape:
        assert len(set(shapes)) == 1, "branches of a sum must have one shape"
        return shapes[0]

    @property
    def parameters(self) -> int:
        return 0

    def linear(self, x: Tensor, operand: int = 0) -> Tensor:
        sign = self.signs[operand]
        return x if sign == 1 else x * sign

    def transpose(self, g: Tensor, operand: int = 0) -> Tensor:
        return self.linear(g, operand)

    @property
    def constant(self) -> Tensor | None:
        return None

    @property
    def absolute(self) -> "Add":
        return Add(tuple(1 for _ in self.signs))

    def sign_parts(self) -> tuple["Add", "Add"]:
        return (
            Add(tuple(int(sign > 0) for sign in self.signs)),
            Add(tuple(int(sign < 0) for sign in self.signs)),
        )

    @property
    def terms(self) -> int:
        return len(self.signs)
