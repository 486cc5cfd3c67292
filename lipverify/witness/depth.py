"""Points whose outputs lie deep in an unsafe set."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from lipverify.graph import ForwardGraph, output
from lipverify.query_output import Clause
from lipverify.region import AbstractRegion
from lipverify.witness.goal import Stop

FIRST_STEP = 0.5
"""Of half the region's width; later steps shrink to `LAST_STEP` of it."""
LAST_STEP = 0.01


class Limits(Protocol):
    """Where points have to stay: a region, or a box of its own for each of them."""

    def project(self, x: Tensor) -> Tensor: ...


def clause_depths(clauses: Sequence[Clause], outputs: Tensor) -> Tensor:
    """The smallest -(row) of each clause at outputs [batch, m]: [batch, k]. Not rounded."""
    infinite = outputs.new_full((len(outputs), 1), torch.inf)
    return torch.stack(
        [torch.cat([-clause.values(outputs), infinite], 1).amin(1) for clause in clauses], 1
    )


def search_depth(
    forward: ForwardGraph,
    region: AbstractRegion,
    clauses: Sequence[Clause],
    points: int,
    steps: int,
    seed: int,
    stop: Stop = lambda: False,
) -> Tensor:
    """Points [p, n] of the region, the deepest first, by projected gradients from random starts.

    Madry et al. 2018; about `points` of them, shared out among the clauses that look best.
    """
    generator = torch.Generator().manual_seed(seed)
    starts = region.sample(max(8, 2 * points), generator)
    depths = clause_depths(clauses, output(forward, starts))
    order = depths.flatten().argsort(descending=True)[:points]
    chosen, targets = order // len(clauses), order % len(clauses)
    width = region.bounding.width
    return ascend(forward, region, width, clauses, starts[chosen], targets, steps, stop)


def ascend(
    forward: ForwardGraph,
    limits: Limits,
    width: Tensor,
    clauses: Sequence[Clause],
    points: Tensor,
    targets: Tensor,
    steps: int,
    stop: Stop = lambda: False,
) -> Tensor:
    """The deepest point met on the way from each of the points [p, n], the deepest of all first.

    Each follows the clause of its target [p]: the sum of what its rows lack, and where none lacks
    anything, the row that holds by the least. `width` ([n] or [p, n]) scales the steps.
    """
    best = torch.full((len(points),), -torch.inf, dtype=points.dtype)
    best_points = points
    members = [(targets == k).nonzero().flatten() for k in range(len(clauses))]
    for step in range(steps + 1):
        x = points.clone().requires_grad_(True)
        with torch.enable_grad():
            outputs = output(forward, x)
            depth = torch.full((len(points),), torch.inf, dtype=points.dtype)
            aim = torch.zeros((), dtype=points.dtype)
            for clause, mine in zip(clauses, members, strict=True):
                if not len(clause) or not len(mine):
                    continue
                rows = -clause.values(outputs[mine])
                depth[mine] = rows.detach().amin(1)
                lacking = torch.where(rows < 0, rows, torch.zeros_like(rows)).sum(1)
                aim = aim + torch.where(rows.amin(1) < 0, lacking, rows.amin(1)).sum()
            if not aim.requires_grad:
                return points
            gradient = torch.autograd.grad(aim, x)[0]
        better = depth > best
        best = torch.where(better, depth, best)
        best_points = torch.where(better.unsqueeze(1), points, best_points)
        if step == steps or stop():
            break
        share = FIRST_STEP * (LAST_STEP / FIRST_STEP) ** (step / max(1, steps - 1))
        points = limits.project(points + share * width / 2 * gradient.sign())
    return best_points[best.argsort(descending=True)]
