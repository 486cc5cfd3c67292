"""Proofs that no output is unsafe: rule `linear`, with slopes, multipliers and weights of rows."""

from dataclasses import dataclass
from typing import final

import torch
from scipy.optimize import linprog
from torch import Tensor

from lipverify.evidence.certificate.bounding import (
    Choice,
    Cuts,
    cuts_of,
    multipliers_json,
    optimised,
    plain,
)
from lipverify.evidence.certificate.claim import OutputClaim
from lipverify.evidence.certificate.encode import Json, floats
from lipverify.evidence.certificate.model import Empty, Lines, Model, State
from lipverify.evidence.certificate.node import (
    READ,
    Attempt,
    InputSplit,
    NeuronSplit,
    NodeSplit,
    ObjectiveSplit,
    middle,
    moving,
)
from lipverify.query_output import Clause
from lipverify.search.choices import FEW_INPUTS, MANY_GATES
from lipverify.search.split import Split

ROOT_STEPS, STEPS = 40, 12
TRIED = 6
"""So many neurons, those with the largest scores, have their halves bounded before one is split."""


@dataclass(frozen=True, eq=False)
class _Functional:
    """weights . -(coefficients f + offsets) of a clause, to be bounded by less than 0."""

    start: Tensor
    constant: Tensor
    strict: Tensor


