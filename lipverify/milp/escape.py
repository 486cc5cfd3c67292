"""Letting a solver prune by a value that is of no interest, without trusting its word for it.

Solvers can be told to drop every node whose bound is at or below a cutoff; but if all are dropped
they report "infeasible", and no dual bound. Here the model gets a way out instead: a binary e whose
choice e = 1 makes the objective equal to the cutoff. The maximum becomes max(cutoff, maximum), and
the solver's dual bound is a bound of it, reported in the ordinary way.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from lipverify.milp.model import MilpModel


@dataclass(frozen=True, eq=False)
class Range:
    """The ends of the objective (with offset) over the variables' box, in float64."""

    least: float
    most: float


def objective_range(model: MilpModel) -> Range:
    """Not rounded: for big-M constants, which are moved outward where they are used."""
    ends = np.stack([model.objective * model.lower, model.objective * model.upper])
    return Range(float(ends.min(0).sum()) + model.offset, float(ends.max(0).sum()) + model.offset)


def with_escape(model: MilpModel, value: float) -> MilpModel:
    """A model whose maximum is the larger of `value` and that of `model`.

    Two variables are added behind the model's own: t, now the objective, and the binary e, with
    t <= objective + (value - least) e and t <= most - (most - value) e; `value` lies in the range
    (least, most) of the objective.
    """
    ends = objective_range(model)
    room = 1e-9 * (abs(ends.least) + abs(ends.most) + abs(model.offset))
    least = ends.least - model.offset - room
    most = ends.most - model.offset + room
    value = value - model.offset
    assert least < value < most
    columns = model.columns
    below = sparse.csr_array(np.concatenate([-model.objective, [1.0, -(value - least)]])[None])
    above = sparse.csr_array(np.concatenate([np.zeros(columns), [1.0, most - value]])[None])
    objective = np.zeros(columns + 2)
    objective[columns] = 1.0
    wider = sparse.hstack([model.matrix, sparse.csr_array((model.rows, 2))])
    return MilpModel(
        np.append(model.lower, [least, 0.0]),
        np.append(model.upper, [most, 1.0]),
        np.append(model.integral, [False, True]),
        sparse.csr_array(sparse.vstack([wider, below, above])),
        np.append(model.row_lower, [-np.inf, -np.inf]),
        np.append(model.row_upper, [0.0, most]),
        objective,
        model.offset,
    )
