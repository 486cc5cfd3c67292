"""Proofs that a quadratic form is not negative (README 4.7)."""

from fractions import Fraction
from math import isfinite, sqrt
from operator import mul

from lipverify.checker.archive import Clock
from lipverify.checker.exact import Rows, product, shift_up

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
                for j in range(k, len(rows)):
                    other[j] -= factor * row[j]
    return True


def not_negative(matrix: Rows, clock: Clock) -> bool:
    """Whether v.S v >= 0 is proved for all v with v_0 = 1 and |v_i| <= 1; S symmetric, any scale.

    With d_i powers of two near sqrt(S_ii), it suffices that D^-1 (S - s e e^T) D^-1 + c I is
    positive semidefinite for e = (1, 0, ...) and c sum d_i^2 <= s.
    """
    if _by_factor(matrix, clock):
        return True
    return len(matrix) <= EXACT and exactly([[Fraction(x) for x in row] for row in matrix])


def _by_factor(matrix: Rows, clock: Clock) -> bool:
    size = len(matrix)
    largest = max(max(map(abs, row)) for row in matrix)
    if largest == 0 or min(matrix[i][i] for i in range(size)) < 0:
        return False
    lift = max(0, 2 * GRID - largest.bit_length())  # so that d_i are integers
    least = (largest << lift).bit_length() - GRID
    halves = [max((matrix[i][i] << lift).bit_length(), least) // 2 for i in range(size)]
    total = sum(1 << (2 * half) for half in halves)
    for spend in SPENDS:
        clock.check()
        scaled = [
            [_at(x << lift, GRID, a + b) for x, b in zip(row, halves, strict=True)]
            for row, a in zip(matrix, halves, strict=True)
        ]
        scaled[0][0] -= shift_up(total << GRID, 2 * halves[0] + spend)
        if _factored(scaled, 1 << (GRID - spend), size, clock):
            return True
    return False


def _at(value: int, grid: int, bits: int) -> int:
    return value << (grid - bits) if grid >= bits else value >> (bits - grid)


def _factored(matrix: Rows, shift: int, size: int, clock: Clock) -> bool:
    """matrix + shift I is positive semidefinite, at 2^-GRID: half of it for the residual."""
    one = 1 << GRID
    half = shift // 2
    work = [[x / one for x in row[: i + 1]] for i, row in enumerate(matrix)]
    for i in range(size):
        work[i][i] += half / one
    for i, row in enumerate(work):
        if i % 32 == 0:
            clock.check()
        for j in range(i):
            row[j] = (row[j] - sum(map(mul, row[:j], work[j]))) / work[j][j]
        rest = row[i] - sum(map(mul, row[:i], row[:i]))
        if not (rest > 0 and isfinite(rest)):
            return False
        row[i] = sqrt(rest)
    factor = [
        [round(x * (1 << FACTOR)) for x in row] + [0] * (size - i - 1) for i, row in enumerate(work)
    ]
    square = product(factor, [list(column) for column in zip(*factor, strict=True)], size)
    lift = 2 * FACTOR - GRID
    allowed = (half - size - 1) << lift
    for i, (row, other) in enumerate(zip(matrix, square, strict=True)):
        gap = sum(
            abs((x << lift) - y) for j, (x, y) in enumerate(zip(row, other, strict=True)) if j != i
        )
        gap += abs(((row[i] + half) << lift) - other[i])
        if gap > allowed:
            return False
    return True
