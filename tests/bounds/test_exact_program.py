"""Exact linear programs: against scipy's, and against points; degenerate ones included."""

import random
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from lipverify.bounds.exact_forward import Row
from lipverify.bounds.exact_program import Interrupted, deepest
from lipverify.interval import Interval
from lipverify.numerics import DTYPE
from tests.oracles.budget import quickly


def drawn(seed: int) -> tuple[list[Row], list[Row], Interval]:
    """Small coefficients, so that rows often tie, repeat, or contradict one another."""
    draw = random.Random(seed)
    n = draw.randint(1, 4)

    def row() -> Row:
        return [Fraction(draw.randint(-3, 3), draw.choice([1, 2])) for _ in range(1 + n)]

    hard = [row() for _ in range(draw.randint(0, 6))]
    soft = [row() for _ in range(draw.randint(1, 4))]
    if hard and draw.random() < 0.4:
        hard.append([-value for value in hard[0]])  # a flat set, or none
    lower = torch.tensor([draw.randint(-2, 0) for _ in range(n)], dtype=DTYPE)
    width = torch.tensor([draw.choice([0, 1, 2]) for _ in range(n)], dtype=DTYPE)
    return hard, soft, Interval(lower, lower + width)


def value(row: Row, point: tuple[Fraction, ...]) -> Fraction:
    return row[0] + sum(a * x for a, x in zip(row[1:], point, strict=True))


@pytest.mark.parametrize("seed", quickly(range(2000), 150))
def test_optima_are_scipys_and_exact(seed: int) -> None:
    hard, soft, box = drawn(seed)
    n = len(soft[0]) - 1
    a = [[-float(v) for v in row[1:]] + [0.0] for row in hard]
    a += [[-float(v) for v in row[1:]] + [1.0] for row in soft]
    b = [float(row[0]) for row in (*hard, *soft)]
    ends = [*zip(box.lower.tolist(), box.upper.tolist(), strict=True), (None, None)]
    judge = linprog(np.append(np.zeros(n), -1.0), a, b, bounds=ends, method="highs")
    found = deepest(hard, soft, box)
    if found is None:
        assert judge.status == 2
        return
    assert judge.status == 0
    assert float(found.value) == pytest.approx(-judge.fun, abs=1e-7)
    # Exactly: the point is in the box, satisfies the hard functions, and attains the value.
    assert all(
        Fraction(low) <= x <= Fraction(high)
        for low, x, high in zip(box.lower.tolist(), found.point, box.upper.tolist(), strict=True)
    )
    assert all(value(row, found.point) >= 0 for row in hard)
    assert min(value(row, found.point) for row in soft) == found.value


def test_a_tie_below_all_floats_is_seen() -> None:
    """x >= 1/3 and x <= 1/3 - 2^-200 is empty; with x <= 1/3 it is a point."""
    box = Interval(torch.zeros(1, dtype=DTYPE), torch.ones(1, dtype=DTYPE))
    third, tiny = Fraction(1, 3), Fraction(1, 2**200)
    above, soft = [-third, Fraction(1)], [[Fraction(0), Fraction(1)]]
    assert deepest([above, [third - tiny, Fraction(-1)]], soft, box) is None
    touched = deepest([above, [third, Fraction(-1)]], soft, box)
    assert touched is not None and touched.value == third and touched.point == (third,)


def test_it_can_be_stopped() -> None:
    hard, soft, box = drawn(1)
    with pytest.raises(Interrupted):
        deepest(hard, soft, box, lambda: True)
