"""Intervals and outward rounding."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lipverify.errors import InvertedInterval
from lipverify.interval import Interval
from lipverify.numerics import DTYPE, float64_default
from tests import strategies
from tests.conftest import Checks
from tests.rules import cases
from tests.rules.claims import interval as claims

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("lower", "upper"),
    [
        ([NAN], [1.0]),
        ([0.0], [NAN]),
        ([NAN], [NAN]),
        ([0.0, NAN], [1.0, NAN]),
        ([1.0], [0.0]),
        ([0.0, 1.0], [1.0, 1.0 - 2.0**-53]),
        ([INF], [-INF]),
        ([5e-324], [0.0]),
        ([0.0], [0.0, 1.0]),
    ],
)
def test_bad_ends_are_refused(lower, upper, checks: Checks) -> None:
    checks.count(claims.refuses(claims.numbers_of(lower), claims.numbers_of(upper)))


def test_other_dtypes_are_refused() -> None:
    """Every rounding bound is that of float64."""
    ends = torch.zeros(2), torch.ones(2)
    with pytest.raises(InvertedInterval):
        Interval(*ends)
    with pytest.raises(InvertedInterval):
        Interval(ends[0].double(), ends[1])


@given(x=strategies.intervals())
def test_center_and_radius(x, checks: Checks) -> None:
    checks.count(claims.center_and_radius_cover(x))


def test_center_and_radius_of_awkward_intervals(checks: Checks) -> None:
    checks.count(claims.center_and_radius_cover(cases.awkward_intervals()))


@given(x=strategies.intervals(), random=strategies.generators)
def test_magnitude(x, random, checks: Checks) -> None:
    checks.count(claims.magnitude_is_largest(x, random))


@given(random=strategies.generators)
def test_meet_and_hull(random, checks: Checks) -> None:
    x, y = cases.random_intervals(30, random), cases.random_intervals(30, random)
    checks.count(claims.meets_and_hulls(x, y, random))


@given(random=strategies.generators, drawn=st.lists(strategies.finite, min_size=2, max_size=9))
def test_outward_rounding(random, drawn, checks: Checks) -> None:
    a = torch.cat([cases.numbers(40, random), strategies.tensor(drawn)])
    b = torch.cat([cases.numbers(40, random), strategies.tensor(drawn[::-1])])
    checks.count(claims.rounding_is_outward(a, b))
    checks.count(claims.rounding_is_outward(a, a[0] * torch.ones_like(a)))


def test_outward_rounding_of_awkward_sums(checks: Checks) -> None:
    """All pairs, the largest float64 among them, where the two-sum itself overflows."""
    x = cases.awkward_intervals()
    checks.count(claims.rounding_is_outward(x.lower, x.upper))
    checks.count(claims.rounding_is_outward(x.upper, -x.lower))
    checks.count(claims.rounding_is_outward(x.upper, x.upper))


@given(x=strategies.intervals())
def test_share(x, checks: Checks) -> None:
    made = claims.share_is_between(x)
    if made:
        checks.count(made)


def test_share_of_awkward_intervals(checks: Checks) -> None:
    checks.count(claims.share_is_between(cases.awkward_intervals()))


@given(operations=st.integers(1, 10**9))
def test_gamma(operations, checks: Checks) -> None:
    checks.count(claims.gamma_is_above(operations))


def test_infinite_ends_are_allowed() -> None:
    x = Interval(claims.numbers_of([-INF]), claims.numbers_of([INF]))
    assert not x.is_finite()
    assert bool(x.contains(claims.numbers_of([1e308])).all())


def test_reshape_keeps_both_ends() -> None:
    x = Interval(torch.zeros(6, dtype=DTYPE), torch.ones(6, dtype=DTYPE)).reshape(2, 3)
    assert x.shape == (2, 3)
    assert x.upper.shape == (2, 3)


def test_default_dtype_is_restored() -> None:
    before = torch.get_default_dtype()
    with float64_default():
        assert torch.get_default_dtype() == DTYPE
    assert torch.get_default_dtype() == before
    with pytest.raises(RuntimeError), float64_default():
        raise RuntimeError
    assert torch.get_default_dtype() == before
