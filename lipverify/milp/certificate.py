"""Bounds of linear programs that are proved by us, whatever a solver says.

Any row multipliers give a bound of a linear program's maximum by weak duality; with every variable
in a finite box, wrong or inexact multipliers only make it weaker (Neumaier and Shcherbina 2004,
"Safe bounds in linear and mixed-integer linear programming", section 3).
"""

import numpy as np
from numpy.typing import NDArray

from lipverify.milp.model import MilpModel
from lipverify.numerics import SMALLEST, gamma


def lp_upper(model: MilpModel, multipliers: NDArray) -> float:
    """A number that no feasible point's objective exceeds, rounded up; from multipliers [rows].

    With w the multipliers, objective . v = (objective - A^T w) . v + w . A v; the first part is
    maximised over the box, the second over the rows' ends: the upper one where w > 0. Entries of w
    that ask for an infinite end, or are NaN, count as 0. Integrality is not used. A result below 0
    for a zero objective (and offset) proves that the model has no feasible point.
    """
    w = _usable(model, multipliers)
    transposed, absolute = model.matrix.T, abs(model.matrix).T
    reduced = model.objective - transposed @ w
    terms = int(np.diff(model.matrix.tocsc().indptr).max(initial=0)) + 4
    error = 2 * gamma(terms) * (np.abs(model.objective) + absolute @ np.abs(w)) + SMALLEST
    magnitude = np.maximum(np.abs(model.lower), np.abs(model.upper))
    over_box = np.maximum(reduced * model.lower, reduced * model.upper) + error * magnitude
    ends = np.where(w > 0, model.row_upper, np.where(w < 0, model.row_lower, 0.0))
    over_rows = w * ends
    parts = np.concatenate([over_box, over_rows, [model.offset]])
    slack = 2 * gamma(len(parts) + 8) * float(np.abs(parts).sum()) + SMALLEST * len(parts)
    total = float(parts.sum()) + slack
    return float(np.nextafter(total, np.inf)) if np.isfinite(total) else float("inf")


def _usable(model: MilpModel, multipliers: NDArray) -> NDArray:
    finite = np.isfinite(multipliers)
    w = np.where(finite, multipliers, 0.0)
    hopeless = ((w > 0) & np.isinf(model.row_upper)) | ((w < 0) & np.isinf(model.row_lower))
    return np.where(hopeless, 0.0, w)
