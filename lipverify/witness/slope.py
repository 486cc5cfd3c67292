"""Points at which one derivative is large."""

import torch
from torch import Tensor

from lipverify.config import WitnessConfig
from lipverify.graph import BackwardGraph, row_jacobian
from lipverify.numerics import SMALLEST
from lipverify.operators import Activation
from lipverify.region import AbstractRegion
from lipverify.witness.ascent import ascend
from lipverify.witness.goal import SlopeGoal, Stop
from lipverify.witness.norm import ASCENT_WORK, SAMPLE_WORK, WIDTHS
from lipverify.witness.population import Population, affordable
from lipverify.witness.redraw import redraw

POLISHING = 60
"""Steps of the ascent that ends a search on smooth networks."""


def search_slope(
    backward: BackwardGraph,
    region: AbstractRegion,
    row: Tensor,
    index: int,
    sign: int,
    config: WitnessConfig,
    seed: int,
    stop: Stop = lambda: False,
) -> Tensor:
    """Points [k, n] at which sign d(row . f)/d x_index is large, the largest first."""
    generator = torch.Generator().manual_seed(seed)
    goal = SlopeGoal(row, index, sign)
    points = region.sample(affordable(backward, 1, SAMPLE_WORK, config.samples), generator)
    samples = Population(points, goal.measure(backward, points))
    keep = affordable(backward, 1, ASCENT_WORK, config.ascents)
    found = samples.top(keep)
    climbed = ascend(backward, region, goal, found.points, WIDTHS[1], config.steps, stop)
    top = found.join(climbed).top(keep)
    found = redraw(backward, region, goal, top, config.steps, generator, stop).top(keep)
    smooth = bool(backward.forward.products) or any(
        isinstance(node.operator, Activation) and not node.operator.piecewise_linear
        for node in backward.forward.activations
    )
    if not smooth:
        return found.points
    # Fresh starts as well: the best points tend to lie in one basin.
    starts = torch.cat([found.points, region.sample(2 * keep, generator)])
    direction = torch.zeros(region.size, dtype=torch.float64)
    direction[index] = float(sign)
    polished = _polished(backward, region, starts, row, direction)
    return found.join(Population(polished, goal.measure(backward, polished))).top(keep).points


def _polished(
    backward: BackwardGraph, region: AbstractRegion, points: Tensor, row: Tensor, direction: Tensor
) -> Tensor:
    """The points [k, n] after projected gradient ascent of row J(x) direction [n].

    Every point has a step of its own, which grows while it rises and shrinks where it does not.
    Only for smooth networks: elsewhere the derivative is flat almost everywhere.
    """
    width = region.bounding.width
    size = torch.full((len(points), 1), 0.1, dtype=points.dtype)

    def rise(x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.clone().requires_grad_(True)
        with torch.enable_grad():
            value = row_jacobian(backward, x, row)[:, 0] @ direction
            slope = torch.autograd.grad(value.sum(), x, allow_unused=True)[0]
        return value.detach(), torch.zeros_like(x) if slope is None else slope

    value, slope = rise(points)
    for _ in range(POLISHING):
        scaled = width * slope
        step = size * width * scaled / scaled.abs().amax(1, keepdim=True).clamp(min=SMALLEST)
        moved = region.project(points + step)
        new_value, new_slope = rise(moved)
        better = (new_value > value).unsqueeze(1)
        points = torch.where(better, moved, points)
        slope = torch.where(better, new_slope, slope)
        value = torch.maximum(value, new_value)
        size = torch.where(better, 2 * size, size / 4).clamp(max=1.0)
    return points
