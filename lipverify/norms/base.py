"""What a norm has to offer."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor


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
