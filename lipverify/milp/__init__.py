"""Exact bounds by mixed-integer programming. A new solver is one file and one line in SOLVERS."""

from lipverify.errors import UnknownMethod
from lipverify.milp.base import AbstractMilpBackend
from lipverify.milp.gurobi import Gurobi
from lipverify.milp.highs import Highs
from lipverify.milp.model import MilpModel, ModelBuilder
from lipverify.milp.status import MilpResult, MilpStatus

SOLVERS: dict[str, AbstractMilpBackend] = {solver.name: solver for solver in (Highs(), Gurobi())}

__all__ = [
    "SOLVERS",
    "AbstractMilpBackend",
    "MilpModel",
    "MilpResult",
    "MilpStatus",
    "ModelBuilder",
    "solver_named",
]


def solver_named(name: str) -> AbstractMilpBackend:
    if name not in SOLVERS:
        raise UnknownMethod(f"solver {name!r} is not offered; choose one of {', '.join(SOLVERS)}")
    return SOLVERS[name]
