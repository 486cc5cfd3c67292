"""A network on many boxes at once, reduced to the neurons whose gates are open there.

Between the open neurons a network is affine on a box: every other activation multiplies by one
number. Composing those affine parts leaves a small network per box, over the columns (1, x, a) with
a the outputs of the open neurons,

    z = T (1, x, a)   for their preactivations,    a = activation(z),

T strictly triangular in a. Linear bound propagation on it gives the same numbers as on the whole
network, since the relaxation of a fixed activation is exact, at a fraction of the work.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lipverify.bounds.batched.boxes import Boxes
from lipverify.interval import Interval
from lipverify.operators import Relaxation
from lipverify.region import AbstractRegion


@dataclass(frozen=True, eq=False)
class Stage:
    """The open neurons of one activation node, up to `size` in each box.

    A product x y of branches is two stages, first one for y, then one for x: each is half of the
    product, and its gate is the other factor. Whatever depends on the product has the same
    coefficient for both halves, so their relaxations hold together.

    `index` [boxes, size] holds their flat positions in the node; where `valid` is false the entry
    is padding, with coefficients and gate zero. `table` [boxes, size, first] gives the
    preactivation over the columns before this stage's own, which start at `first`. All intervals
    and relaxations are [boxes, size].
    """

    node: str
    operand: int
    index: Tensor
    valid: Tensor
    first: int
    table: Tensor
    preactivation: Interval
    value: Interval
    gate: Interval
    relaxation: Relaxation
    influence: Tensor
    """About |dz / dx| of each open neuron, [boxes, size, n]; a guide for branching, no bound."""
    reach: Tensor
    """The sum of the magnitudes of all paths to each preactivation, [boxes, size]."""

    @property
    def key(self) -> tuple[str, int]:
        return self.node, self.operand

    @property
    def size(self) -> int:
        return self.index.shape[1]

    @property
    def columns(self) -> slice:
        return slice(self.first, self.first + self.size)


@dataclass(frozen=True, eq=False)
class Reduced:
    """The reduced network of each box.

    `output` [boxes, m, columns] gives the network's outputs over the columns (1, x, a). By the
    stage's key, `fixed` holds the factor of the neurons that are not open [boxes, *shape]
    (0 for the open ones); by name of the preactivation's node, `preactivations` [boxes, *shape] all
    bounds. `reach` [boxes, m] is the sum of the magnitudes of all paths to an output, and
    `operations` the number of roundings on one, for `gamma(operations) * reach`.
    """

    boxes: Boxes
    region: AbstractRegion | None
    stages: tuple[Stage, ...]
    output: Tensor
    fixed: Mapping[tuple[str, int], Tensor]
    preactivations: Mapping[str, Interval]
    reach: Tensor
    operations: int

    @property
    def inputs(self) -> int:
        return self.boxes.lower.shape[1]

    @property
    def open_size(self) -> int:
        """Columns of open neurons, padding included."""
        return sum(stage.size for stage in self.stages)

    @cached_property
    def valid(self) -> Tensor:
        """Which of the open neurons' columns are no padding, [boxes, open neurons]."""
        none = torch.zeros(len(self.boxes), 0, dtype=torch.bool)
        return torch.cat([none, *(stage.valid for stage in self.stages)], 1)

    @cached_property
    def gate(self) -> Interval:
        """The gates of the open neurons, [boxes, open neurons]; padding is zero."""
        none = torch.zeros(len(self.boxes), 0, dtype=self.output.dtype)
        return Interval(
            torch.cat([none, *(stage.gate.lower for stage in self.stages)], 1),
            torch.cat([none, *(stage.gate.upper for stage in self.stages)], 1),
        )

    @cached_property
    def table(self) -> Tensor:
        """All stages' tables, over all columns: [boxes, open neurons, columns]."""
        columns = self.output.shape[2]
        none = torch.zeros(len(self.boxes), 0, columns, dtype=self.output.dtype)
        padded = [
            torch.nn.functional.pad(stage.table, (0, columns - stage.first))
            for stage in self.stages
        ]
        return torch.cat([none, *padded], 1)

    @property
    def open_count(self) -> Tensor:
        """Open neurons of each box, [boxes]."""
        return self.valid.sum(1)

    def gain(self, weights: Tensor) -> Tensor:
        """About what cutting each input in half gains, [boxes, n]; a guide, no bound.

        `weights` [boxes, open neurons] is about what fixing an open neuron gains. Cutting an input
        helps to fix it the more, the larger the input's share of the neuron's range.
        """
        width = self.boxes.width
        score = torch.zeros_like(width)
        start = 0
        for stage in self.stages:
            reach = stage.preactivation.width.clamp(min=1e-300).unsqueeze(-1)
            share = stage.influence * (width.unsqueeze(1) / reach)
            # The root keeps one heavy neuron from drowning the others (measured: fewer boxes).
            weight = weights[:, start : start + stage.size].sqrt() * stage.valid
            score = score + (weight.unsqueeze(-1) * share.square()).sum(1)
            start += stage.size
        # Where no gate says anything, the widest input is cut.
        return torch.where(score.sum(1, keepdim=True) > 0, score, width)


def substitute_up(
    boxes: Boxes,
    region: AbstractRegion | None,
    stages: Sequence[Stage],
    objective: Tensor,
) -> tuple[Tensor, Tensor]:
    """An upper bound of objective . (1, x, a) on each box, by backward substitution.

    Zhang et al. 2018 (CROWN). `objective` [boxes, k, columns] -> bounds [boxes, k], not rounded,
    and the coefficients met on the way, [boxes, k, columns]: those of x bound the objective.
    """
    met = objective.clone()
    for stage in reversed(stages):
        if stage.size:
            pulled, shift = relaxed(met[..., stage.columns], stage.relaxation)
            met[..., : stage.first] += pulled @ stage.table
            met[..., 0] += shift
    slope = met[..., 1 : 1 + boxes.lower.shape[1]]
    highest = boxes.support(slope)
    if region is not None:
        highest = torch.minimum(highest, region.support(slope))
    return met[..., 0] + highest, met


def relaxed(coefficient: Tensor, relaxation: Relaxation) -> tuple[Tensor, Tensor]:
    """coefficient . y with y relaxed from above: slopes [b, k, size] and constants [b, k]."""
    positive = coefficient.clamp(min=0.0)
    negative = coefficient - positive
    pulled = positive * relaxation.upper_slope.unsqueeze(1)
    pulled.addcmul_(negative, relaxation.lower_slope.unsqueeze(1))
    shift = positive @ relaxation.upper_intercept.unsqueeze(-1)
    shift = shift + negative @ relaxation.lower_intercept.unsqueeze(-1)
    return pulled, shift.squeeze(-1)
