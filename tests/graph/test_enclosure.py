"""The point-wise enclosure of the Jacobian: differentiable points, kinks, rounding."""

from fractions import Fraction

import pytest
import torch
from torch import Tensor

from lipverify.graph import jacobian_enclosure
from lipverify.interval import Interval
from lipverify.numerics import DTYPE
from tests.oracles import autodiff, boxes, networks
from tests.oracles.networks import LARGER, PIECEWISE, Tiny

ROUNDING = 1e-11
"""torch's own derivatives are rounded; ours enclose the real ones."""
STEP = 2.0**-20

NETWORKS = (*PIECEWISE, *LARGER)


def identity(tiny: Tiny) -> Tensor:
    return torch.eye(tiny.outputs, dtype=DTYPE)


def check_contains(enclosure: Interval, jacobians: Tensor, slack: float = ROUNDING) -> None:
    """Every matrix of [k, m, n] lies in the enclosure."""
    assert bool((jacobians >= enclosure.lower - slack).all())
    assert bool((jacobians <= enclosure.upper + slack).all())


def has_zero(tiny: Tiny, point: Tensor) -> bool:
    """Whether a preactivation is 0, be it all around the point: its gate stays open."""
    values = tiny.values(point.unsqueeze(0))
    return any(
        bool((values[step.inputs[0]] == 0).any()) for step in tiny.steps if step.slopes is not None
    )


@pytest.mark.parametrize("tiny", NETWORKS, ids=str)
def test_the_jacobian_is_enclosed_tightly_where_it_exists(tiny: Tiny) -> None:
    x = boxes.points(boxes.centered(tiny.inputs, 2.0), 20)
    x = x[autodiff.distance_to_kinks(tiny, x) > 1e-6]
    for point, expected in zip(x, autodiff.jacobians(tiny, x), strict=True):
        enclosure = jacobian_enclosure(tiny.backward, point, identity(tiny))
        check_contains(enclosure, expected.unsqueeze(0))
        if not has_zero(tiny, point):
            assert float(enclosure.width.max()) <= ROUNDING, "only rounding is left at such points"


@pytest.mark.parametrize("tiny", PIECEWISE, ids=str)
@pytest.mark.parametrize("place", ["origin", "axis"])
def test_every_one_sided_jacobian_is_enclosed_at_kinks(tiny: Tiny, place: str) -> None:
    """The Jacobians of all regions around the point: limits that span the Clarke Jacobian."""
    point = torch.zeros(tiny.inputs, dtype=DTYPE)
    if place == "axis":
        point[0] = 0.5
    around = point + STEP * torch.randn(
        400, tiny.inputs, generator=torch.Generator().manual_seed(0), dtype=DTYPE
    )
    around = around[autodiff.distance_to_kinks(tiny, around) > 0]
    enclosure = jacobian_enclosure(tiny.backward, point, identity(tiny))
    check_contains(enclosure, autodiff.jacobians(tiny, around))


def test_the_cases_above_do_hit_kinks() -> None:
    origin = [torch.zeros(1, tiny.inputs, dtype=DTYPE) for tiny in PIECEWISE]
    hits = [
        float(autodiff.distance_to_kinks(tiny, point)) == 0.0
        for tiny, point in zip(PIECEWISE, origin, strict=True)
    ]
    assert sum(hits) >= 5


def test_the_kink_pair_reaches_the_gate_product_set() -> None:
    """relu(x) - relu(-x) = x: Clarke Jacobian {1}; with independent gates, [0, 2]."""
    tiny = networks.kink_pair()
    enclosure = jacobian_enclosure(tiny.backward, torch.zeros(1, dtype=DTYPE), identity(tiny))
    assert float(enclosure.lower) == pytest.approx(0.0, abs=1e-13)
    assert float(enclosure.upper) == pytest.approx(2.0, abs=1e-13)
    assert bool(enclosure.contains(torch.ones(1, 1, dtype=DTYPE)).all())
    check_contains(enclosure, torch.tensor([[[0.0]], [[2.0]]], dtype=DTYPE), slack=0.0)


def test_the_next_float_beside_a_kink_is_no_kink() -> None:
    tiny = networks.kink_pair()
    beside = torch.nextafter(torch.zeros(1, dtype=DTYPE), torch.ones(1, dtype=DTYPE))
    enclosure = jacobian_enclosure(tiny.backward, beside, identity(tiny))
    assert float(enclosure.lower) <= 1.0 <= float(enclosure.upper)


def test_rounding_is_enclosed() -> None:
    """Weights off the grid: the exact product of the matrices, in rational numbers, lies inside."""
    random = torch.Generator().manual_seed(3)
    weights = [torch.randn(5, 5, generator=random, dtype=DTYPE) for _ in range(4)]
    tiny = networks.from_weights([(weight, None) for weight in weights], "linear-chain", "relu")
    point = torch.randn(5, generator=random, dtype=DTYPE)
    gates = []
    value = [Fraction(float(entry)) for entry in point]
    exact = [[Fraction(int(i == j)) for j in range(5)] for i in range(5)]
    for layer, weight in enumerate(weights):
        rows = [[Fraction(float(entry)) for entry in row] for row in weight]
        if layer:
            gates.append([entry > 0 for entry in value])
            value = [entry if entry > 0 else Fraction(0) for entry in value]
            exact = [
                row if active else [Fraction(0)] * 5
                for row, active in zip(exact, gates[-1], strict=True)
            ]
        value = [sum(a * b for a, b in zip(row, value, strict=True)) for row in rows]
        exact = [[sum(row[k] * exact[k][j] for k in range(5)) for j in range(5)] for row in rows]
    enclosure = jacobian_enclosure(tiny.backward, point, torch.eye(5, dtype=DTYPE))
    for i in range(5):
        for j in range(5):
            low, high = float(enclosure.lower[i, j]), float(enclosure.upper[i, j])
            assert Fraction(low) <= exact[i][j] <= Fraction(high)
