"""Points nearest to a centre at which some output is the larger one, by steps to where the linear
piece of the network says that they are (as DeepFool does, Moosavi-Dezfooli et al. 2016)."""

import torch
from torch import Tensor

from lipverify.graph import ForwardGraph, output
from lipverify.norms import AbstractNorm

STEPS = 8
BEYOND = 1e-3
"""How far past the border a step aims, relative to the way: pieces end."""


def search_nearest(
    forward: ForwardGraph,
    center: Tensor,
    room: tuple[Tensor, Tensor],
    rows: Tensor,
    norm: AbstractNorm,
    starts: Tensor,
) -> Tensor:
    """Points [k * STEPS, n] on the way from each start [k, n] to the nearest point with
    rows . f >= 0.

    `room` [n] is how far every input may move down and up from the centre; it may be infinite.
    """
    points, found = starts, []
    for _ in range(STEPS):
        x = points.clone().requires_grad_(True)
        with torch.enable_grad():
            largest = (output(forward, x) @ rows.T).amax(1)
            slope = torch.autograd.grad(largest.sum(), x)[0]
        # largest + slope.(y - x) = 0, with y = centre + step.
        gain = (slope * (points - center)).sum(1) - largest.detach()
        free = torch.where(slope >= 0, room[1], room[0])
        step = norm.cheapest(slope.abs(), free, gain.clamp(min=0.0) * (1 + BEYOND))
        points = center + torch.where(slope >= 0, step, -step)
        found.append(points)
    return torch.cat(found)
