"""What all records together look like along one feature: envelopes of slopes, mean outputs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lipverify.audit.pieces import LinePieces, Numbers

CELLS = 48
"""Equal parts of a feature's range."""


@dataclass(frozen=True, eq=False)
class Curve:
    """On `CELLS` equal cells of the range: the proved lower and upper end of all slopes, how often
    the output was proved to rise and to fall throughout the cell; and the sum of the outputs at
    the cells' ends, over `count` lines."""

    low: float
    high: float
    lower: Numbers
    upper: Numbers
    rising: NDArray[np.int64]
    falling: NDArray[np.int64]
    total: Numbers
    count: int

    @staticmethod
    def of(pieces: LinePieces, low: float, high: float) -> "Curve":
        """That of one line."""
        nodes = np.linspace(low, high, CELLS + 1)
        last = len(pieces.start) - 1
        # Cells and pieces as closed intervals: a cell has all pieces that touch it.
        first = np.clip(np.searchsorted(pieces.end, nodes[:-1], side="left"), 0, last)
        final = np.clip(np.searchsorted(pieces.start, nodes[1:], side="right") - 1, 0, last)
        lower = np.array([pieces.lower[a : b + 1].min() for a, b in zip(first, final, strict=True)])
        upper = np.array([pieces.upper[a : b + 1].max() for a, b in zip(first, final, strict=True)])
        value, _ = pieces.at(nodes)
        rising, falling = (lower >= 0).astype(np.int64), (upper <= 0).astype(np.int64)
        return Curve(low, high, lower, upper, rising, falling, value, 1)

    def joined(self, other: "Curve") -> "Curve":
        """Of both sets of lines, which have one range."""
        assert (self.low, self.high) == (other.low, other.high)
        return Curve(
            self.low,
            self.high,
            np.minimum(self.lower, other.lower),
            np.maximum(self.upper, other.upper),
            self.rising + other.rising,
            self.falling + other.falling,
            self.total + other.total,
            self.count + other.count,
        )

    @property
    def nodes(self) -> Numbers:
        return np.linspace(self.low, self.high, CELLS + 1)

    @property
    def mean(self) -> Numbers:
        return self.total / self.count

    def as_json(self) -> dict[str, object]:
        return {
            "low": self.low,
            "high": self.high,
            "lower": self.lower.tolist(),
            "upper": self.upper.tolist(),
            "rising": self.rising.tolist(),
            "falling": self.falling.tolist(),
            "total": self.total.tolist(),
            "count": self.count,
        }

    @staticmethod
    def from_json(data: dict) -> "Curve":
        return Curve(
            data["low"],
            data["high"],
            np.array(data["lower"]),
            np.array(data["upper"]),
            np.array(data["rising"]),
            np.array(data["falling"]),
            np.array(data["total"]),
            data["count"],
        )
