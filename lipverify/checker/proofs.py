"""The proofs of a node: which objectives they close (README 3, 4)."""

from collections.abc import Collection, Mapping, Sequence
from fractions import Fraction
from functools import cached_property
from operator import mul
from typing import Any

from lipverify.checker.errors import Rejected
from lipverify.checker.exact import counted, down, paired, up
from lipverify.checker.forward import Known, uppers
from lipverify.checker.jacobian import Backward
from lipverify.checker.objectives import Clause, Norm, Property, Slope
from lipverify.checker.quadratic import holds

Proof = Mapping[str, Any]


class Closer:
    """Applies proofs at one node; `failures`: why they did not close what they were about."""

    def __init__(self, known: Known, asked: Property) -> None:
        self.known, self.asked, self.bits = known, asked, known.problem.bits
        self.failures: list[str] = []

    @cached_property
    def backward(self) -> Backward:
        whole = any(isinstance(goal, Norm) and goal.norm == "2" for goal in self.asked.objectives)
        return Backward(self.known, self.asked.rows, whole)

    def close(self, left: Collection[int], proofs: Sequence[Proof]) -> frozenset[int]:
        """The objectives of `left` that stay open."""
        open_ = set(left)
        for proof in proofs:
            if self.known.empty or not open_:
                break
            rule = proof["rule"]
            if rule == "empty":
                # Farkas: the functional 0 with betas has a bound < 0.
                if uppers(self.known, {}, 1, proof.get("multipliers", ()))[0] < 0:
                    return frozenset()
                self.failures.append("empty: not proved")
            elif rule == "linear":
                open_ -= self._linear(self._numbers(proof, open_), proof)
            elif self.asked.kind == "robustness":
                raise Rejected(f"the rule {rule} is about the Jacobian, the property about outputs")
            else:
                asked = [number for number in self._numbers(proof, open_) if number in open_]
                open_ -= {number for number in asked if self._closes(number, proof)}
        return frozenset() if self.known.empty else frozenset(open_)

    def _numbers(self, proof: Proof, left: Collection[int]) -> list[int]:
        if ("objective" in proof) == ("objectives" in proof):
            raise Rejected(f"rule {proof['rule']}: expected `objective` or `objectives`")
        asked = [proof["objective"]] if "objective" in proof else proof["objectives"]
        if asked == "all":
            return sorted(left)
        count = len(self.asked.objectives)
        if any(number >= count for number in asked):
            raise Rejected(f"rule {proof['rule']}: there are {count} objectives")
        return list(asked)

    def _closes(self, number: int, proof: Proof) -> bool:
        """The rules about the Jacobian, for one objective."""
        rule, goal = proof["rule"], self.asked.objectives[number]
        assert not isinstance(goal, Clause)
        lines = (proof.get("adjoints") if rule == "quadratic" else rule) == "backward"
        found = [self.backward.enclosure(row, lines) for row in goal.rows]
        if rule == "quadratic":
            if not (closed := holds(self.backward, found, goal, proof)):
                why = f"the form of objective {number} is not proved positive"
                self.failures.append(f"quadratic: {why}")
            return closed
        value = goal.bound(found, self.bits)
        if rule == "backward" and value > goal.threshold and len(found) == 1:
            entries = proof.get("gates", ())
            if isinstance(goal, Slope):
                value = min(value, found[0].upper(goal.input, goal.sign, entries))
            elif goal.norm == "inf":  # no linear function is near a euclidean norm
                value = min(value, found[0].upper(None, 1, entries))
        return self._within(rule, number, value, goal.threshold)

    def _within(self, rule: str, number: int, value: int, limit: int) -> bool:
        if value > limit:
            shown, most = (f"{float(Fraction(x, 1 << self.bits)):.9g}" for x in (value, limit))
            self.failures.append(f"{rule}: objective {number} has the bound {shown}, not {most}")
        return value <= limit

    def _linear(self, numbers: Sequence[int], proof: Proof) -> set[int]:
        """sup of -(weights . (coefficients y + offsets)) below 0, or at most 0 where a strict row
        has a weight."""
        rows, constants, limits = [], [], []
        for number in numbers:
            goal = self.asked.objectives[number]
            if not isinstance(goal, Clause):
                raise Rejected("the rule linear is about outputs, the property about the Jacobian")
            count = len(goal.offsets)
            if count > 1 and (len(numbers) > 1 or "weights" not in proof):
                raise Rejected("rule linear: clauses of several rows need weights, and be alone")
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
            problem = self.known.problem
            constant = up(-offset, 2 * self.bits)
            constants.append(constant + sum(paired(mul, problem.far[problem.count], lost)))
            rows.append(row)
            limits.append(0 if any(paired(mul, goal.strict, weights)) else -1)
        start = {self.known.problem.count: rows}
        found = uppers(self.known, start, len(rows), proof.get("multipliers", ()), constants)
        places = zip(numbers, found, limits, strict=True)
        return {n for n, value, limit in places if self._within("linear", n, value, limit)}
