"""Images under affine operators against exact rational arithmetic."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lipverify.bounds.line_image import SignedOperator, image, multiply_up
from lipverify.errors import NumericalFailure, UnsupportedOperator
from lipverify.interval import Interval
from lipverify.numerics import DTYPE
from lipverify.operators import Add, AveragePool, Dense, Pullback, Scale
from tests import strategies
from tests.conftest import Checks


def exact_ends(weight: Tensor, bias: Tensor, x: Interval) -> list[tuple[Fraction, Fraction]]:
    """Both ends of W x + b for one batch entry."""
    ends = []
    lower, upper = x.lower[0].tolist(), x.upper[0].tolist()
    for row, shift in zip(weight.tolist(), bias.tolist(), strict=True):
        low = high = Fraction(shift)
        for w, a, b in zip(row, lower, upper, strict=True):
            products = (Fraction(w) * Fraction(a), Fraction(w) * Fraction(b))
            low, high = low + min(products), high + max(products)
        ends.append((low, high))
    return ends


@given(
    strategies.tensors(3, 4),
    strategies.tensors(3),
    strategies.intervals(random=4),
    st.integers(0, 3),
)
def test_images_hold_the_exact_ends(
    checks: Checks, weight: Tensor, bias: Tensor, x: Interval, power: int
) -> None:
    weight = weight * 10.0 ** (-100 * power)
    size = min(4, x.lower.shape[0])
    lower, upper = x.lower[:size].clamp(-1e200, 1e200), x.upper[:size].clamp(-1e200, 1e200)
    operand = Interval(lower.unsqueeze(0), upper.unsqueeze(0))
    weight = weight[:, :size]
    found = image(SignedOperator(Dense(weight, bias)), [operand], shift=True)
    for place, (low, high) in enumerate(exact_ends(weight, bias, operand)):
        checks.count(1)
        assert Fraction(float(found.lower[0, place])) <= low
        assert Fraction(float(found.upper[0, place])) >= high


@given(strategies.tensors(3, 4), strategies.tensors(4))
def test_short_numbers_stay_exact(weight: Tensor, x: Tensor) -> None:
    weight, x = (64 * weight).round() / 64, (8 * x).round() / 8
    point = Interval(x[None], x[None])
    found = image(SignedOperator(Dense(weight)), [point], shift=False)
    assert bool((found.lower == found.upper).all())
    for place, (low, high) in enumerate(exact_ends(weight, torch.zeros(3), point)):
        assert Fraction(float(found.lower[0, place])) == low == high


def test_sums_of_one_sign_do_not_pass_zero() -> None:
    weight = torch.rand(5, 30, dtype=DTYPE)
    x = Interval(torch.zeros(1, 30, dtype=DTYPE), torch.rand(1, 30, dtype=DTYPE))
    assert bool((image(SignedOperator(Dense(weight)), [x], shift=False).lower == 0).all())
    assert bool((image(SignedOperator(Dense(-weight)), [x], shift=False).upper == 0).all())


def test_products_that_underflow_are_no_zeros() -> None:
    tiny = torch.full((1, 1), 1e-200, dtype=DTYPE)
    found = image(SignedOperator(Dense(tiny)), [Interval(tiny, tiny)], shift=False)
    assert float(found.upper) > 0.0


def test_other_operators() -> None:
    x = Interval(torch.tensor([[-1.0, 2.0]], dtype=DTYPE), torch.tensor([[3.0, 2.5]], dtype=DTYPE))
    factor, shift = torch.tensor([-2.0, 0.0], dtype=DTYPE), torch.tensor([1.0, 1.0], dtype=DTYPE)
    found = image(SignedOperator(Scale(factor, shift)), [x], shift=True)
    assert bool((found.lower <= torch.tensor([-5.0, 1.0])).all())
    assert bool((found.upper >= torch.tensor([3.0, 1.0])).all())
    assert float(found.lower[0, 1]) == float(found.upper[0, 1]) == 1.0
    found = image(SignedOperator(Add((1, -1))), [x, x], shift=True)
    assert bool((found.lower <= torch.tensor([-4.0, -0.5])).all())
    assert bool((found.upper >= torch.tensor([4.0, 0.5])).all())
    pool = AveragePool((1, 3), (3,), (3,), ((0, 0),), False)
    ones = torch.ones(1, 1, 3, dtype=DTYPE)
    found = image(SignedOperator(pool), [Interval(ones, ones)], shift=False)
    assert float(found.lower) <= 1.0 <= float(found.upper)
    with pytest.raises(UnsupportedOperator):
        image(SignedOperator(Pullback(Dense(ones[0]), 0, (3,))), [x], shift=False)


def test_overflow_is_a_failure() -> None:
    huge = torch.full((1, 2), 1e300, dtype=DTYPE)
    with pytest.raises(NumericalFailure):
        image(SignedOperator(Dense(huge)), [Interval(huge, huge)], shift=False)


@given(strategies.finite, strategies.finite)
def test_products_are_rounded_up(checks: Checks, a: float, b: float) -> None:
    checks.count(1)
    first, second = torch.tensor([abs(a), abs(b)], dtype=DTYPE)
    found = float(multiply_up(first, second))
    product = Fraction(abs(a)) * Fraction(abs(b))
    assert found == float("inf") or Fraction(found) >= product
    if abs(a) in (0.0, 0.5, 1.0, 2.0) and 1e-100 < abs(b) < 1e100:
        assert Fraction(found) == product
