"""Fully connected layers: Gemm, and MatMul by a constant."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lipverify.operators.base import AffineOperator, Shape


@final
@dataclass(frozen=True, eq=False)
class Dense(AffineOperator):
    """y = W x + b along the last dimension; weight [out, in], bias [out] or None."""

    name = "Gemm"
    weight: Tensor
    bias: Tensor | None = None

    def output_shape(self, *shapes: Shape) -> Shape:
        return (*shapes[0][:-1], self.weight.shape[0])

    @property
    def parameters(self) -> int:
        return self.weight.numel() + (0 if self.bias is None else self.bias.numel())

    def linear(self, x: Tensor, operand: int = 0) -> Tensor:
        return torch.nn.functional.linear(x, self.weight.to(x))

    def transpose(self, g: Tensor, operand: int = 0) -> Tensor:
        return g @ self.weight.to(g)

    @property
    def constant(self) -> Tensor | None:
        return self.bias

    @property
    def absolute(self) -> "Dense":
        return Dense(self.weight.abs(), None if self.bias is None else self.bias.abs())

    def sign_parts(self) -> tuple["Dense", "Dense"]:
        bias = self.bias
        return (
            Dense((self.weight > 0).to(self.weight), None if bias is None else (bias > 0).to(bias)),
            Dense((self.weight < 0).to(self.weight), None if bias is None else (bias < 0).to(bias)),
        )

    @property
    def terms(self) -> int:
        return max(self.weight.shape)
