"""A network on one region as its open neurons see it, for many subproblems that share it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lipverify.bounds.batched import Boxes, Reduced, reduce_network
from lipverify.bounds.batched.reduced import Stage
from lipverify.bounds.preactivation import Preactivations
from lipverify.errors import NumericalFailure
from lipverify.graph import ForwardGraph
from lipverify.interval import Interval
from lipverify.numerics import SMALLEST, gamma
from lipverify.operators import Activation, Relaxation
from lipverify.query_output import Clause
from lipverify.region import AbstractRegion, Box


@dataclass(frozen=True, eq=False)
class Lines:
    """Relaxations of open neurons whose lower and upper slopes may be chosen: all [b, g].

    With a choice c in [0, 1] the slopes are `least` + c `change`, side by side for the lower and
    the upper line; the intercepts are fixed.
    """

    lower_least: Tensor
    lower_change: Tensor
    lower_intercept: Tensor
    upper_least: Tensor
    upper_change: Tensor
    upper_intercept: Tensor


@dataclass(frozen=True, eq=False)
class OpenNet:
    """The reduced network of one region, its g open neurons in the order of their columns.

    Over the columns (1, x, a): stage s' preactivations are `stages[s].table[0]` (1, x, a), and the
    outputs `reduced.output[0]` (1, x, a). `preactivation` [1, g] bounds the open neurons.
    """

    forward: ForwardGraph
    region: AbstractRegion
    reduced: Reduced
    preactivation: Interval

    @property
    def stages(self) -> tuple[Stage, ...]:
        return self.reduced.stages

    @property
    def inputs(self) -> int:
        return self.reduced.inputs

    @property
    def first(self) -> int:
        """The first column of an open neuron."""
        return 1 + self.inputs

    @property
    def size(self) -> int:
        """g."""
        return self.reduced.open_size

    def places(self, stage: Stage) -> slice:
        """Where a stage's neurons are among all open ones."""
        return slice(stage.first - self.first, stage.first - self.first + stage.size)

    @cached_property
    def reach(self) -> Tensor:
        """The sum of the magnitudes of all paths to each preactivation, [g]."""
        none = torch.zeros(0, dtype=torch.float64)
        return torch.cat([none, *(stage.reach[0] for stage in self.stages)])

    @cached_property
    def splittable(self) -> Tensor:
        """Open neurons that either side of 0 makes affine, [g]."""
        none = torch.zeros(0, dtype=torch.bool)
        parts = [torch.full((stage.size,), self.bends_at_zero(stage)) for stage in self.stages]
        return torch.cat([none, *parts])

    def bends_at_zero(self, stage: Stage) -> bool:
        operator = self.forward[stage.node].operator
        return (
            isinstance(operator, Activation)
            and operator.piecewise_linear
            and operator.kinks == (0.0,)
            and operator.has_choice
        )

    def lines(self, preactivation: Interval) -> Lines:
        """The relaxations on narrower intervals [b, g] of the preactivations."""
        made = [self._lines(stage, preactivation) for stage in self.stages]
        if not made:
            nothing = preactivation.lower
            return Lines(nothing, nothing, nothing, nothing, nothing, nothing)
        return Lines(*(torch.cat(parts, 1) for parts in zip(*made, strict=True)))

    def _lines(self, stage: Stage, preactivation: Interval) -> tuple[Tensor, ...]:
        place, operator = self.places(stage), self.forward[stage.node].operator
        own = Interval(preactivation.lower[:, place], preactivation.upper[:, place])
        if not self.bends_at_zero(stage):
            fixed = stage.relaxation
            return _between(fixed, fixed, own.lower)
        assert isinstance(operator, Activation)
        zero = torch.zeros_like(own.lower)
        return _between(operator.relax(own, zero), operator.relax(own, zero + 1.0), own.lower)

    def slack(self, target: "Target", weights: Tensor, multipliers: Tensor) -> Tensor:
        """A bound of the rounding error of substituting `target`: [b].

        `weights` [b, r] >= 0 combine the target's rows, `multipliers` [b, g] are added to the
        preactivations' coefficients. As in `batched.build`: paths' magnitudes, times roundings.
        """
        extra = self.inputs + target.rows.shape[1] + 8 * len(self.stages) + 32
        operations = 2 * (self.reduced.operations + extra)
        reach = (weights * target.reach).sum(1) + multipliers.abs() @ self.reach
        slack = 2 * gamma(operations) * reach + SMALLEST
        if not bool(torch.isfinite(slack).all()):
            raise NumericalFailure("overflow while bounding under splits")
        return slack


def _between(first: Relaxation, second: Relaxation, like: Tensor) -> tuple[Tensor, ...]:
    """As the fields of `Lines`."""
    return tuple(
        part.expand_as(like)
        for part in (
            first.lower_slope,
            second.lower_slope - first.lower_slope,
            torch.minimum(first.lower_intercept, second.lower_intercept),
            first.upper_slope,
            second.upper_slope - first.upper_slope,
            torch.maximum(first.upper_intercept, second.upper_intercept),
        )
    )


@dataclass(frozen=True, eq=False)
class Target:
    """What is bounded from above, one of k numbers per subproblem: the smallest of r rows.

    rows [k, r, columns] over the columns of an `OpenNet`, from the stage `before` on not looked at;
    `used` [k, r] marks those that count, `reach` [k, r] is the sum of the magnitudes of their
    paths.
    """

    rows: Tensor
    used: Tensor
    reach: Tensor
    before: int

    def __len__(self) -> int:
        return self.rows.shape[0]

    def pick(self, index: Tensor) -> "Target":
        return Target(self.rows[index], self.used[index], self.reach[index], self.before)


def clause_target(net: OpenNet, clauses: Sequence[Clause]) -> Target:
    """The depths of clauses, none without rows."""
    longest = max(len(clause) for clause in clauses)
    rows, used, reach = [], [], []
    for clause in clauses:
        objective = -(clause.coefficients @ net.reduced.output[0])
        objective[:, 0] -= clause.offsets
        size = clause.coefficients.abs() @ net.reduced.reach[0] + clause.offsets.abs()
        missing = longest - len(clause)
        rows.append(torch.nn.functional.pad(objective, (0, 0, 0, missing)))
        reach.append(torch.nn.functional.pad(size, (0, missing)))
        used.append(torch.arange(longest) < len(clause))
    stages = len(net.stages)
    return Target(torch.stack(rows), torch.stack(used), torch.stack(reach), stages)


def open_net(
    forward: ForwardGraph, region: AbstractRegion, known: Preactivations | None = None
) -> OpenNet:
    """Bounds every preactivation by CROWN, intersected with what is `known`."""
    box = region.bounding
    boxes = Boxes(box.lower.unsqueeze(0), box.upper.unsqueeze(0))
    outside = None if isinstance(region, Box) else region
    reduced = reduce_network(forward, boxes, outside, known)
    none = torch.zeros(1, 0, dtype=torch.float64)
    ends = Interval(
        torch.cat([none, *(stage.preactivation.lower for stage in reduced.stages)], 1),
        torch.cat([none, *(stage.preactivation.upper for stage in reduced.stages)], 1),
    )
    return OpenNet(forward, region, reduced, ends)
