"""Every solver on small programs whose maxima are known by other means."""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from lipverify.milp import SOLVERS, AbstractMilpBackend, MilpModel, MilpStatus
from lipverify.milp.base import Limits, Raw
from lipverify.milp.escape import with_escape
from lipverify.milp.prepare import Prepared

ROUNDING = 1e-5


@pytest.fixture(params=["highs", pytest.param("gurobi", marks=pytest.mark.gurobi)], name="solver")
def every_solver(request: pytest.FixtureRequest) -> AbstractMilpBackend:
    if request.param == "gurobi":
        pytest.importorskip("gurobipy", reason="gurobipy is not installed")
    return SOLVERS[request.param]


def knapsack(seed: int, columns: int = 60, rows: int = 20, scale: float = 1.0) -> MilpModel:
    """Zeros and ones under several weights; relaxations are far from the maximum."""
    random = np.random.default_rng(seed)
    weights = random.integers(1, 100, (rows, columns)).astype(np.float64)
    return MilpModel(
        np.zeros(columns),
        np.ones(columns),
        np.ones(columns, dtype=bool),
        sparse.csr_array(weights),
        np.full(rows, -np.inf),
        weights.sum(1) / 2,
        scale * random.integers(1, 100, columns),
        0.0,
    )


def mixed(seed: int, binaries: int = 5, reals: int = 4, rows: int = 6) -> MilpModel:
    """Some rows are equations, some two-sided; magnitudes from 1e-3 to 1e3. Feasible at 0."""
    random = np.random.default_rng(seed)
    columns = binaries + reals
    matrix = random.normal(size=(rows, columns)) * 10.0 ** random.integers(-3, 4, (rows, 1))
    matrix[random.random(matrix.shape) < 0.3] = 0.0
    ends = np.abs(matrix).sum(1) * random.random(rows)
    kind = random.integers(0, 3, rows)
    reach = 10.0 ** random.integers(-3, 4, reals)
    return MilpModel(
        np.concatenate([np.zeros(binaries), -reach]),
        np.concatenate([np.ones(binaries), reach]),
        np.arange(columns) < binaries,
        sparse.csr_array(matrix),
        np.where(kind == 0, 0.0, np.where(kind == 1, -ends, -np.inf)),
        np.where(kind == 0, 0.0, ends),
        random.normal(size=columns),
        float(random.normal()),
    )


def exact(model: MilpModel) -> float:
    """By one linear program of scipy for each choice of the integer variables."""
    whole = np.flatnonzero(model.integral)
    best = -np.inf
    for choice in itertools.product((0.0, 1.0), repeat=len(whole)):
        lower, upper = model.lower.copy(), model.upper.copy()
        lower[whole] = upper[whole] = choice
        solved = milp(
            -model.objective,
            bounds=Bounds(lower, upper),
            constraints=LinearConstraint(model.matrix, model.row_lower, model.row_upper),
        )
        if solved.status == 0:
            best = max(best, -float(solved.fun) + model.offset)
    return best


@pytest.mark.parametrize("seed", range(12))
def test_bounds_are_the_maximum(solver: AbstractMilpBackend, seed: int) -> None:
    model = mixed(seed)
    value = exact(model)
    result = solver.solve(model, None, 0)
    assert result.status is MilpStatus.OPTIMAL
    assert result.incumbent is not None and result.point is not None
    assert value - ROUNDING * (1 + abs(value)) <= result.incumbent <= result.bound
    # The safe slack is relative to what the variables can reach, not to the maximum.
    reach = float(np.abs(model.objective) @ np.maximum(np.abs(model.lower), np.abs(model.upper)))
    assert value <= result.bound <= value + ROUNDING * (1 + reach)


def test_a_wide_gap_leaves_a_valid_bound(solver: AbstractMilpBackend) -> None:
    """Incumbent < maximum < bound: whoever took the incumbent for the bound would be wrong."""
    model = knapsack(0)
    value = solver.solve(model, None, 0).incumbent
    assert value is not None
    result = solver.solve(model, None, 0, gap=0.25)
    assert result.status is MilpStatus.OPTIMAL
    assert result.incumbent is not None
    assert result.incumbent < value <= result.bound
    assert result.bound <= 1.3 * result.incumbent


def test_no_time_is_no_bound(solver: AbstractMilpBackend) -> None:
    result = solver.solve(knapsack(0), 0.0, 0)
    assert result.status is MilpStatus.TIME_LIMIT
    assert result.bound == np.inf and result.incumbent is None and result.point is None


