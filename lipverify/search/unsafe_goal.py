"""What a search of unsafe outputs is after: proof that there are none, or one that is confirmed."""

from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from lipverify import confirm
from lipverify.confirm import Unconfirmed
from lipverify.graph import output
from lipverify.network import Network
from lipverify.numerics import FALSIFY_MARGIN
from lipverify.query_output import OutputQuery
from lipverify.search.goals import Seen
from lipverify.verdict import Counterexample

TRIES = 4
"""Points that are looked at more closely, per step."""
DEEPER = 2.0
"""After a violation that the original does not confirm, only ones this much deeper count."""
TOUCHING = 1e-13
"""Outputs this near to an unsafe set, relatively, cannot be told from it."""


@final
@dataclass(frozen=True, eq=False)
class UnsafeGoal:
    """Depths of the query's clauses below 0, or a counterexample; the numbers are the depths.

    `level` is None as long as all inputs may be proved. Once an input is known that violates by our
    arithmetic and not by the original's, or as good as violates, floats hardly give a proof any
    more: what is left is to find one that lies deeper than the `level`, or to know that there is
    none.
    """

    network: Network
    query: OutputQuery
    found: Counterexample | None = None
    unconfirmed: Unconfirmed | None = None
    level: float | None = None
    points: tuple[Tensor, ...] = ()
    attained: float | None = None

    @property
    def seen(self) -> Seen:
        return Seen(self.points, self.attained)

    def recall(self, seen: Seen) -> "UnsafeGoal":
        goal = self
        for point in seen.points:
            if point is None or not bool(self.query.region.contains(point)):
                raise ValueError("a point is not in the region")
            goal = goal._tried(point, self._depth(point))
        if (goal.found or goal.unconfirmed) is None and seen.points:
            raise ValueError("a point does not violate")
        return replace(goal, attained=seen.attained)

    def see(self, points: Tensor, values: Tensor) -> "UnsafeGoal":
        if not len(points):
            return self
        largest, order = values.amax(1).topk(min(TRIES, len(points)))
        attained = float(largest[0])
        if self.attained is not None:
            attained = max(attained, self.attained)
        goal = replace(self, attained=attained)
        for depth, index in zip(largest.tolist(), order.tolist(), strict=True):
            if goal.found is not None or not depth >= goal._least:
                break
            goal = goal._tried(points[index], depth)
        return goal

    @property
    def _least(self) -> float:
        """Shallower points are of no interest."""
        return -TOUCHING if self.level is None else self.level

    def _depth(self, point: Tensor) -> float:
        values = [
            float(-clause.values(output(self.network.graph, point.unsqueeze(0))).max())
            for clause in self.query.unsafe
        ]
        return max(values)

    def _tried(self, point: Tensor, depth: float) -> "UnsafeGoal":
        answer = confirm.confirm_unsafe(self.network, self.query, point)
        if isinstance(answer, Counterexample):
            return replace(self, found=answer, points=(*self.points, point))
        scale = 1.0 + float(output(self.network.graph, point.unsqueeze(0)).abs().max())
        if answer is None:
            if depth < -TOUCHING * scale:
                return self
            answer = Unconfirmed(
                f"outputs come too near to an unsafe set (depth {depth:.3g}) to be told from it in "
                "the original's arithmetic"
            )
        level = max(DEEPER * depth, FALSIFY_MARGIN * scale)
        if self.level is not None and level <= self.level:
            return self
        return replace(self, unconfirmed=answer, level=level, points=(*self.points, point))

    def touched(self, depth: float) -> "UnsafeGoal":
        """With an input that exact arithmetic says to be unsafe, and no floats show to be.

        `depth` is a proved upper end of all depths.
        """
        level = depth if self.level is None else max(depth, self.level)
        return replace(self, unconfirmed=touching(depth), level=level)

    def enough(self, closed: Tensor) -> Tensor:
        if self.level is not None:
            return torch.full_like(closed, self.level)
        zero = torch.zeros_like(closed)
        return torch.nextafter(zero, torch.full_like(zero, -torch.inf))

    def decided(self, upper: Tensor) -> bool:
        return self.found is not None or bool((upper <= self.enough(upper)).all())

    def proved(self, upper: Tensor) -> bool:
        """Whether proved upper ends [k] of the depths show that no output is unsafe.

        Points that rounding alone puts into an unsafe set do not count against a proof; one that
        lies deeper, by our own arithmetic, would mean that something is wrong.
        """
        contradicted = self.attained is not None and self.attained > FALSIFY_MARGIN
        return not contradicted and bool((upper < 0).all())

    @property
    def open_ended(self) -> bool:
        return True


def touching(depth: float) -> Unconfirmed:
    """Of an input that exact arithmetic says to be unsafe, by this depth."""
    return Unconfirmed(
        f"in exact arithmetic an input has unsafe outputs (depth {depth:.3g}), but the original "
        "network does not show one beyond the tolerance"
    )
