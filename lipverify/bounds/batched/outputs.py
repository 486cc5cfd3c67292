"""Objectives on the network's outputs."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from lipverify.bounds.batched.objective import AbstractObjective, BatchSetting, Bounded
from lipverify.bounds.batched.reduced import Reduced, substitute_up
from lipverify.errors import NumericalFailure
from lipverify.graph import ForwardGraph, output
from lipverify.numerics import SMALLEST, gamma


@final
@dataclass(frozen=True, eq=False)
class Outputs(AbstractObjective):
    """rows . f: rows [k, m], one number per row."""

    forward: ForwardGraph
    rows: Tensor

    @property
    def size(self) -> int:
        return self.rows.shape[0]

    def bound(
        self, setting: BatchSetting, reduced: Reduced, previous: Tensor, enough: Tensor
    ) -> Bounded:
        objective = self.rows @ reduced.output
        ends, met = substitute_up(reduced.boxes, reduced.region, reduced.stages, objective)
        operations = 2 * (reduced.operations + self.rows.shape[1])
        slack = 2 * gamma(operations) * (reduced.reach @ self.rows.abs().T) + SMALLEST
        if not bool(torch.isfinite(slack).all()):
            raise NumericalFailure("overflow while bounding the outputs")
        upper = torch.minimum(ends + slack, previous)
        worst = (upper - enough).argmax(1)
        met = met[torch.arange(len(worst)), worst]
        n = reduced.inputs
        points = torch.where(met[:, 1 : 1 + n] >= 0, reduced.boxes.upper, reduced.boxes.lower)
        return Bounded(upper, met[:, 1 + n :].abs() * relaxation_gap(reduced), points)

    def attained(self, points: Tensor) -> Tensor:
        return output(self.forward, points) @ self.rows.T

    def at_least(self, point: Tensor) -> Tensor:
        """The numbers [k] at the point [n], which has no kinks to mind. Not rounded."""
        return self.attained(point.unsqueeze(0))[0]


def relaxation_gap(reduced: Reduced) -> Tensor:
    """About how far apart each open neuron's relaxation is: [boxes, open neurons]."""
    gaps = [torch.zeros(len(reduced.boxes), 0, dtype=reduced.output.dtype)]
    for stage in reduced.stages:
        relaxation, z = stage.relaxation, stage.preactivation

        def apart(at: Tensor, r=relaxation) -> Tensor:  # noqa: ANN001
            upper = r.upper_slope * at + r.upper_intercept
            return upper - (r.lower_slope * at + r.lower_intercept)

        gaps.append(torch.maximum(apart(z.lower), apart(z.upper)).clamp(min=0.0))
    return torch.cat(gaps, 1)
