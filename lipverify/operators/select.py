"""Picking, repeating and dropping entries: Slice, Gather, Expand, Tile, Resize to nearest, ..."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lipverify.operators.base import AffineOperator, Shape


@final
@dataclass(frozen=True, eq=False)
class Select(AffineOperator):
    """Each entry of the result is one of the operand's, or 0.

    `index` [entries of the result] counts the operand's entries in row-major order; -1 is for 0.
    """

    name = "Select"
    source: Shape
    target: Shape
    index: Tensor

    def output_shape(self, *shapes: Shape) -> Shape:
        return self.target

    @property
    def parameters(self) -> int:
        return 0

    def linear(self, x: Tensor, operand: int = 0) -> Tensor:
        flat = x.flatten(1)
        with_zero = torch.cat([flat, flat.new_zeros(len(flat), 1)], 1)
        return with_zero[:, self.index].reshape(x.shape[0], *self.target)

    def transpose(self, g: Tensor, operand: int = 0) -> Tensor:
        size = torch.Size(self.source).numel()
        sums = g.new_zeros(g.shape[0], size + 1)
        place = torch.where(self.index < 0, size, self.index)
        sums.index_add_(1, place, g.flatten(1))
        return sums[:, :size].reshape(g.shape[0], *self.source)

    @property
    def constant(self) -> Tensor | None:
        return None

    @property
    def absolute(self) -> "Select":
        return self

    def sign_parts(self) -> tuple["Select", None]:
        return self, None

    @property
    def terms(self) -> int:
        used = self.index[self.index >= 0]
        return max(1, int(used.bincount().max())) if used.numel() else 1
