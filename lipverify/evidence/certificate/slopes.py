"""Proofs about the Jacobian: rules `mean-split`, `backward` and `quadratic`, cheapest first."""

from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lipverify.bounds.conflicts import Conflict, Conflicts
from lipverify.bounds.jacobian import JacobianBounds, JacobianProblem, interval
from lipverify.bounds.linear import linear
from lipverify.bounds.mean_split import mean_split
from lipverify.bounds.propagation import NativeEngine
from lipverify.bounds.quadratic import (
    OpenGates,
    QuadraticBound,
    WarmStart,
    combined_gates,
    open_gates,
    quadratic_upper,
)
from lipverify.config import QuadraticConfig
from lipverify.evidence.certificate.claim import SlopeClaim
from lipverify.evidence.certificate.encode import Json, floats
from lipverify.evidence.certificate.exclusions import conflicts_at, listed
from lipverify.evidence.certificate.model import Model, Pair, State
from lipverify.evidence.certificate.node import (
    Attempt,
    InputSplit,
    NeuronSplit,
    NodeSplit,
    ObjectiveSplit,
    middle,
    moving,
)
from lipverify.graph import Node
from lipverify.interval import Interval
from lipverify.norms import AbstractNorm, norm_named
from lipverify.operators import Gate
from lipverify.operators.gate import relax_chords
from lipverify.search.branching import Candidate, weighted_areas
from lipverify.search.choices import FEW_INPUTS, MANY_GATES
from lipverify.search.gate_split import GateSearch
from lipverify.search.positions import Places

Array = NDArray[np.float64]

SAFE = 1e-10
"""Share by which a float bound has to be below a claim, before the checker is asked."""
FIXED = 1e-9
"""A bound without open gates is exact: the checker is asked if it is so near above the claim."""
MOST_SIGNS, MOST_SPECTRAL = 10, 12
"""Rows up to which the checker takes all signs, or the spectral norm, of their centre."""
CONFLICT_ROUNDS = 3
"""Solutions of one quadratic dual, each without conflicts of the last that were not proved."""
TARGET = 1e-7
"""So far below the claim, as a share of it, quadratic bounds are worked on."""


