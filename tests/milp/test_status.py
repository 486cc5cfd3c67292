"""Every code of every solver has a meaning here; none is read as a proof."""

import pytest

from lipverify.errors import UnknownMethod
from lipverify.milp import SOLVERS, solver_named
from lipverify.milp.gurobi import STATUS as GUROBI_STATUS
from lipverify.milp.highs import STATUS as HIGHS_STATUS
from lipverify.milp.status import MilpStatus


def test_every_status_of_highs_is_translated() -> None:
    highspy = pytest.importorskip("highspy")
    names = {name for name in highspy.HighsModelStatus.__members__ if name not in ("kMin", "kMax")}
    assert names, "no status to translate"
    assert names <= set(HIGHS_STATUS), names - set(HIGHS_STATUS)


@pytest.mark.gurobi
def test_every_status_of_gurobi_is_translated() -> None:
    gurobipy = pytest.importorskip("gurobipy", reason="gurobipy is not installed")
    names = {name for name in dir(gurobipy.GRB.Status) if not name.startswith("_")}
    assert names, "no status to translate"
    assert names <= set(GUROBI_STATUS), names - set(GUROBI_STATUS)


@pytest.mark.parametrize("table", [HIGHS_STATUS, GUROBI_STATUS], ids=["highs", "gurobi"])
def test_only_runs_that_searched_have_a_bound(table: dict[str, MilpStatus]) -> None:
    words = ("rror", "nfeas", "INF", "nbound", "UNBD", "nknown", "empty", "Notset", "LOADED", "NUM")
    for name, status in table.items():
        if any(word in name for word in words):
            assert not status.has_bound, name


def test_an_unknown_solver_is_an_error() -> None:
    with pytest.raises(UnknownMethod, match="highs"):
        solver_named("cplex")
    assert solver_named("highs") is SOLVERS["highs"]
