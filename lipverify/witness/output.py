"""Points at which an output is large."""

import torch
from torch import Tensor

from lipverify.config import WitnessConfig
from lipverify.graph import ForwardGraph, output
from lipverify.query import OutputQuery
from lipverify.region import AbstractRegion
from lipverify.witness.goal import Stop


def search_output(
    forward: ForwardGraph,
    region: AbstractRegion,
    query: OutputQuery,
    config: WitnessConfig,
    seed: int,
    stop: Stop = lambda: False,
) -> Tensor:
    """Points [k, n] at which some row . f is large, the largest first, by projected gradient.

    Madry et al. 2018, with restarts; the best row is followed from each start.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = query.rows
    starts = region.sample(max(config.ascents * 4, 8), generator)
    points = starts.repeat_interleave(rows.shape[0], 0)
    targets = torch.arange(rows.shape[0]).repeat(starts.shape[0])
    if points.shape[0] > 256:
        values = (output(forward, starts) @ rows.T).flatten()
        chosen = values.topk(256).indices
        points, targets = points[chosen], targets[chosen]
    scale = region.bounding.width / 2
    best_points, best_values = (
        points,
        torch.full((points.shape[0],), -torch.inf, dtype=points.dtype),
    )
    steps = 2 * config.steps
    for step in range(steps):
        x = points.clone().requires_grad_(True)
        with torch.enable_grad():
            value = (output(forward, x) * rows[targets]).sum(-1)
            gradient = torch.autograd.grad(value.sum(), x)[0]
        value = value.detach()
        better = value > best_values
        best_values = torch.where(better, value, best_values)
        best_points = torch.where(better.unsqueeze(1), points, best_points)
        if stop():
            break
        size = scale * (1.0 if step == 0 else 0.5 * (1 - step / steps))
        points = region.project(points + size * gradient.sign())
        if step == 0:
            points = region.vertices(gradient)
    order = best_values.argsort(descending=True)
    return best_points[order[: config.ascents]]
