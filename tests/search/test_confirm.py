"""Counterexamples are confirmed on the original network, or they are none."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lipverify.confirm import float32_inside
from lipverify.numerics import DTYPE
from lipverify.region import Ball, Box
from lipverify.spec.property import Property
from lipverify.verdict import Falsified, Reason, Unknown
from tests.bounds import cases
from tests.oracles import autodiff, boxes, networks
from tests.oracles.networks import Tiny
from tests.search.questions import (
    ask,
    check_counterexample,
    lipschitz,
    monotonicity,
    robustness,
)

TINY = networks.dense((2, 4, 3, 2), 0)
REGION = boxes.offset(2)


def false_claims() -> dict[str, Property]:
    """Properties that do not hold of TINY on REGION, by a wide margin."""
    points = boxes.points(REGION, 2_000)
    jacobians = autodiff.jacobians(TINY, points)
    norm = float(jacobians.abs().sum(-1).amax())
    values = TINY(points)
    falls = jacobians[:, 0].amin(0)
    index = int(falls.argmin())
    assert float(falls[index]) < -0.1
    return {
        "lipschitz": lipschitz(TINY, at_most=0.7 * norm),
        "monotonicity": monotonicity(TINY, (index,)),
        "robustness": robustness(0, float((values[:, 0] - values[:, 1]).min()) + 1.0),
    }


def constant(x: Tensor) -> Tensor:
    return torch.zeros(len(x), TINY.outputs, dtype=DTYPE)


def negated(x: Tensor) -> Tensor:
    return -TINY(x)


def noisy(x: Tensor) -> Tensor:
    """The same network in float32."""
    return TINY(x).float().double()


@pytest.mark.parametrize("kind", false_claims())
def test_the_judge_of_counterexamples_sees_other_outputs(kind: str) -> None:
    """The comparison that the tests here rely on does compare something."""
    result = ask(TINY, REGION, false_claims()[kind])
    check_counterexample(result, REGION, TINY)
    with pytest.raises(AssertionError, match="not close"):
        check_counterexample(result, REGION, lambda x: TINY(x) + 1e-6)


@pytest.mark.parametrize("kind", false_claims())
@pytest.mark.parametrize("method", ["interval", "linear", "auto"])
def test_the_network_itself_confirms(kind: str, method: str) -> None:
    for original in (TINY, noisy):
        result = ask(TINY, REGION, false_claims()[kind], original, method=method)
        assert isinstance(result.verdict, Falsified)
        check_counterexample(result, REGION, original)


def check_not_confirmed(kind: str, original: Callable[[Tensor], Tensor], method: str) -> None:
    result = ask(TINY, REGION, false_claims()[kind], original, method=method)
    assert isinstance(result.verdict, Unknown), "a candidate that nothing confirms is a verdict"
    assert result.verdict.reason is Reason.CANDIDATE


@pytest.mark.parametrize("kind", ["lipschitz", "monotonicity"])
@pytest.mark.parametrize("original", [constant, negated])
@pytest.mark.parametrize("method", ["interval", "linear", "auto"])
def test_another_original_does_not(
    kind: str, original: Callable[[Tensor], Tensor], method: str
) -> None:
    check_not_confirmed(kind, original, method)


@pytest.mark.parametrize("method", ["interval", "linear", "auto"])
def test_another_original_does_not_confirm_a_changed_class(method: str) -> None:
    """An original whose first output is far ahead everywhere."""

    def first_wins(x: Tensor) -> Tensor:
        return torch.tensor([1e3, 0.0], dtype=DTYPE).expand(len(x), -1)

    check_not_confirmed("robustness", first_wins, method)


@pytest.mark.parametrize("kind", false_claims())
def test_an_original_that_returns_nan_confirms_nothing(kind: str) -> None:
    def broken(x: Tensor) -> Tensor:
        return torch.full((len(x), TINY.outputs), torch.nan, dtype=DTYPE)

    result = ask(TINY, REGION, false_claims()[kind], broken, method="auto")
    assert isinstance(result.verdict, Unknown)


@pytest.mark.parametrize("radius", [0.0, 2.0**-30])
def test_on_a_point_the_original_is_still_asked(radius: float) -> None:
    """Where no step can be seen inside the region, one outside tells two functions apart."""
    region = boxes.offset(2, radius)
    matrix = autodiff.jacobians(TINY, region.center.unsqueeze(0))[0]
    claim = lipschitz(TINY, at_most=0.5 * float(matrix.abs().sum(1).max()))
    assert isinstance(ask(TINY, region, claim).verdict, Falsified)
    other = ask(TINY, region, claim, negated)
    assert isinstance(other.verdict, Unknown) and other.verdict.reason is Reason.CANDIDATE


def test_a_violation_by_less_than_rounding_is_not_reported() -> None:
    """A candidate off by one part in 10^12: neither verified nor a counterexample."""
    region = boxes.offset(2, 0.0)
    values = TINY(region.center.unsqueeze(0))[0]
    margin = float(values[0] - values[1]) + 1e-12
    verdict = ask(TINY, region, robustness(0, margin)).verdict
    assert isinstance(verdict, Unknown)


@pytest.mark.parametrize("kind", cases.REGIONS)
def test_rounding_to_float32_stays_inside(kind: str) -> None:
    for tiny in (networks.dense((1, 2, 1)), TINY, networks.dense((5, 2, 1))):
        region = cases.region_of(tiny, kind)
        for point in cases.points_of(tiny, kind, 60):
            moved = float32_inside(region, point)
            assert bool(region.contains(moved))
            reach = 1e-5 * (1 + float(region.bounding.width.max()) + float(point.abs().max()))
            assert float((moved - point).abs().max()) <= reach


def test_a_range_without_any_float32_number_keeps_its_point() -> None:
    lower = torch.tensor([1.0 + 2.0**-40], dtype=DTYPE)
    region = Box(lower, lower + 2.0**-45)
    assert bool(region.contains(float32_inside(region, region.center)))


def test_points_of_a_narrow_ball_stay_inside() -> None:
    center = torch.tensor([0.1, 0.7, -0.3], dtype=DTYPE)
    for radius in (1e-3, 1e-7, 1e-9, 0.0):
        for name in ("1", "2"):
            region = cases.Ball(center, torch.full_like(center, radius), cases.norm_named(name))
            assert isinstance(region, Ball)
            for point in region.sample(20, torch.Generator().manual_seed(0)):
                assert bool(region.contains(float32_inside(region, point)))


def test_statements_name_numbers_and_features() -> None:
    statements = {}
    for kind, claim in false_claims().items():
        verdict = ask(TINY, REGION, claim).verdict
        assert isinstance(verdict, Falsified)
        statements[kind] = verdict.counterexample.statement
    assert "claimed <=" in statements["lipschitz"]
    assert statements["monotonicity"].startswith("x") and "falls" in statements["monotonicity"]
    assert "y1 - y0" in statements["robustness"] or "y0" in statements["robustness"]


def inputs_of(tiny: Tiny) -> tuple[int, ...]:
    return tuple(range(tiny.inputs))


@pytest.mark.parametrize("kind", ["l2 ball", "clipped l2 ball", "l1 ball", "slice", "thin"])
def test_no_counterexample_lies_outside_of_its_region(kind: str) -> None:
    found = 0
    for tiny in (TINY, networks.dense((3, 4, 3, 2), 1), networks.residual(0)):
        region = cases.region_of(tiny, kind)
        points = cases.points_of(tiny, kind)
        low = float((tiny(points)[:, 0] - tiny(points)[:, 1]).min())
        for claim in (
            lipschitz(tiny, at_most=0.01),
            monotonicity(tiny, inputs_of(tiny), inputs_of(tiny)),
            robustness(0, low + 0.5),
        ):
            result = ask(tiny, region, claim)
            if isinstance(result.verdict, Falsified):
                check_counterexample(result, region, tiny)
                found += 1
    assert found >= 5


def lost_digits(kind: str) -> Tiny:
    """x + 1 as (2^53 + 1) h - 2^53 h, or x by way of 2^-1200; beside it 0."""
    one = torch.ones(1, 1, dtype=DTYPE)
    if kind == "cancellation":
        out = torch.tensor([[2.0**53, 1.0, -(2.0**53)], [0.0, 0.0, 0.0]], dtype=DTYPE)
        hidden = (one.repeat(3, 1), torch.ones(3, dtype=DTYPE))
        return networks.from_weights([hidden, (out, None)], kind)
    factors = [2.0**-600, 2.0**-600, 2.0**1000]
    last = torch.tensor([[2.0**200], [0.0]], dtype=DTYPE)
    layers = [(factor * one, None) for factor in factors]
    return networks.from_weights([*layers, (last, None)], kind)


@pytest.mark.parametrize("kind", ["cancellation", "underflow"])
@pytest.mark.parametrize("method", ["mean-split", "auto"])
def test_what_rounding_explains_is_no_counterexample(kind: str, method: str) -> None:
    """The original computes in floats too, and agrees with ours: real arithmetic has the say."""
    tiny = lost_digits(kind)
    region = Box(torch.zeros(1, dtype=DTYPE), torch.ones(1, dtype=DTYPE))
    claims = (
        monotonicity(tiny, (0,)),
        monotonicity(tiny, (0,), margin=0.5),
        monotonicity(tiny, (), (0,), margin=-1.0),
        robustness(0, -0.5),
    )
    for claim in claims:
        result = ask(tiny, region, claim, method=method)
        assert not isinstance(result.verdict, Falsified), claim
