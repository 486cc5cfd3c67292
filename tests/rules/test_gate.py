"""Gates: products of intervals, and relaxations of y = d g."""

import pytest
from hypothesis import given

from tests import strategies
from tests.conftest import Checks
from tests.rules import cases
from tests.rules.claims import gate as claims
from tests.rules.instances import ACTIVATION_INSTANCES

SIZE = 40


@given(random=strategies.generators)
def test_product(random, checks: Checks) -> None:
    slope, g = claims.random_case(SIZE, random)
    checks.count(claims.product_is_sound(slope, g, random))
    checks.count(claims.product_is_tight(slope, g))


@pytest.mark.parametrize("name", ["relax_chords", "relax_constant"])
@given(random=strategies.generators)
def test_relaxation(name, random, checks: Checks) -> None:
    slope, g = claims.random_case(SIZE, random)
    checks.count(claims.relaxation_is_sound(name, slope, g, random))


@pytest.mark.parametrize("name", ["relax_chords", "relax_constant"])
def test_relaxation_of_awkward_adjoints(name, checks: Checks) -> None:
    random = cases.generator(1)
    g = cases.awkward_intervals()
    slope = claims.slopes(len(g.lower), random)
    checks.count(claims.product_is_sound(slope, g, random))
    checks.count(claims.relaxation_is_sound(name, slope, g, random))


@given(random=strategies.generators)
def test_chords_touch(random, checks: Checks) -> None:
    checks.count(claims.chords_touch(*claims.random_case(SIZE, random)))


@pytest.mark.parametrize("instance", ACTIVATION_INSTANCES, ids=str)
@given(random=strategies.generators)
def test_gate_of_an_activation(instance, random, checks: Checks) -> None:
    z, g = cases.random_intervals(20, random), cases.random_intervals(20, random)
    checks.count(claims.interval_is_sound(instance, z, g, random))


def test_infinite_adjoints(checks: Checks) -> None:
    checks.count(claims.refuses_infinite_adjoints())
