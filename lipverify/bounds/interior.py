"""Subproblems without inner points, recognised in exact arithmetic.

Where two neurons' kinks coincide (z and -z, sums of others, faces of the region), halves can meet
the region in a set that is not empty, but flat. No input near has that activation pattern, so its
Jacobian is no limit of derivatives: the Clarke Jacobian, and with it the Lipschitz constant and
every sign of a derivative on a region with inner points, does not know it, while the gate-product
set does. Float arithmetic cannot tell flat from thin; weights are dyadic rationals, so Fractions
can. Only asked where a float linear program leaves the question open.

Proof: with every gate below fixed, each split says f_i(x) >= 0 for an affine f_i. Multipliers
beta >= 0 with sum beta_i f_i <= 0 on a box around the region leave f_i = 0 wherever all hold, for
each i with beta_i > 0; if f_i is not identically 0, that is part of a hyperplane.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import cached_property

import numpy as np
from scipy.optimize import linprog

from lipverify.bounds.exact_forward import LARGEST, Row, Side, coefficients, exact_values, is_exact
from lipverify.graph import ForwardGraph
from lipverify.interval import Interval
from lipverify.region import AbstractRegion, Ball, Box

FLAT = 1e-7
"""Where all constraints, scaled to 1, hold by more than this at some point, nothing is flat."""


class ExactForward:
    """Preactivations as exact affine functions of the input, once the gates below are fixed."""

    def __init__(self, forward: ForwardGraph, region: AbstractRegion) -> None:
        self._forward = forward
        self._region = region

    @cached_property
    def applicable(self) -> bool:
        """Whether the network is small, of exact operators, on a region with inner points."""
        region = self._region
        solid = isinstance(region, Ball) and bool((region.radius > 0).all())
        solid |= isinstance(region, Box) and bool((region.lower < region.upper).all())
        return solid and coefficients(self._forward) <= LARGEST and is_exact(self._forward)

    def is_flat(self, sides: Sequence[Side], preactivations: Mapping[str, Interval]) -> bool:
        """Whether side z >= 0 for all `sides` is proved to leave no inner point of the region."""
        if not sides or not self.applicable:
            return False
        functions = self.functions(sides, preactivations)
        moving = [f for f in functions if any(f)]
        return bool(moving) and _refuted(moving, self._region.bounding)

    def functions(self, sides: Sequence[Side], preactivations: Mapping[str, Interval]) -> list[Row]:
        """side z of every split whose gates below are fixed, or do not count."""
        values = exact_values(self._forward, sides, preactivations)
        found = []
        for node, index, side in sides:
            row = values[node][index]
            if row is not None:
                found.append([side * value for value in row])
        return found


def _refuted(functions: list[Row], box: Interval) -> bool:
    """Whether multipliers prove that the functions are >= 0 together on a flat set at most.

    A float linear program says which multipliers and which ends of the box take part; with these
    known, the multipliers solve linear equations, exactly.
    """
    lower = [Fraction(value) for value in box.lower.tolist()]
    upper = [Fraction(value) for value in box.upper.tolist()]
    scales = [max(abs(value) for value in f) for f in functions]
    scaled = [[v / scale for v in f] for f, scale in zip(functions, scales, strict=True)]
    rows = np.array([[float(value) for value in f] for f in scaled])
    count, size = rows.shape[0], rows.shape[1] - 1
    # maximise t: every function is at least t at x
    matrix = np.hstack([-rows[:, 1:], np.ones((count, 1))])
    limits = [*zip(box.lower.tolist(), box.upper.tolist(), strict=True), (None, 1.0)]
    cost = np.zeros(size + 1)
    cost[-1] = -1.0
    solved = linprog(cost, matrix, rows[:, 0], bounds=limits, method="highs-ds")
    if solved.x is None or solved.x[-1] > FLAT:
        return False
    weights = -solved.ineqlin.marginals
    part = [place for place in range(count) if weights[place] > 1e-9]
    at_end = np.abs(solved.lower.marginals[:size]) + np.abs(solved.upper.marginals[:size]) > 1e-9
    equations = [[scaled[i][1 + j] for i in part] for j in range(size) if not at_end[j]]
    beta = _null_vector(equations, len(part))
    if beta is None:
        return False
    total = [
        sum((b * scaled[i][column] for b, i in zip(beta, part, strict=True)), Fraction(0))
        for column in range(size + 1)
    ]
    largest = total[0] + sum(
        (max(c * low, c * high) for c, low, high in zip(total[1:], lower, upper, strict=True)),
        Fraction(0),
    )
    return largest <= 0


def _null_vector(equations: list[list[Fraction]], size: int) -> list[Fraction] | None:
    """The vector > 0 with all equations . vector = 0, if it is unique up to scale."""
    rows = [list(row) for row in equations]
    pivots: list[int] = []
    for column in range(size):
        place = len(pivots)
        found = next((i for i in range(place, len(rows)) if rows[i][column]), None)
        if found is None:
            continue
        rows[place], rows[found] = rows[found], rows[place]
        head = rows[place][column]
        rows[place] = [value / head for value in rows[place]]
        for i, row in enumerate(rows):
            if i != place and row[column]:
                factor = row[column]
                rows[i] = [a - factor * b for a, b in zip(row, rows[place], strict=True)]
        pivots.append(column)
    open_ = [column for column in range(size) if column not in pivots]
    if len(open_) != 1:
        return None
    vector = [Fraction(0)] * size
    vector[open_[0]] = Fraction(1)
    for place, column in enumerate(pivots):
        vector[column] = -rows[place][open_[0]]
    return vector if all(value > 0 for value in vector) else None
