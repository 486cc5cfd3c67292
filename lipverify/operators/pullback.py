"""The transpose of one operand's linear part: an affine operator, in the backward graph."""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from lipverify.operators.base import AffineOperator, Shape


@final
@dataclass(frozen=True, eq=False)
class Pullback(AffineOperator):
    """g -> A_i^T g for operand i of `forward`, whose shape is `shape`."""

    name = "Pullback"
    forward: AffineOperator
    operand: int
    shape: Shape

    def output_shape(self, *shapes: Shape) -> Shape:
        return self.shape

    @property
    def parameters(self) -> int:
        return 0

    def linear(self, x: Tensor, operand: int = 0) -> Tensor:
        return self.forward.transpose(x, self.operand)

    def transpose(self, g: Tensor, operand: int = 0) -> Tensor:
        return self.forward.linear(g, self.operand)

    @property
    def constant(self) -> Tensor | None:
        return None

    @property
    def absolute(self) -> "Pullback":
        return Pullback(self.forward.absolute_cached, self.operand, self.shape)

    def sign_parts(self) -> tuple["Pullback", "Pullback | None"]:
        positive, negative = self.forward.sign_parts()
        return (
            Pullback(positive, self.operand, self.shape),
            None if negative is None else Pullback(negative, self.operand, self.shape),
        )

    @property
    def terms(self) -> int:
        return self.forward.terms
