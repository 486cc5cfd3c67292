"""Regions of inputs: support, membership, projections, and the regions that are refused."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lipverify.errors import EmptyRegion, RegionError
from lipverify.norms import NORMS
from lipverify.numerics import DTYPE
from lipverify.region import Ball, BallInBox, Box, ball_region
from tests import strategies
from tests.conftest import Checks
from tests.rules import cases
from tests.rules.claims import region as claims

NAMES = sorted(claims.regions(2, cases.generator(0)))
NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "claim",
    [
        claims.support_is_above,
        claims.support_is_attained,
        claims.points_lie_inside,
        claims.outside_is_refused,
        claims.span_is_the_segment,
    ],
)
@given(random=strategies.generators, size=st.integers(1, 6))
def test_region(name, claim, random, size, checks: Checks) -> None:
    region = claims.regions(size, random)[name]
    checks.count(claim(name, region, random))


@pytest.mark.parametrize("name", NAMES)
@given(random=strategies.generators, size=st.integers(1, 6))
def test_bounding_box(name, random, size, checks: Checks) -> None:
    checks.count(claims.bounding_is_smallest(name, claims.regions(size, random)[name]))


@pytest.mark.parametrize("name", ["box", "ball-1", "ball-2", "ball-inf", "clip-inf"])
@given(random=strategies.generators, size=st.integers(1, 6))
def test_projection(name, random, size, checks: Checks) -> None:
    region = claims.regions(size, random)[name]
    checks.count(claims.projection_is_nearest(name, region, random))


@given(random=strategies.generators, size=st.integers(1, 6))
def test_halves(random, size, checks: Checks) -> None:
    box = claims.regions(size, random)["box"]
    assert isinstance(box, Box)
    checks.count(claims.halves_cover(box, random))


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=DTYPE)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Box(numbers(NAN), numbers(1.0)),
        lambda: Box(numbers(0.0), numbers(INF)),
        lambda: Box(numbers(1.0), numbers(0.0)),
        lambda: Box(numbers(0.0), numbers(1.0, 2.0)),
        lambda: Box(torch.zeros(1, 2, dtype=DTYPE), torch.ones(1, 2, dtype=DTYPE)),
        lambda: Ball(numbers(0.0), numbers(-1.0), NORMS["2"]),
        lambda: Ball(numbers(0.0), numbers(NAN), NORMS["2"]),
        lambda: Ball(numbers(NAN), numbers(1.0), NORMS["2"]),
        lambda: Ball(numbers(0.0), numbers(INF), NORMS["1"]),
        lambda: Ball(numbers(0.0, 1.0), numbers(1.0), NORMS["1"]),
        lambda: BallInBox(
            Ball(numbers(0.0), numbers(1.0), NORMS["2"]), Box(numbers(0.0, 0.0), numbers(1.0, 1.0))
        ),
    ],
)
def test_bad_regions_are_refused(make) -> None:
    with pytest.raises(RegionError):
        make()


@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS.keys())
class TestBallRegion:
    """ball_region for every norm of the table."""

    @pytest.mark.parametrize("radius", [-1.0, -5e-324, NAN, INF])
    def test_bad_radius(self, norm, radius) -> None:
        with pytest.raises(RegionError):
            ball_region(numbers(0.0, 1.0), torch.tensor(radius, dtype=DTYPE), norm)

    def test_wrong_number_of_radii(self, norm) -> None:
        with pytest.raises(RegionError):
            ball_region(numbers(0.0, 1.0), numbers(1.0, 1.0, 1.0), norm)

    def test_wrong_number_of_limits(self, norm) -> None:
        for size in (1, 3):
            clip = (torch.zeros(size, dtype=DTYPE), torch.ones(size, dtype=DTYPE))
            with pytest.raises(RegionError):
                ball_region(numbers(0.0, 1.0), numbers(1.0, 1.0), norm, clip)

    @pytest.mark.parametrize("bad", [NAN, INF])
    def test_bad_clip(self, norm, bad) -> None:
        with pytest.raises(RegionError):
            ball_region(numbers(0.0), numbers(1.0), norm, (numbers(-1.0), numbers(bad)))

    def test_empty(self, norm) -> None:
        with pytest.raises(EmptyRegion):
            clip = (numbers(2.0, 0.0), numbers(3.0, 1.0))
            ball_region(numbers(0.0, 0.0), numbers(1.0, 1.0), norm, clip)

    def test_empty_by_a_fixed_input(self, norm) -> None:
        """Radius 0 keeps the input at its centre, which the clip leaves out."""
        clip = (numbers(-1.0, 0.5), numbers(1.0, 1.0))
        with pytest.raises(EmptyRegion):
            ball_region(numbers(0.0, 0.0), numbers(1.0, 0.0), norm, clip)

    def test_empty_by_less_than_the_tolerance(self, norm) -> None:
        clip = (numbers(1.0 + 5e-13, -1.0), numbers(2.0, 1.0))
        with pytest.raises(EmptyRegion):
            ball_region(numbers(0.0, 0.0), numbers(1.0, 1.0), norm, clip)

    def test_empty_at_a_corner(self, norm) -> None:
        """The clip meets the ball's bounding box, but only the ball of the infinity norm itself."""
        clip = (numbers(0.8, 0.8), numbers(2.0, 2.0))
        if norm.name == "inf":
            assert ball_region(numbers(0.0, 0.0), numbers(1.0, 1.0), norm, clip).size == 2
        else:
            with pytest.raises(EmptyRegion):
                ball_region(numbers(0.0, 0.0), numbers(1.0, 1.0), norm, clip)

    def test_clip_may_touch(self, norm) -> None:
        region = ball_region(
            numbers(0.0, 0.0), numbers(1.0, 1.0), norm, (numbers(1.0, -1.0), numbers(2.0, 1.0))
        )
        assert bool(region.contains(numbers(1.0, 0.0)))
        assert not bool(region.contains(numbers(0.9, 0.0)))

    def test_center_outside_the_clip(self, norm) -> None:
        region = ball_region(
            numbers(0.0, 0.0), numbers(1.0, 1.0), norm, (numbers(0.5, -9.0), numbers(9.0, 9.0))
        )
        assert bool(region.contains(region.center))
        assert float(region.support(numbers(-1.0, 0.0))) <= -0.5 + 1e-12
        assert float(region.support(numbers(1.0, 0.0))) >= 1.0

    def test_ends_are_rounded_outward(self, norm) -> None:
        """0.1 + 0.2 and 0.1 - 0.3 as floats lie inside the exact ends."""
        box = ball_region(numbers(0.1), numbers(0.2), norm).bounding
        checks = claims.exact.fractions(torch.cat([box.lower, box.upper]))
        center, radius = claims.exact.fractions(numbers(0.1, 0.2))
        assert checks[0] <= center - radius
        assert checks[1] >= center + radius

    def test_small_ball_far_from_zero(self, norm) -> None:
        """Membership is judged by the radius, not by the size of the numbers around it."""
        region = ball_region(numbers(1e6, -1e6), numbers(1e-7, 1e-7), norm)
        assert bool(region.contains(numbers(1e6 + 0.9e-7, -1e6)))
        assert not bool(region.contains(numbers(1e6 + 2e-7, -1e6)))

    def test_fixed_input_is_fixed(self, norm) -> None:
        region = ball_region(numbers(0.3, 0.0), numbers(0.0, 1.0), norm)
        assert bool(region.contains(numbers(0.3, 0.5)))
        assert not bool(region.contains(numbers(0.3 + 2.0**-54, 0.5)))
