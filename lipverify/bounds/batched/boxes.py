"""Many boxes of inputs at once."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lipverify.errors import RegionError


@dataclass(frozen=True, eq=False)
class Boxes:
    """lower <= x <= upper for each box: both ends [boxes, n], finite, at least no box."""

    lower: Tensor
    upper: Tensor

    def __post_init__(self) -> None:
        if self.lower.ndim != 2 or self.lower.shape != self.upper.shape:
            raise RegionError(
                f"the ends of boxes must be [boxes, n]: {tuple(self.lower.shape)} and "
                f"{tuple(self.upper.shape)}"
            )
        # Written so that NaN fails it.
        if not bool((self.lower <= self.upper).all()):
            raise RegionError("a box has lower > upper, or NaN")
        if not bool(torch.isfinite(self.lower).all() and torch.isfinite(self.upper).all()):
            raise RegionError("a box has an infinite end")

    def __len__(self) -> int:
        return self.lower.shape[0]

    @property
    def center(self) -> Tensor:
        """A point of each box, [boxes, n]: the middle, or an end where no float lies between."""
        middle = self.lower / 2 + self.upper / 2
        return torch.minimum(torch.maximum(middle, self.lower), self.upper)

    @property
    def magnitude(self) -> Tensor:
        """The largest |x| of each entry, [boxes, n]."""
        return torch.maximum(self.lower.abs(), self.upper.abs())

    @property
    def width(self) -> Tensor:
        return self.upper - self.lower

    def support(self, slope: Tensor) -> Tensor:
        """max slope.x over each box: [boxes, k, n] -> [boxes, k]. Not rounded."""
        lower, upper = self.lower.unsqueeze(1), self.upper.unsqueeze(1)
        return torch.maximum(slope * upper, slope * lower).sum(-1)

    def pick(self, index: Tensor) -> "Boxes":
        return Boxes(self.lower[index], self.upper[index])

    def halves(self, dimension: Tensor) -> "Boxes":
        """Both closed halves of every box, cut at the centre of `dimension` [boxes].

        The lower halves come first, then the upper ones: [2 boxes, n]. The two share the face, so
        together they cover the box.
        """
        index = dimension.unsqueeze(1)
        middle = self.center.gather(1, index)
        below = self.upper.scatter(1, index, middle)
        above = self.lower.scatter(1, index, middle)
        return Boxes(torch.cat([self.lower, above]), torch.cat([below, self.upper]))

    def divisible(self) -> Tensor:
        """Whether a float lies strictly between both ends, [boxes, n]: a cut makes progress."""
        center = self.center
        return (self.lower < center) & (center < self.upper)


def joined(parts: list[Boxes]) -> Boxes:
    return Boxes(torch.cat([p.lower for p in parts]), torch.cat([p.upper for p in parts]))
