"""Every claim of every smooth activation. The slow sweep makes 20,000 checks of each."""

import pytest
import torch

from lipverify.errors import OutOfDomain, UnsupportedOperator
from lipverify.interval import Interval
from lipverify.numerics import DTYPE
from lipverify.operators import Exp, GeluTanh, Log, Pow
from tests.conftest import Checks
from tests.rules.cases import generator
from tests.rules.claims import curve as claims
from tests.rules.curves import CURVES

each = pytest.mark.parametrize("instance", CURVES, ids=str)

FAST, SLOW, FEWEST = 30, 900, 20_000


@each
def test_sound(instance, checks: Checks) -> None:
    random = generator(1)
    x = claims.intervals_of(instance, FAST, random)
    checks.count(claims.everything_is_sound(instance, x, random))


@pytest.mark.slow
@each
def test_sound_thoroughly(instance, checks: Checks) -> None:
    random = generator(2)
    made = 0
    while made < FEWEST:
        x = claims.intervals_of(instance, SLOW, random)
        made += claims.everything_is_sound(instance, x, random)
    checks.count(made)


@each
@pytest.mark.parametrize("claim", [claims.is_tight, claims.parts_are_inside])
def test_tight(instance, claim, checks: Checks) -> None:
    random = generator(3)
    checks.count(claim(instance, claims.intervals_of(instance, 60, random), random))


@each
def test_pieces(instance, checks: Checks) -> None:
    if instance.operator.name in ("Sin", "Cos"):
        pytest.skip("its pieces depend on the interval; the sweep goes through them")
    checks.count(claims.pieces_are_as_claimed(instance, 200))


@each
def test_derivative_is_autograd(instance, checks: Checks) -> None:
    x = torch.randn(200, generator=generator(4), dtype=DTYPE) * 3
    x = x.clamp(max(instance.least, -1e9), min(instance.most, 1e9)).unique()
    x = x[(x != instance.least) & (x != 0)]
    operand = x.clone().requires_grad_()
    instance.operator.evaluate(operand).sum().backward()
    torch.testing.assert_close(
        instance.operator.derivative(x), operand.grad, rtol=1e-11, atol=1e-13
    )
    for dtype in (torch.float32, torch.float64):
        assert instance.operator.evaluate(x.to(dtype)).dtype == dtype
        assert instance.operator.derivative(x.to(dtype)).dtype == dtype
    checks.count(len(x))


@each
@pytest.mark.parametrize("rule", ["interval", "gate", "relax"])
def test_infinite_ends_are_refused(instance, rule) -> None:
    for ends in ((-torch.inf, 1.0), (1.0, torch.inf), (-torch.inf, torch.inf)):
        x = Interval(*(torch.tensor([end], dtype=DTYPE) for end in ends))
        with pytest.raises(OutOfDomain, match=instance.operator.name):
            getattr(instance.operator, rule)(x)


@pytest.mark.parametrize("rule", ["interval", "gate", "relax"])
@pytest.mark.parametrize(
    ("operator", "ends"),
    [
        (Log(), (0.0, 1.0)),
        (Log(), (-1.0, 1.0)),
        (Pow(0.5), (0.0, 1.0)),
        (Pow(0.5), (-1e-9, 1.0)),
        (Pow(1.5), (-1e-300, 1.0)),
        (Pow(-1.0), (-1.0, 1.0)),
        (Pow(-1.0), (0.0, 1.0)),
        (Pow(-2.0), (-1.0, 0.0)),
        (Pow(-0.5), (-2.0, -1.0)),
        (Exp(), (0.0, 710.0)),
        (Pow(2.0), (0.0, 1.5e308)),
    ],
)
def test_outside_the_domain(operator, ends, rule) -> None:
    """One entry outside is enough; inside, the same operator is bounded."""
    inside = torch.ones(1, 2, dtype=DTYPE)
    getattr(operator, rule)(Interval(inside, 2 * inside))
    lower, upper = inside.clone(), 2 * inside
    lower[0, 1], upper[0, 1] = ends
    with pytest.raises(OutOfDomain, match=operator.name):
        getattr(operator, rule)(Interval(lower, upper))


@pytest.mark.parametrize("exponent", [0.0, 1.0, float("inf"), float("nan")])
def test_exponents_that_are_no_curve(exponent) -> None:
    with pytest.raises(UnsupportedOperator):
        Pow(exponent)


def test_other_cubics_are_refused() -> None:
    with pytest.raises(UnsupportedOperator):
        GeluTanh(0.1)
