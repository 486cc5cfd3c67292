"""Mixed-integer programs for a query's numbers: proved ends, and points to be looked at.

The proved end is the dual bound, whatever stopped the solver. The solver's points are candidates:
they count once `prove_norm` has proved their value, or the original network has confirmed them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lipverify.bounds.jacobian import JacobianBounds
from lipverify.bounds.preactivation import Preactivations
from lipverify.interval import Interval
from lipverify.milp import MilpStatus, solver_named
from lipverify.milp.bounds import (
    MilpBounds,
    SolveSettings,
    milp_entry_upper,
    milp_norm_upper,
    milp_output_upper,
)
from lipverify.milp.problem import MilpProblem
from lipverify.milp.size import ProgramSize, program_size, unsupported
from lipverify.query import NormQuery
from lipverify.search.job import Job, Stop
from lipverify.search.ladder import BREAKDOWNS
from lipverify.search.objectives import NormPlan
from lipverify.verdict import Reason


@dataclass(frozen=True)
class MilpBudget:
    """`time` in seconds for all programs of a call; `nodes` for each of them."""

    time: float | None
    nodes: int | None


@dataclass(frozen=True, eq=False)
class MilpFound:
    """Proved upper ends [k] (inf: none), points [p, n] of the region, and what it took.

    `stop` is None where every program was solved to the gap, or to where it is of no interest.
    """

    upper: Tensor
    points: Tensor
    nodes: int
    stop: Stop | None


def milp_stage(job: Job) -> str:
    """What the stage is called."""
    return f"milp ({job.config.solver})"


def not_offered(job: Job, query: NormQuery | None = None) -> Stop | None:
    """Why no program answers this question, whatever the bounds: seen before any work."""
    why = unsupported(job.network.graph)
    if why is None and query is not None:
        plain = len(query.rows) == 1 or query.output_norm.name in ("inf", "1")
        if query.input_norm.name not in ("inf", "1") or not plain:
            why = (
                f"mixed-integer programs bound norms from linf or l1 to linf or l1, not from "
                f"l{query.input_norm.name} to l{query.output_norm.name}. Use another method"
            )
    return None if why is None else Stop(Reason.UNSUPPORTED, why)


def size_of(job: Job, preactivations: Preactivations, signs: int) -> ProgramSize:
    return program_size(job.setting.backward, job.region, preactivations, signs)


def too_large(job: Job, size: ProgramSize) -> Stop | None:
    """Why the program cannot even be written within the memory, or the time left."""
    what = f"the mixed-integer program has {size.columns} columns: writing it"
    if size.bytes > job.setting.memory:
        allowed = job.setting.memory
        return Stop(
            Reason.MEMORY, f"{what} needs {size.bytes:.3g} bytes, allowed are {allowed:.3g}"
        )
    left = job.clock.left
    if left is not None and size.seconds > left:
        return Stop(Reason.TIMEOUT, f"{what} takes about {size.seconds:.0f} s, {left:.0f} s left")
    return None


def milp_norm(
    job: Job,
    query: NormQuery,
    plan: NormPlan,
    known: JacobianBounds,
    preactivations: Preactivations,
    floor: float,
    budget: MilpBudget,
    watch: Callable[[float], None],
) -> MilpFound:
    """Upper ends of the plan's objectives; those at or below `floor` are of no interest."""
    settings = _settings(job, floor, budget, watch)
    if query.input_norm.name == "1":
        problem = _problem(job, plan.rows, preactivations, known)
        entries = []
        for objective in plan.objectives:
            assert objective.direction is not None and objective.row is not None
            column = int(objective.direction.abs().argmax())
            entries.append((objective.row, column, int(objective.direction[column])))
        return _run(job, len(entries), lambda: milp_entry_upper(problem, entries, settings))
    assert plan.on_rows
    chosen = torch.tensor([objective.row for objective in plan.objectives])
    rows = plan.rows[chosen]
    mine = None if plan.signed else _of_rows(known, chosen)
    problem = _problem(job, rows, preactivations, mine)
    uppers = torch.tensor(plan.uppers, dtype=torch.float64)
    return _run(
        job, len(rows), lambda: milp_norm_upper(problem, query.input_norm, settings, uppers)
    )


