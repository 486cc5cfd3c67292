"""Conditions such as `age >= 18`: which inputs of a region, and which records, are meant."""

import re
from dataclasses import dataclass

from lipverify.audit.columns import ColumnType, Layout
from lipverify.spec.problem import Misfit

_PATTERN = re.compile(r"^\s*(?P<name>.+?)\s*(?P<sign>>=|<=|==|>|<)\s*(?P<value>.+?)\s*$")


@dataclass(frozen=True)
class Condition:
    """lower <= feature <= upper, or the one category of a one-hot feature. `text` as written."""

    feature: str
    lower: float
    upper: float
    category: int | None
    text: str


def read_condition(text: str, layout: Layout) -> Condition:
    """`Misfit` for what is no condition on a feature of the table."""
    found = _PATTERN.match(text)
    if found is None:
        raise Misfit(f"expected a condition such as 'age >= 18', found {text!r}")
    name, sign, value = found["name"], found["sign"], found["value"].strip("'\"")
    layout.known(name)
    infinite = float("inf")
    if any(name == group for group, _ in layout.groups):
        members = dict(layout.groups)[name]
        return _category(name, sign, value, members, text)
    column = layout.column(name)
    if column.type is ColumnType.ONE_HOT:
        return _category(name, sign, value, column.categories, text)
    if column.type is ColumnType.ORDINAL and value in column.categories:
        number = column.codes[column.categories.index(value)]
    else:
        number = _number(value, text)
    if sign in (">", "<"):
        if column.type is not ColumnType.INTEGER or number != int(number):
            raise Misfit(f"{text!r}: regions hold their ends; write {sign}= instead of {sign}")
        number += 1 if sign == ">" else -1
    lower = number if sign in (">=", ">", "==") else -infinite
    upper = number if sign in ("<=", "<", "==") else infinite
    return Condition(name, lower, upper, None, text)


def _category(name: str, sign: str, value: str, known: tuple[str, ...], text: str) -> Condition:
    if sign != "==":
        raise Misfit(f"{text!r}: categories have no order; write ==")
    if value not in known:
        raise Misfit(f"{text!r}: {name!r} has no category {value!r}; known: {', '.join(known)}")
    return Condition(name, 0.0, 1.0, known.index(value), text)


def _number(value: str, text: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise Misfit(f"{text!r}: {value!r} is no number") from None
