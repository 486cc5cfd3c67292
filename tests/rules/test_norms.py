"""Every claim of every norm of the table, and of the norms of uncertain matrices."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lipverify.errors import NumericalFailure
from lipverify.interval import Interval
from lipverify.norms import NORMS, operator_norm
from lipverify.numerics import DTYPE
from tests import strategies
from tests.conftest import Checks
from tests.rules.claims import norm as claims
from tests.rules.claims import operator_norm as operator_claims

each = pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS.keys())
each_pair = pytest.mark.parametrize(
    ("p", "q"), operator_claims.PAIRS, ids=[f"{p.name}-{q.name}" for p, q in operator_claims.PAIRS]
)
sizes = st.integers(1, 4)


@each
@given(random=strategies.generators, size=st.integers(1, 7))
def test_vectors(norm, random, size, checks: Checks) -> None:
    x, y = claims.vectors(40, size, random), claims.vectors(40, size, random)
    checks.count(claims.hoelder_is_attained(norm, x))
    checks.count(claims.hoelder_holds(norm, x, y))
    checks.count(claims.is_a_norm(norm, x, y))


@each
@given(random=strategies.generators, size=st.integers(1, 7), radius=st.floats(0.0, 10.0))
def test_projection(norm, random, size, radius, checks: Checks) -> None:
    x = 5 * torch.randn(10, size, generator=random, dtype=DTYPE)
    checks.count(claims.projection_is_nearest(norm, x, radius, random))


@each
def test_duality(norm, checks: Checks) -> None:
    checks.count(claims.dual_of_dual(norm))


@each
def test_nan_stays_visible(norm) -> None:
    """A norm of NaN is NaN, so that no comparison with it holds."""
    for other in (0.0, 1.0, torch.inf):
        assert bool(norm.of(torch.tensor([other, torch.nan], dtype=DTYPE)).isnan())


@each_pair
@given(random=strategies.generators, rows=sizes, columns=sizes)
def test_uncertain_matrices(p, q, random, rows, columns, checks: Checks) -> None:
    jacobian = operator_claims.matrices(rows, columns, random)
    checks.count(operator_claims.bounds_hold(jacobian, p, q, random))


@each_pair
@given(random=strategies.generators, rows=sizes, columns=sizes)
def test_certain_matrices(p, q, random, rows, columns, checks: Checks) -> None:
    point = operator_claims.matrices(rows, columns, random, spread=0.0)
    checks.count(operator_claims.bounds_hold(point, p, q, random))
    checks.count(operator_claims.bounds_are_tight(point.lower, p, q))
    checks.count(operator_claims.rows_bound_the_norm(point.lower, p, q))


@each_pair
@given(random=strategies.generators, rows=sizes, columns=sizes)
def test_batches(p, q, random, rows, columns, checks: Checks) -> None:
    several = [operator_claims.matrices(rows, columns, random) for _ in range(3)]
    several.append(Interval(several[0].lower, torch.full_like(several[0].upper, torch.inf)))
    checks.count(operator_claims.batch_is_as_one(several, p, q))


@each_pair
@given(random=strategies.generators, rows=sizes, columns=sizes)
def test_attained(p, q, random, rows, columns, checks: Checks) -> None:
    jacobians = torch.randn(5, rows, columns, generator=random, dtype=DTYPE)
    checks.count(operator_claims.attained_is_attained(jacobians, p, q))


@each_pair
@pytest.mark.parametrize("value", [0.0, 5e-324, 1e-310, 1e-170, -1.0, 1e170, 1.7e308])
def test_degenerate_matrices(p, q, value, checks: Checks) -> None:
    """Zero, one entry, equal entries, of every size: within the bounds too."""
    for shape in ((1, 1), (2, 3), (3, 1)):
        matrix = torch.full(shape, value, dtype=DTYPE)
        point = Interval(matrix, matrix)
        checks.count(operator_claims.bounds_hold(point, p, q, torch.Generator().manual_seed(0)))


@each_pair
def test_cancelling_rows(p, q, checks: Checks) -> None:
    """Rows that cancel to rounding noise must not add up to a lower bound above the norm."""
    row = torch.tensor([[0.1, 0.2, -0.3], [1.0, 1.0, 1.0]], dtype=DTYPE)
    matrix = torch.cat([row[:1].expand(6, 3), row[1:]])
    point = Interval(matrix, matrix)
    checks.count(operator_claims.bounds_hold(point, p, q, torch.Generator().manual_seed(0)))


@each_pair
def test_infinite_matrices(p, q) -> None:
    """Nothing is known of an infinite entry: the bounds are 0 and infinity."""
    ends = torch.tensor([[-1.0, 0.0], [torch.inf, 1.0]], dtype=DTYPE)
    for matrix in (Interval(ends[:1], ends[1:]), Interval(-ends[1:], ends[1:])):
        assert operator_norm.upper(matrix, p, q) == torch.inf
        assert operator_norm.lower(matrix, p, q) == 0.0


@each
def test_nan_is_no_bound(norm) -> None:
    with pytest.raises(NumericalFailure):
        operator_norm.from_rows(torch.tensor([1.0, torch.nan], dtype=DTYPE), norm)
