"""What a property asks for, as objectives (README 2), and upper bounds of them (README 4.6)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product as tuples
from operator import add
from typing import Any

from lipverify.checker.errors import Rejected
from lipverify.checker.exact import Matrix, down, floats, paired, regrid_up, root_up, scalar
from lipverify.checker.jacobian import Row
from lipverify.checker.semidefinite import exactly

DUAL = {"1": "inf", "2": "2", "inf": "1"}
MOST_SIGNS, MOST_SPECTRAL = 10, 12
"""Rows up to which all signs, or the spectral norm, of their centre are taken."""


@dataclass(frozen=True)
class Clause:
    """Unsafe outputs: coefficients y + offsets <= 0 in all rows (< 0 where strict)."""

    coefficients: list[list[Fraction]]
    offsets: list[Fraction]
    strict: list[bool]


@dataclass(frozen=True)
class Slope:
    """sign row . J_input <= threshold, at 2^-P."""

    rows: tuple[int]
    input: int
    sign: int
    threshold: int

    def bound(self, found: Sequence[Row], bits: int) -> int:
        lower, upper = found[0].ends(-1)
        return upper[self.input] if self.sign > 0 else -lower[self.input]

    def wider(self, blurs: Sequence[list[int]]) -> int:
        """The most that changing the elements by so much adds."""
        return blurs[0][self.input]


@dataclass(frozen=True)
class Norm:
    """The operator norm of the rows is at most threshold, at 2^-P; of one row, the norm dual to
    that of the input."""

    rows: tuple[int, ...]
    norm: str
    output_norm: str
    threshold: int

    def bound(self, found: Sequence[Row], bits: int) -> int:
        sizes = [row.magnitudes() for row in found]
        if len(found) == 1 or self.norm != "1":
            best = self.wider(sizes)
            return best if len(found) == 1 else min(best, self._joint(found, best, bits))
        columns = zip(*sizes, strict=True)
        return max(vector_norm(list(column), self.output_norm) for column in columns)

    def wider(self, blurs: Sequence[list[int]]) -> int:
        """The most that changing the elements by so much adds: the norm of the rows' dual norms."""
        return vector_norm([vector_norm(row, DUAL[self.norm]) for row in blurs], self.output_norm)

    def _joint(self, found: Sequence[Row], best: int, bits: int) -> int:
        grid = max(row.center.bits for row in found)
        rows = [row.center.at(grid).rows[0] for row in found]
        center = Matrix(rows, len(rows[0]), grid)
        radius = [row.radius for row in found]
        if self.output_norm == "1" and len(rows) <= MOST_SIGNS:
            # ||J x||_1 = max over signs c of c J x, so the largest dual norm of c J
            signs = [[1, *rest] for rest in tuples((1, -1), repeat=len(rows) - 1)]
            total, norms = [sum(column) for column in zip(*radius, strict=True)], []
            for line in center.after(signs):
                sizes = [regrid_up(abs(x), grid, bits) for x in line]
                norms.append(vector_norm(paired(add, sizes, total), DUAL[self.norm]))
            return min(best, max(norms))
        if self.norm == self.output_norm == "2" and len(rows) <= MOST_SPECTRAL:
            # ||J|| <= ||C|| + ||T||_F, and ||C|| <= s if s^2 I - C C^T is positive semidefinite
            left = self.threshold - self.wider(radius)
            square = Fraction(left, 1 << bits) ** 2
            gram = center.transposed.after(rows)
            form = [[Fraction(-x, 1 << 2 * grid) for x in row] for row in gram]
            for i, row in enumerate(form):
                row[i] += square
            if left >= 0 and exactly(form):
                return min(best, self.threshold)
        return best


def vector_norm(magnitudes: Sequence[int], norm: str) -> int:
    """The norm of numbers >= 0, rounded up; all at the same power of two."""
    if norm == "2":
        return root_up(sum(x * x for x in magnitudes))
    return sum(magnitudes) if norm == "1" else max(magnitudes, default=0)


@dataclass(frozen=True)
class Property:
    """`rows`: the output functionals whose Jacobian is asked about."""

    kind: str
    rows: list[list[Fraction]]
    objectives: Sequence[Clause | Slope | Norm]
    exact_threshold: Fraction = Fraction(0)


ENTRIES = {  # necessary, optional
    "lipschitz": ({"input_norm", "output_norm", "at_most"}, {"rows"}),
    "monotonicity": ({"weights"}, {"increasing", "decreasing", "margin"}),
    "robustness": ({"unsafe"}, set()),
}


def read(asked: Mapping[str, Any], inputs: int, outputs: int, bits: int) -> Property:
    """The manifest's property; `Rejected` where entries are missing or do not fit."""
    kind = asked["kind"]
    needed, optional = ENTRIES[kind]
    if not {"kind"} | needed <= set(asked) <= {"kind"} | needed | optional:
        raise Rejected(f"property {kind}: expected the entries {', '.join(sorted(needed))}")
    if kind == "robustness":
        return Property(kind, [], [_clause(entry, outputs) for entry in asked["unsafe"]])
    if kind == "monotonicity":
        rows = _rows(asked["weights"], outputs, "weights")
        ways = [(j, -1) for j in asked.get("increasing", ())]
        ways += [(j, 1) for j in asked.get("decreasing", ())]
        if len(rows) > 1 or not ways or any(j >= inputs for j, _ in ways):
            raise Rejected(f"monotonicity: expected {outputs} weights, inputs 0 to {inputs - 1}")
        most = -Fraction(scalar(asked.get("margin", (0.0).hex()), "margin"))
        slopes = [Slope((0,), j, sign, down(most, bits)) for j, sign in ways]
        return Property(kind, rows, slopes, most)
    rows = [[Fraction(int(i == j)) for j in range(outputs)] for i in range(outputs)]
    if "rows" in asked:
        rows = _rows(asked["rows"], outputs, "rows")
    most = Fraction(scalar(asked["at_most"], "at_most"))
    norms, threshold = (asked["input_norm"], asked["output_norm"]), down(most, bits)
    numbers = range(len(rows))
    if len(rows) > 1 and norms[1] != "inf":
        return Property(kind, rows, [Norm(tuple(numbers), *norms, threshold)], most)
    if norms[0] != "1":
        return Property(kind, rows, [Norm((r,), *norms, threshold) for r in numbers], most)
    places = tuples(numbers, range(inputs), (1, -1))
    return Property(kind, rows, [Slope((r,), j, s, threshold) for r, j, s in places], most)


def _rows(text: str, columns: int, what: str) -> list[list[Fraction]]:
    numbers = [Fraction(x) for x in floats(text, what)]
    if not numbers or len(numbers) % columns:
        raise Rejected(f"{what}: {len(numbers)} numbers, expected a multiple of {columns}")
    return [numbers[i : i + columns] for i in range(0, len(numbers), columns)]


def _clause(entry: Mapping[str, Any], outputs: int) -> Clause:
    coefficients = _rows(entry["coefficients"], outputs, "coefficients")
    offsets = [row[0] for row in _rows(entry["offsets"], 1, "offsets")]
    strict = entry.get("strict", [False] * len(offsets))
    if not len(strict) == len(offsets) == len(coefficients):
        raise Rejected("a clause needs as many rows of coefficients, offsets and `strict`")
    return Clause(coefficients, offsets, strict)
