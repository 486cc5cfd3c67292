"""What a norm has to offer."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

LEVEL_DOUBLINGS, LEVEL_HALVINGS = 40, 50


class AbstractNorm(ABC):
    """A norm on vectors, taken along the last dimension of a tensor."""

    name: ClassVar[str]
    """As written in spec files: "1", "2" or "inf"."""

    @property
    @abstractmethod
    def dual(self) -> "AbstractNorm":
        """The norm ||a||_* = max a.x over ||x|| <= 1."""

    @abstractmethod
    def of(self, x: Tensor) -> Tensor:
        """||x|| along the last dimension: [..., n] -> [...]."""

    @abstractmethod
    def maximiser(self, a: Tensor) -> Tensor:
        """A unit vector x with a.x = ||a||_* (Hoelder's inequality attained): [..., n]."""

    @abstractmethod
    def project(self, x: Tensor, radius: Tensor) -> Tensor:
        """The euclidean projection of [..., n] onto the ball of that radius ([], >= 0)."""

    @abstractmethod
    def cheapest(self, worth: Tensor, room: Tensor, gain: Tensor) -> Tensor:
        """The vector of least norm with 0 <= s <= room and worth.s >= gain (or worth.s as large as
        it can be), about: worth, room [k, n], both >= 0, and gain [k] -> s [k, n]."""

    @abstractmethod
    def share(self, worth: Tensor, room: Tensor) -> Tensor:
        """The part a of `worth` with the least ||a||_* + (worth - a).room, about: [..., n].

        0 <= a <= worth; worth >= 0 and room <= 1. By duality that least is the largest worth.s over
        ||s|| <= 1, s <= room: a is what the ball bears, the rest what the room does.
        """


def least_level(worth: Tensor, room: Tensor, gain: Tensor, shape: Tensor) -> Tensor:
    """min(level * shape, room) with the least level (found by bisection) that reaches the gain."""
    low, high = torch.zeros_like(gain), torch.ones_like(gain)

    def reached(level: Tensor) -> Tensor:
        return (worth * torch.minimum(level.unsqueeze(1) * shape, room)).sum(1) >= gain

    for _ in range(LEVEL_DOUBLINGS):
        high = torch.where(reached(high), high, 2 * high)
    for _ in range(LEVEL_HALVINGS):
        middle = (low + high) / 2
        enough = reached(middle)
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    return torch.minimum(high.unsqueeze(1) * shape, room)
