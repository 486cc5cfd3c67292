"""The dtype policy, outward rounding, and every named tolerance.

All bounds are computed in float64. A float result becomes a proved number only here: it is moved
outward by a bound of its own rounding error (Higham 2002, section 3.1: a sum of n products, in any
order, errs by at most gamma(n) times the sum of the magnitudes).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from math import inf, isfinite, nextafter

import torch
from torch import Tensor

DTYPE = torch.float64

UNIT_ROUNDOFF = 2.0**-53
SMALLEST = 2.0**-1022
"""Smallest normal float64: more than enough for the underflow of one operation."""

ELEMENTARY_ULPS = 16
"""Bound, in units of roundoff, of the relative error of exp, tanh and short formulas of them."""

MISMATCH_RELATIVE = 1e-4
"""Largest deviation from the original network (float32 there), relative to the output's scale."""

FALSIFY_MARGIN = 1e-9
"""A violation smaller than this, relative to the values compared, is no counterexample."""


def gamma(operations: int) -> float:
    """Relative error bound of `operations` chained float64 operations (Higham 2002, lemma 3.1)."""
    product = operations * UNIT_ROUNDOFF
    return product / (1.0 - product)


def round_up(value: Tensor) -> Tensor:
    """The next float64 above each entry."""
    return torch.nextafter(value, torch.full_like(value, torch.inf))


def round_down(value: Tensor) -> Tensor:
    """The next float64 below each entry."""
    return torch.nextafter(value, torch.full_like(value, -torch.inf))


def add_up(a: Tensor, b: Tensor) -> Tensor:
    """a + b rounded up: the float sum itself where it is exact (Knuth's two-sum tells)."""
    total, error = _two_sum(a, b)
    # Near the largest float64 the two-sum overflows and its error is NaN: not known to be exact.
    return torch.where(error <= 0, total, round_up(total))


def add_down(a: Tensor, b: Tensor) -> Tensor:
    """a + b rounded down: the float sum itself where it is exact."""
    total, error = _two_sum(a, b)
    return torch.where(error >= 0, total, round_down(total))


def _two_sum(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def upper_share(lower: Tensor, upper: Tensor) -> Tensor:
    """upper / (upper - lower) for lower < 0 < upper; the width may overflow, its share does not."""
    width = upper - lower
    return torch.where(torch.isfinite(width), upper / width, (upper / 2) / (upper / 2 - lower / 2))


def rounded(value: float | Fraction, *, up: bool) -> tuple[float, bool]:
    """A float64 that is not below (above) the value, and whether it is the value."""
    try:
        near = float(value)
    except OverflowError:
        near = inf if value > 0 else -inf
    if isinstance(value, float) or (isfinite(near) and Fraction(near) == value):
        return near, True
    short = not isfinite(near) or (Fraction(near) < value if up else Fraction(near) > value)
    if not short:
        return near, False
    return nextafter(near, inf if up else -inf), False


@contextmanager
def float64_default() -> Iterator[None]:
    """Make float64 torch's default dtype inside the block; restore the old one after it."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(DTYPE)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
