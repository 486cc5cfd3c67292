"""The boxes of a search that are still open, and what is proved about all that were closed."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lipverify.bounds.batched import BoxBounds, Boxes
from lipverify.interval import Interval


@dataclass(frozen=True, eq=False)
class Frontier:
    """Open boxes, with proved upper ends of k numbers each, and where to cut them.

    Every point of the root lies in an open box or in a closed one, whose upper ends are at most
    `closed` [k]. `bound` [boxes, k]; `cut` [boxes] is an input; `expected` [boxes] counts the open
    gates.
    """

    boxes: Boxes
    bound: Tensor
    cut: Tensor
    expected: Tensor
    closed: Tensor

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def upper(self) -> Tensor:
        """Proved upper ends over the root, [k]."""
        if len(self) == 0:
            return self.closed
        return torch.maximum(self.closed, self.bound.amax(0))

    @property
    def bytes(self) -> float:
        return 8.0 * len(self) * (2 * self.boxes.lower.shape[1] + self.bound.shape[1] + 2)

    def excess(self, enough: Tensor) -> Tensor:
        """By how much each box' worst number is above what is enough [k]; -inf: none is. NaN is."""
        above = torch.where(self.bound <= enough, -torch.inf, self.bound - enough)
        return above.amax(1)

    def without(self, chosen: Tensor) -> "Frontier":
        """The boxes that `chosen` [boxes] does not mark; what becomes of these is up to others."""
        return self._pick((~chosen).nonzero().flatten())

    def prune(self, enough: Tensor) -> "Frontier":
        """All boxes closed whose numbers are all at most `enough` [k]."""
        done = (self.bound <= enough).all(1)
        if not bool(done.any()):
            return self
        closed = torch.maximum(self.closed, self.bound[done].amax(0))
        return replace(self.without(done), closed=closed)

    def join(self, other: "Frontier") -> "Frontier":
        """Both sets of boxes."""
        return Frontier(
            Boxes(
                torch.cat([self.boxes.lower, other.boxes.lower]),
                torch.cat([self.boxes.upper, other.boxes.upper]),
            ),
            torch.cat([self.bound, other.bound]),
            torch.cat([self.cut, other.cut]),
            torch.cat([self.expected, other.expected]),
            torch.maximum(self.closed, other.closed),
        )

    def _pick(self, index: Tensor) -> "Frontier":
        return Frontier(
            self.boxes.pick(index),
            self.bound[index],
            self.cut[index],
            self.expected[index],
            self.closed,
        )


def bounded_frontier(boxes: Boxes, bounds: BoxBounds, exact: bool) -> Frontier:
    """Boxes that were just bounded; those that no cut can improve are closed at once.

    Without an open gate the bound may be `exact`; a box whose inputs have no
    float between their ends cannot be cut.
    """
    divisible = boxes.divisible()
    gain = torch.where(divisible, bounds.gain, -torch.inf)
    final = ~divisible.any(1)
    if exact:
        final = final | (bounds.open_count == 0)
    closed = torch.full((bounds.upper.shape[1],), -torch.inf, dtype=bounds.upper.dtype)
    if bool(final.any()):
        closed = bounds.upper[final].amax(0)
    return Frontier(boxes, bounds.upper, gain.argmax(1), bounds.open_count, closed).without(final)


def children(frontier: Frontier, chosen: Tensor) -> tuple[Boxes, Tensor, Tensor]:
    """The halves of the boxes `chosen` (positions), with their parents' bounds and open gates."""
    halves = frontier.boxes.pick(chosen).halves(frontier.cut[chosen])
    twice = chosen.repeat(2)
    return halves, frontier.bound[twice], frontier.expected[twice]


def empty_frontier(boxes: Boxes, bound: Tensor) -> Frontier:
    """No open box: boxes [0, n] and bounds [0, k]."""
    none = torch.zeros(0, dtype=torch.int64)
    closed = torch.full((bound.shape[1],), -torch.inf, dtype=bound.dtype)
    return Frontier(boxes, bound, none, none, closed)


def check_frontier(frontier: Frontier, root: Interval, numbers: int) -> None:
    """ValueError for boxes that a search for so many `numbers` in the box `root` cannot have."""
    boxes, count = frontier.boxes, len(frontier)
    if boxes.lower.shape[1] != root.shape[0]:
        raise ValueError(f"boxes of {boxes.lower.shape[1]} inputs, expected {root.shape[0]}")
    if not bool(((boxes.lower >= root.lower) & (boxes.upper <= root.upper)).all()):
        raise ValueError("a box reaches out of the region's")
    shapes = (frontier.bound.shape, frontier.cut.shape, frontier.expected.shape)
    if shapes != ((count, numbers), (count,), (count,)) or frontier.closed.shape != (numbers,):
        raise ValueError(f"the parts of {count} boxes have shapes {shapes}")
    if bool(frontier.bound.isnan().any() | frontier.closed.isnan().any()):
        raise ValueError("an upper end is NaN")
    if not bool(((frontier.cut >= 0) & (frontier.cut < root.shape[0])).all()):
        raise ValueError("a cut along no input")
    if not bool((frontier.expected >= 0).all()):
        raise ValueError("a negative count")
