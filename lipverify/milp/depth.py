"""How deep outputs may lie in an unsafe clause, as a program; linear where all gates are fixed.

Maximise t subject to t <= -(row y + offset) for every row of the clause.
"""

from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from lipverify.milp.base import DEFAULT_GAP, AbstractMilpBackend, Limits
from lipverify.milp.certificate import lp_upper
from lipverify.milp.forms import Form, affine, reach_of, up
from lipverify.milp.forward_part import ForwardPart, encode_forward
from lipverify.milp.leaf import as_it_is, elastic
from lipverify.milp.model import MilpModel
from lipverify.milp.prepare import prepare
from lipverify.milp.problem import MilpProblem
from lipverify.operators import Dense
from lipverify.query_output import Clause

PRICE = 1e4
"""Of a violated row, in the largest values of the objective: more costs digits of the bound."""


@dataclass(frozen=True, eq=False)
class DepthFound:
    """A proved upper end (-inf: the splits are empty), and an input [n] that may attain it."""

    upper: float
    point: Tensor | None
    nodes: int


def encode_depth(part: ForwardPart, clause: Clause) -> MilpModel:
    """Maximise the clause's depth over the inputs of the model."""
    builder = part.builder.copy()
    flat = Form(part.output.coefficients.flatten(1), part.output.error.flatten(1))
    rows = affine(Dense(clause.coefficients, clause.offsets), [flat], builder.magnitudes())
    largest = float((reach_of(rows, builder.magnitudes()) + rows.error).max())
    t = builder.variable(-largest, largest)
    for index in range(len(clause)):
        entry = rows.entry(index)
        builder.row(
            np.append(entry.columns, t),
            np.append(entry.values, 1.0),
            -np.inf,
            up(-entry.constant, entry),
        )
    objective = np.zeros(builder.columns)
    objective[t] = 1.0
    return builder.build(objective, 0.0)


def depth_upper(
    problem: MilpProblem,
    clause: Clause,
    solver: AbstractMilpBackend,
    time_limit: float | None,
    seed: int,
    *,
    relaxed: bool,
    cutoff: float | None = None,
    nodes: int | None = None,
) -> DepthFound:
    """The clause's depth over the region's box under the splits, from above.

    With `relaxed` every open gate is its triangle relaxation, and the end is proved by us; without,
    it rests on what `milp.prepare` says. `cutoff`: depths at or below it are of no interest.
    """
    part = encode_forward(problem, relaxed=relaxed)
    if part is None:
        return DepthFound(-float("inf"), None, 0)
    model = encode_depth(part, clause)
    result = solver.solve(model, time_limit, seed, cutoff, None, None if relaxed else nodes)
    if result.bound == np.inf and relaxed:
        upper = _priced_upper(model, solver, Limits(time_limit, seed, None, DEFAULT_GAP))
        return DepthFound(upper, None, 1)
    point = None if result.point is None else part.point(result.point)
    return DepthFound(result.bound, point, max(1, result.nodes))


def _priced_upper(model: MilpModel, solver: AbstractMilpBackend, limits: Limits) -> float:
    """A proved upper end of a linear program that may have no solution.

    Every row may be violated, at a price: then there always are multipliers, whose bound holds for
    the program itself.
    """
    scaled = prepare(model)
    inner = scaled.model
    largest = np.maximum(np.abs(inner.lower), np.abs(inner.upper))
    price = PRICE * float(np.abs(inner.objective) @ largest)
    priced = elastic(inner)
    priced = replace(priced, objective=np.append(inner.objective, -price), offset=inner.offset)
    raw = solver.run(as_it_is(priced), limits)
    if raw.multipliers is None:
        return float("inf")
    both = raw.multipliers.reshape(2, inner.rows).sum(0)
    found = [lp_upper(inner, sign * both) * scaled.objective for sign in (1.0, -1.0)]
    return min(found)


__all__ = ["DepthFound", "depth_upper", "encode_depth"]
