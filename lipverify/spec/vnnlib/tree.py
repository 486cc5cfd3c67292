"""What a VNN-LIB file asserts: linear constraints under `and` and `or`."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

Number = float | Fraction
"""Exact either way: a number of a file means the nearest float64, sums of them are fractions."""


class Constraint(NamedTuple):
    """sum of coefficients * variables + constant <= 0, or < 0 where `strict`.

    Variables are numbered: inputs of all copies of the network first, then outputs (`Layout`).
    """

    variables: tuple[int, ...]
    coefficients: tuple[Number, ...]
    constant: Number
    strict: bool
    line: int

    def holds(self, values: Sequence[float]) -> bool:
        """Whether finite values of all variables satisfy it, in exact arithmetic."""
        total = Fraction(self.constant)
        for variable, coefficient in zip(self.variables, self.coefficients, strict=True):
            total += Fraction(coefficient) * Fraction(values[variable])
        return total < 0 if self.strict else total <= 0

    @property
    def constant_only(self) -> bool:
        return not self.variables


@dataclass(frozen=True)
class And:
    """All parts; without parts, true."""

    parts: "tuple[Tree, ...]"


@dataclass(frozen=True)
class Or:
    """Any part; without parts, false."""

    parts: "tuple[Tree, ...]"


Tree = Constraint | And | Or


def holds(tree: Tree, values: Sequence[float]) -> bool:
    """Whether finite values of all variables satisfy the tree, exactly and strictly as stated."""
    match tree:
        case And(parts):
            return all(holds(part, values) for part in parts)
        case Or(parts):
            return any(holds(part, values) for part in parts)
        case _:
            return tree.holds(values)


def constraints(tree: Tree) -> Iterator[Constraint]:
    """All constraints in the tree."""
    if isinstance(tree, Constraint):
        yield tree
    else:
        for part in tree.parts:
            yield from constraints(part)


def only(tree: Tree, wanted: Callable[[int], bool]) -> bool:
    """Whether all variables in the tree are of the wanted kind."""
    return all(wanted(variable) for found in constraints(tree) for variable in found.variables)


@dataclass(frozen=True)
class Layout:
    """How variables are numbered: `copies` of a network with `inputs` and `outputs`, flat."""

    inputs: int
    outputs: int
    copies: int = 1

    @property
    def all_inputs(self) -> int:
        return self.inputs * self.copies

    @property
    def size(self) -> int:
        return (self.inputs + self.outputs) * self.copies

    def input(self, copy: int, index: int) -> int:
        return copy * self.inputs + index

    def output(self, copy: int, index: int) -> int:
        return self.all_inputs + copy * self.outputs + index

    def is_input(self, variable: int) -> bool:
        return variable < self.all_inputs

    def is_output(self, variable: int) -> bool:
        return variable >= self.all_inputs
