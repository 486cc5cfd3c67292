"""A network on one region as its open neurons see it, for many subproblems that share it."""

from collections.abc import Callable, Sequence
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
from lipverify.numerics import SMALLEST, gamma, round_up
from lipverify.operators import Activation, Relaxation
from lipverify.query_output import Clause
from lipverify.region import AbstractRegion, Box


@dataclass(frozen=True, eq=False)
class Bands:
    """A line above and one below each open neuron, [..., g]; the intercepts are rounded outward."""

    lower_slope: Tensor
    lower_intercept: Tensor
    upper_slope: Tensor
    upper_intercept: Tensor

    @property
    def _all(self) -> tuple[Tensor, ...]:
        return self.lower_slope, self.lower_intercept, self.upper_slope, self.upper_intercept

    def pick(self, index: Tensor) -> "Bands":
        return Bands(*(part[index] for part in self._all))

    def unsqueeze(self, axis: int) -> "Bands":
        return Bands(*(part.unsqueeze(axis) for part in self._all))

    def with_entries(self, index: Tensor, other: "Bands") -> "Bands":
        """For each entry of `index` [b, c], with the `other`'s lines there: [b, c, g]."""
        return Bands(
            *(
                mine.unsqueeze(1)
                .expand(-1, index.shape[1], -1)
                .scatter(2, index.unsqueeze(2), new.gather(1, index).unsqueeze(2))
                for mine, new in zip(self._all, other._all, strict=True)
            )
        )


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

    def at(self, choice: Tensor) -> Bands:
        """The lines of a choice [..., g]."""
        return Bands(
            torch.addcmul(self.lower_least, choice, self.lower_change),
            self.lower_intercept,
            torch.addcmul(self.upper_least, choice, self.upper_change),
            self.upper_intercept,
        )

    def pick(self, index: Tensor) -> "Lines":
        return Lines(*(getattr(self, name)[index] for name in Lines.__annotations__))


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

    def width(self, before: int) -> int:
        """Open neurons of the first `before` stages."""
        return sum(stage.size for stage in self.stages[:before])

    @cached_property
    def middle(self) -> Tensor:
        """The middle of the inputs' box, [n]."""
        box = self.reduced.boxes
        return box.lower[0] / 2 + box.upper[0] / 2

    @cached_property
    def radius(self) -> Tensor:
        """How far inputs lie from the middle at most, [n]; rounded up."""
        box = self.reduced.boxes
        far = torch.maximum(box.upper[0] - self.middle, self.middle - box.lower[0])
        # A difference of 0 is exact.
        return torch.where(far > 0, round_up(far), 0.0)

    @cached_property
    def outer(self) -> Tensor:
        """The inputs' coefficients in the open neurons' preactivations, [g, n]."""
        none = torch.zeros(0, self.inputs, dtype=torch.float64)
        return torch.cat([none, *(stage.table[0, :, 1 : self.first] for stage in self.stages)])

    @cached_property
    def constants(self) -> Tensor:
        """The open neurons' preactivations with the inputs at the middle and no neurons, [g]."""
        none = torch.zeros(0, dtype=torch.float64)
        return torch.cat([none, *(stage.table[0, :, 0] for stage in self.stages)]) + (
            self.outer @ self.middle
        )

    def inner(self, position: int) -> Tensor:
        """Earlier open neurons' coefficients in a stage's preactivations, [size, earlier]."""
        return self.stages[position].table[0, :, self.first :]

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

    def roundings(self, rows: int) -> int:
        """On any path from the inputs to a combination of so many rows, at most.

        Inputs are met twice: at the middle of their box, and as distances from there.
        """
        extra = 2 * self.inputs + rows + 8 * len(self.stages) + 32
        return 2 * (self.reduced.operations + extra)

    def slack(self, reach: Tensor, weights: Tensor, multipliers: Tensor) -> Tensor:
        """A bound of the rounding error of substituting rows of the given `reach` [b, r]: [b].

        `weights` [b, r] >= 0 combine them, `multipliers` [b, g] are added to the
        preactivations' coefficients. As in `batched.build`: paths' magnitudes, times roundings.
        """
        operations = self.roundings(reach.shape[1])
        total = (weights * reach).sum(1) + multipliers.abs() @ self.reach
        slack = 2 * gamma(operations) * total + SMALLEST
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
    forward: ForwardGraph,
    region: AbstractRegion,
    known: Preactivations | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> OpenNet:
    """Bounds every preactivation by CROWN, intersected with what is `known`.

    Raises `OutOfTime` where `stop` says so.
    """
    box = region.bounding
    boxes = Boxes(box.lower.unsqueeze(0), box.upper.unsqueeze(0))
    outside = None if isinstance(region, Box) else region
    reduced = reduce_network(forward, boxes, outside, known, stop)
    none = torch.zeros(1, 0, dtype=torch.float64)
    ends = Interval(
        torch.cat([none, *(stage.preactivation.lower for stage in reduced.stages)], 1),
        torch.cat([none, *(stage.preactivation.upper for stage in reduced.stages)], 1),
    )
    return OpenNet(forward, region, reduced, ends)