def milp_slope(
    job: Job,
    row: Tensor,
    entry: tuple[int, int],
    preactivations: Preactivations,
    known: JacobianBounds | None,
    threshold: float,
    budget: MilpBudget,
    watch: Callable[[float], None],
) -> MilpFound:
    """Upper end [1] of sign x d(row . f)/d x_index, entry (index, sign)."""
    problem = _problem(job, row, preactivations, known)
    settings = _settings(job, threshold, budget, watch)
    return _run(job, 1, lambda: milp_entry_upper(problem, [(0, *entry)], settings))


def milp_output(
    job: Job,
    rows: Tensor,
    preactivations: Preactivations,
    threshold: float,
    budget: MilpBudget,
    watch: Callable[[float], None],
) -> MilpFound:
    """Upper ends [k] of rows . f."""
    problem = _problem(job, rows, preactivations, None)
    settings = _settings(job, threshold, budget, watch)
    return _run(job, len(rows), lambda: milp_output_upper(problem, settings))


def _settings(
    job: Job,
    floor: float,
    budget: MilpBudget,
    watch: Callable[[float], None],
) -> SolveSettings:
    """An asked gap is in the floor: a solver's gap would be measured from there once more."""
    return SolveSettings(
        solver_named(job.config.solver),
        budget.time,
        job.config.seed,
        floor=floor,
        largest_only=True,
        nodes=budget.nodes,
        watch=watch,
    )


def _problem(
    job: Job, rows: Tensor, preactivations: Preactivations, known: JacobianBounds | None
) -> MilpProblem:
    elements = None if known is None else known.elements
    adjoints = None if known is None else known.adjoints
    return MilpProblem(job.setting.backward, job.region, rows, preactivations, elements, adjoints)


def _of_rows(known: JacobianBounds, rows: Tensor) -> JacobianBounds:
    def pick(interval: Interval) -> Interval:
        return Interval(interval.lower[rows], interval.upper[rows])

    adjoints = known.adjoints and {name: pick(one) for name, one in known.adjoints.items()}
    return JacobianBounds(pick(known.elements), None, adjoints)


def _run(job: Job, count: int, work: Callable[[], MilpBounds]) -> MilpFound:
    nothing = torch.full((count,), torch.inf, dtype=torch.float64)
    try:
        found = work()
    except BREAKDOWNS as error:
        no_points = nothing.new_zeros(0, job.region.size)
        return MilpFound(nothing, no_points, 0, Stop(Reason.NUMERICS, str(error)))
    points = found.points if not len(found.points) else job.region.project(found.points)
    return MilpFound(found.upper, points, max(1, found.nodes), _stop(job, found))


def _stop(job: Job, found: MilpBounds) -> Stop | None:
    if found.complete:
        return None
    statuses = set(found.statuses)
    solver = job.config.solver
    if MilpStatus.SIZE_LIMIT in statuses:
        return Stop(
            Reason.UNSUPPORTED,
            "the program is larger than Gurobi's bundled licence covers (2000 variables, 2000 "
            "rows): install a full licence, or use --solver highs",
        )
    if MilpStatus.TIME_LIMIT in statuses:
        return Stop(Reason.TIMEOUT, f"{solver} was stopped after {found.seconds:.1f} s")
    if MilpStatus.LIMIT in statuses:
        return Stop(Reason.SUBPROBLEMS, f"{solver} was stopped after {found.nodes} nodes")
    if MilpStatus.UNKNOWN in statuses:
        return Stop(Reason.NUMERICS, f"{solver} gave up")
    # An infeasible program contradicts the region, which has points.
    return Stop(Reason.NUMERICS, f"{solver} calls the network infeasible")


__all__ = [
    "MilpBudget",
    "MilpFound",
    "milp_norm",
    "milp_output",
    "milp_slope",
    "milp_stage",
    "not_offered",
    "size_of",
    "too_large",
]