def test_hardly_any_time_is_a_weak_bound(solver: AbstractMilpBackend) -> None:
    value = solver.solve(knapsack(0), None, 0).incumbent
    assert value is not None
    result = solver.solve(knapsack(0), 1e-6, 0)
    assert result.status in (MilpStatus.TIME_LIMIT, MilpStatus.LIMIT)
    assert result.bound >= value


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999, 1.0, 1.001, 1.1, 5.0])
def test_a_cutoff_ends_the_run_and_keeps_the_bound(
    solver: AbstractMilpBackend, share: float
) -> None:
    model = knapsack(3, 30, 10)
    value = solver.solve(model, None, 0).incumbent
    assert value is not None
    cutoff = share * value
    result = solver.solve(model, None, 0, cutoff=cutoff)
    assert result.bound >= value
    if cutoff > value * 1.0001:
        assert result.status is MilpStatus.CUTOFF and result.bound <= cutoff
    else:
        assert result.bound <= value * 1.00002
    if result.incumbent is not None:
        assert result.incumbent <= value + ROUNDING


@pytest.mark.parametrize("share", [0.7, 1.1])
def test_an_escape_makes_the_maximum_at_least_its_value(
    solver: AbstractMilpBackend, share: float
) -> None:
    model = knapsack(3, 30, 10)
    value = solver.solve(model, None, 0).incumbent
    assert value is not None
    found = solver.solve(with_escape(model, share * value), None, 0).incumbent
    assert found == pytest.approx(max(1.0, share) * value, rel=1e-5)


def test_an_infeasible_program_has_no_bound(solver: AbstractMilpBackend) -> None:
    """The word `infeasible` proves nothing: not even a bound of minus infinity."""
    model = knapsack(0, 5, 1)
    hopeless = MilpModel(
        model.lower, model.upper, model.integral, model.matrix,
        np.full(1, 1e6), np.full(1, np.inf), model.objective, 0.0,
    )  # fmt: skip
    result = solver.solve(hopeless, None, 0)
    assert result.status in (MilpStatus.INFEASIBLE, MilpStatus.UNKNOWN)
    assert result.bound == np.inf


@pytest.mark.parametrize("seed", range(6))
def test_linear_programs_have_a_proved_bound(solver: AbstractMilpBackend, seed: int) -> None:
    model = mixed(seed, binaries=0, reals=8)
    value = exact(model)
    result = solver.solve(model, None, 0)
    assert result.bound == pytest.approx(value, rel=1e-7, abs=1e-6)
    assert result.bound >= value - 1e-9 * (1 + abs(value))


def test_without_rows_every_variable_goes_to_its_better_end(solver: AbstractMilpBackend) -> None:
    none = sparse.csr_array((0, 2))
    ends = np.zeros(0)
    model = MilpModel(
        np.array([-1.0, -2.0]), np.array([3.0, 5.0]), np.zeros(2, dtype=bool), none, ends, ends,
        np.array([2.0, -1.0]), 0.5,
    )  # fmt: skip
    result = solver.solve(model, None, 0)
    assert result.incumbent == 8.5
    assert 8.5 <= result.bound < 8.5 + 1e-12


class Scripted(AbstractMilpBackend):
    """A solver that answers what it is told to."""

    name = "scripted"

    def __init__(self, raw: Raw) -> None:
        self.raw = raw

    def require(self) -> None: ...

    def run(self, prepared: Prepared, limits: Limits) -> Raw:
        return self.raw


def scripted(status: MilpStatus, bound: float, incumbent: float | None, point: NDArray) -> float:
    raw = Raw(status, bound, incumbent, point, None, 0)
    return Scripted(raw).solve(knapsack(0, 3, 1), None, 0).bound


@pytest.mark.parametrize("status", MilpStatus, ids=lambda status: status.name)
def test_bounds_are_read_by_status_and_only_weakened(status: MilpStatus) -> None:
    point = np.zeros(3)
    bound = scripted(status, 0.5, None, point)
    if not status.has_bound:
        assert bound == np.inf
        return
    assert bound > 0.5
    assert scripted(status, 0.5, 0.75, point) > scripted(status, 0.75, None, point) - 1e-12
    assert scripted(status, np.nan, None, point) == np.inf
    assert scripted(status, -np.inf, None, point) == np.inf
