"""Proofs about the Jacobian: rules `mean-split`, `backward` and `quadratic`, cheapest first."""

from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lipverify.bounds.batched import (
    AbstractObjective,
    BatchSetting,
    Boxes,
    Entries,
    MatrixNorm,
    RowNorms,
    bound_boxes,
    gate_count,
)
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
from lipverify.checker.objectives import MOST_SIGNS, MOST_SPECTRAL
from lipverify.config import QuadraticConfig
from lipverify.errors import NumericalFailure
from lipverify.evidence.certificate.claim import SlopeClaim
from lipverify.evidence.certificate.encode import Json
from lipverify.evidence.certificate.exclusions import conflicts_at, listed
from lipverify.evidence.certificate.model import Model, State
from lipverify.evidence.certificate.node import (
    Attempt,
    InputSplit,
    NeuronSplit,
    NodeSplit,
    ObjectiveSplit,
    middle,
    moving,
)
from lipverify.evidence.certificate.quadratic import (
    quadratic_proof,
    sparser,
    used_conflicts,
)
from lipverify.interval import Interval
from lipverify.norms import AbstractNorm, norm_named
from lipverify.operators import Gate
from lipverify.operators.gate import relax_chords
from lipverify.region import Box
from lipverify.search.branching import Candidate, weighted_areas
from lipverify.search.choices import FEW_INPUTS
from lipverify.search.gate_split import GateSearch
from lipverify.search.positions import Places

Array = NDArray[np.float64]

