"""Ends of bounds as people read them: rounded outward, so that they stay true."""

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, localcontext
from math import isfinite

DIGITS = 6


def lower(value: float, digits: int = DIGITS) -> str:
    """A lower end in a few digits, none above `value`."""
    return _rounded(value, ROUND_FLOOR, digits)


def upper(value: float, digits: int = DIGITS) -> str:
    """An upper end in a few digits, none below `value`."""
    return _rounded(value, ROUND_CEILING, digits)


def interval(low: float | None, high: float | None) -> str:
    """[low, high]; a question mark stands for an end that is not known."""
    left = "?" if low is None else lower(low)
    right = "?" if high is None else upper(high)
    return f"[{left}, {right}]"


def _rounded(value: float, rounding: str, digits: int) -> str:
    if not isfinite(value):
        return str(value)
    with localcontext() as context:
        context.prec = digits
        context.rounding = rounding
        return f"{float(+Decimal(value)):.{digits}g}"
