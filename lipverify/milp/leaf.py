"""Whether a subproblem's splits leave any point of the region: by linear programs.

The network under the splits is relaxed: neurons that are still unstable become triangles. What is
proved is proved by us: the solver's row multipliers are checked by weak duality in outward rounded
arithmetic (`certificate.py`), its status words are not read.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from torch import Tensor

from lipverify.graph import ForwardGraph, evaluate_intervals
from lipverify.interval import Interval
from lipverify.milp.base import DEFAULT_GAP, AbstractMilpBackend, Limits
from lipverify.milp.certificate import lp_upper
from lipverify.milp.forward_part import ForwardPart, encode_forward
from lipverify.milp.model import MilpModel
from lipverify.milp.prepare import Prepared, prepare
from lipverify.milp.problem import MilpProblem

MARGIN_LIMIT = 1.0
"""Points are sought up to this far behind the splits, in units of the scaled rows."""


@dataclass(frozen=True, eq=False)
class LeafCheck:
    """`empty`: proved that no input of the region satisfies the splits.

    `point` [n]: an input of the region at which every split is proved to hold. Neither: unknown.
    """

    empty: bool
    point: Tensor | None


def is_empty(
    problem: MilpProblem,
    solver: AbstractMilpBackend,
    time_limit: float | None = None,
    seed: int = 0,
) -> LeafCheck:
    """Try to prove that no input satisfies `problem.splits`; else to find one that does.

    At most two linear programs of `time_limit` seconds each. Rows of the problem are not used.
    """
    part = encode_forward(problem, relaxed=True)
    if part is None:
        return LeafCheck(True, None)
    if time_limit is not None and not time_limit > 0:
        return LeafCheck(False, None)
    scaled = prepare(part.builder.build(np.zeros(0), 0.0))
    limits = Limits(time_limit, seed, None, DEFAULT_GAP)
    if scaled.model.rows and _refuted(scaled.model, solver, limits):
        return LeafCheck(True, None)
    return LeafCheck(False, _inner_point(part, scaled, solver, limits))


def inner_point(
    problem: MilpProblem,
    solver: AbstractMilpBackend,
    time_limit: float | None = None,
    seed: int = 0,
) -> Tensor | None:
    """An input [n] at which all splits are proved to hold, as far behind them as possible.

    None where the program, its solver or the proof does not give one: that says nothing.
    """
    part = encode_forward(problem, relaxed=True)
    if part is None or (time_limit is not None and not time_limit > 0):
        return None
    scaled = prepare(part.builder.build(np.zeros(0), 0.0))
    return _inner_point(part, scaled, solver, Limits(time_limit, seed, None, DEFAULT_GAP))


def _refuted(model: MilpModel, solver: AbstractMilpBackend, limits: Limits) -> bool:
    """Proof that the rows cannot be satisfied, from the multipliers of the least violation t.

    The elastic program, minimise t >= 0 with every row relaxed by t, is always feasible, so any
    solver has multipliers for it. Those of its upper and lower rows, added, refute the model.
    """
    raw = solver.run(as_it_is(elastic(model)), limits)
    if raw.multipliers is None:
        return False
    both = raw.multipliers.reshape(2, model.rows).sum(0)
    return any(lp_upper(model, sign * both) < 0 for sign in (1.0, -1.0))


def as_it_is(model: MilpModel) -> Prepared:
    """A model made from a scaled one: no second scaling."""
    return Prepared(model, np.ones(model.columns), 1.0)


def elastic(model: MilpModel) -> MilpModel:
    """Maximise -t; the rows matrix v - t <= row_upper, then the rows matrix v + t >= row_lower."""
    magnitude = np.maximum(np.abs(model.lower), np.abs(model.upper))
    ends = [np.where(np.isfinite(end), end, 0.0) for end in (model.row_lower, model.row_upper)]
    most = float((abs(model.matrix) @ magnitude + np.abs(ends).sum(0)).max()) + 1.0
    t = np.ones((model.rows, 1))
    infinite = np.full(model.rows, np.inf)
    objective = np.zeros(model.columns + 1)
    objective[-1] = -1.0
    return MilpModel(
        np.append(model.lower, 0.0),
        np.append(model.upper, most),
        np.zeros(model.columns + 1, dtype=bool),
        sparse.csr_array(
            sparse.vstack([sparse.hstack([model.matrix, -t]), sparse.hstack([model.matrix, t])])
        ),
        np.concatenate([-infinite, model.row_lower]),
        np.concatenate([model.row_upper, infinite]),
        objective,
        0.0,
    )


def _inner_point(
    part: ForwardPart, scaled: Prepared, solver: AbstractMilpBackend, limits: Limits
) -> Tensor | None:
    """An input at which every split is proved to hold, as far behind all of them as possible."""
    program = _with_margin(scaled.model, part)
    values = solver.run(as_it_is(program), limits).point
    if values is None:
        return None
    x = part.point(values[:-1] * scaled.variables)
    return x if _satisfies(part.problem, x) else None


def _with_margin(model: MilpModel, part: ForwardPart) -> MilpModel:
    """Maximise s: every split's row holds with room s."""
    sides = np.zeros(model.rows)
    for split in part.split_rows:
        sides[split.row] = split.side
    objective = np.zeros(model.columns + 1)
    objective[-1] = 1.0
    return replace(
        model,
        lower=np.append(model.lower, 0.0),
        upper=np.append(model.upper, MARGIN_LIMIT),
        integral=np.zeros(model.columns + 1, dtype=bool),
        # z + s <= upper end for side -1, z - s >= lower end for side +1.
        matrix=sparse.csr_array(sparse.hstack([model.matrix, -sides[:, None]])),
        row_lower=np.where(sides < 0, -np.inf, model.row_lower),
        row_upper=np.where(sides > 0, np.inf, model.row_upper),
        objective=objective,
    )


def _satisfies(problem: MilpProblem, x: Tensor) -> bool:
    """Whether interval arithmetic at the point proves all splits, and the region holds it."""
    start = x.reshape(1, *problem.forward.input_shape)
    values = evaluate_intervals(problem.forward, {ForwardGraph.INPUT: Interval(start, start)})
    for name, index, side in problem.splits:
        lower, upper = values[name].lower.flatten()[index], values[name].upper.flatten()[index]
        if not bool(upper <= 0 if side < 0 else lower >= 0):
            return False
    return bool(problem.region.contains(x))
