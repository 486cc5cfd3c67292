"""Gurobi, the optional solver: the only file that knows gurobipy."""

import time
from collections.abc import Callable
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

TELL_SECONDS = 0.5
"""Between two reports of the bound."""
SIZE_LIMIT_ERROR = 10010
"""GRB_ERROR_SIZE_LIMIT_EXCEEDED: the licence of the pip package covers 2000 variables and rows."""


@final
class Gurobi(AbstractMilpBackend):
    name: ClassVar[str] = "gurobi"

    def require(self) -> None:
        _environment().close()

    def run(self, prepared: Prepared, limits: Limits) -> Raw:
        """SIZE_LIMIT beyond the licence."""
        environment = _environment()
        import gurobipy

        with environment, gurobipy.Model(env=environment) as solver:
            _set_parameters(solver, limits)
            _fill(gurobipy, solver, prepared)
            try:
                solver.optimize(_teller(gurobipy, limits))
            except gurobipy.GurobiError as error:
                if error.errno != SIZE_LIMIT_ERROR:
                    raise NumericalFailure(f"Gurobi breaks off: {error}") from error
                return Raw(MilpStatus.SIZE_LIMIT, np.inf, None, None, None, 0)
            if solver.Status == gurobipy.GRB.INTERRUPTED:
                # Gurobi takes Ctrl-C for itself; nothing else here makes it stop like that.
                raise KeyboardInterrupt
            return _answer(gurobipy, solver, prepared)


def _environment() -> "gurobipy.Env":
    """`MissingDependency` without the package or a licence."""
    try:
        import gurobipy
    except ImportError as error:
        raise MissingDependency(
            "the solver Gurobi needs the package gurobipy: pip install lipverify[gurobi]"
        ) from error
    try:
        return gurobipy.Env(params={"OutputFlag": 0})
    except gurobipy.GurobiError as error:
        raise MissingDependency(
            f"Gurobi does not start: {error}. Install a licence, or use the solver 'highs'"
        ) from error


def _teller(gurobipy, limits: Limits) -> "Callable[[gurobipy.Model, int], None]":
    told = time.monotonic()

    def tell(solver: "gurobipy.Model", where: int) -> None:
        nonlocal told
        if where != gurobipy.GRB.Callback.MIP or time.monotonic() - told < TELL_SECONDS:
            return
        told = time.monotonic()
        if limits.watch is not None:
            limits.watch(float(solver.cbGet(gurobipy.GRB.Callback.MIP_OBJBND)))

    return tell


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
    if limits.nodes is not None:
        parameters["NodeLimit"] = limits.nodes
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
