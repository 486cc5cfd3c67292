"""Componentwise sets of values."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lipverify.errors import InvertedInterval
from lipverify.numerics import DTYPE, add_up


@dataclass(frozen=True, eq=False)
class Interval:
    """All tensors x with lower <= x <= upper, entry by entry.

    Both ends have the same shape and dtype float64. Anything else, NaN or an inverted pair raises
    `InvertedInterval`; infinite ends are allowed.
    """

    lower: Tensor
    upper: Tensor

    def __post_init__(self) -> None:
        if self.lower.shape != self.upper.shape:
            raise InvertedInterval(
                f"the ends of an interval differ in shape: {tuple(self.lower.shape)} and "
                f"{tuple(self.upper.shape)}"
            )
        if not self.lower.dtype == self.upper.dtype == DTYPE:
            raise InvertedInterval(
                f"the ends of an interval are {self.lower.dtype} and {self.upper.dtype}; every "
                f"rounding bound is that of {DTYPE}"
            )
        # Written so that a NaN on either side fails it.
        if not bool((self.lower <= self.upper).all()):
            bad = int((~(self.lower <= self.upper)).sum())
            raise InvertedInterval(f"{bad} entries of an interval are NaN or have lower > upper")

    @property
    def shape(self) -> torch.Size:
        return self.lower.shape

    @property
    def center(self) -> Tensor:
        """In the interval, also where halves of denormal numbers are rounded."""
        return (self.lower / 2 + self.upper / 2).clamp(self.lower, self.upper)

    @property
    def radius(self) -> Tensor:
        """Rounded up, so that center +- radius covers the interval; zero for a point."""
        center = self.center
        return torch.maximum(add_up(self.upper, -center), add_up(center, -self.lower))

    @property
    def width(self) -> Tensor:
        return self.upper - self.lower

    @property
    def magnitude(self) -> Tensor:
        """The largest |x| of each entry."""
        return torch.maximum(self.lower.abs(), self.upper.abs())

    def is_finite(self) -> bool:
        return bool(torch.isfinite(self.lower).all() and torch.isfinite(self.upper).all())

    def contains(self, value: Tensor) -> Tensor:
        return (self.lower <= value) & (value <= self.upper)

    def intersect(self, other: "Interval") -> "Interval":
        """The common part; `InvertedInterval` where there is none."""
        return Interval(
            torch.maximum(self.lower, other.lower), torch.minimum(self.upper, other.upper)
        )

    def hull(self, other: "Interval") -> "Interval":
        return Interval(
            torch.minimum(self.lower, other.lower), torch.maximum(self.upper, other.upper)
        )

    def reshape(self, *shape: int) -> "Interval":
        return Interval(self.lower.reshape(*shape), self.upper.reshape(*shape))
