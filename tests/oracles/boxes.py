"""Boxes to judge small networks on."""

import torch
from torch import Tensor

from lipverify.numerics import DTYPE
from lipverify.region import Box

CORNERS = 64
"""At most this many vertices of a box are listed."""


def centered(inputs: int, radius: float, center: float = 0.0) -> Box:
    middle = torch.full((inputs,), center, dtype=DTYPE)
    return Box(middle - radius, middle + radius)


def offset(inputs: int, radius: float = 0.75, seed: int = 0) -> Box:
    """Around a random point, on the grid of 1/8."""
    random = torch.Generator().manual_seed(seed)
    middle = (8 * torch.randn(inputs, generator=random, dtype=DTYPE)).round() / 8
    return Box(middle - radius, middle + radius)


def corners(box: Box) -> Tensor:
    """All vertices [k, n], or random ones."""
    n = box.lower.shape[0]
    if 2**n <= CORNERS:
        upper = torch.cartesian_prod(*[torch.tensor([False, True])] * n).reshape(-1, n)
    else:
        upper = torch.rand(CORNERS, n, generator=torch.Generator().manual_seed(0)) < 0.5
    return torch.where(upper, box.upper, box.lower)


def points(box: Box, count: int, seed: int = 0) -> Tensor:
    """Vertices, the centre, and uniform points [count + more, n]."""
    random = torch.Generator().manual_seed(seed)
    share = torch.rand(count, box.lower.shape[0], generator=random, dtype=DTYPE)
    inner = box.lower + share * (box.upper - box.lower)
    return torch.cat([corners(box), box.center.unsqueeze(0), inner])
