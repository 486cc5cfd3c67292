"""Ends of bounds as people read them: rounded outward, so that they stay true."""

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, localcontext
from math import isfinite

DIGITS = 6


def lower(value: float) -> str:
    """A lower end in six digits, none above `value`."""
    return _rounded(value, ROUND_FLOOR)


def upper(value: float) -> str:
    """An upper end in six digits, none below `value`."""
    return _rounded(value, ROUND_CEILING)


def interval(low: float | None, high: float | None) -> str:
    """[low, high]; a question mark stands for an end that is not known."""
    left = "?" if low is None else lower(low)
    right = "?" if high is None else upper(high)
    return f"[{left}, {right}]"


def _rounded(value: float, rounding: str) -> str:
    if not isfinite(value):
        return str(value)
    with localcontext() as context:
        context.prec = DIGITS
        context.rounding = rounding
        return f"{float(+Decimal(value)):.{DIGITS}g}"
