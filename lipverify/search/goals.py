"""What a search over boxes is after: when a number is good enough, and when all is decided."""

from dataclasses import dataclass, replace
from typing import Protocol, final

import torch
from torch import Tensor

from lipverify.graph import BackwardGraph
from lipverify.numerics import FALSIFY_MARGIN
from lipverify.query import NormQuery
from lipverify.witness import NormWitness, prove_norm

CLOSE = 1e-9
"""Without a gap to reach, a bound this close to the attained value, relatively, is closed."""
TRIES = 3
"""Points that are looked at more closely, per number and step, before one is called a candidate."""
RISE = 1e-12
"""A point is proved only if it attains more than the witness by this share."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What a goal has seen, as points [n] (or None) and the value to show: to be kept in a file."""

    points: tuple[Tensor | None, ...]
    attained: float | None = None


class Goal(Protocol):
    """Immutable; `see` gives the goal after looking at points."""

    @property
    def seen(self) -> Seen:
        """What `recall` needs."""
        ...

    def recall(self, seen: Seen) -> "Goal":
        """This goal after it has seen that, each point proved anew; ValueError if it fails."""
        ...

    def see(self, points: Tensor, values: Tensor) -> "Goal":
        """Points [p, n], all in the region, and what they attain [p, k] (not rounded)."""
        ...

    def enough(self, closed: Tensor) -> Tensor:
        """Upper ends [k] that need not be lowered; `closed` [k] cannot be lowered any more."""
        ...

    def decided(self, upper: Tensor) -> bool:
        """Whether proved upper ends [k] settle the question, or no upper end can."""
        ...

    @property
    def open_ended(self) -> bool:
        """Whether a search that has closed every box is complete, whatever its bounds are."""
        ...

    @property
    def attained(self) -> float | None:
        """The lower end, to show as progress."""
        ...


class Attainable(Protocol):
    """Numbers whose value at a point is known from below."""

    def at_least(self, point: Tensor) -> Tensor:
        """Lower ends [k] of what they are at the point [n], whichever way kinks are taken."""
        ...


@final
@dataclass(frozen=True, eq=False)
class NormGoal:
    """The largest of k numbers, to within `gap` of what the witness attains, or a threshold."""

    backward: BackwardGraph
    query: NormQuery
    witness: NormWitness
    gap: float | None

    @property
    def seen(self) -> Seen:
        return Seen((self.witness.point,))

    def recall(self, seen: Seen) -> "NormGoal":
        (point,) = seen.points
        if point is None:
            raise ValueError("no point for the witness")
        found = prove_norm(self.backward, self.query, point)
        if not found.value >= self.witness.value:
            raise ValueError(f"a later witness attains less: {found.value}")
        return replace(self, witness=found)

    def see(self, points: Tensor, values: Tensor) -> "NormGoal":
        largest = values.amax(1)
        best = int(largest.argmax())
        if not float(largest[best]) > self.witness.value * (1 + RISE):
            return self
        found = prove_norm(self.backward, self.query, points[best])
        return replace(self, witness=found) if found.value > self.witness.value else self

    def enough(self, closed: Tensor) -> Tensor:
        if self.query.threshold is not None:
            level = self.query.threshold
        else:
            level = self.witness.value * (1 + (CLOSE if self.gap is None else self.gap))
        return torch.full_like(closed, max(level, float(closed.max())))

    def decided(self, upper: Tensor) -> bool:
        worst, attained = float(upper.max()), self.witness.value
        if self.query.threshold is not None:
            return worst <= self.query.threshold or attained > self.query.threshold
        return self.gap is not None and worst <= attained * (1 + self.gap)

    @property
    def open_ended(self) -> bool:
        return self.query.threshold is None and self.gap is None

    @property
    def attained(self) -> float:
        return self.witness.value


@final
@dataclass(frozen=True, eq=False)
class ThresholdGoal:
    """Each of k numbers at most `threshold` (with `strict`: less), or a point where it is not.

    `candidates[k]` is such a point [n], by our arithmetic; with `first`, one is enough.
    """

    objective: Attainable
    threshold: float
    strict: bool
    first: bool
    candidates: tuple[Tensor | None, ...]
    attained: float | None = None

    @property
    def seen(self) -> Seen:
        return Seen(self.candidates, self.attained)

    def recall(self, seen: Seen) -> "ThresholdGoal":
        if len(seen.points) != len(self.candidates):
            raise ValueError(f"{len(seen.points)} numbers, expected {len(self.candidates)}")
        for which, point in enumerate(seen.points):
            if point is not None and not self._violates(
                float(self.objective.at_least(point)[which])
            ):
                raise ValueError(f"a candidate of number {which} does not violate")
        return replace(self, candidates=seen.points, attained=seen.attained)

    def see(self, points: Tensor, values: Tensor) -> "ThresholdGoal":
        candidates = list(self.candidates)
        for which, known in enumerate(candidates):
            order = values[:, which].topk(min(TRIES, len(points))).indices
            for index in order if known is None else ():
                if not self._violates(float(values[index, which])):
                    break
                # At a kink, what was evaluated is one of several values: all have to violate.
                if self._violates(float(self.objective.at_least(points[index])[which])):
                    candidates[which] = points[index]
                    break
        largest = float(values.max())
        if self.attained is not None:
            largest = max(largest, self.attained)
        return replace(self, candidates=tuple(candidates), attained=largest)

    def _violates(self, value: float) -> bool:
        return value > self.threshold + FALSIFY_MARGIN * max(abs(value), abs(self.threshold))

    def enough(self, closed: Tensor) -> Tensor:
        level = torch.full_like(closed, self.threshold)
        if self.strict:
            level = torch.nextafter(level, torch.full_like(level, -torch.inf))
        # Bounding a number from above is over where it is violated, or closed above the level.
        lost = torch.tensor([point is not None for point in self.candidates]) | (closed > level)
        return torch.where(lost, torch.full_like(level, torch.inf), level)

    def decided(self, upper: Tensor) -> bool:
        if self.first and any(point is not None for point in self.candidates):
            return True
        nothing = torch.full_like(upper, -torch.inf)
        return bool((upper <= self.enough(nothing)).all())

    @property
    def open_ended(self) -> bool:
        return False
