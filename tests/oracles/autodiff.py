"""Derivatives of tiny networks by torch's own differentiation of their plain torch functions."""

import torch
from torch import Tensor

from tests.oracles.networks import Tiny

NOISE = 1e-13
"""What rounding leaves of a sum that is zero on paper."""


def jacobians(tiny: Tiny, x: Tensor) -> Tensor:
    """J(x), with torch's choice at kinks: [batch, n] -> [batch, m, n]."""
    points = x.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        y = tiny(points)
        rows = [
            torch.autograd.grad(y[:, k].sum(), points, retain_graph=True)[0]
            for k in range(y.shape[1])
        ]
    return torch.stack(rows, 1)


def adjoints(tiny: Tiny, x: Tensor, row: Tensor) -> dict[str, Tensor]:
    """The derivative of row . f with respect to every node's value, at each point of [batch, n].

    By node name; nodes that the output does not depend on are left out.
    """
    points = x.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        values = tiny.values(points)
        objective = (values[tiny.output].reshape(len(x), -1) @ row).sum()
        names = [name for name, value in values.items() if value.requires_grad]
        found = torch.autograd.grad(objective, [values[name] for name in names], allow_unused=True)
    return {name: g for name, g in zip(names, found, strict=True) if g is not None}


def distance_to_kinks(tiny: Tiny, x: Tensor) -> Tensor:
    """The smallest |preactivation| at each point of [batch, n]: at 0, f may have no derivative.

    Preactivations that are 0 all around the point do not count.
    """
    near = [tiny.values(x + shift) for shift in _shifts(x.shape[1])]
    values = tiny.values(x)
    nearest = torch.full((len(x),), torch.inf, dtype=x.dtype)
    for step in tiny.steps:
        if step.slopes is None:
            continue
        here = values[step.inputs[0]].abs()
        around = torch.stack([other[step.inputs[0]].abs() for other in near]).amax(0)
        here = torch.where(torch.maximum(here, around) <= NOISE, torch.inf, here)
        nearest = torch.minimum(nearest, here.flatten(1).amin(1))
    return nearest


def _shifts(inputs: int) -> Tensor:
    """A few short steps [k, n] in general position."""
    random = torch.Generator().manual_seed(0)
    return 1e-6 * torch.randn(4, inputs, generator=random, dtype=torch.float64)
