"""A node of the tree: its steps, and the proofs that close objectives (README 3, 4)."""

from collections.abc import Collection, Mapping, Sequence
from fractions import Fraction
from functools import cached_property
from operator import mul
from typing import Any

from lipverify.checker.errors import Rejected
from lipverify.checker.exact import counted, down, paired, up
from lipverify.checker.forward import Known, bound, conflicts, intervals, uppers
from lipverify.checker.jacobian import Backward
from lipverify.checker.objectives import Clause, Norm, Property, Slope
from lipverify.checker.quadratic import holds

STEPS = {"intervals": intervals, "bound": bound, "conflicts": conflicts}


class Node:
    """What is `known`, the objectives that are `left`, and `failures`: why proofs closed less than
    they were about."""

    def __init__(self, known: Known, asked: Property, left: Collection[int]) -> None:
        self.known, self.asked, self.bits = known, asked, known.problem.bits
        self.left, self.failures = set(left), list[str]()

    @cached_property
    def backward(self) -> Backward:
        whole = any(isinstance(goal, Norm) and goal.norm == "2" for goal in self.asked.objectives)
        return Backward(self.known, self.asked.rows, whole)

    def apply(self, record: Mapping[str, Any]) -> None:
        """The steps and proofs of a record of the tree; an empty node closes all."""
        for step in record.get("steps", ()):
            if not self.known.empty:
                STEPS[step["step"]](self.known, step)
        for proof in record.get("proofs", ()):
            if self.left and not self.known.empty:
                self._prove(proof)
        if self.known.empty:
            self.left.clear()

    def _prove(self, proof: Mapping[str, Any]) -> None:
        rule, numbers, count = proof["rule"], proof.get("objectives"), len(self.asked.objectives)
        if rule == "empty":  # Farkas: the functional 0 with betas has a bound < 0
            value = uppers(self.known, {}, 1, proof.get("multipliers", ()))[0]
            if self._within(rule, "the node", value, -1):
                self.left.clear()
            return
        if ("objective" in proof) == (numbers is not None):
            raise Rejected(f"rule {rule}: expected `objective` or `objectives`")
        numbers = [proof["objective"]] if numbers is None else numbers
        numbers = sorted(self.left) if numbers == "all" else numbers
        if any(number >= count for number in numbers):
            raise Rejected(f"rule {rule}: there are {count} objectives")
        if (rule == "linear") != (self.asked.kind == "robustness"):
            raise Rejected("the rule linear is about outputs, the others about the Jacobian")
        if rule == "linear":
            self._linear(numbers, proof)
            return
        for number in numbers:
            if number in self.left and self._closes(number, proof):
                self.left.remove(number)

    def _closes(self, number: int, proof: Mapping[str, Any]) -> bool:
        """The rules about the Jacobian, for one objective."""
        rule, goal = proof["rule"], self.asked.objectives[number]
        assert not isinstance(goal, Clause)
        lines = (proof.get("adjoints") if rule == "quadratic" else rule) == "backward"
        found = [self.backward.row(row, lines) for row in goal.rows]
        if rule == "quadratic":
            closed = holds(self.backward, found, goal, proof)
            if not closed:
                self.failures.append(f"quadratic: the form of objective {number} is not positive")
            return closed
        value = goal.bound(found, self.bits)
        if rule == "backward" and value > goal.threshold and len(found) == 1:
            slopes = proof.get("multipliers", ())
            if isinstance(goal, Slope):
                value = min(value, found[0].upper(goal.input, goal.sign, slopes))
            elif goal.norm == "inf":  # no linear function is near a euclidean norm
                value = min(value, found[0].upper(None, 1, slopes))
        return self._within(rule, f"objective {number}", value, goal.threshold)

    def _within(self, rule: str, what: str, value: int, limit: int) -> bool:
        if value > limit:
            shown, most = (f"{float(Fraction(x, 1 << self.bits)):.9g}" for x in (value, limit))
            self.failures.append(f"{rule}: {what} has the bound {shown}, expected {most}")
        return value <= limit

    def _linear(self, numbers: Sequence[int], proof: Mapping[str, Any]) -> None:
        """sup of -(weights . (coefficients y + offsets)) below 0, or at most 0 where a strict row
        has a weight."""
        last, far = self.known.problem.count, self.known.problem.far
        rows, constants, limits = [], [], []
        for number in numbers:
            goal = self.asked.objectives[number]
            assert isinstance(goal, Clause)
            count = len(goal.offsets)
            if count > 1 and (len(numbers) > 1 or "weights" not in proof):
                raise Rejected("rule linear: a clause of several rows needs weights, and be alone")
            weights = [1.0] * count
            if "weights" in proof:
                weights = counted(proof["weights"], count, "weights")
            if min(weights) < 0:
                raise Rejected("rule linear: a weight < 0")
            exact = [Fraction(weight) for weight in weights]
            columns = [*zip(*goal.coefficients, strict=True), goal.offsets]
            *mixed, offset = [sum(paired(mul, exact, column), Fraction(0)) for column in columns]
            row = [-down(x, self.bits) for x in mixed]
            # What rounding the coefficients drops: x - down(x) in [0, 2^-bits) times outputs.
            lost = [up(x, self.bits) != -y for x, y in zip(mixed, row, strict=True)]
            rows.append(row)
            constants.append(up(-offset, 2 * self.bits) + sum(paired(mul, far[last], lost)))
            limits.append(0 if any(paired(mul, goal.strict, weights)) else -1)
        found = uppers(self.known, {last: rows}, len(rows), proof.get("multipliers", ()), constants)
        for number, value, limit in zip(numbers, found, limits, strict=True):
            if self._within("linear", f"objective {number}", value, limit):
                self.left.discard(number)
