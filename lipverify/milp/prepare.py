"""What is done to a model before any solver sees it, and to the solver's bound after it.

Solvers work with absolute tolerances on rows, reduced costs and integrality, and drop coefficients
that they find small. Hence:

- Variables, rows and objective are scaled by powers of two (exactly) to magnitude about 1, so that
  one absolute tolerance means the same everywhere.
- Coefficients so small that a solver could drop them are taken out by us: what they can contribute
  moves into the row's ends, outward. Dropping a term silently can tighten a row.
- Rows narrower than `EQUALITY` are handed over as equations: they are affine definitions that are
  wider than a point by our rounding errors alone, far below the solver's own tolerance on rows.

What a bound then rests on. A dual bound is the largest linear-programming bound over the leaves of
the solver's search. Multipliers whose reduced costs have a wrong sign by up to `TOLERANCE` prove a
bound that is wrong by up to TOLERANCE x (sum of the variables' widths, the rows' slack variables
included) (Neumaier and Shcherbina 2004, section 3); `outward` adds SAFETY times that. Tolerances on
rows and integrality only admit more points, so they err on the safe side. That the solver's own
presolve, cuts and pruning are right within these tolerances cannot be checked from outside: a MILP
bound rests on the solver's float arithmetic, unlike those of `certificate.py`.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lipverify.milp.model import MilpModel
from lipverify.numerics import SMALLEST, gamma

TOLERANCE = 1e-9
"""Absolute, on scaled rows, reduced costs and integrality: asked of every solver."""
SAFETY = 2.0
"""Factor on the worst effect of `TOLERANCE` on a dual bound. At least 1."""
RELATIVE_SLACK = 1e-9
"""Added to a dual bound, relative to its magnitude, for sums made in float64 by the solver."""
SMALL = 2.0**-28
"""Scaled coefficients below it are moved into the row's ends. Above every solver's own limit
(HiGHS drops what is below 1e-9, Gurobi below 1e-13)."""
EQUALITY = 1e-11
"""Scaled rows narrower than this are equations for the solver; well below `TOLERANCE`."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A scaled model that contains the original one: every feasible point of that is one here.

    `variables` [columns] and `objective` are the powers of two by which a solution's values and
    objective have to be multiplied to undo the scaling.
    """

    model: MilpModel
    variables: NDArray
    objective: float

    @property
    def solver_rows(self) -> tuple[NDArray, NDArray]:
        """Both ends of the rows, with equations where they are as good as that."""
        lower, upper = self.model.row_lower, self.model.row_upper
        narrow = upper - lower <= EQUALITY
        with np.errstate(invalid="ignore"):
            middle = lower / 2 + upper / 2
        return np.where(narrow, middle, lower), np.where(narrow, middle, upper)

    def outward(self, bound: float) -> float:
        """A solver's dual bound of the scaled model, moved outward, in the original's units."""
        width = self.model.upper - self.model.lower
        reach = float(width.sum() + (abs(self.model.matrix) @ width).sum())
        slack = SAFETY * TOLERANCE * reach + RELATIVE_SLACK * (abs(bound) + abs(self.model.offset))
        return float(np.nextafter((bound + slack) * self.objective, np.inf))


def prepare(model: MilpModel) -> Prepared:
    """Scale by powers of two, then take out what a solver might drop."""
    magnitude = np.maximum(np.abs(model.lower), np.abs(model.upper))
    variables = np.where(model.integral, 1.0, _power_above(magnitude))
    matrix = model.matrix @ sparse.diags_array(variables)
    # Where all inputs are fixed, a program may have rows and no variables: nothing to scale.
    sized = model.rows and model.columns
    largest = abs(matrix).max(axis=1).toarray().ravel() if sized else np.zeros(model.rows)
    rows = 1.0 / _power_above(largest)
    costs = model.objective * variables
    objective = float(_power_above(np.abs(costs).max(initial=0.0)))
    scaled = MilpModel(
        model.lower / variables,
        model.upper / variables,
        model.integral,
        sparse.csr_array(sparse.diags_array(rows) @ matrix) if model.rows else model.matrix,
        model.row_lower * rows,
        model.row_upper * rows,
        costs / objective,
        model.offset / objective,
    )
    return Prepared(_without_small_costs(_without_small(scaled)), variables, objective)


def _power_above(magnitude: NDArray) -> NDArray:
    """The least power of two above each entry; 1 for zero."""
    exponent = np.frexp(magnitude)[1]
    # The range is limited so that neither the power nor its inverse overflows.
    return np.where(magnitude > 0, np.ldexp(1.0, np.clip(exponent, -500, 500)), 1.0)


def _without_small(model: MilpModel) -> MilpModel:
    matrix = model.matrix.tocoo()
    small = np.abs(matrix.data) < SMALL
    if not small.any():
        return model
    row, column, value = matrix.row[small], matrix.col[small], matrix.data[small]
    ends = np.stack([value * model.lower[column], value * model.upper[column]])

    def total(part: NDArray) -> NDArray:
        return np.bincount(row, part, minlength=model.rows)

    error = 2 * gamma(model.columns + 8) * total(np.abs(ends).max(0)) + SMALLEST * total(
        np.ones(len(row))
    )
    kept = sparse.csr_array(
        (matrix.data[~small], (matrix.row[~small], matrix.col[~small])), shape=matrix.shape
    )
    lower = np.nextafter(model.row_lower - (total(ends.max(0)) + error), -np.inf)
    upper = np.nextafter(model.row_upper - (total(ends.min(0)) - error), np.inf)
    touched = total(np.ones(len(row))) > 0
    return replace(
        model,
        matrix=kept,
        row_lower=np.where(touched, lower, model.row_lower),
        row_upper=np.where(touched, upper, model.row_upper),
    )


def _without_small_costs(model: MilpModel) -> MilpModel:
    small = (np.abs(model.objective) < SMALL) & (model.objective != 0)
    if not small.any():
        return model
    costs = model.objective[small]
    parts = np.maximum(costs * model.lower[small], costs * model.upper[small])
    error = 2 * gamma(len(parts) + 8) * float(np.abs(parts).sum()) + SMALLEST * len(parts)
    offset = np.nextafter(model.offset + float(parts.sum()) + error, np.inf)
    # The sum is rounded twice more, by at most an ulp of the offset and of the sum.
    offset += 4 * gamma(1) * (abs(model.offset) + abs(float(parts.sum())))
    return replace(model, objective=np.where(small, 0.0, model.objective), offset=float(offset))