@final
@dataclass(frozen=True, eq=False)
class OutputProver:
    model: Model
    claim: OutputClaim
    caution: float = 1.0
    """Factor on the margin that a float result has to have."""
    ordered: bool = False
    """Split neurons of earlier layers first: then exact steps see every function."""

    def attempt(self, state: State, objectives: tuple[int, ...], hint: object) -> Attempt:
        lines = self.model.lines(state.known)
        cuts = cuts_of(self.model, state, lines)
        steps = STEPS if state.splits else ROOT_STEPS
        single = tuple(k for k in objectives if len(self.claim.clauses[k]) == 1)
        proofs: list[Json] = []
        left: list[int] = []
        worst: tuple[float, int, Choice] | None = None

        def judged(members: tuple[int, ...], choice: Choice, functional: _Functional) -> list[int]:
            nonlocal worst
            margin = self.caution * READ * self._reach(choice, functional)
            value = choice.value + functional.constant
            done = torch.where(functional.strict, value <= 0, value < -margin)
            for t, k in enumerate(members):
                if not bool(done[t]):
                    left.append(k)
                    if worst is None or float(value[t]) > worst[0]:
                        worst = float(value[t]), k, choice.pick(torch.tensor([t]))
            return done.nonzero().flatten().tolist()

        if single:
            rows = [self._functional(self.claim.clauses[k]) for k in single]
            functional = _Functional(
                torch.cat([row.start for row in rows]),
                torch.cat([row.constant for row in rows]),
                torch.cat([row.strict for row in rows]),
            )
            choice = self._best(state, functional, lines, cuts, steps)
            closed = judged(single, choice, functional)
            if closed:
                given = multipliers_json(
                    self.model, state, lines, cuts, choice.pick(torch.tensor(closed))
                )
                names = [single[t] for t in closed]
                proofs.append({"rule": "linear", "objectives": names, "multipliers": given})
        for k in objectives:
            if k in single:
                continue
            clause = self.claim.clauses[k]
            weights = self._weights(state, clause, lines, cuts)
            functional = self._functional(clause, weights)
            choice = self._best(state, functional, lines, cuts, steps)
            if judged((k,), choice, functional):
                given = multipliers_json(self.model, state, lines, cuts, choice)
                proofs.append(
                    {
                        "rule": "linear",
                        "objective": k,
                        "weights": floats(weights),
                        "multipliers": given,
                    }
                )
        if not left:
            return Attempt(proofs, ())
        if len(left) > 1:
            parts = tuple((k,) for k in sorted(left))
            return Attempt(proofs, tuple(left), ObjectiveSplit(parts))
        assert worst is not None
        split = self._split(state, worst[1], worst[2], lines, cuts)
        if split is None:
            return self._fixed(state, worst[1], proofs, lines, cuts)
        return Attempt(proofs, tuple(left), split)

    def _fixed(
        self, state: State, objective: int, proofs: list[Json], lines: Lines, cuts: Cuts
    ) -> Attempt:
        """Everything is affine: a linear program's multipliers are the best. What floats lose here
        the checker does not, so it is asked."""
        clause = self.claim.clauses[objective]
        weights = None if len(clause) == 1 else self._weights(state, clause, lines, cuts)
        functional = self._functional(clause, weights)
        start = {self.model.forward.output: functional.start}
        slope, _, _ = self.model.substitute(state, start, lines)
        amounts = cuts.region.duals(slope[0]).unsqueeze(0)
        betas = cuts.betas(self.model, amounts)
        slope, constant, seen = self.model.substitute(state, start, lines, betas)
        value = constant + state.region.support(slope)
        choice = Choice(value, amounts, {}, seen)
        given = multipliers_json(self.model, state, lines, cuts, choice)
        proof: Json = {"rule": "linear", "objective": objective, "multipliers": given}
        if weights is not None:
            proof["weights"] = floats(weights)
        return Attempt([*proofs, proof], ())

    def _functional(self, clause: Clause, weights: Tensor | None = None) -> _Functional:
        weights = torch.ones(1, dtype=torch.float64) if weights is None else weights
        shape = self.model.forward[self.model.forward.output].shape
        strict = (clause.is_strict & (weights > 0)).any().reshape(1)
        return _Functional(
            -(weights @ clause.coefficients).reshape(1, *shape),
            -(weights @ clause.offsets).reshape(1),
            strict,
        )

    def _best(
        self, state: State, functional: _Functional, lines: Lines, cuts: Cuts, steps: int
    ) -> Choice:
        start = {self.model.forward.output: functional.start}
        enough = -float(functional.constant.max()) - 1e-9 * float(
            functional.constant.abs().max() + functional.start.abs().max()
        )
        return optimised(self.model, state, start, lines, cuts, steps, enough)

    def _reach(self, choice: Choice, functional: _Functional) -> Tensor:
        return choice.value.abs() + functional.constant.abs()

    def _weights(self, state: State, clause: Clause, lines: Lines, cuts: Cuts) -> Tensor:
        """The duals of max over the cut box of the smallest row, each by its relaxation."""
        shape = self.model.forward[self.model.forward.output].shape
        start = {self.model.forward.output: -clause.coefficients.reshape(-1, *shape)}
        slope, constant, _ = self.model.substitute(state, start, lines)
        constant = constant - clause.offsets
        count, size = slope.shape
        box = state.region.bounding
        ones = torch.cat([torch.ones(count), torch.zeros(len(cuts))]).to(slope).unsqueeze(1)
        matrix = torch.cat([-torch.cat([slope, cuts.region.slopes]), ones], 1)
        limits = [*zip(box.lower.tolist(), box.upper.tolist(), strict=True), (None, None)]
        cost = [0.0] * size + [-1.0]
        ends = torch.cat([constant, cuts.region.offsets])
        solved = linprog(cost, matrix.numpy(), ends.numpy(), bounds=limits, method="highs-ds")
        if solved.x is None:
            return torch.full((count,), 1 / count, dtype=torch.float64)
        duals = torch.as_tensor(-solved.ineqlin.marginals, dtype=torch.float64).clamp(min=0.0)
        return duals[:count] if bool(duals[:count].sum() > 0) else duals[:count] + 1 / count

    def _split(
        self, state: State, objective: int, choice: Choice, lines: Lines, cuts: Cuts
    ) -> NodeSplit | None:
        inputs = moving(state)
        scores = self._scores(state, choice, lines)
        clause = self.claim.clauses[objective]
        weights = None if len(clause) == 1 else self._weights(state, clause, lines, cuts)
        functional = self._functional(clause, weights)
        smooth = any(kind for _, _, kind in scores)
        if len(inputs) and len(inputs) <= FEW_INPUTS and (smooth or len(scores) > MANY_GATES):
            return self._input_split(state, functional, lines)
        if not scores:
            return None
        if self.ordered:
            first = min(self.model.layers[split.node][0] for _, split, _ in scores)
            scores = [item for item in scores if self.model.layers[item[1].node][0] == first]
        best, found = float("inf"), scores[0][1]
        if len(scores) == 1:
            return found
        for _, split, _ in scores[:TRIED]:
            ends = [self._quick(state, functional, lines, side) for side in split.sides()]
            value = max(ends) + 0.1 * min(ends)
            if value < best:
                best, found = value, split
        return found

    def _quick(self, state: State, functional: _Functional, lines: Lines, side: Split) -> float:
        try:
            half = self.model.halved(state, side)
        except Empty:
            return float("-inf")
        narrower = {
            node.name: self.model.activation(node).relax(half.known[side.node])
            for node in self.model.forward.activations
            if node.inputs[0] == side.node
        }
        made = {**lines, **narrower}
        start = {self.model.forward.output: functional.start}
        return float(plain(self.model, half, start, made, cuts_of(self.model, half, made)).value)

    def _scores(
        self, state: State, choice: Choice, lines: Lines
    ) -> list[tuple[float, NeuronSplit, bool]]:
        """Open neurons by what their relaxation loses in this functional; whether it is smooth."""
        found: list[tuple[float, NeuronSplit, bool]] = []
        for node in self.model.forward.activations:
            operator = self.model.activation(node)
            coefficient = choice.coefficients.get(node.name)
            if coefficient is None:
                continue
            name = node.inputs[0]
            lower, upper = (
                end.flatten() for end in (state.known[name].lower, state.known[name].upper)
            )
            size = coefficient.flatten().abs()
            if not operator.piecewise_linear:
                line = lines[node.name]
                center = state.known[name].center
                gap = (line.upper_slope - line.lower_slope) * center
                gap = (gap + line.upper_intercept - line.lower_intercept).flatten()
                for i in (lower < upper).nonzero().flatten().tolist():
                    at = float(center.flatten()[i])
                    if float(lower[i]) < at < float(upper[i]):
                        found.append((float(size[i] * gap[i]), NeuronSplit(name, i, at), True))
                continue
            for kink in operator.kinks:
                index = ((lower < kink) & (kink < upper)).nonzero().flatten()
                below, above = kink - lower[index], upper[index] - kink
                loss = size[index] * below * above / (below + above)
                found += [
                    (float(value), NeuronSplit(name, int(i), kink), False)
                    for value, i in zip(loss, index, strict=True)
                ]
        return sorted(found, key=lambda item: -item[0])

    def _input_split(self, state: State, functional: _Functional, lines: Lines) -> InputSplit:
        """The input that moves the relaxation most."""
        start = {self.model.forward.output: functional.start}
        slope, _, _ = self.model.substitute(state, start, lines)
        width = state.region.bounding.width
        worth = width * (slope[0].abs() + 1e-3 * slope.abs().max())
        index = int(worth.argmax() if bool(worth.max() > 0) else width.argmax())
        return InputSplit(index, middle(state, index))
