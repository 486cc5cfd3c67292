"""Proofs that a quadratic form is not negative (README 4.7)."""

from fractions import Fraction
from math import isfinite, sqrt
from operator import mul, sub

from lipverify.checker.archive import Clock
from lipverify.checker.exact import Matrix, Rows, paired, regrid, shift_up

EXACT = 12
"""Up to this size, exact elimination decides where a float factor's residual is too large."""
GRID = 96
"""Fraction bits of the scaled matrix, whose diagonal is about 1."""
FACTOR = 60
SPENDS = (40, 34, 28, 22, 16)
"""How much of the trace is spent on the residual: 2^-these, one after the other."""


def exactly(matrix: list[list[Fraction]]) -> bool:
    """Positive semidefinite, by symmetric elimination: a pivot 0 needs a row of zeros."""
    rows = [list(row) for row in matrix]
    for k, row in enumerate(rows):
        pivot = row[k]
        if pivot < 0 or (pivot == 0 and any(row[k:])):
            return False
        for other in rows[k + 1 :]:
            if other[k]:
                factor = other[k] / pivot
                other[k:] = [x - factor * y for x, y in zip(other[k:], row[k:], strict=True)]
    return True


def not_negative(matrix: Rows, clock: Clock) -> bool:
    """Whether v.S v >= 0 is proved for all v with v_0 = 1 and |v_i| <= 1; S symmetric, any scale.

    With d_i powers of two near sqrt(S_ii), it suffices that D^-1 (S - s e e^T) D^-1 + c I is
    positive semidefinite for e = (1, 0, ...) and c sum d_i^2 <= s.
    """
    size, largest = len(matrix), max(max(map(abs, row)) for row in matrix)
    if largest and min(matrix[i][i] for i in range(size)) >= 0:
        lift = max(0, 2 * GRID - largest.bit_length())  # so that d_i are integers
        least = (largest << lift).bit_length() - GRID
        halves = [max((matrix[i][i] << lift).bit_length(), least) // 2 for i in range(size)]
        scaled = [
            [regrid(x << lift, a + b, GRID) for x, b in zip(row, halves, strict=True)]
            for row, a in zip(matrix, halves, strict=True)
        ]
        total, corner = sum(1 << (2 * half) for half in halves) << GRID, scaled[0][0]
        for spend in SPENDS:
            scaled[0][0] = corner - shift_up(total, 2 * halves[0] + spend)
            if _by_factor(scaled, 1 << (GRID - spend), clock):
                return True
    return size <= EXACT and exactly([[Fraction(x) for x in row] for row in matrix])


def _by_factor(matrix: Rows, shift: int, clock: Clock) -> bool:
    """matrix + shift I is positive semidefinite, at 2^-GRID: matrix + shift/2 I is near the square
    of a Cholesky factor, found in floats, and the other half covers the rows of the residual."""
    size, half, one = len(matrix), shift // 2, 1 << GRID
    work = [[x / one for x in row[: i + 1]] for i, row in enumerate(matrix)]
    for i, row in enumerate(work):
        if i % 32 == 0:
            clock.check()
        for j in range(i):
            row[j] = (row[j] - sum(map(mul, row[:j], work[j]))) / work[j][j]
        rest = row[i] + half / one - sum(map(mul, row[:i], row[:i]))
        if not (rest > 0 and isfinite(rest)):
            return False
        row[i] = sqrt(rest)
    factor = [[round(x * (1 << FACTOR)) for x in row] + [0] * (size - len(row)) for row in work]
    guess = Matrix(factor, size, 0)
    lift = 2 * FACTOR - GRID
    allowed = (half - size - 1) << lift
    for i, (row, square) in enumerate(zip(matrix, guess.transposed.after(factor), strict=True)):
        row = [x << lift for x in row]
        row[i] += half << lift
        if sum(map(abs, paired(sub, row, square))) > allowed:
            return False
    return True
