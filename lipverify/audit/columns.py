"""Columns of a table, and how each becomes inputs of the network.

A network's inputs are those of the columns in order: one for a number or an ordinal code, one per
category for a one-hot column. What is said here is in the table's units; scaling is the
network's `Preprocessing`, so that regions, slopes and counterexamples keep these units too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from lipverify.reading import AS_IT_IS, Preprocessing, Reading
from lipverify.spec.problem import Misfit, hint


class ColumnType(Enum):
    NUMBER = "number"
    INTEGER = "integer"
    ORDINAL = "ordinal"
    ONE_HOT = "one-hot"


@dataclass(frozen=True)
class Column:
    """One column. `mean` and `std` scale its numbers or codes: (x - mean) / std.

    `range` is None where it is that of the table. `codes` are the numbers of an ordinal column's
    `categories`. `unit` is a word for people.
    """

    name: str
    type: ColumnType = ColumnType.NUMBER
    range: tuple[float, float] | None = None
    categories: tuple[str, ...] = ()
    codes: tuple[float, ...] = ()
    mean: float = 0.0
    std: float = 1.0
    unit: str = ""

    @property
    def width(self) -> int:
        """How many inputs it has."""
        return len(self.categories) if self.type is ColumnType.ONE_HOT else 1

    @property
    def is_discrete(self) -> bool:
        return self.type is not ColumnType.NUMBER


@dataclass(frozen=True)
class Feature:
    """What an audit asks about: a column, or a group of 0/1 columns of which one is 1.

    `inputs` are its positions among the network's inputs; of several, exactly one is 1, and
    `categories` names them. `values` are all that a discrete one may take (the whole numbers of an
    integer column follow from its range).
    """

    name: str
    type: ColumnType
    inputs: tuple[int, ...]
    lower: float
    upper: float
    categories: tuple[str, ...] = ()
    codes: tuple[float, ...] = ()
    unit: str = ""

    @property
    def index(self) -> int:
        assert len(self.inputs) == 1
        return self.inputs[0]

    @property
    def is_group(self) -> bool:
        return self.type is ColumnType.ONE_HOT

    @property
    def values(self) -> tuple[float, ...] | None:
        """The numbers that a discrete feature takes, in order; None for others."""
        match self.type:
            case ColumnType.ORDINAL:
                return tuple(sorted(c for c in self.codes if self.lower <= c <= self.upper))
            case ColumnType.INTEGER:
                first, last = int(-(-self.lower // 1)), int(self.upper // 1)
                return tuple(float(value) for value in range(first, last + 1))
            case _:
                return None

    def shown(self, numbers: Sequence[float]) -> str | float:
        """Its value in the table's words, from its inputs' numbers."""
        if self.is_group:
            return self.categories[max(range(len(numbers)), key=lambda i: numbers[i])]
        if self.type is ColumnType.ORDINAL and numbers[0] in self.codes:
            return self.categories[self.codes.index(numbers[0])]
        return numbers[0]


@dataclass(frozen=True)
class Layout:
    """All columns, and the groups of 0/1 columns that are one-hot together."""

    columns: tuple[Column, ...]
    groups: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def width(self) -> int:
        return sum(column.width for column in self.columns)

    @cached_property
    def first(self) -> dict[str, int]:
        """The first input of each column."""
        found, position = {}, 0
        for column in self.columns:
            found[column.name] = position
            position += column.width
        return found

    @property
    def reading(self) -> Reading:
        """The scaling, as multiplication and addition: both float64 numbers are what is meant."""
        if all(column.mean == 0.0 and column.std == 1.0 for column in self.columns):
            return AS_IT_IS
        scale: list[float] = []
        offset: list[float] = []
        for column in self.columns:
            plain = column.type is ColumnType.ONE_HOT
            scale += [1.0 if plain else 1.0 / column.std] * column.width
            offset += [0.0 if plain else -column.mean / column.std] * column.width
        return Reading(Preprocessing(scale=tuple(scale), offset=tuple(offset)))

    def grouped(self) -> set[str]:
        return {name for _, names in self.groups for name in names}

    @property
    def feature_names(self) -> tuple[str, ...]:
        loose = self.grouped()
        names = [column.name for column in self.columns if column.name not in loose]
        return (*names, *(name for name, _ in self.groups))

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)

    def features(self, ranges: dict[str, tuple[float, float]]) -> dict[str, Feature]:
        """Every feature by name, given the ranges of the columns."""
        found: dict[str, Feature] = {}
        for column in self.columns:
            if column.name in self.grouped():
                continue
            start = self.first[column.name]
            lower, upper = (0.0, 1.0)
            if column.type is not ColumnType.ONE_HOT:
                lower, upper = ranges[column.name]
            inputs = tuple(range(start, start + column.width))
            found[column.name] = Feature(
                column.name,
                column.type,
                inputs,
                lower,
                upper,
                column.categories,
                column.codes,
                column.unit,
            )
        for name, members in self.groups:
            inputs = tuple(self.first[member] for member in members)
            found[name] = Feature(name, ColumnType.ONE_HOT, inputs, 0.0, 1.0, members)
        return found

    def known(self, name: str) -> str:
        """The name, if it is a feature; `Misfit` with the nearest one otherwise."""
        if name in self.feature_names:
            return name
        for group, members in self.groups:
            if name in members:
                raise Misfit(f"column {name!r} is part of the one-hot group {group!r}; name that")
        raise Misfit(f"no feature is named {name!r}; {hint(name, self.feature_names)}")
