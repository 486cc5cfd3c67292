"""HiGHS (Huangfu and Hall 2018), the embedded default solver."""

import threading
from types import ModuleType
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np

from lipverify.errors import MissingDependency, NumericalFailure
from lipverify.milp.base import AbstractMilpBackend, Limits, Raw
from lipverify.milp.prepare import TOLERANCE, Prepared
from lipverify.milp.status import MilpStatus

if TYPE_CHECKING:
    import highspy

STATUS: dict[str, MilpStatus] = {
    "kNotset": MilpStatus.UNKNOWN,
    "kLoadError": MilpStatus.UNKNOWN,
    "kModelError": MilpStatus.UNKNOWN,
    "kPresolveError": MilpStatus.UNKNOWN,
    "kSolveError": MilpStatus.UNKNOWN,
    "kPostsolveError": MilpStatus.UNKNOWN,
    # Set for models without columns or rows; the run's numbers are then not filled in.
    "kModelEmpty": MilpStatus.UNKNOWN,
    "kOptimal": MilpStatus.OPTIMAL,
    "kInfeasible": MilpStatus.INFEASIBLE,
    "kUnboundedOrInfeasible": MilpStatus.UNKNOWN,
    "kUnbounded": MilpStatus.UNKNOWN,
    "kObjectiveBound": MilpStatus.UNKNOWN,
    "kObjectiveTarget": MilpStatus.LIMIT,
    "kTimeLimit": MilpStatus.TIME_LIMIT,
    "kIterationLimit": MilpStatus.LIMIT,
    "kUnknown": MilpStatus.UNKNOWN,
    "kSolutionLimit": MilpStatus.LIMIT,
    "kInterrupt": MilpStatus.CUTOFF,
    "kMemoryLimit": MilpStatus.LIMIT,
    "kHighsInterrupt": MilpStatus.CUTOFF,
}
"""By the name of `highspy.HighsModelStatus`. A name that is not here counts as UNKNOWN."""

TELL_SECONDS = 0.5
"""Between two reports of the bound."""
STOP_SECONDS = 10.0
"""A solver that was told to stop is waited for that long."""


@final
class Highs(AbstractMilpBackend):
    name: ClassVar[str] = "highs"

    def require(self) -> None:
        _package()

    def run(self, prepared: Prepared, limits: Limits) -> Raw:
        highspy = _package()
        solver = highspy.Highs()
        _set_options(solver, limits)
        accepted = solver.passModel(_program(highspy, prepared))
        if accepted == highspy.HighsStatus.kError:
            raise NumericalFailure("HiGHS refuses the mixed-integer program")
        if prepared.model.is_linear:
            solver.run()
        else:
            _run_watched(solver, limits)
        return _answer(highspy, solver, prepared)


def _package() -> ModuleType:
    try:
        import highspy
    except ImportError as error:
        raise MissingDependency(
            "the solver HiGHS needs the package highspy: pip install highspy"
        ) from error
    return highspy


def _set_options(solver: "highspy.Highs", limits: Limits) -> None:
    options: dict[str, bool | int | float | str] = {
        "output_flag": False,
        "threads": 1,
        "parallel": "off",
        "random_seed": limits.seed,
        "primal_feasibility_tolerance": TOLERANCE,
        "dual_feasibility_tolerance": TOLERANCE,
        "mip_feasibility_tolerance": TOLERANCE,
        "mip_rel_gap": limits.gap,
        "mip_abs_gap": 0.0,
    }
    if limits.time is not None:
        options["time_limit"] = limits.time
    if limits.nodes is not None:
        options["mip_max_nodes"] = limits.nodes
    for name, value in options.items():
        if str(solver.setOptionValue(name, value)).endswith("kError"):
            raise NumericalFailure(f"HiGHS refuses the option {name} = {value}")


def _program(highspy, prepared: Prepared) -> "highspy.HighsLp":
    model = prepared.model
    program = highspy.HighsLp()
    program.num_col_, program.num_row_ = model.columns, model.rows
    program.sense_ = highspy.ObjSense.kMaximize
    program.col_cost_ = model.objective
    program.col_lower_, program.col_upper_ = model.lower, model.upper
    program.row_lower_, program.row_upper_ = prepared.solver_rows
    matrix = program.a_matrix_
    matrix.format_ = highspy.MatrixFormat.kRowwise
    matrix.num_col_, matrix.num_row_ = model.columns, model.rows
    matrix.start_ = model.matrix.indptr.astype(np.int32)
    matrix.index_ = model.matrix.indices.astype(np.int32)
    matrix.value_ = model.matrix.data
    if not model.is_linear:
        kinds = highspy.HighsVarType
        program.integrality_ = [
            kinds.kInteger if integral else kinds.kContinuous for integral in model.integral
        ]
    return program


def _run_watched(solver: "highspy.Highs", limits: Limits) -> None:
    """Run in a thread of its own, until done, at the cutoff, or interrupted.

    Beside it this thread stays awake: for Ctrl-C, which would otherwise wait for the solver's end,
    and to tell the bound. HiGHS' own `objective_bound` is not used for the cutoff: it prunes by
    it, and what is then reported about a model whose nodes were all pruned is no dual bound.
    """
    best = [np.inf]
    stopping, finished = threading.Event(), threading.Event()

    def judge(event) -> None:
        best[0] = min(best[0], event.data_out.mip_dual_bound)
        reached = limits.cutoff is not None and event.data_out.mip_dual_bound <= limits.cutoff
        if reached or stopping.is_set():
            event.data_in.user_interrupt = True

    def work() -> None:
        try:
            solver.run()
        finally:
            # HiGHS keeps a pool for the thread that ran it; left behind, it aborts the process.
            solver.resetGlobalScheduler(True)
            finished.set()

    solver.cbMipInterrupt.subscribe(judge)
    # The event, not the thread, is waited for: Ctrl-C makes Python 3.11 take threads for ended.
    threading.Thread(target=work, daemon=True).start()
    try:
        while not finished.wait(TELL_SECONDS):
            if limits.watch is not None:
                limits.watch(best[0])
    except BaseException:
        stopping.set()
        finished.wait(STOP_SECONDS)
        raise


def _answer(highspy, solver: "highspy.Highs", prepared: Prepared) -> Raw:
    info, solution = solver.getInfo(), solver.getSolution()
    status = STATUS.get(solver.getModelStatus().name, MilpStatus.UNKNOWN)
    feasible = info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
    point = np.array(solution.col_value) if feasible and solution.value_valid else None
    linear = prepared.model.is_linear
    return Raw(
        status,
        info.mip_dual_bound,
        float(info.objective_function_value) if point is not None else None,
        point,
        np.array(solution.row_dual) if linear and solution.dual_valid else None,
        max(0, int(info.mip_node_count)),
    )
