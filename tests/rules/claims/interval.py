"""What intervals and outward rounding claim."""

from fractions import Fraction

import torch
from torch import Tensor

from lipverify import numerics
from lipverify.errors import InvertedInterval
from lipverify.interval import Interval
from lipverify.numerics import DTYPE
from tests.rules import exact
from tests.rules.cases import LARGEST, part_of, points_of


def refuses(lower: Tensor, upper: Tensor) -> int:
    """A pair with NaN, with lower > upper, or of two shapes is no interval."""
    try:
        Interval(lower, upper)
    except InvertedInterval:
        return 1
    raise AssertionError(f"accepted as an interval: {lower}, {upper}")


def center_and_radius_cover(x: Interval) -> int:
    """center +- radius holds both ends, exactly; the radius of a point is zero."""
    center, radius = exact.fractions(x.center), exact.fractions(x.radius)
    ends = zip(exact.fractions(x.lower), exact.fractions(x.upper), center, radius, strict=True)
    for lower, upper, c, r in ends:
        assert c - r <= lower and upper <= c + r, f"{float(c)} +- {float(r)} misses an end"
        normal = abs(c) >= Fraction(2) ** -1021
        assert lower != upper or not normal or r == 0, "a point with a radius"
        # The centre, near ends of 0 < |x|, rounds by at most a float of its own size.
        rounding = Fraction(2) ** -51 * max(abs(lower), abs(upper)) + Fraction(2) ** -1073
        assert r <= (upper - lower) / 2 + rounding, f"{float(c)} +- {float(r)} is too wide"
    return 3 * x.lower.numel()


def magnitude_is_largest(x: Interval, random: torch.Generator) -> int:
    points = points_of(x, (0.0,), random)
    assert bool(x.contains(points).all()), "contains refuses a point of the interval"
    assert bool((points.abs() <= x.magnitude).all()), "a point beyond the magnitude"
    least = torch.minimum((x.lower.abs() - x.magnitude).abs(), (x.upper.abs() - x.magnitude).abs())
    assert bool((least == 0).all()), "the magnitude is attained at an end"
    return 2 * points.numel() + x.lower.numel()


def meets_and_hulls(x: Interval, y: Interval, random: torch.Generator) -> int:
    """The intersection holds the common points only, the hull all; disjoint ones are refused."""
    hull = x.hull(y)
    meet_lower, meet_upper = torch.maximum(x.lower, y.lower), torch.minimum(x.upper, y.upper)
    disjoint = meet_lower > meet_upper
    for side in (x, y):
        points = points_of(side, (), random)
        assert bool(hull.contains(points).all()), "the hull misses a point"
    if bool(disjoint.any()):
        try:
            x.intersect(y)
        except InvertedInterval:
            pass
        else:
            raise AssertionError("the intersection of disjoint intervals")
    part = part_of(x, random)
    both = x.intersect(part)
    assert torch.equal(both.lower, part.lower) and torch.equal(both.upper, part.upper)
    meet = Interval(x.lower[~disjoint], x.upper[~disjoint]).intersect(
        Interval(y.lower[~disjoint], y.upper[~disjoint])
    )
    for point in points_of(hull, (), random):
        inside = (x.contains(point) & y.contains(point))[~disjoint]
        assert torch.equal(meet.contains(point[~disjoint]), inside), "not the common part"
    return 40 * x.lower.numel()


def rounding_is_outward(a: Tensor, b: Tensor) -> int:
    """round_up and round_down move; add_up and add_down enclose the exact sum, and are exact."""
    up, down = numerics.add_up(a, b), numerics.add_down(a, b)
    total = a + b
    assert bool((numerics.round_up(a) > a).all() and (numerics.round_down(a) < a).all())
    terms = zip(a.tolist(), b.tolist(), total.tolist(), down.tolist(), up.tolist(), strict=True)
    for x, y, computed, low, high in terms:
        sum_ = Fraction(x) + Fraction(y)
        assert low == -torch.inf or Fraction(low) <= sum_, f"add_down({x!r}, {y!r}) = {low!r}"
        assert high == torch.inf or sum_ <= Fraction(high), f"add_up({x!r}, {y!r}) = {high!r}"
        if abs(computed) < LARGEST / 4 and Fraction(computed) == sum_:
            assert low == high == computed, f"{x!r} + {y!r} is exact, but rounded"
    return 4 * len(a)


def share_is_between(x: Interval) -> int:
    """upper_share is upper / (upper - lower) to a few ulps, also where the width overflows."""
    mixed = (x.lower < 0) & (x.upper > 0)
    lower, upper = x.lower[mixed], x.upper[mixed]
    shares = numerics.upper_share(lower, upper)
    for low, high, share in zip(lower.tolist(), upper.tolist(), shares.tolist(), strict=True):
        exact_share = Fraction(high) / (Fraction(high) - Fraction(low))
        error = abs(Fraction(share) - exact_share)
        assert 0 <= share <= 1 and error <= Fraction(2) ** -51 * exact_share + Fraction(2) ** -1070
    return 2 * len(shares)


def gamma_is_above(operations: int) -> int:
    """gamma(n) >= n u / (1 - n u) up to its own rounding, and grows with n."""
    u = Fraction(1, 2**53)
    n = Fraction(operations)
    wanted = n * u / (1 - n * u)
    assert Fraction(numerics.gamma(operations)) >= wanted * (1 - 4 * u)
    assert numerics.gamma(operations + 1) > numerics.gamma(operations)
    return 2


def numbers_of(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=DTYPE)
