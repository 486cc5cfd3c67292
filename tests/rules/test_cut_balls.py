"""The support of a ball cut to a box is that of both together, not only a bound."""

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from lipverify.norms import norm_named
from lipverify.region import Ball, BallInBox, Box
from tests.oracles.budget import quickly

N = 6


def largest(norm: str, slope: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """max slope.d over the unit ball with low <= d <= high; low <= 0 <= high."""
    if norm == "1":
        ends = [(0.0, end) for end in (*high, *-low)]
        found = linprog(np.r_[-slope, slope], np.ones((1, 2 * N)), [1.0], bounds=ends)
        return -found.fun
    below, above = 1e-12, 1e12  # of the multiplier; the step shrinks with it
    for _ in range(300):
        middle = float(np.sqrt(below * above))
        step = np.clip(slope / middle, low, high)
        below, above = (middle, above) if np.linalg.norm(step) > 1 else (below, middle)
    return float(slope @ np.clip(slope / above, low, high))


@pytest.mark.parametrize("norm", ["1", "2"])
@pytest.mark.parametrize("seed", quickly(range(200), 20))
def test_support_is_the_maximum(norm: str, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)

    def draw() -> torch.Tensor:
        return torch.rand(N, generator=random, dtype=torch.float64)

    middle, radius = 4 * draw() - 2, 0.1 + 2 * draw()
    low, high = -1.5 * draw(), 1.5 * draw()
    low[draw() < 0.2], high[draw() < 0.2] = 0.0, 0.0  # a centre on the box's faces
    slope = 2 * draw() - 1
    slope[draw() < 0.1] = 0.0
    region = BallInBox(
        Ball(middle, radius, norm_named(norm)), Box(middle + radius * low, middle + radius * high)
    )
    best = largest(norm, (slope * radius).numpy(), low.numpy(), high.numpy())
    assert float(region.support(slope)) == pytest.approx(float(slope @ middle) + best, abs=1e-8)
