"""How deep outputs may lie in unsafe sets, on many boxes at once."""

from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from lipverify.bounds.batched.boxes import Boxes
from lipverify.bounds.batched.objective import AbstractObjective, BatchSetting, Bounded
from lipverify.bounds.batched.outputs import relaxation_gap
from lipverify.bounds.batched.reduced import Reduced, substitute_up
from lipverify.errors import NumericalFailure
from lipverify.graph import ForwardGraph, output
from lipverify.numerics import SMALLEST, gamma
from lipverify.query_output import Clause
from lipverify.region import AbstractRegion

MULTIPLIER_STEPS = 16
MULTIPLIER_RATE = 2.0


@dataclass(frozen=True, eq=False)
class Planes:
    """Affine functions of x above k numbers on each box, up to their slack.

    slope [boxes, k, n], constant and slack [boxes, k].
    """

    slope: Tensor
    constant: Tensor
    slack: Tensor

    def pick(self, boxes: Tensor, numbers: Tensor) -> "Planes":
        return Planes(
            self.slope[boxes][:, numbers],
            self.constant[boxes][:, numbers],
            self.slack[boxes][:, numbers],
        )


def joint_upper(boxes: Boxes, region: AbstractRegion | None, planes: Planes) -> Tensor:
    """A bound of the smallest of each box' k numbers, rounded up: [boxes].

    The smallest is at most every convex combination; its weights come by exponentiated gradients
    from the equal ones. The planes' slack covers the sums of the combination, too.
    """
    weights = torch.full_like(planes.constant, 1.0 / planes.constant.shape[1])
    best = torch.full_like(planes.constant[:, 0], torch.inf)
    more = 1 + 2 * gamma(8 * (planes.slope.shape[1] + planes.slope.shape[2] + 8))
    for step in range(MULTIPLIER_STEPS):
        slope = (weights.unsqueeze(1) @ planes.slope).squeeze(1)
        points = torch.where(slope >= 0, boxes.upper, boxes.lower)
        highest = (slope * points).sum(1)
        if region is not None:
            highest = torch.minimum(highest, region.support(slope))
        value = (weights * planes.constant).sum(1) + highest
        # The weights' sum is 1 but for its rounding: as much as that of the combination.
        value = value + more * (weights * planes.slack).sum(1)
        best = torch.minimum(best, value + (more - 1) * value.abs())
        gradient = planes.constant + (planes.slope @ points.unsqueeze(2)).squeeze(2)
        spread = (gradient - gradient.mean(1, keepdim=True)).abs().amax(1, keepdim=True)
        rate = MULTIPLIER_RATE / (1 + step) ** 0.5
        logits = weights.clamp(min=1e-12).log() - rate * gradient / spread.clamp(min=SMALLEST)
        weights = torch.softmax(logits, 1)
    return best


@final
@dataclass(frozen=True, eq=False)
class ClauseDepths(AbstractObjective):
    """One number per clause: its depth, the smallest -(coefficients y + offset) over its rows.

    An output is meant by a clause if and only if the depth is >= 0 (for strict rows alone: > 0).
    A bound <= 0 of a strict row proves as much as one < 0 of another, and is stored as one.
    """

    exact = False  # the rows of a clause are bounded one by one

    forward: ForwardGraph
    clauses: tuple[Clause, ...]

    @property
    def size(self) -> int:
        return len(self.clauses)

    @cached_property
    def rows(self) -> Tensor:
        """All rows, [r, m]."""
        return torch.cat([clause.coefficients for clause in self.clauses])

    @cached_property
    def offsets(self) -> Tensor:
        return torch.cat([clause.offsets for clause in self.clauses])

    @cached_property
    def _strict(self) -> Tensor:
        return torch.cat([clause.is_strict for clause in self.clauses])

    @cached_property
    def _owner(self) -> Tensor:
        """The clause of each row, [r]."""
        sizes = torch.tensor([len(clause) for clause in self.clauses])
        return torch.arange(len(self.clauses)).repeat_interleave(sizes)

    @cached_property
    def _joint(self) -> tuple[int, ...]:
        """The clauses of several rows."""
        return tuple(k for k, clause in enumerate(self.clauses) if len(clause) > 1)

    def depths(self, rows: Tensor) -> Tensor:
        """The smallest number of each clause's rows: [batch, r] -> [batch, k]; inf without rows."""
        start = rows.new_full((rows.shape[0], self.size), torch.inf)
        return start.scatter_reduce(1, self._owner.expand_as(rows), rows, "amin")

    def settled(self, upper: Tensor) -> Tensor:
        """Proved upper ends [batch, r] of the rows' depths; at most 0 is below, if strict."""
        below = torch.minimum(upper, torch.full_like(upper, -SMALLEST))
        return torch.where(self._strict & (upper <= 0), below, upper)

    def bound(
        self, setting: BatchSetting, reduced: Reduced, previous: Tensor, enough: Tensor
    ) -> Bounded:
        objective = -(self.rows @ reduced.output)
        ends, met = substitute_up(reduced.boxes, reduced.region, reduced.stages, objective)
        reach = reduced.reach @ self.rows.abs().T + self.offsets.abs()
        # The last terms are those of a combination of rows.
        extra = self.rows.shape[1] + 8 + self.rows.shape[0] + reduced.inputs
        operations = 2 * (reduced.operations + extra)
        slack = 2 * gamma(operations) * reach + SMALLEST
        if not bool(torch.isfinite(slack).all()):
            raise NumericalFailure("overflow while bounding the outputs")
        planes = Planes(met[..., 1 : 1 + reduced.inputs], met[..., 0] - self.offsets, slack)
        ends = self.settled(ends - self.offsets + slack)
        upper = torch.minimum(self.depths(ends), previous)
        for which in self._joint:
            left = (~(upper[:, which] <= enough[which])).nonzero().flatten()
            if len(left):
                mine = (self._owner == which).nonzero().flatten()
                joint = joint_upper(
                    reduced.boxes.pick(left), reduced.region, planes.pick(left, mine)
                )
                upper[left, which] = torch.minimum(upper[left, which], joint)
        # Guides come from the row that is nearest to settling the worst clause.
        worst = (upper - enough).argmax(1)
        mine = torch.where(self._owner == worst.unsqueeze(1), ends, torch.inf)
        met = met[torch.arange(len(worst)), mine.argmin(1)]
        n = reduced.inputs
        points = torch.where(met[:, 1 : 1 + n] >= 0, reduced.boxes.upper, reduced.boxes.lower)
        return Bounded(upper, met[:, 1 + n :].abs() * relaxation_gap(reduced), points)

    def attained(self, points: Tensor) -> Tensor:
        return self.of_outputs(output(self.forward, points))

    def of_outputs(self, outputs: Tensor) -> Tensor:
        """The depths at outputs [batch, m]: [batch, k]. Not rounded."""
        return self.depths(-(outputs @ self.rows.T + self.offsets))

    def at_least(self, point: Tensor) -> Tensor:
        """The depths [k] at the point [n], which has no kinks to mind. Not rounded."""
        return self.attained(point.unsqueeze(0))[0]
