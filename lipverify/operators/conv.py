"""Convolutions in one, two and three dimensions."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor
from torch.nn import functional, grad

from lipverify.operators.base import AffineOperator, Shape

CONVOLVE: dict[int, Callable[..., Tensor]] = {
    1: functional.conv1d,
    2: functional.conv2d,
    3: functional.conv3d,
}
"""By the number of space dimensions."""

PULL: dict[int, Callable[..., Tensor]] = {
    1: grad.conv1d_input,
    2: grad.conv2d_input,
    3: grad.conv3d_input,
}


@final
@dataclass(frozen=True, eq=False)
class Conv(AffineOperator):
    """Cross-correlation of [channels, *space] with zero padding, as ONNX and torch define it.

    weight [out, in / groups, *kernel]; stride and dilation one per spatial dimension; padding
    (begin, end) per spatial dimension; bias [out] or None.
    """

    name = "Conv"
    weight: Tensor
    bias: Tensor | None
    input_shape: Shape
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int = 1

    @property
    def padded_shape(self) -> Shape:
        space = (
            size + begin + end
            for size, (begin, end) in zip(self.input_shape[1:], self.padding, strict=True)
        )
        return (self.input_shape[0], *space)

    def output_shape(self, *shapes: Shape) -> Shape:
        space = (
            (size - dilation * (kernel - 1) - 1) // stride + 1
            for size, kernel, stride, dilation in zip(
                self.padded_shape[1:],
                self.weight.shape[2:],
                self.stride,
                self.dilation,
                strict=True,
            )
        )
        return (self.weight.shape[0], *space)

    @property
    def parameters(self) -> int:
        return self.weight.numel() + (0 if self.bias is None else self.bias.numel())

    def linear(self, x: Tensor, operand: int = 0) -> Tensor:
        flat = [size for pair in reversed(self.padding) for size in pair]
        return CONVOLVE[len(self.stride)](
            functional.pad(x, flat) if any(flat) else x,
            self.weight.to(x),
            stride=self.stride,
            dilation=self.dilation,
            groups=self.groups,
        )

    def transpose(self, g: Tensor, operand: int = 0) -> Tensor:
        padded = PULL[len(self.stride)](
            (g.shape[0], *self.padded_shape),
            self.weight.to(g),
            g,
            stride=self.stride,
            dilation=self.dilation,
            groups=self.groups,
        )
        inside = tuple(
            slice(begin, begin + size)
            for (begin, _), size in zip(self.padding, self.input_shape[1:], strict=True)
        )
        return padded[(slice(None), slice(None), *inside)]

    @property
    def constant(self) -> Tensor | None:
        return None if self.bias is None else self.bias.reshape(-1, *[1] * len(self.stride))

    @property
    def absolute(self) -> "Conv":
        return Conv(
            self.weight.abs(),
            None if self.bias is None else self.bias.abs(),
            self.input_shape,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
        )

    def sign_parts(self) -> tuple["Conv", "Conv"]:
        bias = self.bias
        return (
            replace(
                self,
                weight=(self.weight > 0).to(self.weight),
                bias=None if bias is None else (bias > 0).to(bias),
            ),
            replace(
                self,
                weight=(self.weight < 0).to(self.weight),
                bias=None if bias is None else (bias < 0).to(bias),
            ),
        )

    @property
    def terms(self) -> int:
        kernel = int(torch.tensor(self.weight.shape[2:]).prod())
        return kernel * max(self.weight.shape[1], self.weight.shape[0] // self.groups)
