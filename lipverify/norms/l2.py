"""The euclidean norm."""

from typing import final

import torch
from torch import Tensor

from lipverify.norms.base import AbstractNorm, least_level


@final
class L2(AbstractNorm):
    name = "2"

    @property
    def dual(self) -> AbstractNorm:
        return self

    def of(self, x: Tensor) -> Tensor:
        # Scaled, since the squares of entries beyond 1e+-154 overflow or vanish.
        scale = _scale(x)
        return torch.linalg.vector_norm(x / scale, dim=-1) * scale.squeeze(-1)

    def maximiser(self, a: Tensor) -> Tensor:
        scaled = a / _scale(a)
        length = torch.linalg.vector_norm(scaled, dim=-1, keepdim=True)
        first = torch.zeros_like(a)
        first[..., 0] = 1.0
        return torch.where(length > 0, scaled / length.clamp(min=0.5), first)

    def project(self, x: Tensor, radius: Tensor) -> Tensor:
        length = self.of(x).unsqueeze(-1)
        return torch.where(length > radius, x * (radius / length.clamp(min=1e-300)), x)

    def cheapest(self, worth: Tensor, room: Tensor, gain: Tensor) -> Tensor:
        return least_level(worth, room, gain, worth)

    def share(self, worth: Tensor, room: Tensor) -> Tensor:
        # s = min(worth / level, room), at the level that makes its length 1: sorted by the levels
        # at which entries reach their room, sums of squares tell how many do.
        fixed, space = worth.detach() / _scale(worth), room.clamp(min=0.0).expand_as(worth)
        reached = torch.where(fixed > 0, fixed / space, torch.zeros_like(fixed))
        order = reached.argsort(-1, descending=True)
        level = reached.gather(-1, order)
        filled = space.gather(-1, order).square().cumsum(-1)
        squares = fixed.gather(-1, order).square()
        rest = (squares.sum(-1, keepdim=True) - squares.cumsum(-1)).clamp(min=0.0)
        free = torch.where(rest > 0, rest / level.square(), torch.zeros_like(rest))
        count = (filled + free < 1.0).sum(-1, keepdim=True)
        before = (count - 1).clamp(min=0)
        some = count > 0
        left = torch.where(some, rest.gather(-1, before), squares.sum(-1, keepdim=True))
        used = torch.where(some, filled.gather(-1, before), torch.zeros_like(left))
        chosen = (left / (1.0 - used).clamp(min=1e-300)).sqrt() * _scale(worth)
        return torch.minimum(worth, chosen * space)


def _scale(x: Tensor) -> Tensor:
    """The largest magnitude along the last dimension, which is kept; 1 where that is no help."""
    largest = x.detach().abs().amax(-1, keepdim=True)
    usable = (largest > 0) & torch.isfinite(largest)
    return torch.where(usable, largest, torch.ones_like(largest))
