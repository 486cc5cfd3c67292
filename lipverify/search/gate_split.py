"""Subproblems over gates, for objectives on the Jacobian's rows (DESIGN 4.5): bounds, children.

A subproblem is an objective with splits: closed halves z <= t or z >= t of preactivations, whose
common edge belongs to both children. Piecewise linear gates are fixed by a half; of others, the
slope's range gets narrower. The loop over them is in `gate_loop`.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from lipverify.bounds.conflicts import Conflicts, linear_uppers
from lipverify.bounds.cuts import CutRegion
from lipverify.bounds.interior import FLAT, ExactForward
from lipverify.bounds.jacobian import JacobianBounds, JacobianProblem, interval
from lipverify.bounds.linear import linear
from lipverify.bounds.mean_split import mean_split
from lipverify.bounds.methods import Setting
from lipverify.bounds.preactivation import ForwardProblem, crown, one_hot
from lipverify.bounds.propagation import NativeEngine
from lipverify.bounds.quadratic import (
    DualOf,
    LmiSolution,
    OpenGates,
    QuadraticDual,
    WarmStart,
    combined_gates,
    entry_dual,
    l1_dual,
    l2_dual,
    open_gates,
    quadratic_upper,
)
from lipverify.config import QuadraticConfig
from lipverify.errors import InvertedInterval, NumericalFailure
from lipverify.interval import Interval
from lipverify.norms import AbstractNorm, norm_named, operator_norm
from lipverify.numerics import round_up
from lipverify.operators import Gate
from lipverify.operators.gate import relax_chords
from lipverify.region import AbstractRegion
from lipverify.search.branching import Candidate, weighted_areas
from lipverify.search.positions import Places, fixes, one_sided
from lipverify.search.split import Split, Twins, sides, tightest

Preactivations = Mapping[str, Interval]


@dataclass(frozen=True, eq=False)
class Objective:
    """The norm dual to `input_norm` of row `row` of the rows, or direction . row if given [n].

    Without `row`, of c . rows with c the worst in the unit ball dual to the output norm.
    """

    row: int | None
    direction: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Subproblem:
    """An objective, its splits, what they imply, and a proved upper end."""

    objective: int
    splits: tuple[Split, ...]
    preactivations: Preactivations
    fixed: Mapping[str, Interval]
    region: AbstractRegion
    upper: float
    start: WarmStart = field(default_factory=WarmStart)
    """From the parent's solution."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A subproblem's proved upper end (-inf: empty) and its open gates, the likely best first."""

    upper: float
    candidates: tuple[Candidate, ...] = ()
    start: WarmStart = field(default_factory=WarmStart)
    point: Tensor | None = None
    """A point of a subproblem without open gates, at which the bound may be attained."""


@dataclass(frozen=True, eq=False)
class GateSearch:
    """What stays the same over one search."""

    setting: Setting
    rows: Tensor
    objectives: tuple[Objective, ...]
    input_norm: AbstractNorm
    config: QuadraticConfig = field(default_factory=QuadraticConfig)
    output_norm: AbstractNorm = field(default_factory=lambda: norm_named("inf"))
    """Combines the rows, for objectives without a row of their own."""

    @cached_property
    def twins(self) -> Twins:
        return Twins(self.setting.network.graph)

    @cached_property
    def exact(self) -> ExactForward:
        return ExactForward(self.setting.network.graph, self.setting.region)

    def root(self, objective: int, preactivations: Preactivations, upper: float) -> Subproblem:
        return Subproblem(objective, (), preactivations, {}, self.setting.region, upper)

    def evaluate(
        self, problem: Subproblem, target: float, stop: Callable[[], bool] = lambda: False
    ) -> Evaluation:
        """Bound a subproblem by the ladder mean-split, linear, quadratic, down to `target`."""
        objective = self.objectives[problem.objective]
        rows = self.rows
        if objective.row is not None:
            rows = rows[objective.row : objective.row + 1]
        backward = self.setting.backward
        jacobian = JacobianProblem(
            backward, rows, problem.preactivations, self.setting.memory, problem.fixed
        )
        known = interval(jacobian).intersect(mean_split(jacobian))
        upper = min(problem.upper, self.read(objective, known))
        if upper <= target:
            return Evaluation(upper)
        engine = NativeEngine(backward, problem.region, relax_chords)
        norm = self.input_norm if objective.direction is None else norm_named("1")
        known = known.intersect(linear(jacobian, engine, relax_chords, norm, known))
        upper = min(upper, self.read(objective, known))
        if objective.row is None:
            gates = combined_gates(jacobian, known, self.output_norm)
        else:
            gates = open_gates(jacobian, known, 0)
        gates = self.apart(gates)
        if upper <= target:
            return Evaluation(upper)
        if gates.count == 0:
            return self._leaf(problem, upper)
        dual_of = self.dual(objective, gates)
        found = quadratic_upper(gates, dual_of, problem.start, self.config, target, stop)
        candidates = self.candidates(objective, problem.preactivations, found.dual, found.solution)
        return Evaluation(min(upper, found.upper), candidates, found.start)

    def apart(self, gates: OpenGates, conflicts: Conflicts | None = None) -> OpenGates:
        """With the conflicts among the open gates: the given ones, or the setting's."""
        backward = self.setting.backward
        known = self.setting.conflicts if conflicts is None else conflicts
        places: dict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
        for position, (name, index) in enumerate(gates.names):
            gate = backward[name]
            assert isinstance(gate.operator, Gate)
            if gate.operator.activation.piecewise_linear:
                right = gate.operator.activation.derivative(torch.ones(1, dtype=torch.float64))
                rising = 1 if float(right) == gates.beta[position] else -1
                places[gate.inputs[0], index].append((position, rising))
        pairs, names = [], []
        for number, pair in enumerate(known.pairs):
            for one, one_rising in places.get(pair.first[:2], ()):
                for two, two_rising in places.get(pair.second[:2], ()):
                    sides = pair.first[2] * one_rising, pair.second[2] * two_rising
                    pairs.append((one, sides[0], two, sides[1]))
                    names.append(number)
        return gates.apart(
            np.array(pairs, dtype=np.int64), np.array(names, dtype=np.int64), len(known)
        )

    def _leaf(self, problem: Subproblem, upper: float) -> Evaluation:
        """All gates fixed: the relaxations of the preactivations are exact, and so is emptiness.

        Neurons that got on one side without a split count as well: beyond it, the relaxations are
        those of another pattern.
        """
        splits = (*problem.splits, *self._implied(problem))
        deepest = self._cut(splits, problem.preactivations).deepest()
        if deepest is None:
            return Evaluation(float("-inf"))
        point, depth = deepest
        if depth <= FLAT and self.exact.is_flat(sides(splits), problem.preactivations):
            return Evaluation(float("-inf"))
        return Evaluation(upper, point=point)

    def _implied(self, problem: Subproblem) -> list[Split]:
        """Sides of neurons that the root leaves open and this subproblem does not."""
        known = {(split.node, split.index) for split in problem.splits}
        found = []
        for name, root in self.setting.alpha_preactivations.items():
            now = problem.preactivations[name]
            open_ = ((root.lower < 0) & (root.upper > 0)).flatten()
            for side, there in ((1, now.lower >= 0), (-1, now.upper <= 0)):
                for index in (open_ & there.flatten()).nonzero().flatten().tolist():
                    if (name, index) not in known:
                        known.add((name, index))
                        found.append(Split(name, index, side))
        return found

    def candidates(
        self,
        objective: Objective,
        preactivations: Preactivations,
        dual: QuadraticDual,
        solution: LmiSolution,
    ) -> tuple[Candidate, ...]:
        """Open gates with what the relaxation says of them.

        At a vertex of the true problem one of p = u - alpha g and q = beta g - u is 0. In the
        relaxation's moments, sqrt(E p^2 E q^2) says how far the gate is from that, and the
        multiplier of p q = 0 what being there is worth.
        """
        count, lmi, moments = dual.gates.count, dual.lmi, solution.moments
        left, right = lmi.left[:count], lmi.right[:count]
        scale = max(float(moments[0, 0]), 1e-300)
        with np.errstate(all="ignore"):  # scores only: of huge adjoints, squares may overflow
            near_alpha = np.einsum("ij,jk,ik->i", left, moments, left).clip(0) / scale
            near_beta = np.einsum("ij,jk,ik->i", right, moments, right).clip(0) / scale
            both = np.nan_to_num(np.sqrt(near_alpha * near_beta))
            doubt = np.nan_to_num(2 * both / np.maximum(near_alpha + near_beta, 1e-300))
            estimate = np.abs(solution.theta[:count]) * both
        direction = None if objective.direction is None else objective.direction.numpy()
        areas = weighted_areas(dual.gates, direction)
        backward = self.setting.backward
        places = Places(backward, preactivations, dual.gates.names)
        found = []
        for (name, index), worth, open_, area in zip(
            dual.gates.names, estimate, doubt, areas, strict=True
        ):
            gate = backward[name].inputs[0], index
            place = places.of(gate)
            if place is not None:
                numbers = float(worth) * place.gain, float(open_), float(area) * place.gain
                found.append(Candidate(gate, *numbers, place.position))
        return tuple(sorted(found, key=lambda candidate: -candidate.estimate))

    def children(
        self, problem: Subproblem, found: Evaluation, gate: tuple[str, int], position: float = 0.0
    ) -> list[Subproblem]:
        """The two halves of the gate's preactivation, without those that are proved empty."""
        halves = []
        for side in (-1, 1):
            child = self._child(problem, Split(gate[0], gate[1], side, position), found)
            if child is not None:
                halves.append(child)
        return halves

    def _child(self, problem: Subproblem, split: Split, found: Evaluation) -> Subproblem | None:
        together = (split, *self.twins.of(split))
        start: Preactivations | None = problem.preactivations
        for one in together:
            start = _clamped(start, one)
            if start is None:
                return None
        implied = self.setting.conflicts.implied(sides(together))
        for (node, index), (side, least) in implied.items():
            start = _clamped(start, Split(node, index, side, side * least))
            if start is None:
                return None
        splits = (*problem.splits, *together)
        region = self._cut(splits, start)
        deepest = region.deepest()
        if deepest is None:
            return None
        if deepest[1] <= FLAT and self.exact.is_flat(sides(splits), start):
            return None
        inside = ForwardProblem(self.setting.network.graph, region, self.setting.memory)
        engine = NativeEngine(self.setting.backward, region, relax_chords)
        try:
            tightened = crown(inside, engine, start)
        except (InvertedInterval, NumericalFailure):
            # Proved bounds that cross mean an empty subproblem, but NaN ends here too: keep it.
            tightened = start
        fixed = self._fixed(splits, tightened)
        return Subproblem(
            problem.objective, splits, tightened, fixed, region, found.upper, found.start
        )

    def _cut(self, splits: tuple[Split, ...], preactivations: Preactivations) -> CutRegion:
        """The root region with a half-space for every split, from relaxations on these bounds."""
        nothing = torch.zeros(0, self.setting.region.size, dtype=torch.float64)
        slopes, offsets = [nothing], [nothing[:, 0]]
        smallest = tightest(splits)
        for name in dict.fromkeys(split.node for split in smallest):
            mine = [split for split in smallest if split.node == name]
            slope, offset = self._half_spaces(name, mine, preactivations)
            slopes.append(slope)
            offsets.append(offset)
        return CutRegion(self.setting.region, torch.cat(slopes), torch.cat(offsets))

    def _half_spaces(
        self, node: str, splits: list[Split], preactivations: Preactivations
    ) -> tuple[Tensor, Tensor]:
        """side (z - position) >= 0 implies slope . x + offset >= 0: [k, n], [k].

        By the relaxation above side z.
        """
        shape = self.setting.network.graph[node].shape
        sign = torch.tensor([float(split.side) for split in splits], dtype=torch.float64)
        index = torch.tensor([split.index for split in splits])
        objective = sign.reshape(-1, 1, *[1] * len(shape)) * one_hot(index, shape)
        problem = self.setting.forward_problem
        slope, offset = linear_uppers(problem, node, objective, preactivations)
        least = sign * torch.tensor([split.position for split in splits], dtype=torch.float64)
        return slope, torch.where(least == 0, offset, round_up(offset - least))

    def _fixed(
        self, splits: tuple[Split, ...], preactivations: Preactivations
    ) -> dict[str, Interval]:
        """Slopes of gates on neurons split at their kinks, where they are narrower than the
        preactivations tell: one number each, for piecewise linear ones."""
        fixed: dict[str, Interval] = {}
        for gate in self.setting.backward.gates:
            assert isinstance(gate.operator, Gate)
            name, activation = gate.inputs[0], gate.operator.activation
            at_kinks = [
                split
                for split in splits
                if split.node == name and split.position in activation.kinks
            ]
            if not at_kinks:
                continue
            slope = activation.gate(preactivations[name])
            lower, upper = slope.lower.clone(), slope.upper.clone()
            for split in at_kinks:
                if fixes(activation, split.position):
                    side = torch.tensor([split.position + split.side], dtype=torch.float64)
                    found = Interval(*2 * (activation.derivative(side),))
                else:
                    found = one_sided(activation, preactivations[name], splits, split)
                lower.reshape(-1)[split.index] = found.lower
                upper.reshape(-1)[split.index] = found.upper
            fixed[gate.name] = Interval(lower, upper)
        return fixed

    def read(self, objective: Objective, known: JacobianBounds) -> float:
        """The objective's upper end from elementwise bounds and row norms of its rows."""
        if objective.row is None:
            return self._read_combined(objective, known)
        if objective.direction is not None:
            bounds = known.elements
            direction = objective.direction
            ends = torch.where(
                direction > 0, direction * bounds.upper[0], direction * bounds.lower[0]
            )
            slack = 4 * len(direction) * 2.0**-53 * ends.abs().sum()
            return float(ends.sum() + slack)
        dual = self.input_norm.dual
        value = float(known.row_norm(dual)[0])
        return value * (1 + 4 * known.elements.shape[-1] * 2.0**-53)

    def _read_combined(self, objective: Objective, known: JacobianBounds) -> float:
        elements, norm = known.elements, self.input_norm
        if objective.direction is not None:
            column = objective.direction.nonzero().flatten()
            elements = Interval(elements.lower[:, column], elements.upper[:, column])
            return operator_norm.upper(elements, norm, self.output_norm)
        rows = known.row_norm(norm.dual) * (1 + 4 * elements.shape[-1] * 2.0**-53)
        return min(
            operator_norm.upper(elements, norm, self.output_norm),
            operator_norm.from_rows(rows, self.output_norm),
        )

    def dual(self, objective: Objective, gates: OpenGates) -> DualOf | None:
        """The dual that suits the objective; None for an l1 norm with many open signs."""
        if objective.direction is not None:
            direction = objective.direction.numpy()
            return lambda some: entry_dual(some, direction)
        if self.input_norm.dual.name == "2":
            return l2_dual
        signs = int(((gates.element_lower < 0) & (gates.element_upper > 0)).sum())
        most = self.config.max_signs
        return (lambda some: l1_dual(some, most)) if signs <= most else None


def _clamped(preactivations: Preactivations, split: Split) -> dict[str, Interval] | None:
    """The intervals with the split's half; None where nothing is left of it."""
    old = preactivations[split.node]
    lower, upper = old.lower.clone(), old.upper.clone()
    flat_lower, flat_upper = lower.reshape(-1), upper.reshape(-1)
    if split.side < 0:
        flat_upper[split.index] = min(split.position, float(flat_upper[split.index]))
    else:
        flat_lower[split.index] = max(split.position, float(flat_lower[split.index]))
    if float(flat_lower[split.index]) > float(flat_upper[split.index]):
        return None
    return {**preactivations, split.node: Interval(lower, upper)}
