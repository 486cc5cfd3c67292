"""What is Gurobi's own: it is optional, and its package's licence ends at 2000 variables."""

import builtins
import sys

import numpy as np
import pytest
from scipy import sparse

from lipverify.errors import MissingDependency
from lipverify.milp import SOLVERS, MilpModel, MilpStatus
from lipverify.milp.bounds import SolveSettings, milp_norm_upper
from lipverify.norms import norm_named
from tests.milp.problems import problem_of
from tests.milp.test_solvers import knapsack
from tests.oracles.networks import PIECEWISE, Tiny

GUROBI = SOLVERS["gurobi"]
LICENSED = 2000


def test_without_the_package_the_message_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: object, **options: object) -> object:
        if name.startswith("gurobipy"):
            raise ImportError(name)
        return real(name, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.delitem(sys.modules, "gurobipy", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependency, match=r"pip install lipverify\[gurobi\]"):
        GUROBI.solve(knapsack(0, 4, 2), None, 0)


@pytest.mark.gurobi
def test_a_model_beyond_the_licence_is_reported() -> None:
    pytest.importorskip("gurobipy", reason="gurobipy is not installed")
    columns = LICENSED + 500
    model = MilpModel(
        np.zeros(columns), np.ones(columns), np.ones(columns, dtype=bool),
        sparse.csr_array(np.ones((1, columns))), np.zeros(1), np.full(1, 7.5),
        np.ones(columns), 0.0,
    )  # fmt: skip
    result = GUROBI.solve(model, None, 0)
    if result.status is MilpStatus.OPTIMAL:
        pytest.skip("a full licence is installed")
    assert result.status is MilpStatus.SIZE_LIMIT
    assert result.bound == np.inf and result.incumbent is None


@pytest.mark.gurobi
@pytest.mark.parametrize("tiny", PIECEWISE, ids=str)
def test_both_solvers_agree(tiny: Tiny) -> None:
    pytest.importorskip("gurobipy", reason="gurobipy is not installed")
    problem = problem_of(tiny, "offset")
    found = [
        milp_norm_upper(problem, norm_named("inf"), SolveSettings(solver)).upper.tolist()
        for solver in SOLVERS.values()
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-5, abs=1e-5)
