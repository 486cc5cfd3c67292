"""Gates relaxed over preactivation and adjoint: against exact products, and the true hull."""

import pytest
import torch
from hypothesis import given

from lipverify.interval import Interval
from lipverify.numerics import DTYPE
from lipverify.operators import ReLU
from lipverify.operators.gate_planes import gate_planes
from tests import strategies
from tests.conftest import Checks
from tests.rules import cases
from tests.rules.claims import gate as gate_claims
from tests.rules.claims import gate_planes as claims
from tests.rules.instances import ACTIVATION_INSTANCES

EVERY = pytest.mark.parametrize("instance", ACTIVATION_INSTANCES, ids=str)
SIZE = 24
FEW = 3
"""Gates per example of the exact sweep, twice 20 examples each of ten activations."""


@EVERY
@given(random=strategies.generators)
def test_random_gates(instance, random, checks: Checks) -> None:
    z, g = claims.mixed_case(FEW, random)
    checks.count(claims.planes_are_sound(instance, z, g, random))


@EVERY
def test_awkward_gates(instance, checks: Checks) -> None:
    """Zero widths, subnormal and huge ends, 0 as an end: of z and of g, in random pairs."""
    random = cases.generator(3)
    table = cases.awkward_intervals()
    order, other = torch.randint(0, len(table.lower), (2, 60), generator=random)
    z = Interval(table.lower[order], table.upper[order])
    g = claims.within(Interval(table.lower[other], table.upper[other]), claims.HUGE)
    checks.count(claims.planes_are_sound(instance, z, g, random))


@pytest.mark.parametrize("instance", (ACTIVATION_INSTANCES[0], ACTIVATION_INSTANCES[5]), ids=str)
def test_overflow_is_refused(instance, checks: Checks) -> None:
    checks.count(claims.refuses_overflow(instance))


@given(random=strategies.generators)
def test_planes_of_a_relu_are_its_hull(random, checks: Checks) -> None:
    z = claims.crossing_intervals(6, random)
    ends = 1.0 + torch.rand(2, 6, generator=random, dtype=DTYPE)
    z = Interval(-ends[0], ends[1])
    checks.count(claims.planes_reach_the_hull(z, claims.ordinary_intervals(6, random), random))


@given(random=strategies.generators)
def test_mixtures_hold_the_family_of_b_and_s(random, checks: Checks) -> None:
    ends = 0.1 + torch.rand(4, SIZE, generator=random, dtype=DTYPE)
    z, g = Interval(-ends[0], ends[1]), Interval(-ends[2], ends[3])
    checks.count(claims.design_family_is_mixed(z, g, random))


@given(random=strategies.generators)
def test_the_start_is_the_chord(random, checks: Checks) -> None:
    z, g = claims.crossing_intervals(SIZE, random), claims.ordinary_intervals(SIZE, random)
    ends = torch.rand(2, SIZE, generator=random, dtype=DTYPE)
    slope = Interval(ends.amin(0), ends.amax(0))
    checks.count(claims.first_plane_is_the_chord(slope, z, g))


@given(random=strategies.generators)
def test_fixed_gates(random, checks: Checks) -> None:
    checks.count(claims.fixed_gates_are_exact(claims.ordinary_intervals(SIZE, random)))


def test_one_preactivation_serves_many_rows() -> None:
    """Slopes, lines and preactivations [1, k] broadcast over adjoints [rows, k]."""
    random = cases.generator(5)
    z = claims.crossing_intervals(SIZE, random)
    g = claims.ordinary_intervals(3 * SIZE, random).reshape(3, SIZE)
    shared = z.reshape(1, SIZE)
    together = gate_planes(ReLU().gate(shared), ReLU().gate_lines(shared), shared, g)
    for row in range(3):
        mine = Interval(g.lower[row], g.upper[row])
        alone = gate_planes(ReLU().gate(z), ReLU().gate_lines(z), z, mine)
        for side in ("below", "above"):
            for field in ("z_slope", "g_slope", "intercept"):
                whole = getattr(getattr(together, side), field)[:, row]
                assert torch.equal(whole, getattr(getattr(alone, side), field))


def test_infinite_adjoints_are_refused() -> None:
    assert gate_claims.refuses_infinite_adjoints() == 3
