"""The proofs of a node: which objectives they close (README 3, 4)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from operator import add
from typing import Any

from lipverify.checker.activations import ABS, SLOPE, Span
from lipverify.checker.errors import Rejected
from lipverify.checker.exact import Rows, counted, down, each, paired, up
from lipverify.checker.forward import Known, uppers
from lipverify.checker.jacobian import Backward, Ends, Scaled, blurring
from lipverify.checker.objectives import (
    DUAL,
    Clause,
    Elements,
    JointNorm,
    Property,
    RowNorm,
    Slope,
    enlarged,
    joint_norm,
    vector_norm,
)
from lipverify.checker.quadratic import holds


@dataclass
class Enclosure:
    """Some rows of the Jacobian at one node: intervals of adjoints; centre, radius of elements."""

    seed: Scaled
    ends: dict[int, Ends]
    center: Scaled
    radius: Rows


class Closer:
    """Applies proofs; keeps what is the same for the whole certificate."""

    def __init__(self, asked: Property) -> None:
        self.asked = asked
        self._blur: dict[int, Rows | None] = {}
        self.failures: list[str] = []
        """Why the last proofs did not close what they were about."""

    def blur(self, known: Known, rows: Sequence[int]) -> Rows | None:
        found = []
        for row in rows:
            if row not in self._blur:
                self._blur[row] = blurring(known.problem, self.asked.seed([row]))
            found.append(self._blur[row])
        return None if found[0] is None else [line for part in found for line in part]

    def close(self, known: Known, left: set[int], proofs: Sequence[Mapping[str, Any]]) -> set[int]:
        """The objectives of `left` that are closed."""
        node = _Node(known)
        self.failures = []
        closed: set[int] = set()
        for proof in proofs:
            if known.empty or left <= closed:
                break
            rule = proof["rule"]
            if rule == "empty":
                if _empty(known, proof):
                    return set(left)
                self.failures.append("empty: not proved")
                continue
            numbers = self._numbers(proof, left - closed)
            if rule == "linear":
                closed |= self._linear(known, numbers, proof)
            elif self.asked.kind == "robustness":
                raise Rejected(f"the rule {rule} is about the Jacobian, the property about outputs")
            elif rule == "quadratic":
                closed |= {number for number in numbers if self._quadratic(node, number, proof)}
            else:
                closed |= self._enclosed(node, numbers, rule)
        return set(left) if known.empty else closed

    def _numbers(self, proof: Mapping[str, Any], left: set[int]) -> list[int]:
        if ("objective" in proof) == ("objectives" in proof):
            raise Rejected(f"rule {proof['rule']}: expected `objective` or `objectives`")
        asked = [proof["objective"]] if "objective" in proof else proof["objectives"]
        if asked == "all":
            return sorted(left)
        if any(number >= len(self.asked.objectives) for number in asked):
            raise Rejected(
                f"rule {proof['rule']}: there are {len(self.asked.objectives)} objectives"
            )
        return (
            [number for number in asked if number in left]
            if proof["rule"] != "linear"
            else list(asked)
        )

    def _linear(self, known: Known, numbers: list[int], proof: Mapping[str, Any]) -> set[int]:
        """sup of -(weights . (coefficients y + offsets)) below 0."""
        problem, bits = known.problem, known.problem.bits
        rows, constants, strict = [], [], []
        for number in numbers:
            goal = self.asked.objectives[number]
            if not isinstance(goal, Clause):
                raise Rejected("the rule linear is about outputs, the property about the Jacobian")
            count = len(goal.offsets)
            weights = (
                counted(proof["weights"], count, "weights") if "weights" in proof else [1.0] * count
            )
            if (
                ("weights" not in proof and count > 1)
                or min(weights) < 0
                or (len(numbers) > 1 and count > 1)
            ):
                raise Rejected(
                    "rule linear: expected one weight >= 0 per row; clauses of several rows, alone"
                )
            mixed = [
                sum((Fraction(w) * x for w, x in zip(weights, column, strict=True)), Fraction(0))
                for column in zip(*goal.coefficients, strict=True)
            ]
            row = [-down(x, bits) for x in mixed]
            # What rounding the coefficients drops: x - down(x) in [0, 2^-bits) times outputs.
            lost = [up(x, bits) + y != 0 for x, y in zip(mixed, row, strict=True)]
            offset = sum(
                (Fraction(w) * x for w, x in zip(weights, goal.offsets, strict=True)), Fraction(0)
            )
            constants.append(
                up(-offset, 2 * bits)
                + sum(reach for reach, bad in zip(problem.output_reach, lost, strict=True) if bad)
            )
            rows.append(row)
            strict.append(any(s and w > 0 for s, w in zip(goal.strict, weights, strict=True)))
        found = uppers(
            known,
            {len(problem.network.layers): rows},
            len(rows),
            proof.get("multipliers", ()),
            constants,
        )
        closed = set()
        for number, value, is_strict in zip(numbers, found, strict, strict=True):
            if value < 0 or (is_strict and value <= 0):
                closed.add(number)
            else:
                self.failures.append(
                    f"linear: objective {number} has the bound {_shown(value, bits)}, expected < 0"
                )
        return closed

    def _enclosed(self, node: "_Node", numbers: list[int], rule: str) -> set[int]:
        rows = sorted({row for number in numbers for row in self._rows(number)})
        if not rows:
            return set()
        found, blur = node.enclosure(self.asked, rows, rule), self.blur(node.known, rows)
        elements = Elements(rows, *enlarged(*found.ends[-1], blur))
        bits = node.known.problem.bits
        closed = set()
        for number in numbers:
            goal = self.asked.objectives[number]
            if isinstance(goal, Slope):
                value = elements.slope(goal)
            elif isinstance(goal, RowNorm):
                value = vector_norm(elements.magnitude(goal.row), DUAL[goal.norm])
            else:
                assert isinstance(goal, JointNorm)
                wide = each(add, found.radius, blur) if blur else found.radius
                value = joint_norm(goal, elements, found.center, wide, bits)
            if rule == "backward" and not isinstance(goal, JointNorm) and value > goal.threshold:
                place = rows.index(goal.row)
                extra = blur[place] if blur else [0] * node.known.problem.network.inputs
                value = min(value, _direct(node.backward, found, place, goal, extra))
            if value <= goal.threshold:
                closed.add(number)
            else:
                self.failures.append(
                    f"{rule}: objective {number} has the bound {_shown(value, bits)}, "
                    f"expected {_shown(goal.threshold, bits)}"
                )
        return closed

    def _rows(self, number: int) -> list[int]:
        goal = self.asked.objectives[number]
        return list(range(len(self.asked.rows))) if isinstance(goal, JointNorm) else [goal.row]  # type: ignore[union-attr]

    def _quadratic(self, node: "_Node", number: int, proof: Mapping[str, Any]) -> bool:
        goal = self.asked.objectives[number]
        assert not isinstance(goal, Clause)
        rows = self._rows(number)
        found = node.enclosure(self.asked, rows, proof.get("adjoints", "mean-split"))
        blur = self.blur(node.known, rows)
        if holds(node.backward, found.seed, found.ends, goal, blur, proof):
            return True
        self.failures.append(f"quadratic: the form of objective {number} is not proved positive")
        return False


class _Node:
    """Enclosures of the Jacobian at one node, computed once."""

    def __init__(self, known: Known) -> None:
        self.known = known
        self._found: dict[tuple[str, tuple[int, ...]], Enclosure] = {}

    @cached_property
    def backward(self) -> Backward:
        return Backward(self.known)

    def enclosure(self, asked: Property, rows: list[int], rule: str) -> Enclosure:
        key = rule, tuple(rows)
        if key not in self._found:
            seed = asked.seed(rows)
            found = Enclosure(seed, *self.backward.mean_split(seed))
            if rule == "backward":
                whole = any(
                    isinstance(goal, RowNorm | JointNorm) and goal.norm == "2"
                    for goal in asked.objectives
                )
                self.backward.narrow_by_lines(seed, found.ends, whole)
            self._found[key] = found
        return self._found[key]


def _direct(
    backward: Backward, found: Enclosure, place: int, goal: RowNorm | Slope, blur: Sequence[int]
) -> int:
    """The objective itself as one functional: |r_j| below its chord."""
    bits = backward.bits
    if isinstance(goal, Slope):
        start = [(goal.sign << bits) if j == goal.input else 0 for j in range(len(blur))]
        offset = blur[goal.input]
    elif goal.norm == "inf":
        spans = paired(Span, found.ends[-1][0][place], found.ends[-1][1][place])
        lines = [ABS.line(span, bits, True) for span in spans]
        start = [line.slope << (bits - SLOPE) for line in lines]
        offset = sum(line.intercept for line in lines) + sum(blur)
    else:
        return goal.threshold + 1  # no linear function is near a euclidean norm
    return backward.uppers(found.seed, place, found.ends, -1, [start])[0] + offset


def _empty(known: Known, proof: Mapping[str, Any]) -> bool:
    """The functional 0 with betas has a bound < 0."""
    return uppers(known, {}, 1, proof.get("multipliers", ()))[0] < 0


def _shown(value: int, bits: int) -> str:
    return f"{float(Fraction(value, 1 << bits)):.9g}"
