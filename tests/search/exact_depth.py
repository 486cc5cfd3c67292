"""The exact largest depth of a question: enumerated regions, rational vertices, checked duals.

Independent of the package: the piece of the network on each linear region is composed from the
steps' own functions (whose weights are multiples of 1/64, so that float64 columns are exact as long
as they fit in 53 bits, which is checked), and the optimum of a piece is the solution of the linear
equations of its active constraints, in Fractions, with multipliers >= 0 that prove it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations

import numpy as np
import torch
from scipy.optimize import linprog

from lipverify.query_output import Clause
from tests.oracles.networks import Tiny
from tests.oracles.regions import LinearRegion, Regions

Row = list[Fraction]
NEAR = 1e-7
"""Regions whose depth comes within this of the largest are solved exactly; constraints with less
slack than this may be active."""


@dataclass(frozen=True)
class Exact:
    """The largest depth, and a point [n] that attains it, of the clause `clause`."""

    depth: Fraction
    point: tuple[Fraction, ...]
    clause: Clause


def exact_depth(tiny: Tiny, regions: Regions, clauses: Sequence[Clause]) -> Exact:
    """The largest depth of any of the clauses over the box."""
    found = [
        (float_depth(r, regions, clause), r, clause) for clause in clauses for r in regions.all
    ]
    largest = max(depth for (depth, _), _, _ in found)
    exact = [
        _piece_depth(tiny, regions, region, clause, point)
        for (depth, point), region, clause in found
        if depth > largest - NEAR
    ]
    return max(exact, key=lambda one: one.depth)


def float_depth(region: LinearRegion, regions: Regions, clause: Clause) -> tuple[float, np.ndarray]:
    """By a float program over (x, t): the depth, and the point."""
    center = (regions.box.lower / 2 + regions.box.upper / 2).numpy()
    radius = (regions.box.upper / 2 - regions.box.lower / 2).numpy()
    rows, offsets = clause.coefficients.numpy(), clause.offsets.numpy()
    slopes = rows @ region.jacobian
    constants = rows @ (region.offset + region.jacobian @ center) + offsets
    n = slopes.shape[1]
    above = np.vstack(
        [
            np.hstack([slopes * radius, np.ones((len(rows), 1))]),
            np.hstack([-region.rows, np.zeros((len(region.rows), 1))]),
        ]
    )
    limits = np.concatenate([-constants, region.constants])
    cost = np.append(np.zeros(n), -1.0)
    box = [(-1, 1)] * n + [(None, None)]
    solved = linprog(cost, A_ub=above, b_ub=limits, bounds=box, method="highs")
    assert solved.status == 0, solved.message
    return -solved.fun, center + radius * solved.x[:-1]


def _piece_depth(
    tiny: Tiny, regions: Regions, region: LinearRegion, clause: Clause, point: np.ndarray
) -> Exact:
    """Maximise t over the piece: constraints a (1, x) + b t >= 0, rows of length n + 2."""
    n = tiny.inputs
    signs, outputs = exact_piece(tiny, region)
    constraints = [[*row, Fraction(0)] for row in signs if any(row[1:])]
    for weights, offset in zip(clause.coefficients.tolist(), clause.offsets.tolist(), strict=True):
        total = [Fraction(offset)] + [Fraction(0)] * n
        for weight, output in zip(weights, outputs, strict=True):
            total = [a + Fraction(weight) * b for a, b in zip(total, output, strict=True)]
        constraints.append([*(-value for value in total), Fraction(-1)])
    ends = zip(regions.box.lower.tolist(), regions.box.upper.tolist(), strict=True)
    for index, (low, high) in enumerate(ends):
        unit = [Fraction(int(k == index)) for k in range(n)]
        constraints.append([-Fraction(low), *unit, Fraction(0)])
        constraints.append([Fraction(high), *(-value for value in unit), Fraction(0)])
    t = min(_at(row[:-1], point) for row in constraints if row[-1])
    slack = [_at(row, np.append(point, t)) / max(abs(float(v)) for v in row) for row in constraints]
    active = [row for row, free in zip(constraints, slack, strict=True) if free < NEAR]
    for chosen in combinations(active, n + 1):
        solution = _solved([row[1:] for row in chosen], [-row[0] for row in chosen])
        if solution is None:
            continue
        # Multipliers: sum w a = 0 over x, sum w b = -1 over t, so t <= sum w (constant).
        columns = [[row[1 + k] for row in chosen] for k in range(n + 1)]
        multipliers = _solved(columns, [Fraction(0)] * n + [Fraction(-1)])
        feasible = all(_exactly(row, solution) >= 0 for row in constraints)
        if feasible and multipliers is not None and all(w >= 0 for w in multipliers):
            return Exact(solution[-1], tuple(solution[:-1]), clause)
    raise AssertionError("no vertex is proved to be the optimum")


def exact_piece(tiny: Tiny, region: LinearRegion) -> tuple[list[Row], list[Row]]:
    """side z >= 0 of the neurons, and the outputs, as coefficients of (1, x), on the region."""
    values = {tiny.graph.INPUT: [_unit(k, tiny.inputs) for k in range(tiny.inputs)]}
    pattern, signs = list(region.pattern), []
    for step in tiny.steps:
        (source,) = step.inputs
        rows = values[source]
        if not step.activation:
            weight, bias = _affine(step.call, len(rows))
            values[step.name] = [
                [
                    sum((w * row[k] for w, row in zip(line, rows, strict=True)), b if k == 0 else 0)
                    for k in range(1 + tiny.inputs)
                ]
                for line, b in zip(weight, bias, strict=True)
            ]
            continue
        assert step.slopes is not None
        made = []
        for row in rows:
            active = pattern.pop(0)
            if active is not None:
                signs.append([value if active else -value for value in row])
            slope = Fraction(step.slopes[0] if active is False else step.slopes[1])
            made.append([slope * value for value in row])
        values[step.name] = made
    return signs, values[tiny.output]


def _affine(call: object, size: int) -> tuple[list[Row], Row]:
    """The weights of an affine step, read off at 0 and at unit vectors: small dyadic numbers."""
    assert callable(call)
    zero = call(torch.zeros(1, size, dtype=torch.float64))[0]
    columns = call(torch.eye(size, dtype=torch.float64)) - zero
    for part in (zero, columns):
        assert bool((part * 2**20 == (part * 2**20).round()).all()), "weights are not short"
    return [[Fraction(v) for v in row] for row in columns.T.tolist()], [
        Fraction(v) for v in zero.tolist()
    ]


def _unit(index: int, size: int) -> Row:
    return [Fraction(int(k == 1 + index)) for k in range(1 + size)]


def _at(row: Row, point: np.ndarray) -> float:
    return float(row[0]) + float(np.array([float(v) for v in row[1:]]) @ point)


def _exactly(row: Row, point: Row) -> Fraction:
    return row[0] + sum((a * x for a, x in zip(row[1:], point, strict=True)), Fraction(0))


def _solved(matrix: list[Row], right: Row) -> Row | None:
    """Gauss and Jordan; None where the matrix is singular."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    for column in range(len(rows)):
        place = next((k for k in range(column, len(rows)) if rows[k][column]), None)
        if place is None:
            return None
        rows[column], rows[place] = rows[place], rows[column]
        head = rows[column][column]
        rows[column] = [value / head for value in rows[column]]
        for k, row in enumerate(rows):
            if k != column and row[column]:
                factor = row[column]
                rows[k] = [a - factor * b for a, b in zip(row, rows[column], strict=True)]
    return [row[-1] for row in rows]
