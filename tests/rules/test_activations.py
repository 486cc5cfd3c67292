"""Every claim of every activation of the operator table."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lipverify.operators import Activation
from tests import strategies
from tests.conftest import Checks
from tests.rules import cases
from tests.rules.claims import activation as claims
from tests.rules.instances import ACTIVATION_INSTANCES, ActivationInstance

pytestmark = pytest.mark.parametrize("instance", ACTIVATION_INSTANCES, ids=str)

SOUND = [
    claims.interval_is_sound,
    claims.interval_is_isotone,
    claims.gate_holds_derivatives,
    claims.gate_lines_hold_derivatives,
    claims.relaxation_is_sound,
]
"""Claims about points of an interval."""

WHOLE = [
    claims.choices_are_declared,
    claims.gate_is_whole_at_kinks,
    claims.inner_gate_leaves_out_the_far_side,
    claims.one_side_fixes_the_gate,
    claims.relaxation_touches,
    claims.slopes_are_in_the_gate,
]
"""Claims about an interval."""


@pytest.mark.parametrize("claim", SOUND)
@given(x=strategies.intervals(), random=strategies.generators)
def test_random_intervals(instance, claim, x, random, checks: Checks) -> None:
    checks.count(claim(instance, x, random))


@pytest.mark.parametrize("claim", SOUND)
def test_awkward_intervals(instance, claim, checks: Checks) -> None:
    """Every pair of zeros, subnormals, saturated and huge numbers, of all signs."""
    checks.count(claim(instance, cases.awkward_intervals(), cases.generator(0)))


@pytest.mark.parametrize("claim", WHOLE)
@given(x=strategies.intervals())
def test_random_intervals_as_a_whole(instance, claim, x, checks: Checks) -> None:
    made = claim(instance, x)
    if made:
        checks.count(made)


@pytest.mark.parametrize("claim", WHOLE)
def test_awkward_intervals_as_a_whole(instance, claim) -> None:
    claim(instance, cases.awkward_intervals())


@given(x=strategies.intervals(), share=strategies.unit, random=strategies.generators)
def test_relaxation_with_a_chosen_slope(instance, x, share, random, checks: Checks) -> None:
    """Every choice in [0, 1], its ends among them, gives a sound relaxation."""
    choice = torch.full_like(x.lower, share)
    choice[::2] = torch.rand(choice[::2].shape, generator=random, dtype=choice.dtype)
    checks.count(claims.relaxation_is_sound(instance, x, random, choice))


@given(x=strategies.intervals())
def test_points(instance, x, checks: Checks) -> None:
    checks.count(claims.interval_is_exact_at_points(instance, x.lower))
    checks.count(claims.gate_is_tight_at_points(instance, torch.cat([x.lower, x.upper])))


def test_awkward_points(instance, checks: Checks) -> None:
    x = cases.awkward_intervals().lower.unique()
    checks.count(claims.interval_is_exact_at_points(instance, x))
    checks.count(claims.gate_is_tight_at_points(instance, x))


@given(x=st.lists(st.floats(-300.0, 300.0), min_size=2, max_size=20).map(strategies.tensor))
def test_derivative(instance, x, checks: Checks) -> None:
    x = torch.cat([x, strategies.tensor([1.0])])  # one, at least, that is no kink
    checks.count(claims.derivative_is_autograd(instance, x))


def test_bad_ends(instance: ActivationInstance, checks: Checks) -> None:
    checks.count(claims.refuses_bad_ends(instance))


def test_keeps_shape_and_dtype(instance: ActivationInstance) -> None:
    operator: Activation = instance.operator
    assert operator.output_shape((2, 3)) == (2, 3)
    assert operator.parameters == 0
    for dtype in (torch.float32, torch.float64):
        x = torch.tensor([[-1.0, 0.0, 2.0]], dtype=dtype)
        assert operator.evaluate(x).dtype == dtype
        assert operator.derivative(x).dtype == dtype