@final
@dataclass(frozen=True, eq=False)
class SlopeProver:
    model: Model
    claim: SlopeClaim
    config: QuadraticConfig = field(default_factory=QuadraticConfig)
    caution: float = 1.0
    """Factor on the margin that a float result has to have."""
    ordered: bool = False
    """Split neurons of earlier layers first: then exact steps see every function."""

    @cached_property
    def search(self) -> GateSearch:
        claim = self.claim
        return GateSearch(
            self.model.setting,
            claim.rows,
            claim.objectives,
            claim.input_norm,
            self.config,
            claim.output_norm,
        )

    def attempt(self, state: State, objectives: tuple[int, ...], hint: object) -> Attempt:
        proofs: list[Json] = []
        known = self._mean_split(state, objectives)
        left = self._close(proofs, "mean-split", objectives, known)
        if not left:
            return Attempt(proofs, ())
        known, problem = self._backward(state, left)
        left = self._close(proofs, "backward", left, known)
        if not left:
            return Attempt(proofs, ())
        if len(left) > 1:
            return Attempt(proofs, left, ObjectiveSplit(tuple((k,) for k in left)))
        objective = next(iter(left))
        inputs = moving(state)
        gates = self._gates(problem, known, objective)
        if gates.count == 0:
            return self._fixed(proofs, objective, known)
        few = 0 < len(inputs) <= FEW_INPUTS
        if few and (gates.count > MANY_GATES or self._smooth(state)):
            return Attempt(proofs, left, self._input_split(state, objective, inputs))
        claimed = self.claim.objectives[objective]
        if claimed.row is None and self.claim.input_norm.name == "1":
            # The format has no quadratic rule for the largest norm of a column.
            return Attempt(proofs, left, self._widest(state, gates))
        return self._by_quadratic(state, proofs, objective, gates, hint)

    def _by_quadratic(
        self, state: State, proofs: list[Json], objective: int, gates: OpenGates, hint: object
    ) -> Attempt:
        """The quadratic rule with the conflicts that it uses, or a split of a neuron."""
        first = not isinstance(hint, _Hint)
        given = hint if isinstance(hint, _Hint) else _Hint(conflicts_at(self.model, state))
        claimed, target = self.claim.objectives[objective], self._target()
        missed: set[Conflict] = set()
        for _ in range(CONFLICT_ROUNDS):
            pairs = given.conflicts.pairs
            apart = self.search.apart(gates, given.conflicts)
            allowed = np.array([pairs[k] not in missed for k in apart.conflict_names], dtype=bool)
            apart = apart.apart(
                apart.conflicts[allowed], apart.conflict_names[allowed], len(pairs)
            )
            found = quadratic_upper(
                apart,
                self.search.dual(claimed, apart),
                given.start,
                self.config,
                target - self.caution * TARGET * abs(target),
                lambda: False,
            )
            closed = found.upper <= target - self.caution * SAFE * abs(target)
            if not (closed or first):
                steps, after = [], state
                break
            used = [pairs[k] for k in found.dual.gates.conflict_names.tolist()]
            steps, after, more = listed(self.model, state, used)
            if not closed or not more:
                break
            missed |= more
        else:
            steps, after, closed = [], state, False
        if closed:
            return Attempt([*proofs, self._quadratic(after, objective, found)], (), steps=tuple(steps))
        candidates = self.search.candidates(claimed, state.known, found.dual, found.solution)
        split = self._neuron(state, candidates)
        further = _Hint(given.conflicts, found.start)
        return Attempt(proofs, (objective,), split, further, tuple(steps), after)

    @property
    def _norm(self) -> AbstractNorm:
        """Whose dual the rows are measured in; entries alone matter to objectives of entries."""
        entries = any(objective.direction is not None for objective in self.claim.objectives)
        return norm_named("1") if entries else self.claim.input_norm

    def _target(self) -> float:
        return self.claim.threshold

    def _problem(self, state: State, rows: Tensor) -> JacobianProblem:
        return JacobianProblem(
            self.model.setting.backward,
            rows,
            state.known,
            self.model.setting.memory,
            self._slopes(state),
        )

    def _slopes(self, state: State) -> dict[str, Interval]:
        """One-sided at ends that are kinks, one of them where the interval is a point."""
        found = {}
        for gate in self.model.setting.backward.gates:
            assert isinstance(gate.operator, Gate)
            activation, now = gate.operator.activation, state.known[gate.inputs[0]]
            slope = activation.gate_within(now)
            if activation.piecewise_linear:
                point = now.lower == now.upper
                one = activation.derivative(now.lower)
                slope = Interval(
                    torch.where(point, one, slope.lower), torch.where(point, one, slope.upper)
                )
            found[gate.name] = slope
        return found

    def _rows(self, objectives: tuple[int, ...]) -> tuple[int, ...]:
        """The rows that they are about; all for a joint one."""
        rows = [self.claim.objectives[k].row for k in objectives]
        if None in rows:
            return tuple(range(len(self.claim.rows)))
        return tuple(dict.fromkeys(row for row in rows if row is not None))

    def _mean_split(self, state: State, objectives: tuple[int, ...]) -> "_Known":
        rows = self._rows(objectives)
        problem = self._problem(state, self.claim.rows[list(rows)])
        return _Known(rows, interval(problem).intersect(mean_split(problem)))

    def _backward(
        self, state: State, objectives: tuple[int, ...]
    ) -> tuple["_Known", JacobianProblem]:
        rows = self._rows(objectives)
        problem = self._problem(state, self.claim.rows[list(rows)])
        first = interval(problem).intersect(mean_split(problem))
        engine = NativeEngine(self.model.setting.backward, state.region, relax_chords)
        found = linear(problem, engine, relax_chords, self._norm, first)
        if self.claim.input_norm.name != "inf":  # the rule has no linear function for other norms
            found = JacobianBounds(found.elements, None, found.adjoints)
        return _Known(rows, found.intersect(first)), problem

    def _close(
        self, proofs: list[Json], rule: str, objectives: tuple[int, ...], known: "_Known"
    ) -> tuple[int, ...]:
        ends = {k: self._read(k, known) for k in objectives}
        limit = self._target() - self.caution * SAFE * abs(self._target())
        closed = [k for k, end in ends.items() if end <= limit]
        if closed:
            proofs.append({"rule": rule, "objectives": closed})
        return tuple(k for k in objectives if k not in closed)

    def _read(self, objective: int, known: "_Known") -> float:
        claimed = self.claim.objectives[objective]
        if claimed.row is None:
            return _joint_norm(known.bounds.elements, self.claim.input_norm, self.claim.output_norm)
        place = torch.tensor([known.rows.index(claimed.row)])
        return self.search.read(claimed, known.bounds.at_rows(place))

    def _gates(self, problem: JacobianProblem, known: "_Known", objective: int) -> OpenGates:
        row = self.claim.objectives[objective].row
        if row is None:
            return combined_gates(problem, known.bounds, self.claim.output_norm)
        return open_gates(problem, known.bounds, known.rows.index(row))

    def _fixed(self, proofs: list[Json], objective: int, known: "_Known") -> Attempt:
        """Nothing is open: the float bound is exact but for rounding, the checker's without it."""
        end = self._read(objective, known)
        if end <= self._target() + FIXED * abs(self._target()):
            return Attempt([*proofs, {"rule": "mean-split", "objectives": [objective]}], ())
        return Attempt(proofs, (objective,), None)

    def _smooth(self, state: State) -> bool:
        return any(
            not self.model.activation(node).piecewise_linear
            and bool((state.known[node.inputs[0]].width > 0).any())
            for node in self.model.forward.activations
        )

    def _neuron(self, state: State, candidates: tuple[Candidate, ...]) -> NodeSplit | None:
        """The gate with the largest weighted area (Shi et al. 2022), as the search does."""
        if not candidates:
            inputs = moving(state)
            if not len(inputs):
                return None
            width = state.region.bounding.width
            index = int(width.argmax())
            return InputSplit(index, middle(state, index))
        if self.ordered:
            first = min(self.model.layers[candidate.gate[0]][0] for candidate in candidates)
            candidates = tuple(c for c in candidates if self.model.layers[c.gate[0]][0] == first)
        best = max(candidates, key=lambda candidate: candidate.area)
        return NeuronSplit(best.gate[0], best.gate[1], best.position)

    def _widest(self, state: State, gates: OpenGates) -> NodeSplit | None:
        places = Places(self.model.setting.backward, state.known, gates.names)
        areas = weighted_areas(gates, None)
        if self.ordered:  # gates come from the output's side
            areas = np.arange(len(areas), dtype=np.float64)
        for place in np.argsort(-areas, kind="stable"):
            name, index = gates.names[place]
            neuron = self.model.setting.backward[name].inputs[0], index
            found = places.of(neuron)
            if found is not None:
                return NeuronSplit(*neuron, found.position)
        return self._neuron(state, ())

    def _input_split(self, state: State, objective: int, inputs: Tensor) -> InputSplit:
        """The input whose worse half has the best cheap bound."""
        best, chosen = float("inf"), int(state.region.bounding.width.argmax())
        for index in inputs.tolist():
            at = middle(state, index)
            ends = []
            for side in (-1, 1):
                half = self.model.input_half(state, index, at, side)
                ends.append(self._read(objective, self._mean_split(half, (objective,))))
            value = max(ends) + 0.1 * min(ends)
            if value < best:
                best, chosen = value, index
        return InputSplit(chosen, middle(state, chosen))

    def _quadratic(self, state: State, objective: int, found: QuadraticBound) -> Json:
        """The dual's multipliers in the format's order."""
        dual, gates = found.dual, found.dual.gates
        theta = np.clip(found.solution.theta, dual.lmi.lower, dual.lmi.upper)
        backward = self.model.setting.backward
        layer = {node.name: k for k, node in enumerate(self.model.forward.activations)}
        places = [[layer[_activation(backward[name])], index] for name, index in gates.names]
        count, pairs = gates.count, len(gates.conflicts)
        claimed = self.claim.objectives[objective]
        l1 = claimed.direction is None and self.claim.input_norm.dual.name == "1"
        l2 = claimed.direction is None and self.claim.input_norm.dual.name == "2"
        rest = theta[count + pairs :]
        open_ = (gates.element_lower < 0) & (gates.element_upper > 0)
        majorant = found.start.majorant
        chosen = np.zeros(0, dtype=np.int64)
        if l1 and majorant is None:
            slack = -(gates.element_upper * gates.element_lower)
            width = np.where(open_, gates.element_upper - gates.element_lower, 1.0)
            intercept = np.where(open_, 2 * slack / width, 0.0)
            some = min(self.config.max_signs, int(open_.sum()))
            chosen = np.argsort(-intercept, kind="stable")[:some]
        blends = rest[: len(chosen)]
        kappas = rest[len(chosen) :]
        free = 0 if not gates.free else (1 if gates.free_norm == "2" else gates.free)
        proof: Json = {
            "rule": "quadratic",
            "objective": objective,
            "adjoints": "backward",
            "gates": places,
            "theta": floats(theta[:count]),
            "kappa": floats(kappas[1 + free : 1 + free + count]),
        }
        if pairs:
            numbers = {item.pair: number for number, item in enumerate(state.listed)}
            proof["pairs"] = [numbers[pair] for pair in _pairs(places, gates)]
            proof["phi"] = floats(theta[count : count + pairs])
        if free:
            proof["free"] = floats(kappas[1 : 1 + free])
        signs = kappas[1 + free + count :]
        if l1:
            blend, scale = np.ones(len(open_)), np.ones(len(open_))
            if majorant is not None:
                blend[open_], scale[open_] = majorant.blend[open_], majorant.scale[open_]
            else:
                # The variable s of an entry, eliminated: (1 - w) s r - kappa s^2 is at most
                # (1 - w)^2 r^2 / (4 kappa), so the scale is kappa / (1 - w).
                share = 1.0 - blends
                on = share > 1e-9
                index = np.flatnonzero(open_)
                order = {int(place): k for k, place in enumerate(np.sort(chosen))}
                del index
                for place, k in order.items():
                    if on[k] and signs[k] > 0:
                        blend[place], scale[place] = blends[k], signs[k] / share[k]
            proof["blend"], proof["scale"] = floats(blend), floats(scale)
        if l2:
            proof["scale"] = floats(signs[:1])
        return proof


