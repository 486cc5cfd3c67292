"""What is bounded from above on many boxes at once: k numbers per box."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from lipverify.bounds.batched.boxes import Boxes
from lipverify.bounds.batched.build import reduce_network
from lipverify.bounds.batched.patterns import PATTERN_LIMIT
from lipverify.bounds.batched.reduced import Reduced
from lipverify.errors import NumericalFailure
from lipverify.graph import BackwardGraph
from lipverify.interval import Interval
from lipverify.operators import Gate
from lipverify.region import AbstractRegion

CHUNK = 256
"""Boxes bounded at once, at most: more gain nothing, and leave the cache."""


@dataclass(frozen=True, eq=False)
class BatchSetting:
    """A network, the region that boxes are parts of (None: all of each box), and a budget.

    `known` holds bounds of the preactivations [1, *shape], proved for the whole region; `memory`
    is in bytes; up to `pattern_limit` open gates, all their patterns are evaluated.
    """

    backward: BackwardGraph
    region: AbstractRegion | None = None
    known: Mapping[str, Interval] = field(default_factory=dict)
    memory: float = 4e9
    pattern_limit: int = PATTERN_LIMIT


@dataclass(frozen=True, eq=False)
class Bounded:
    """Proved upper ends [boxes, k], and guides.

    `weights` [boxes, open neurons] is about what fixing each open gate gains; `points` [boxes, n],
    where not None, may attain a large value.
    """

    upper: Tensor
    weights: Tensor
    points: Tensor | None = None


@dataclass(frozen=True, eq=False)
class BoxBounds:
    """Proved upper ends [boxes, k]; how many gates are open [boxes]; and guides.

    Where no gate is open, cutting the box cannot improve its bounds. `gain` [boxes, n] is about
    what cutting each input gains; `points` [boxes, n] may attain a large value.
    """

    upper: Tensor
    open_count: Tensor
    gain: Tensor
    points: Tensor


class AbstractObjective(ABC):
    """k numbers that depend on the input, and their upper ends over boxes."""

    exact: ClassVar[bool] = True
    """Whether the ends are the largest values on boxes without open gates."""

    @property
    @abstractmethod
    def size(self) -> int:
        """k."""

    @abstractmethod
    def bound(
        self, setting: BatchSetting, reduced: Reduced, previous: Tensor, enough: Tensor
    ) -> Bounded:
        """Upper ends on each box, intersected with `previous` [boxes, k], which is proved.

        Entries with previous <= enough [k] may be left as they are.
        """

    @abstractmethod
    def attained(self, points: Tensor) -> Tensor:
        """The numbers at each point [p, n] (kinks: from the right): [p, k]. Not rounded."""


def bound_boxes(
    setting: BatchSetting,
    objective: AbstractObjective,
    boxes: Boxes,
    previous: Tensor,
    enough: Tensor,
    expected: Tensor,
) -> BoxBounds:
    """Upper ends of the objective on every box, proved; chunk by chunk.

    `previous` [boxes, k] holds proved upper ends, `enough` [k] what they need not go below, and
    `expected` [boxes] about how many gates will be open: boxes that have about equally many share
    a chunk, since all of a chunk pay for its largest. Raises `NumericalFailure`.
    """
    order = expected.argsort(stable=True)
    done: list[BoxBounds] = []
    start = 0
    while start < len(boxes):
        left = order[start:]
        # Ascending: the last of a chunk is its largest.
        size = min(CHUNK, len(left))
        largest = box_bytes(setting, int(expected[left[size - 1]]))
        size = max(1, min(size, int(setting.memory / largest)))
        part = left[:size]
        done.append(_bound_chunk(setting, objective, boxes.pick(part), previous[part], enough))
        start += size
    back = order.argsort()
    return BoxBounds(
        torch.cat([part.upper for part in done])[back],
        torch.cat([part.open_count for part in done])[back],
        torch.cat([part.gain for part in done])[back],
        torch.cat([part.points for part in done])[back],
    )


def box_bytes(setting: BatchSetting, open_count: int) -> float:
    """About how much memory one box with so many open gates takes."""
    forward = setting.backward.forward
    columns = 1.0 + forward.input_size + open_count
    # Columns of all nodes, kept; and a few square arrays per row of the Jacobian.
    nodes = sum(node.size for node in forward)
    return 8.0 * (2 * columns * nodes + 12 * columns * columns)


def gate_count(backward: BackwardGraph) -> int:
    """All neurons that have a gate: the most that can be open."""
    return sum(node.size for node in backward if isinstance(node.operator, Gate))


def _bound_chunk(
    setting: BatchSetting,
    objective: AbstractObjective,
    boxes: Boxes,
    previous: Tensor,
    enough: Tensor,
) -> BoxBounds:
    forward = setting.backward.forward
    reduced = reduce_network(forward, boxes, setting.region, setting.known)
    found = objective.bound(setting, reduced, previous, enough)
    points = boxes.center if found.points is None else found.points
    if bool(found.upper.isnan().any()):
        raise NumericalFailure("a bound over a box is NaN")
    return BoxBounds(found.upper, reduced.open_count, reduced.gain(found.weights), points)
