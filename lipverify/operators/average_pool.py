"""Average pooling in one, two and three dimensions."""

from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from lipverify.operators.base import AffineOperator, Shape
from lipverify.operators.conv import Conv


@final
@dataclass(frozen=True, eq=False)
class AveragePool(AffineOperator):
    """The mean of each window of [channels, *space].

    With `count_padding`, padded zeros count in the mean (ONNX count_include_pad).
    """

    name = "AveragePool"
    input_shape: Shape
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    count_padding: bool

    @cached_property
    def _sums(self) -> Conv:
        channels = self.input_shape[0]
        return Conv(
            torch.ones(channels, 1, *self.kernel, dtype=torch.float64),
            None,
            self.input_shape,
            self.stride,
            self.padding,
            tuple(1 for _ in self.kernel),
            channels,
        )

    @cached_property
    def _counts(self) -> Tensor:
        if self.count_padding:
            return torch.tensor(self.kernel, dtype=torch.float64).prod()
        ones = torch.ones(1, *self.input_shape, dtype=torch.float64)
        return self._sums.linear(ones)[0]

    def output_shape(self, *shapes: Shape) -> Shape:
        return self._sums.output_shape(*shapes)

    @property
    def parameters(self) -> int:
        return 0

    def linear(self, x: Tensor, operand: int = 0) -> Tensor:
        return self._sums.linear(x) / self._counts.to(x)

    def transpose(self, g: Tensor, operand: int = 0) -> Tensor:
        return self._sums.transpose((g / self._counts.to(g)).contiguous())

    @property
    def constant(self) -> Tensor | None:
        return None

    @property
    def absolute(self) -> "AveragePool":
        return self

    def sign_parts(self) -> tuple["AveragePool", None]:
        return self, None

    @property
    def terms(self) -> int:
        return self._sums.terms + 1