@dataclass(frozen=True, eq=False)
class _Hint:
    """What the quadratic rule leaves to the nodes below: conflicts there, and multipliers."""

    conflicts: Conflicts
    start: WarmStart = field(default_factory=WarmStart)


@dataclass(frozen=True, eq=False)
class _Known:
    """Bounds of some rows, by their numbers."""

    rows: tuple[int, ...]
    bounds: JacobianBounds


def _pairs(places: list[list[int]], gates: OpenGates) -> list[Pair]:
    """The conflicts of gates at [layer, neuron] in the format's words."""
    return [
        (places[a][0], places[a][1], int(s), places[b][0], places[b][1], int(t))
        for a, s, b, t in gates.conflicts.tolist()
    ]


def _activation(gate: Node) -> str:
    """The activation whose gate a node of the backward graph is: d/OPERAND~ACTIVATION."""
    return gate.name.removeprefix(f"d/{gate.inputs[0]}~")


def _joint_norm(elements: Interval, input_norm: AbstractNorm, output_norm: AbstractNorm) -> float:
    """As the checker bounds the operator norm of all matrices [r, n] in an enclosure."""
    magnitude = elements.magnitude
    if input_norm.name == "1":
        return float(output_norm.of(magnitude.mT).amax())
    dual = input_norm.dual
    best = float(output_norm.of(dual.of(magnitude)))
    count = len(magnitude)
    if output_norm.name == "1" and count <= MOST_SIGNS:
        signs = torch.tensor(list(product((1.0, -1.0), repeat=count)), dtype=torch.float64)
        sizes = (signs @ elements.center).abs() + elements.radius.sum(0)
        best = min(best, float(dual.of(sizes).amax()))
    if input_norm.name == output_norm.name == "2" and count <= MOST_SPECTRAL:
        spectral = torch.linalg.matrix_norm(elements.center, 2)
        best = min(best, float(spectral + elements.radius.square().sum().sqrt()))
    return best
