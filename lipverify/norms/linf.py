"""The largest absolute entry."""

from typing import final

import torch
from torch import Tensor

from lipverify.norms.base import AbstractNorm, least_level


@final
class LInf(AbstractNorm):
    name = "inf"

    @property
    def dual(self) -> AbstractNorm:
        from lipverify.norms.l1 import L1  # the two norms are each other's dual

        return L1()

    def of(self, x: Tensor) -> Tensor:
        return x.abs().amax(-1)

    def maximiser(self, a: Tensor) -> Tensor:
        return torch.where(a >= 0, 1.0, -1.0).to(a)

    def project(self, x: Tensor, radius: Tensor) -> Tensor:
        return torch.clamp(x, min=-radius, max=radius)

    def cheapest(self, worth: Tensor, room: Tensor, gain: Tensor) -> Tensor:
        return least_level(worth, room, gain, torch.ones_like(worth))

    def share(self, worth: Tensor, room: Tensor) -> Tensor:
        return torch.where(room >= 1.0, worth, torch.zeros_like(worth))
