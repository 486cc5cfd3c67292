"""What a property asks for, as objectives (README 2), and what encloses their values."""

from dataclasses import dataclass
from fractions import Fraction
from itertools import product as tuples
from typing import Any

from lipverify.checker.errors import Rejected
from lipverify.checker.exact import Rows, at, common, counted, down, root_up, scalar, shift_up
from lipverify.checker.jacobian import Scaled
from lipverify.checker.semidefinite import exactly

MOST_SIGNS = 10
MOST_SPECTRAL = 12


@dataclass(frozen=True)
class Clause:
    """Unsafe outputs: coefficients y + offsets <= 0 in all rows (< 0 where strict)."""

    coefficients: list[list[Fraction]]
    offsets: list[Fraction]
    strict: list[bool]


@dataclass(frozen=True)
class Slope:
    """sign row . J_input <= threshold, at 2^-P."""

    row: int
    input: int
    sign: int
    threshold: int


@dataclass(frozen=True)
class RowNorm:
    """The norm dual to `norm` of one row is at most threshold."""

    row: int
    norm: str
    threshold: int


@dataclass(frozen=True)
class JointNorm:
    """The operator norm of all rows is at most threshold."""

    norm: str
    output_norm: str
    threshold: int


Objective = Clause | Slope | RowNorm | JointNorm


@dataclass(frozen=True)
class Property:
    kind: str
    rows: list[list[Fraction]]
    """The output functionals whose Jacobian is asked about."""
    objectives: list[Objective]
    exact_threshold: Fraction

    def seed(self, rows: list[int]) -> Scaled:
        chosen = [self.rows[row] for row in rows]
        bits = common(chosen)
        return Scaled([at(row, bits) for row in chosen], bits)


def read(asked: dict[str, Any], inputs: int, outputs: int, bits: int) -> Property:
    """The manifest's property; `Rejected` where entries are missing or do not fit."""
    kind = asked["kind"]
    allowed = {
        "lipschitz": {"input_norm", "output_norm", "at_most", "rows"},
        "monotonicity": {"weights", "increasing", "decreasing", "margin"},
        "robustness": {"unsafe"},
    }[kind]
    optional = {"rows", "increasing", "decreasing", "margin"}
    wrong = (set(asked) - {"kind"}) ^ allowed
    if wrong - (optional & allowed):
        raise Rejected(f"property {kind}: expected the entries {', '.join(sorted(allowed))}")
    if kind == "robustness":
        return Property(
            kind, [], [_clause(entry, outputs) for entry in asked["unsafe"]], Fraction(0)
        )
    if kind == "monotonicity":
        margin = Fraction(scalar(asked["margin"], "margin")) if "margin" in asked else Fraction(0)
        rows = [[Fraction(x) for x in counted(asked["weights"], outputs, "weights")]]
        increasing, decreasing = asked.get("increasing", []), asked.get("decreasing", [])
        if any(j >= inputs for j in (*increasing, *decreasing)) or not (increasing or decreasing):
            raise Rejected(f"monotonicity: expected inputs 0 to {inputs - 1}, one or more")
        threshold = down(-margin, bits)
        slopes = [Slope(0, j, -1, threshold) for j in increasing]
        return Property(
            kind, rows, [*slopes, *(Slope(0, j, 1, threshold) for j in decreasing)], -margin
        )
    if "rows" in asked:
        numbers = [
            Fraction(x) for x in counted(asked["rows"], _multiple(asked["rows"], outputs), "rows")
        ]
        rows = [numbers[i : i + outputs] for i in range(0, len(numbers), outputs)]
    else:
        rows = [[Fraction(int(i == j)) for j in range(outputs)] for i in range(outputs)]
    most = Fraction(scalar(asked["at_most"], "at_most"))
    threshold = down(most, bits)
    norm, output_norm = asked["input_norm"], asked["output_norm"]
    found: list[Objective]
    if output_norm == "inf" or len(rows) == 1:
        if norm == "1":
            found = [
                Slope(r, j, s, threshold)
                for r in range(len(rows))
                for j in range(inputs)
                for s in (1, -1)
            ]
        else:
            found = [RowNorm(r, norm, threshold) for r in range(len(rows))]
    else:
        found = [JointNorm(norm, output_norm, threshold)]
    return Property(kind, rows, found, most)


