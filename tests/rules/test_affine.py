"""Every claim of every affine operator of the operator table, and of its transposes."""

import pytest
import torch
from hypothesis import given

from lipverify.errors import NumericalFailure
from lipverify.interval import Interval
from lipverify.numerics import DTYPE
from lipverify.operators import Dense
from tests import strategies
from tests.conftest import Checks
from tests.rules.cases import LARGEST
from tests.rules.claims import affine as claims
from tests.rules.instances import AFFINE_INSTANCES

each = pytest.mark.parametrize("instance", AFFINE_INSTANCES, ids=str)


@each
@pytest.mark.parametrize(
    "claim",
    [claims.interval_is_exact, claims.interval_is_isotone, claims.transpose_is_adjoint],
)
@given(random=strategies.generators)
def test_random_operands(instance, claim, random, checks: Checks) -> None:
    checks.count(claim(instance, random))


@each
@pytest.mark.parametrize(
    "claim",
    [
        claims.linear_is_its_definition,
        claims.terms_cover_every_sum,
        claims.refuses_infinite_operands,
        claims.overflow_is_no_bound,
    ],
)
def test_definition(instance, claim, checks: Checks) -> None:
    checks.count(claim(instance))


def test_overflow_is_a_numerical_failure() -> None:
    """Sums beyond float64 have no bound: an error that a caller can act on, not infinity."""
    x = Interval(*(torch.full((1, 3), end, dtype=DTYPE) for end in (LARGEST / 2, LARGEST)))
    with pytest.raises(NumericalFailure):
        Dense(torch.ones(2, 3, dtype=DTYPE)).interval(x)
