"""Products of two branches: the range, and the planes below and above, in exact fractions."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from torch import Tensor

from lipverify.errors import NumericalFailure, OutOfDomain
from lipverify.interval import Interval
from lipverify.numerics import DTYPE, SMALLEST
from lipverify.operators import FACTOR, PRODUCTS, Gate, PlaneRelaxation, Product
from tests import strategies
from tests.conftest import Checks
from tests.rules import cases
from tests.rules.cases import points_of

LARGE = 1e150
"""Products of numbers up to here, and a few of their sums, do not overflow."""


def _limited(x: Interval) -> Interval:
    return Interval(x.lower.clamp(-LARGE, LARGE), x.upper.clamp(-LARGE, LARGE))


def _pairs(x: Interval, y: Interval, random: torch.Generator) -> list[tuple[Tensor, Tensor]]:
    """Ends, middles, zeros (clamped into the interval) and random points of both."""
    return [
        (first, second)
        for first in points_of(x, (0.0,), random)[[0, 1, 2, 3, 6]]
        for second in points_of(y, (0.0,), random)[[0, 1, 2, 3, 7]]
    ]


def _range_is_sound(x: Interval, y: Interval, random: torch.Generator) -> int:
    result = Product().interval(x, y)
    for first, second in _pairs(x, y, random):
        rows = (first, second, result.lower, result.upper)
        for a, b, low, high in zip(*(row.tolist() for row in rows), strict=True):
            assert Fraction(low) <= Fraction(a) * Fraction(b) <= Fraction(high), (a, b, low, high)
    return 25 * x.lower.numel()


def _planes_are_sound(x: Interval, y: Interval, random: torch.Generator) -> int:
    planes = Product().relax(x, y)
    for first, second in _pairs(x, y, random):
        for a, b, below, above in zip(
            first.tolist(), second.tolist(), *_planes(planes), strict=True
        ):
            product = Fraction(a) * Fraction(b)
            for (p, q, r), side in ((below, 1), (above, -1)):
                line = Fraction(p) * Fraction(a) + Fraction(q) * Fraction(b) + Fraction(r)
                assert side * line <= side * product, (a, b, side)
    return 50 * x.lower.numel()


def _planes(planes: PlaneRelaxation) -> list[list[tuple[float, float, float]]]:
    """(slope in x, slope in y, intercept) of every entry, below and above."""
    ends = (planes.lower_intercept, planes.upper_intercept)
    slopes = planes.x_slope.tolist(), planes.y_slope.tolist()
    return [list(zip(*slopes, end.tolist(), strict=True)) for end in ends]


@given(random=strategies.generators)
def test_sound(random, checks: Checks) -> None:
    x, y = (_limited(cases.random_intervals(30, random)) for _ in range(2))
    checks.count(_range_is_sound(x, y, random))
    checks.count(_planes_are_sound(x, y, random))


def test_awkward_factors(checks: Checks) -> None:
    random = cases.generator(0)
    x = _limited(cases.awkward_intervals())
    order = torch.randperm(len(x.lower), generator=random)
    for y in (x, Interval(x.lower[order], x.upper[order])):
        checks.count(_range_is_sound(x, y, random))
        checks.count(_planes_are_sound(x, y, random))


@given(random=strategies.generators)
def test_tight(random, checks: Checks) -> None:
    """Exact on points, and no further apart than half the product of the widths."""
    x, y = (_limited(cases.random_intervals(40, random)) for _ in range(2))
    planes = Product().relax(x, y)
    gap = planes.upper_intercept - planes.lower_intercept
    size = x.magnitude * y.magnitude
    assert bool((gap <= x.width * y.width / 2 + 1e-14 * size + 40 * SMALLEST).all())
    ends = torch.stack([a * b for a in (x.lower, x.upper) for b in (y.lower, y.upper)])
    result = Product().interval(x, y)
    assert bool((result.lower >= ends.amin(0) - 1e-15 * size - SMALLEST).all())
    assert bool((result.upper <= ends.amax(0) + 1e-15 * size + SMALLEST).all())
    checks.count(4 * len(gap))


@given(random=strategies.generators)
def test_isotone(random, checks: Checks) -> None:
    x, y = (_limited(cases.random_intervals(40, random)) for _ in range(2))
    inner = Interval(x.center, x.upper), Interval(y.lower, y.center)
    outer, less = Product().interval(x, y), Product().interval(*inner)
    assert bool((outer.lower <= less.lower).all() and (less.upper <= outer.upper).all())
    checks.count(2 * len(x.lower))


def test_known_signs_stay() -> None:
    """Nothing that cannot be negative (positive) is made so by rounding."""
    tiny = Interval(*torch.tensor([[0.0, 5e-324], [1e-300, 3.0]], dtype=DTYPE))
    less = Interval(-tiny.upper, -tiny.lower)
    assert bool((Product().interval(tiny, tiny).lower >= 0).all())
    assert bool((Product().interval(tiny, less).upper <= 0).all())


@pytest.mark.parametrize("end", [float("inf"), 1e200])
def test_overflow_is_refused(end: float) -> None:
    x = Interval(torch.tensor([-1.0], dtype=DTYPE), torch.tensor([end], dtype=DTYPE))
    for call in (Product().interval, Product().relax):
        with pytest.raises((OutOfDomain, NumericalFailure)):
            call(x, x)


def test_each_factor_is_the_gate_of_the_other(checks: Checks) -> None:
    """Gate(FACTOR) of (y, g) is y g, for points and for intervals."""
    random = cases.generator(0)
    y, g = (_limited(cases.random_intervals(60, random)) for _ in range(2))
    assert bool((FACTOR.gate(y).lower == y.lower).all() and (FACTOR.gate(y).upper == y.upper).all())
    points = y.center, g.center
    assert torch.equal(Gate(FACTOR).evaluate(*points), Product().evaluate(*points))
    result, own = Gate(FACTOR).interval(y, g), Product().interval(y, g)
    assert torch.equal(result.lower, own.lower) and torch.equal(result.upper, own.upper)
    lines = FACTOR.gate_lines(y)
    for slope, intercept in (
        (lines.lower_slope, lines.lower_intercept),
        (lines.upper_slope, lines.upper_intercept),
    ):
        assert bool((slope == 1).all() and (intercept == 0).all())
    checks.count(2 * len(y.lower))


def test_table() -> None:
    assert {"Product": Product} == PRODUCTS