SAFE = 1e-10
"""Share by which a float bound has to be below a claim, before the checker is asked."""
FEW_GATES = 20
"""Where few inputs move, they are split down to so many open gates. Then the mean-split encloses
adjoints nearly as well as linear propagation does, at a fraction of the cost. Measured on ACAS Xu:
more gates cost more per node, fewer take more nodes."""
NEAR = 3.0
"""Linear bounds are tried on boxes whose bound is so many times the claim at most."""
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
        few_inputs = 0 < len(moving(state)) <= FEW_INPUTS
        opened, adjoints = self._opened(state), "mean-split"
        if not few_inputs or opened > FEW_GATES or self._smooth(state):
            if not few_inputs or self._near(left, known):
                known, adjoints = self._backward(state, left), "backward"
                left = self._close(proofs, "backward", left, known)
                if not left:
                    return Attempt(proofs, ())
            if few_inputs and opened:
                return Attempt(proofs, left, self._input_split(state, left))
        objective = left[0]
        if len(left) > 1:
            return Attempt(proofs, left, ObjectiveSplit(tuple((k,) for k in left)))
        gates = self._gates(state, known, objective)
        if gates.count == 0:
            return self._fixed(proofs, objective)
        claimed = self.claim.objectives[objective]
        if claimed.row is None and self.claim.input_norm.name == "1":
            # The format has no quadratic rule for the largest norm of a column.
            return Attempt(proofs, left, self._widest(state, gates))
        return self._by_quadratic(state, proofs, objective, gates, adjoints, hint)

    def _by_quadratic(
        self,
        state: State,
        proofs: list[Json],
        objective: int,
        gates: OpenGates,
        adjoints: str,
        hint: object,
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
            apart = apart.apart(apart.conflicts[allowed], apart.conflict_names[allowed], len(pairs))
            found = quadratic_upper(
                apart,
                self.search.dual(claimed, apart),
                given.start,
                self.config,
                target - self.caution * TARGET * abs(target),
                lambda: False,
            )
            limit = target - self.caution * SAFE * abs(target)
            closed, shown = found.upper <= limit, found
            if not (closed or first):
                steps, after = [], state
                break
            if closed:
                shown = sparser(found, target - self.caution * TARGET / 2 * abs(target))
            names = found.dual.gates.conflict_names
            used = [pairs[names[k]] for k in used_conflicts(shown)]
            steps, after, more = listed(self.model, state, used)
            if not closed or not more:
                break
            missed |= more
        else:
            steps, after, closed, shown = [], state, False, found
        if closed:
            proof = self._proof(after, objective, shown, adjoints)
            return Attempt([*proofs, proof], (), steps=tuple(steps))
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

    def _opened(self, state: State) -> int:
        """How many gates are open."""
        slopes = self._slopes(state).values()
        return sum(int((slope.lower < slope.upper).sum()) for slope in slopes)

    def _near(self, objectives: tuple[int, ...], known: "_Known") -> bool:
        """Whether tighter bounds may close one of them."""
        least = min(self._read(k, known) for k in objectives)
        return least <= NEAR * self._target() if self._target() > 0 else True

    def _backward(self, state: State, objectives: tuple[int, ...]) -> "_Known":
        rows = self._rows(objectives)
        problem = self._problem(state, self.claim.rows[list(rows)])
        first = interval(problem).intersect(mean_split(problem))
        engine = NativeEngine(self.model.setting.backward, state.region, relax_chords)
        found = linear(problem, engine, relax_chords, self._norm, first)
        if self.claim.input_norm.name != "inf":  # the rule has no linear function for other norms
            found = JacobianBounds(found.elements, None, found.adjoints)
        return _Known(rows, found.intersect(first))

    def _proof(self, state: State, objective: int, found: QuadraticBound, adjoints: str) -> Json:
        claimed = self.claim.objectives[objective]
        dual = None if claimed.direction is not None else self.claim.input_norm.dual
        proof = quadratic_proof(self.model, state, found, dual, self.config.max_signs)
        return {"rule": "quadratic", "objective": objective, "adjoints": adjoints, **proof}

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

    def _gates(self, state: State, known: "_Known", objective: int) -> OpenGates:
        row = self.claim.objectives[objective].row
        problem = self._problem(state, self.claim.rows[list(known.rows)])
        if row is None:
            return combined_gates(problem, known.bounds, self.claim.output_norm)
        return open_gates(problem, known.bounds, known.rows.index(row))

    def _fixed(self, proofs: list[Json], objective: int) -> Attempt:
        """Nothing is open: what floats lose here the checker does not, so it is asked."""
        return Attempt([*proofs, {"rule": "mean-split", "objectives": [objective]}], ())

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

    def _input_split(self, state: State, objectives: tuple[int, ...]) -> InputSplit:
        """The input that the search over boxes would cut."""
        box = state.region.bounding
        boxes = Boxes(box.lower.unsqueeze(0), box.upper.unsqueeze(0))
        outside = None if isinstance(state.region, Box) else state.region
        backward = self.model.setting.backward
        setting = BatchSetting(backward, outside, state.known, self.model.setting.memory)
        asked = self._batched(objectives)
        previous = torch.full((1, asked.size), torch.inf, dtype=torch.float64)
        enough = torch.full((asked.size,), self._target(), dtype=torch.float64)
        worth = box.width
        with suppress(NumericalFailure):
            every = torch.tensor([gate_count(backward)])
            worth = bound_boxes(setting, asked, boxes, previous, enough, every).gain[0]
        worth = torch.where(boxes.divisible()[0], worth, -torch.inf)
        index = int(worth.argmax())
        return InputSplit(index, middle(state, index))

    def _batched(self, objectives: tuple[int, ...]) -> AbstractObjective:
        """The objectives, those on entries of the first one's row, for bounds of many boxes."""
        claim, backward = self.claim, self.model.setting.backward
        asked = [claim.objectives[k] for k in objectives]
        if asked[0].row is None:
            return MatrixNorm(backward, claim.rows, claim.input_norm, claim.output_norm)
        if asked[0].direction is None:
            rows = claim.rows[list(self._rows(objectives))]
            return RowNorms(backward, rows, claim.input_norm.dual)
        entries = [one.direction for one in asked if one.row == asked[0].row]
        table = torch.stack([entry for entry in entries if entry is not None])
        index = table.abs().argmax(1)
        signs = table.gather(1, index.unsqueeze(1)).squeeze(1)
        return Entries(backward, claim.rows[asked[0].row].unsqueeze(0), index, signs)


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
