"""Proved upper ends of row norms, Jacobian entries and outputs by mixed-integer programming.

Each function solves one program per row or entry, the one that may be largest first. Upper ends
hold whatever stopped the solver. Points are candidates only: whoever uses them evaluates the
network at them.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lipverify.errors import NumericalFailure, UnsupportedNorm
from lipverify.graph import ForwardGraph, evaluate_intervals, jacobian_enclosure
from lipverify.interval import Interval
from lipverify.milp.backward_part import JacobianPart, encode_jacobian
from lipverify.milp.base import AbstractMilpBackend
from lipverify.milp.encode import encode_entry, encode_norm_row, encode_output
from lipverify.milp.forward_part import ForwardPart, encode_forward
from lipverify.milp.leaf import inner_point
from lipverify.milp.model import MilpModel
from lipverify.milp.problem import MilpProblem
from lipverify.milp.status import MilpResult, MilpStatus
from lipverify.norms import AbstractNorm
from lipverify.numerics import DTYPE, gamma, round_up
from lipverify.operators import Dense

POINT_SECONDS = 5.0
"""Limit of the linear program that moves a solution into its linear region."""


@dataclass(frozen=True, eq=False)
class SolveSettings:
    """How the programs of one call are solved; `time` is in seconds for all of them together."""

    solver: AbstractMilpBackend
    time: float | None = None
    seed: int = 0
    gap: float | None = None
    """Relative gap at which a program may stop; None is the default of `base.py`."""
    floor: float = float("-inf")
    """Values at or below it are of no interest: a program stops once its bound is there."""
    largest_only: bool = False
    """Only the largest of the asked maxima matters: values attained raise the floor of all."""
    nodes: int | None = None
    """Limit of branch and bound, for all programs together."""
    watch: Callable[[float], None] | None = None
    """Told what is proved of the largest of the asked maxima, while programs run."""


@dataclass(frozen=True, eq=False)
class MilpBounds:
    """Upper ends [k] of the asked maxima (inf: none proved; -inf: no point satisfies the splits).

    `points` [p, n] lie in the region's bounding box: inputs at which large values were found.
    `statuses` holds one entry per program.
    """

    upper: Tensor
    points: Tensor
    statuses: tuple[MilpStatus, ...]
    seconds: float
    nodes: int

    @property
    def complete(self) -> bool:
        """Whether every program was solved to the gap, or down to the floor."""
        return all(status in (MilpStatus.OPTIMAL, MilpStatus.CUTOFF) for status in self.statuses)


@dataclass(frozen=True, eq=False)
class _Task:
    """One program: its maximum is part of the asked maximum `group`, and at most `known`."""

    group: int
    known: float
    model: Callable[[], MilpModel]
    attained: Callable[[Tensor], float]
    """A number that the maximum is proved to reach at a point [n]."""


def milp_norm_upper(
    problem: MilpProblem,
    input_norm: AbstractNorm,
    settings: SolveSettings,
    known: Tensor | None = None,
) -> MilpBounds:
    """Upper ends [r] of the norm of each row of J that is dual to `input_norm`.

    For the linf norm, one program per row (the l1 norm); for the l1 norm, one per entry and sign
    that may be the largest. `known` [r]: proved upper ends of these norms from elsewhere.
    `UnsupportedNorm` for l2, which is not linear.
    """
    dual = input_norm.dual.name
    if dual not in ("1", "inf"):
        raise UnsupportedNorm(
            f"mixed-integer programs need the input norm inf or 1, not {input_norm.name}"
        )
    part = encode_forward(problem)
    if part is None:
        return _nothing(problem, len(problem.rows))
    ceilings = [float("inf")] * len(problem.rows) if known is None else known.tolist()
    tasks: list[_Task] = []
    for row in range(len(problem.rows)):
        if dual == "1":
            tasks.append(_norm_task(part, row, ceilings[row]))
            continue
        jacobian = encode_jacobian(part, row)
        for index in range(problem.forward.input_size):
            tasks += [_entry_task(part, jacobian, row, row, index, s) for s in (1, -1)]
    bounds = _solve_all(part, len(problem.rows), tasks, settings)
    return bounds if known is None else replace(bounds, upper=torch.minimum(bounds.upper, known))


def milp_entry_upper(
    problem: MilpProblem, entries: Sequence[tuple[int, int, int]], settings: SolveSettings
) -> MilpBounds:
    """Upper ends [k] of sign x J[row, index], for each (row, index, sign)."""
    part = encode_forward(problem)
    if part is None:
        return _nothing(problem, len(entries))
    jacobians = {row: encode_jacobian(part, row) for row in {row for row, _, _ in entries}}
    tasks = [
        _entry_task(part, jacobians[row], group, row, index, sign)
        for group, (row, index, sign) in enumerate(entries)
    ]
    return _solve_all(part, len(entries), tasks, settings)


def milp_entry_bounds(
    problem: MilpProblem, entries: Sequence[tuple[int, int]], settings: SolveSettings
) -> Interval:
    """Intervals [k] of J[row, index], for each (row, index); NumericalFailure if none is left."""
    both = [(row, index, sign) for sign in (1, -1) for row, index in entries]
    upper = milp_entry_upper(problem, both, settings).upper
    high, low = upper[: len(entries)], -upper[len(entries) :]
    if not bool((low <= high).all()):
        raise NumericalFailure("no point satisfies the splits: the entries have no bounds")
    return Interval(low, high)


def milp_output_upper(problem: MilpProblem, settings: SolveSettings) -> MilpBounds:
    """Upper ends [r] of rows . f(x)."""
    part = encode_forward(problem)
    if part is None:
        return _nothing(problem, len(problem.rows))

    def task(row: int) -> _Task:
        weights = problem.rows[row]

        def attained(x: Tensor) -> float:
            start = x.reshape(1, *problem.forward.input_shape)
            values = evaluate_intervals(
                problem.forward, {ForwardGraph.INPUT: Interval(start, start)}
            )
            output = values[problem.forward.output].reshape(1, -1)
            return float(Dense(weights.reshape(1, -1)).interval(output).lower)

        return _Task(row, float("inf"), lambda: encode_output(part, weights), attained)

    tasks = [task(row) for row in range(len(problem.rows))]
    return _solve_all(part, len(tasks), tasks, settings)


def _norm_task(part: ForwardPart, row: int, ceiling: float) -> _Task:
    magnitude = part.problem.jacobian.elements.magnitude[row]
    known = round_up(magnitude.sum() * (1 + 2 * gamma(len(magnitude))))
    return _Task(
        row,
        min(float(known), ceiling),
        lambda: encode_norm_row(part, encode_jacobian(part, row), row),
        lambda x: float(_least(part.problem, x, row).sum()),
    )


def _entry_task(
    part: ForwardPart, jacobian: JacobianPart, group: int, row: int, index: int, sign: int
) -> _Task:
    elements = part.problem.jacobian.elements
    known = elements.upper[row, index] if sign > 0 else -elements.lower[row, index]

    def attained(x: Tensor) -> float:
        at = jacobian_enclosure(part.problem.backward, x, part.problem.rows[row : row + 1])
        return float(at.lower[0, index] if sign > 0 else -at.upper[0, index])

    return _Task(group, float(known), lambda: encode_entry(jacobian, index, sign), attained)


def _least(problem: MilpProblem, x: Tensor, row: int) -> Tensor:
    """The smallest |J[row, i]| over the Clarke Jacobian at x: [n]."""
    at = jacobian_enclosure(problem.backward, x, problem.rows[row : row + 1])
    return torch.maximum(at.lower, -at.upper).clamp(min=0.0)[0]


def _solve_all(
    part: ForwardPart, groups: int, tasks: Sequence[_Task], settings: SolveSettings
) -> MilpBounds:
    started = time.monotonic()
    upper = torch.full((groups,), -torch.inf, dtype=DTYPE)
    floors = [settings.floor] * groups
    points: list[Tensor] = []
    statuses: list[MilpStatus] = []
    nodes = 0
    ordered = sorted(tasks, key=lambda task: -task.known)

    def told(task: _Task, place: int) -> Callable[[float], None] | None:
        watch = settings.watch
        if watch is None:
            return None
        others = [float(upper.max()), *(later.known for later in ordered[place + 1 : place + 2])]
        return lambda bound: watch(max(min(bound, task.known), *others))

    for place, task in enumerate(ordered):
        floor = max(floors) if settings.largest_only else floors[task.group]
        nodes_left = None if settings.nodes is None else settings.nodes - nodes
        if task.known <= floor:
            bound = task.known
            statuses.append(MilpStatus.CUTOFF)
        elif nodes_left is not None and nodes_left <= 0:
            bound = task.known
            statuses.append(MilpStatus.LIMIT)
        else:
            left = [later for later in ordered[place:] if later.known > floor]
            share = _share(settings, started, len(left))
            cutoff = floor if floor > -torch.inf else None
            result = settings.solver.solve(
                task.model(),
                share,
                settings.seed,
                cutoff,
                settings.gap,
                nodes_left,
                told(task, place),
            )
            bound = min(task.known, result.bound)
            nodes += max(1, result.nodes)
            statuses.append(result.status)
            for x in _candidates(part, result, settings):
                points.append(x)
                value = _checked_value(part.problem, task, x, bound)
                floors[task.group] = max(floors[task.group], value)
        upper[task.group] = max(float(upper[task.group]), bound)
    stacked = torch.stack(points) if points else upper.new_zeros(0, part.problem.forward.input_size)
    return MilpBounds(upper, stacked, tuple(statuses), time.monotonic() - started, nodes)


def _candidates(part: ForwardPart, result: MilpResult, settings: SolveSettings) -> list[Tensor]:
    """Inputs of a solution: its own, and one inside the linear region that its binaries name.

    Solutions tend to lie on the edge of their linear region, where rounding decides which gate an
    evaluation sees.
    """
    if result.point is None:
        return []
    named = [
        (part.problem.forward[name].inputs[0], index, 1 if result.point[column] > 0.5 else -1)
        for name, columns in part.gates.items()
        for index, column in columns.items()
    ]
    cell = replace(part.problem, splits=part.problem.splits + tuple(named))
    inside = inner_point(cell, settings.solver, POINT_SECONDS, settings.seed)
    own = part.point(result.point)
    return [own] if inside is None else [own, inside]


def _checked_value(problem: MilpProblem, task: _Task, x: Tensor, bound: float) -> float:
    """What is attained at x; `NumericalFailure` if that refutes the bound just proved.

    With splits, x may lie outside of them by the solver's tolerance: nothing is attained then.
    """
    if problem.splits or not bool(problem.region.contains(x)):
        return float("-inf")
    value = task.attained(x)
    # The sum of a row's proved entries is rounded.
    if value > bound + 1e-12 * (abs(bound) + abs(value)):
        raise NumericalFailure(
            f"the solver claims a maximum of at most {bound}, but {value} is attained"
        )
    return value


def _share(settings: SolveSettings, started: float, left: int) -> float | None:
    """Seconds for the next of `left` programs: half of what is left, where one may settle all."""
    if settings.time is None:
        return None
    parts = min(left, 2) if settings.largest_only else left
    return (settings.time - (time.monotonic() - started)) / parts


def _nothing(problem: MilpProblem, groups: int) -> MilpBounds:
    empty = torch.full((groups,), -torch.inf, dtype=DTYPE)
    return MilpBounds(empty, empty.new_zeros(0, problem.forward.input_size), (), 0.0, 0)


__all__ = [
    "MilpBounds",
    "MilpResult",
    "SolveSettings",
    "milp_entry_bounds",
    "milp_entry_upper",
    "milp_norm_upper",
    "milp_output_upper",
]
