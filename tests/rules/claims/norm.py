"""What norms claim: duality attained, the triangle inequality, projections."""

import torch
from torch import Tensor

from lipverify.norms import AbstractNorm
from lipverify.numerics import DTYPE

TOLERANCE = 1e-13
"""Relative rounding of a norm of a few entries."""


def vectors(count: int, size: int, random: torch.Generator) -> Tensor:
    """Vectors with ties, zeros and entries from 1e-320 to 1e305: [count, size]."""
    values = torch.randn(count, size, generator=random, dtype=DTYPE)
    kind = torch.randint(0, 6, (count, 1), generator=random)
    values = torch.where(kind == 0, values.round(), values)
    exponent = torch.randint(-320, 305, (count, 1), generator=random).to(DTYPE)
    values = torch.where(kind == 1, values * 10.0**exponent, values)
    sparse = torch.rand(count, size, generator=random) < 0.6
    values = torch.where((kind == 2) & sparse, 0.0, values)
    values = torch.where(kind == 3, values.sign(), values)
    mixed = torch.randint(-200, 200, (count, size), generator=random).to(DTYPE)
    return torch.where(kind == 4, values * 10.0**mixed, values)


def dual_of_dual(norm: AbstractNorm) -> int:
    assert norm.dual.dual.name == norm.name, f"{norm.name}: the dual of its dual is another norm"
    return 1


def hoelder_is_attained(norm: AbstractNorm, a: Tensor) -> int:
    """The maximiser of a.x over the unit ball is in it, and reaches the dual norm of a."""
    x = norm.maximiser(a)
    assert bool(((norm.of(x) - 1).abs() <= TOLERANCE).all()), f"{norm.name}: no unit maximiser"
    reached, dual = (a * x).sum(-1), norm.dual.of(a)
    gap = (reached - dual).abs()
    assert bool((gap <= TOLERANCE * dual + 1e-320).all()), f"{norm.name}: dual norm not attained"
    return 2 * len(a)


def hoelder_holds(norm: AbstractNorm, a: Tensor, x: Tensor) -> int:
    """a.x <= ||a||_* ||x||, for vectors whose products do not overflow."""
    a, x = a.clamp(-1e150, 1e150), x.clamp(-1e150, 1e150)
    bound = norm.dual.of(a) * norm.of(x)
    assert bool(((a * x).sum(-1).abs() <= bound * (1 + TOLERANCE) + 1e-300).all()), norm.name
    return len(a)


def is_a_norm(norm: AbstractNorm, x: Tensor, y: Tensor) -> int:
    """Triangle inequality, scaling, and 0 for the zero vector only."""
    x, y = x.clamp(-1e304, 1e304), y.clamp(-1e304, 1e304)
    both = norm.of(x) + norm.of(y)
    assert bool((norm.of(x + y) <= both * (1 + TOLERANCE) + 1e-320).all()), f"{norm.name}: triangle"
    gap = (norm.of(-2 * x) - 2 * norm.of(x)).abs()
    assert bool((gap <= TOLERANCE * norm.of(x) + 1e-320).all()), f"{norm.name}: scaling"
    assert torch.equal(norm.of(x) == 0, (x == 0).all(-1)), f"{norm.name}: zero"
    largest = x.abs().amax(-1)
    assert bool((norm.of(x) >= largest * (1 - TOLERANCE)).all()), f"{norm.name}: below an entry"
    total = x.abs().sum(-1)
    assert bool((norm.of(x) <= total * (1 + TOLERANCE)).all()), f"{norm.name}: above the sum"
    return 5 * len(x)


def projection_is_nearest(
    norm: AbstractNorm, x: Tensor, radius: float, random: torch.Generator
) -> int:
    """project lands in the ball, keeps its points, and no point of the ball is nearer."""
    size = torch.tensor(radius, dtype=DTYPE)
    found = norm.project(x, size)
    slack = 1e-12 * (1.0 + x.abs().amax(-1))
    assert bool((norm.of(found) <= radius + slack).all()), f"{norm.name}: outside the ball"
    again = norm.project(found, size)
    assert bool(((again - found).abs().amax(-1) <= slack).all()), f"{norm.name}: not idempotent"
    inside = norm.of(x) <= radius
    assert torch.equal(found[inside], x[inside]), f"{norm.name}: moves a point of the ball"
    distance = torch.linalg.vector_norm(x - found, dim=-1)
    for _ in range(8):
        other = torch.randn(x.shape, generator=random, dtype=DTYPE)
        share = torch.rand(len(x), 1, generator=random, dtype=DTYPE)
        length = norm.of(other).clamp(min=1e-9).unsqueeze(-1)
        point = torch.where(share < 0.3, 1.0, share) * radius * other / length
        nearer = point * 0.1 + found * 0.9  # close to the projection, where a wrong one would lose
        for candidate in (point, nearer):
            there = torch.linalg.vector_norm(x - candidate, dim=-1)
            assert bool((distance <= there + slack).all()), f"{norm.name}: a nearer point exists"
    return 19 * len(x)
