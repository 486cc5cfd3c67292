"""The assertions of a VNN-LIB file as a tree of linear constraints."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import isfinite
from pathlib import Path
from typing import NamedTuple

from lipverify.errors import SpecError
from lipverify.spec.problem import hint
from lipverify.spec.vnnlib.declarations import Declarations, Tensor
from lipverify.spec.vnnlib.syntax import Expression, Group, Word
from lipverify.spec.vnnlib.tree import And, Constraint, Number, Or, Tree

SUPPORTED = (
    "supported: and, or, <=, >=, <, >, =, == and != of sums, differences and multiples by constants"
)

_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_ELEMENT = re.compile(r"([A-Za-z][A-Za-z0-9_]*)(?:\[([^\]]*)\])?")


Find = Callable[[Word], int]


class _Sum(NamedTuple):
    """A linear combination of variables, plus a constant."""

    terms: dict[int, Fraction]
    constant: Fraction


@dataclass(frozen=True)
class _Reader:
    path: Path
    find: Find
    """The number of the variable that a word stands for."""

    def boolean(self, found: Expression) -> Tree:
        if isinstance(found, Word) or not found.head:
            raise self.error("expected a comparison, (and ...) or (or ...)", found.line)
        parts = found.items[1:]
        match found.head:
            case "and":
                return And(tuple(self.boolean(part) for part in parts))
            case "or":
                return Or(tuple(self.boolean(part) for part in parts))
            case "<=" | ">=" | "<" | ">" | "=" | "==" | "!=":
                return self.comparison(found.head, _joined(parts), found.line)
            case head:
                raise self.error(
                    f"{head!r} is not supported in an assertion; {SUPPORTED}", found.line
                )

    def comparison(self, head: str, sides: tuple[Expression, ...], line: int) -> Tree:
        if len(sides) != 2:
            raise self.error(f"{head} compares {len(sides)} values; expected two", line)
        left, right = sides if head[0] != ">" else sides[::-1]
        strict = head in ("<", ">")
        plain = self._plain(left, right, strict, line) if head[0] in "<>" else None
        if plain is not None:
            return plain
        below = self.difference(left, right)
        if head in ("=", "==", "!="):
            above = _Sum({key: -value for key, value in below.terms.items()}, -below.constant)
            both = tuple(self.constraint(part, head == "!=", line) for part in (below, above))
            return Or(both) if head == "!=" else And(both)
        return self.constraint(below, strict, line)

    def _plain(self, left: Expression, right: Expression, strict: bool, line: int) -> Tree | None:
        """Most comparisons, made quickly: of a variable with a number, or with another."""
        if not (isinstance(left, Word) and isinstance(right, Word)):
            return None
        if "[" in (left.text[0], right.text[0]):
            return None
        first, second = self._number(left), self._number(right)
        if first is None and second is not None:
            return Constraint((self.find(left),), (1.0,), -second, strict, line)
        if first is not None and second is None:
            return Constraint((self.find(right),), (-1.0,), first, strict, line)
        if first is None:
            low, high = self.find(left), self.find(right)
            if low != high:
                return Constraint((low, high), (1.0, -1.0), 0.0, strict, line)
        return None

    def constraint(self, total: _Sum, strict: bool, line: int) -> Constraint:
        terms = {key: value for key, value in total.terms.items() if value}
        coefficients = tuple(_plain_number(value) for value in terms.values())
        constant = _plain_number(total.constant)
        return Constraint(tuple(terms), coefficients, constant, strict, line)

    def difference(self, left: Expression, right: Expression) -> _Sum:
        return _added([(1, self.arithmetic(left)), (-1, self.arithmetic(right))])

    def arithmetic(self, found: Expression) -> _Sum:
        if isinstance(found, Word):
            value = self._number(found)
            if value is not None:
                return _Sum({}, Fraction(value))
            return _Sum({self.find(found): Fraction(1)}, Fraction(0))
        items = _joined(found.items)
        values = [self.arithmetic(item) for item in items[1:]]
        if not values:
            raise self.error(f"expected values after {found.head!r}", found.line)
        match found.head:
            case "+":
                return _added([(1, value) for value in values])
            case "-" if len(values) == 1:
                return _added([(-1, values[0])])
            case "-":
                return _added([(1, values[0]), *((-1, value) for value in values[1:])])
            case "*":
                return self.product(values, found.line)
            case head:
                raise self.error(f"{head!r} is no linear arithmetic; {SUPPORTED}", found.line)

    def product(self, values: list[_Sum], line: int) -> _Sum:
        result = values[0]
        for value in values[1:]:
            if result.terms and value.terms:
                raise self.error(f"a product of variables is not linear; {SUPPORTED}", line)
            scale, scaled = (result.constant, value) if value.terms else (value.constant, result)
            terms = {key: scale * part for key, part in scaled.terms.items()}
            result = _Sum(terms, scale * scaled.constant)
        return result

    def _number(self, word: Word) -> float | None:
        if word.text[0] not in "0123456789+-.":
            return None
        if not _NUMBER.fullmatch(word.text):
            raise self.error(f"{word.text[:40]!r} is no number", word.line)
        value = float(word.text)
        if not isfinite(value):
            raise self.error(f"{word.text[:40]} is too large for a float64", word.line)
        return value

    def error(self, message: str, line: int) -> SpecError:
        return SpecError(message, self.path, line)


def read_assertions(groups: list[Group], declared: Declarations, path: Path) -> And:
    """All assertions together; `SpecError` names the line of what cannot be read."""
    find = _flat_names(declared, path) if declared.version == 1 else _elements(declared, path)
    reader = _Reader(path, find)
    parts: list[Tree] = []
    for group in groups:
        if group.head == "assert":
            if len(group.items) != 2:
                raise SpecError("expected (assert CONDITION)", path, group.line)
            parts.append(reader.boolean(group.items[1]))
        elif group.head not in KNOWN:
            what = f"{group.head!r}" if group.head else "an expression without a word in front"
            raise SpecError(
                f"{what} is not supported; expected declarations and (assert ...)", path, group.line
            )
    if not parts:
        raise SpecError("asserts nothing; expected (assert ...)", path)
    return And(tuple(parts))


KNOWN = (
    "declare-const",
    "declare-fun",
    "declare-network",
    "vnnlib-version",
    "set-logic",
    "set-info",
    "check-sat",
    "exit",
)


def _flat_names(declared: Declarations, path: Path) -> Find:
    variables = declared.variables

    def find(word: Word) -> int:
        number = variables.get(word.text)
        if number is None:
            raise _undeclared(word, word.text, variables, path)
        return number

    return find


def _elements(declared: Declarations, path: Path) -> Find:
    layout = declared.layout
    tensors: dict[str, tuple[Tensor, int]] = {}
    for copy, network in enumerate(declared.networks):
        tensors[network.input.name] = (network.input, layout.input(copy, 0))
        tensors[network.output.name] = (network.output, layout.output(copy, 0))
    cache: dict[str, int] = {}

    def find(word: Word) -> int:
        known = cache.get(word.text)
        if known is not None:
            return known
        match = _ELEMENT.fullmatch(word.text)
        if match is None or match.group(1) not in tensors:
            name = match.group(1) if match else word.text
            raise _undeclared(word, name, tensors, path)
        tensor, first = tensors[match.group(1)]
        place = _place(tensor, match.group(2), word, path)
        cache[word.text] = first + place
        return first + place

    return find


def _place(tensor: Tensor, written: str | None, word: Word, path: Path) -> int:
    """The row-major position of an element."""
    texts = [] if written is None else re.split(r"[,\s]+", written.strip())
    if not all(text.isdigit() for text in texts):
        raise SpecError(f"{word.text[:40]!r} has indices that are no numbers", path, word.line)
    indices = [int(text) for text in texts]
    if len(indices) != len(tensor.shape):
        raise SpecError(
            f"{word.text[:40]!r} has {len(indices)} indices; {tensor.name!r} of shape "
            f"{list(tensor.shape)} needs {len(tensor.shape)}",
            path,
            word.line,
        )
    place = 0
    for index, size in zip(indices, tensor.shape, strict=True):
        if index >= size:
            raise SpecError(
                f"{word.text[:40]!r} is out of range: {tensor.name!r} has shape "
                f"{list(tensor.shape)}, counted from 0",
                path,
                word.line,
            )
        place = place * size + index
    return place


def _undeclared(
    word: Word, name: str, known: dict[str, int] | dict[str, tuple[Tensor, int]], path: Path
) -> SpecError:
    return SpecError(
        f"variable {name[:40]!r} is not declared; {hint(name, known)}", path, word.line
    )


def _joined(items: tuple[Expression, ...]) -> tuple[Expression, ...]:
    """With indices that stand apart put to the variable before them."""
    if not any(isinstance(item, Word) and item.text[0] == "[" for item in items):
        return items
    result: list[Expression] = []
    for item in items:
        before = result[-1] if result else None
        if isinstance(item, Word) and item.text[0] == "[" and isinstance(before, Word):
            result[-1] = Word(before.text + item.text, before.line)
        else:
            result.append(item)
    return tuple(result)


def _added(parts: list[tuple[int, _Sum]]) -> _Sum:
    terms: dict[int, Fraction] = {}
    constant = Fraction(0)
    for sign, part in parts:
        constant += sign * part.constant
        for key, value in part.terms.items():
            terms[key] = terms.get(key, Fraction(0)) + sign * value
    return _Sum(terms, constant)


def _plain_number(value: Fraction) -> Number:
    """As a float64 where that is exact."""
    try:
        near = float(value)
    except OverflowError:
        return value
    return near if Fraction(near) == value else value