def _multiple(text: str, outputs: int) -> int:
    """The count of numbers in an array, if it is a positive multiple of `outputs`."""
    count = (len(text) * 3 // 4 - text.count("=")) // 8
    if count <= 0 or count % outputs:
        raise Rejected(f"rows: {count} numbers for {outputs} outputs")
    return count


def _clause(entry: dict[str, Any], outputs: int) -> Clause:
    offsets = [
        Fraction(x) for x in counted(entry["offsets"], _multiple(entry["offsets"], 1), "offsets")
    ]
    count = len(offsets)
    numbers = [Fraction(x) for x in counted(entry["coefficients"], count * outputs, "coefficients")]
    strict = entry.get("strict", [False] * count)
    if len(strict) != count:
        raise Rejected("a clause's `strict` needs one entry per row")
    return Clause(
        [numbers[i : i + outputs] for i in range(0, len(numbers), outputs)], offsets, strict
    )


@dataclass(frozen=True)
class Elements:
    """lower <= row J <= upper, at 2^-P, for the rows named."""

    rows: list[int]
    lower: Rows
    upper: Rows

    def place(self, row: int) -> int:
        return self.rows.index(row)

    def magnitude(self, row: int) -> list[int]:
        place = self.place(row)
        return [
            max(abs(a), abs(b)) for a, b in zip(self.lower[place], self.upper[place], strict=True)
        ]

    def slope(self, goal: Slope) -> int:
        """An upper bound of sign J."""
        place = self.place(goal.row)
        return self.upper[place][goal.input] if goal.sign > 0 else -self.lower[place][goal.input]


def vector_norm(magnitudes: list[int], norm: str) -> int:
    """The norm of numbers >= 0, rounded up; all at the same power of two."""
    if norm == "1":
        return sum(magnitudes)
    if norm == "inf":
        return max(magnitudes, default=0)
    return root_up(sum(x * x for x in magnitudes))


DUAL = {"1": "inf", "2": "2", "inf": "1"}


def joint_norm(goal: JointNorm, elements: Elements, center: Scaled, radius: Rows, bits: int) -> int:
    """An upper bound of the operator norm of all matrices of the enclosure (README 4.6)."""
    magnitudes = [elements.magnitude(row) for row in elements.rows]
    if goal.norm == "1":
        return max(
            (
                vector_norm(list(column), goal.output_norm)
                for column in zip(*magnitudes, strict=True)
            ),
            default=0,
        )
    best = vector_norm([vector_norm(row, DUAL[goal.norm]) for row in magnitudes], goal.output_norm)
    total = [sum(column) for column in zip(*radius, strict=True)]
    if goal.output_norm == "1" and len(magnitudes) <= MOST_SIGNS:
        # ||J x||_1 = max over signs c of c J x, so the largest dual norm of c J
        found = []
        for signs in tuples((1, -1), repeat=len(magnitudes) - 1):
            line = [
                sum(s * x for s, x in zip((1, *signs), column, strict=True))
                for column in zip(*center.rows, strict=True)
            ]
            sizes = [
                shift_up(abs(x) << bits, center.bits) + t for x, t in zip(line, total, strict=True)
            ]
            found.append(vector_norm(sizes, DUAL[goal.norm]))
        best = min(best, max(found))
    if goal.norm == "2" and goal.output_norm == "2" and len(magnitudes) <= MOST_SPECTRAL:
        # ||J|| <= ||C|| + ||T||_F, and ||C|| <= s if s^2 I - C C^T is positive semidefinite
        spread = vector_norm([vector_norm(row, "2") for row in radius], "2")
        left = goal.threshold - spread
        if left >= 0:
            square = Fraction(left, 1 << bits) ** 2
            gram = [
                [
                    (square if r is s else 0)
                    - Fraction(sum(x * y for x, y in zip(r, s, strict=True)), 1 << 2 * center.bits)
                    for s in center.rows
                ]
                for r in center.rows
            ]
            if exactly(gram):
                best = min(best, goal.threshold)
    return best


def enlarged(low: Rows, high: Rows, blur: Rows | None) -> tuple[Rows, Rows]:
    if blur is None:
        return low, high
    return (
        [
            [a - b for a, b in zip(row, more, strict=True)]
            for row, more in zip(low, blur, strict=True)
        ],
        [
            [a + b for a, b in zip(row, more, strict=True)]
            for row, more in zip(high, blur, strict=True)
        ],
    )
