"""Gurobi, the optional solver: the only file that knows gurobipy."""

from typing import TYPE_CHECKING, ClassVar, final

import numpy as np

from lipverify.errors import MissingDependency, NumericalFailure
from lipverify.milp.base import AbstractMilpBackend, Limits, Raw
from lipverify.milp.prepare import TOLERANCE, Prepared
from lipverify.milp.status import MilpStatus

if TYPE_CHECKING:
    import gurobipy

STATUS: dict[str, MilpStatus] = {
    "LOADED": MilpStatus.UNKNOWN,
    "OPTIMAL": MilpStatus.OPTIMAL,
    "INFEASIBLE": MilpStatus.INFEASIBLE,
    "INF_OR_UNBD": MilpStatus.UNKNOWN,
    "UNBOUNDED": MilpStatus.UNKNOWN,
    "CUTOFF": MilpStatus.UNKNOWN,
    "ITERATION_LIMIT": MilpStatus.LIMIT,
    "NODE_LIMIT": MilpStatus.LIMIT,
    "TIME_LIMIT": MilpStatus.TIME_LIMIT,
    "SOLUTION_LIMIT": MilpStatus.LIMIT,
    "INTERRUPTED": MilpStatus.LIMIT,
    "NUMERIC": MilpStatus.UNKNOWN,
    "SUBOPTIMAL": MilpStatus.LIMIT,
    "INPROGRESS": MilpStatus.UNKNOWN,
    "USER_OBJ_LIMIT": MilpStatus.CUTOFF,
    "WORK_LIMIT": MilpStatus.LIMIT,
    "MEM_LIMIT": MilpStatus.LIMIT,
    "LOCALLY_OPTIMAL": MilpStatus.UNKNOWN,
    "LOCALLY_INFEASIBLE": MilpStatus.UNKNOWN,
}
"""By the name in `gurobipy.GRB.Status`. A name that is not here counts as UNKNOWN."""

SIZE_LIMIT_ERROR = 10010
"""GRB_ERROR_SIZE_LIMIT_EXCEEDED: the licence of the pip package covers 2000 variables and rows."""


@final
class Gurobi(AbstractMilpBackend):
    name: ClassVar[str] = "gurobi"

    def run(self, prepared: Prepared, limits: Limits) -> Raw:
        """`MissingDependency` without the package or a licence; SIZE_LIMIT beyond the licence."""
        try:
            import gurobipy
        except ImportError as error:
            raise MissingDependency(
                "the solver Gurobi needs the package gurobipy: pip install lipverify[gurobi]"
            ) from error
        try:
            environment = gurobipy.Env(params={"OutputFlag": 0})
        except gurobipy.GurobiError as error:
            raise MissingDependency(
                f"Gurobi does not start: {error}. Install a licence, or use the solver 'highs'"
            ) from error
        with environment, gurobipy.Model(env=environment) as solver:
            _set_parameters(solver, limits)
            _fill(gurobipy, solver, prepared)
            try:
                solver.optimize()
            except gurobipy.GurobiError as error:
                if error.errno != SIZE_LIMIT_ERROR:
                    raise NumericalFailure(f"Gurobi breaks off: {error}") from error
                return Raw(MilpStatus.SIZE_LIMIT, np.inf, None, None, None, 0)
            return _answer(gurobipy, solver, prepared)


def _set_parameters(solver: "gurobipy.Model", limits: Limits) -> None:
    parameters: dict[str, float] = {
        "Threads": 1,
        "Seed": limits.seed % 2_000_000_000,
        "FeasibilityTol": TOLERANCE,
        "OptimalityTol": TOLERANCE,
        "IntFeasTol": TOLERANCE,
        "MIPGap": limits.gap,
        "MIPGapAbs": 0.0,
    }
    if limits.time is not None:
        parameters["TimeLimit"] = limits.time
    if limits.cutoff is not None:
        parameters["BestBdStop"] = limits.cutoff
    for name, value in parameters.items():
        solver.setParam(name, value)


def _fill(gurobipy, solver: "gurobipy.Model", prepared: Prepared) -> None:
    model, kinds = prepared.model, gurobipy.GRB
    v = solver.addMVar(
        model.columns,
        lb=model.lower,
        ub=model.upper,
        vtype=np.where(model.integral, kinds.BINARY, kinds.CONTINUOUS),
    )
    lower, upper = prepared.solver_rows
    for kept, sense, ends in (
        (lower == upper, kinds.EQUAL, upper),
        ((lower < upper) & np.isfinite(upper), kinds.LESS_EQUAL, upper),
        ((lower < upper) & np.isfinite(lower), kinds.GREATER_EQUAL, lower),
    ):
        if kept.any():
            solver.addMConstr(model.matrix[kept.nonzero()[0]], v, sense, ends[kept])
    solver.setMObjective(None, model.objective, 0.0, xc=v, sense=kinds.MAXIMIZE)


def _answer(gurobipy, solver: "gurobipy.Model", prepared: Prepared) -> Raw:
    names = {
        getattr(gurobipy.GRB.Status, name): name
        for name in dir(gurobipy.GRB.Status)
        if not name.startswith("_")
    }
    status = STATUS.get(names.get(solver.Status, ""), MilpStatus.UNKNOWN)
    found = solver.SolCount > 0
    return Raw(
        status,
        _dual_bound(gurobipy, solver) if not prepared.model.is_linear else np.inf,
        float(solver.ObjVal) if found else None,
        np.array(solver.getAttr("X")) if found else None,
        _multipliers(solver, prepared) if prepared.model.is_linear and found else None,
        int(solver.NodeCount),
    )


def _dual_bound(gurobipy, solver: "gurobipy.Model") -> float:
    try:
        bound = float(solver.ObjBound)
    except (AttributeError, gurobipy.GurobiError):
        return np.inf
    return bound if abs(bound) < gurobipy.GRB.INFINITY else np.inf


def _multipliers(solver: "gurobipy.Model", prepared: Prepared) -> np.ndarray:
    """The rows' duals: the constraints come in the three groups of `_fill`."""
    lower, upper = prepared.solver_rows
    duals = np.array(solver.getAttr("Pi"))
    total, taken = np.zeros(prepared.model.rows), 0
    for kept in (
        lower == upper,
        (lower < upper) & np.isfinite(upper),
        (lower < upper) & np.isfinite(lower),
    ):
        count = int(kept.sum())
        total[kept] += duals[taken : taken + count]
        taken += count
    return total
