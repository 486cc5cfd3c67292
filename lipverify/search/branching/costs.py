"""Pseudo-costs: what splits of each gate have brought so far in a search."""

from collections.abc import Mapping
from dataclasses import dataclass, field

LEAST = 1e-6
"""A drop counts as at least this, so that a product over both sides is not lost to one zero."""

Key = tuple[tuple[str, int], int]
"""(gate, side)."""


@dataclass(frozen=True, eq=False)
class PseudoCosts:
    """Average drop of the bound, relative to the parent's, by (gate, side)."""

    drops: Mapping[Key, tuple[float, int]] = field(default_factory=dict)
    """Sum of drops, and their number."""
    ratio: tuple[float, float] = (0.0, 0.0)
    """Sums of drops and of the estimates that they were predicted by."""

    def learn(
        self, gate: tuple[str, int], side: int, parent: float, child: float, estimate: float
    ) -> "PseudoCosts":
        """With one more child bounded: its upper end `child` under a parent's."""
        if not parent > 0:
            return self
        drop = relative_drop(parent, child)
        total, count = self.drops.get((gate, side), (0.0, 0))
        drops = {**self.drops, (gate, side): (total + drop, count + 1)}
        return PseudoCosts(drops, (self.ratio[0] + drop, self.ratio[1] + estimate))

    def tried(self, gate: tuple[str, int]) -> int:
        """How often the less tried side of a gate has been bounded."""
        return min(self.drops.get((gate, side), (0.0, 0))[1] for side in (-1, 1))

    def product(self, gate: tuple[str, int], estimate: float) -> float:
        """Product of both sides' average drops; sides never tried go by the scaled estimate."""
        guess = estimate
        if self.ratio[1] > 0:
            guess *= self.ratio[0] / self.ratio[1]
        product = 1.0
        for side in (-1, 1):
            total, count = self.drops.get((gate, side), (0.0, 0))
            product *= max(total / count if count else guess, LEAST)
        return product


def relative_drop(parent: float, child: float) -> float:
    """In [0, 1]; `parent` > 0."""
    return min(1.0, max(0.0, (parent - child) / parent))
