"""Hill climbing by exact values alone: parts of a point are drawn anew, the better point stays."""

import torch
from torch import Tensor

from lipverify.graph import BackwardGraph
from lipverify.region import AbstractRegion
from lipverify.witness.goal import AbstractGoal, Stop
from lipverify.witness.population import Population

INPUTS = (1.0, 3.0)
"""So many inputs, on average, are replaced by those of a sample of the region."""
NEAR = 0.1, 0.002
"""The largest and the smallest deviation of a small move, as shares of the region's width."""


def redraw(
    backward: BackwardGraph,
    region: AbstractRegion,
    goal: AbstractGoal,
    population: Population,
    steps: int,
    generator: torch.Generator,
    stop: Stop,
) -> Population:
    """Each point with its value after so many steps; each climbs by itself, so they stay apart.

    A step proposes a few inputs of a random sample, a small random move of all, and a point on the
    line towards another climber.
    """
    points, values = population.points, population.values
    count, size = points.shape
    each = torch.arange(count)
    for _ in range(steps):
        if stop():
            break
        proposals = [_mixed(region, points, inputs / size, generator) for inputs in INPUTS]
        spread = NEAR[0] * (NEAR[1] / NEAR[0]) ** _uniform((count, 1), generator)
        noise = torch.randn(points.shape, generator=generator, dtype=points.dtype)
        proposals.append(points + spread * region.bounding.width * noise)
        mates = points[torch.randperm(count, generator=generator)]
        proposals.append(points + _uniform((count, 1), generator) * (mates - points))
        moved = region.project(torch.stack(proposals))
        new = goal.measure(backward, moved.flatten(0, 1)).reshape(-1, count)
        chosen = new.argmax(0)
        better = new[chosen, each] > values
        points = torch.where(better.unsqueeze(1), moved[chosen, each], points)
        values = torch.where(better, new[chosen, each], values)
    return Population(points, values)


def _mixed(
    region: AbstractRegion, points: Tensor, share: float, generator: torch.Generator
) -> Tensor:
    """The points with about that share of their inputs taken from samples."""
    fresh = region.sample(len(points), generator)[torch.randperm(len(points), generator=generator)]
    return torch.where(_uniform(points.shape, generator) < share, fresh, points)


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator, dtype=torch.float64)
