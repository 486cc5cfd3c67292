"""The sum of absolute entries."""

from typing import final

import torch
from torch import Tensor

from lipverify.norms.base import AbstractNorm


@final
class L1(AbstractNorm):
    name = "1"

    @property
    def dual(self) -> AbstractNorm:
        from lipverify.norms.linf import LInf  # the two norms are each other's dual

        return LInf()

    def of(self, x: Tensor) -> Tensor:
        return x.abs().sum(-1)

    def maximiser(self, a: Tensor) -> Tensor:
        index = a.abs().argmax(-1, keepdim=True)
        sign = torch.where(a.gather(-1, index) >= 0, 1.0, -1.0).to(a)
        return torch.zeros_like(a).scatter(-1, index, sign)

    def project(self, x: Tensor, radius: Tensor) -> Tensor:
        # Duchi et al. 2008: soft thresholding at the level that makes the sum equal the radius.
        ordered = x.abs().sort(-1, descending=True).values
        counts = torch.arange(1, x.shape[-1] + 1, dtype=x.dtype, device=x.device)
        levels = (ordered.cumsum(-1) - radius) / counts
        level = levels.amax(-1, keepdim=True).clamp(min=0.0)
        return x.sign() * (x.abs() - level).clamp(min=0.0)

    def cheapest(self, worth: Tensor, room: Tensor, gain: Tensor) -> Tensor:
        # What is worth most is used up first.
        order = worth.argsort(1, descending=True)
        value, space = worth.gather(1, order), room.gather(1, order)
        most = torch.where(value > 0, gain.unsqueeze(1) / value, 0.0)
        filled = value * torch.minimum(space, most)
        before = filled.cumsum(1) - filled
        rest = (gain.unsqueeze(1) - before).clamp(min=0.0)
        used = torch.where(value > 0, torch.minimum(rest / value, space), 0.0)
        return torch.zeros_like(worth).scatter(1, order, used)

    def share(self, worth: Tensor, room: Tensor) -> Tensor:
        # What is worth most fills its room, until nothing of the ball is left.
        fixed = worth.detach()
        order = fixed.argsort(-1, descending=True)
        full = room.clamp(min=0.0).gather(-1, order).cumsum(-1) >= 1.0
        last = full.int().argmax(-1, keepdim=True)
        level = torch.where(full[..., -1:], fixed.gather(-1, order).gather(-1, last), 0.0)
        return torch.minimum(worth, level)
