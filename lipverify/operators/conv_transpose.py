"""Transposed convolutions."""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from lipverify.operators.base import AffineOperator, Shape
from lipverify.operators.conv import Conv


@final
@dataclass(frozen=True, eq=False)
class ConvTranspose(AffineOperator):
    """The transpose of `conv` (without bias), then a bias [channels of the result] or None."""

    name = "ConvTranspose"
    conv: Conv
    bias: Tensor | None

    def output_shape(self, *shapes: Shape) -> Shape:
        return self.conv.input_shape

    @property
    def parameters(self) -> int:
        return self.conv.weight.numel() + (0 if self.bias is None else self.bias.numel())

    def linear(self, x: Tensor, operand: int = 0) -> Tensor:
        return self.conv.transpose(x)

    def transpose(self, g: Tensor, operand: int = 0) -> Tensor:
        return self.conv.linear(g)

    @property
    def constant(self) -> Tensor | None:
        return None if self.bias is None else self.bias.reshape(-1, *[1] * len(self.conv.stride))

    @property
    def absolute(self) -> "ConvTranspose":
        return ConvTranspose(self.conv.absolute, None if self.bias is None else self.bias.abs())

    def sign_parts(self) -> tuple["ConvTranspose", "ConvTranspose"]:
        positive, negative = self.conv.sign_parts()
        bias = self.bias
        return (
            ConvTranspose(positive, None if bias is None else (bias > 0).to(bias)),
            ConvTranspose(negative, None if bias is None else (bias < 0).to(bias)),
        )

    @property
    def terms(self) -> int:
        return self.conv.terms
