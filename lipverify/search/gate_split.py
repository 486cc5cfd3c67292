"""Branch and bound over gates, for objectives on the Jacobian's rows (DESIGN 4.5).

A subproblem is an objective with splits: closed halves z <= 0 or z >= 0 of preactivations, whose
common edge belongs to both children. All objectives share one queue, worst first; what lies below
the target is closed. The proved upper end is the largest bound of any subproblem still open, or of
any closed one. Anytime: it can be stopped between any two subproblems.
"""

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from lipverify.bounds.cuts import CutRegion
from lipverify.bounds.jacobian import JacobianBounds, JacobianProblem, interval
from lipverify.bounds.linear import linear
from lipverify.bounds.mean_split import mean_split
from lipverify.bounds.methods import Setting
from lipverify.bounds.preactivation import ForwardProblem, crown, one_hot
from lipverify.bounds.propagation import (
    NativeEngine,
    activation_relaxations,
    rounding_slack,
    substitute,
)
from lipverify.bounds.quadratic import (
    LmiSolution,
    Majorant,
    OpenGates,
    QuadraticDual,
    entry_dual,
    first_majorant,
    l1_dual,
    l1_dual_majorised,
    l2_dual,
    next_majorant,
    open_gates,
    solve,
)
from lipverify.errors import InvertedInterval, NumericalFailure
from lipverify.graph import ForwardGraph
from lipverify.interval import Interval
from lipverify.norms import AbstractNorm, norm_named
from lipverify.operators import AbstractOperator, Activation, Gate
from lipverify.operators.gate import relax_chords
from lipverify.region import AbstractRegion
from lipverify.search.branching import Candidate, PseudoCosts
from lipverify.search.budget import Clock
from lipverify.search.split import Split, Twins

Preactivations = Mapping[str, Interval]


@dataclass(frozen=True, eq=False)
class Objective:
    """The norm dual to `input_norm` of row `row` of the rows, or direction . row if given [n]."""

    row: int
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
    majorant: Majorant | None = None
    """The parent's, to start from."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A subproblem's proved upper end (-inf: empty) and its open gates, the likely best first."""

    upper: float
    candidates: tuple[Candidate, ...] = ()
    majorant: Majorant | None = None
    point: Tensor | None = None
    """A point of a subproblem without open gates, at which the bound may be attained."""


@dataclass(frozen=True)
class GateSearchConfig:
    """How hard the quadratic dual of one subproblem is worked on."""

    max_signs: int = 24
    """Up to this many entries of open sign, each gets its own variable; beyond, a majorant."""
    rounds: int = 4
    """Most alternations between multipliers and majorant."""
    gain: float = 2e-3
    """Relative gain below which another round is not worth it."""
    relative_gap: float = 2e-3
    max_steps: int = 30


@dataclass(frozen=True, eq=False)
class GateSearch:
    """What stays the same over one search."""

    setting: Setting
    rows: Tensor
    objectives: tuple[Objective, ...]
    input_norm: AbstractNorm
    config: GateSearchConfig = field(default_factory=GateSearchConfig)

    @cached_property
    def twins(self) -> Twins:
        return Twins(self.setting.network.graph)

    def root(self, objective: int, preactivations: Preactivations, upper: float) -> Subproblem:
        return Subproblem(objective, (), preactivations, {}, self.setting.region, upper)

    def evaluate(
        self, problem: Subproblem, target: float, stop: Callable[[], bool] = lambda: False
    ) -> Evaluation:
        """Bound a subproblem by the ladder mean-split, linear, quadratic, down to `target`."""
        objective = self.objectives[problem.objective]
        row = self.rows[objective.row : objective.row + 1]
        backward = self.setting.backward
        jacobian = JacobianProblem(
            backward, row, problem.preactivations, self.setting.memory, problem.fixed
        )
        known = interval(jacobian).intersect(mean_split(jacobian))
        upper = min(problem.upper, self._read(objective, known))
        if upper <= target:
            return Evaluation(upper)
        engine = NativeEngine(backward, problem.region, relax_chords)
        norm = self.input_norm if objective.direction is None else norm_named("1")
        known = known.intersect(linear(jacobian, engine, relax_chords, norm, known))
        upper = min(upper, self._read(objective, known))
        gates = open_gates(jacobian, known, 0)
        if upper <= target:
            return Evaluation(upper)
        if gates.count == 0:
            return self._leaf(problem, upper)
        found = self._quadratic(objective, gates, problem.majorant, target, stop)
        candidates = self._candidates(found.dual, found.solution)
        return Evaluation(min(upper, found.upper), candidates, found.majorant)

    def _quadratic(
        self,
        objective: Objective,
        gates: OpenGates,
        majorant: Majorant | None,
        target: float,
        stop: Callable[[], bool],
    ) -> "_Quadratic":
        """The best proved bound of a few rounds; one round where no majorant is needed."""
        signs = int(((gates.element_lower < 0) & (gates.element_upper > 0)).sum())
        is_l1 = objective.direction is None and self.input_norm.dual.name == "1"
        if not is_l1 or signs <= self.config.max_signs:
            return self._solve(self._dual(objective, gates), None, target, stop)
        majorant = majorant or first_majorant(gates)
        best = self._solve(l1_dual_majorised(gates, majorant), majorant, target, stop)
        for _ in range(self.config.rounds - 1):
            if best.upper <= target or stop():
                break
            assert best.majorant is not None
            majorant = next_majorant(gates, best.solution.moments, best.majorant)
            new = self._solve(l1_dual_majorised(gates, majorant), majorant, target, stop)
            gained = best.upper - new.upper
            best = new if gained > 0 else best
            if gained < self.config.gain * best.upper:
                break
        return best

    def _solve(
        self,
        dual: QuadraticDual,
        majorant: Majorant | None,
        target: float,
        stop: Callable[[], bool],
    ) -> "_Quadratic":
        solution = solve(
            dual.lmi,
            max_steps=self.config.max_steps,
            relative_gap=self.config.relative_gap,
            stop=lambda value: value <= target * (1 - 1e-9) or stop(),
        )
        return _Quadratic(dual.bound(solution.theta), dual, solution, majorant)

    def _leaf(self, problem: Subproblem, upper: float) -> Evaluation:
        """All gates fixed: the relaxations of the preactivations are exact, and so is emptiness."""
        region = self._cut(problem.splits, problem.preactivations)
        point = region.feasible_point()
        if point is None:
            return Evaluation(float("-inf"))
        return Evaluation(upper, point=point)

    def _candidates(self, dual: QuadraticDual, solution: LmiSolution) -> tuple[Candidate, ...]:
        """Open gates with what the relaxation says of them.

        At a vertex of the true problem one of p = u - alpha g and q = beta g - u is 0. In the
        relaxation's moments, sqrt(E p^2 E q^2) says how far the gate is from that, and the
        multiplier of p q = 0 what being there is worth.
        """
        count, lmi, moments = dual.gates.count, dual.lmi, solution.moments
        left, right = lmi.left[:count], lmi.right[:count]
        scale = max(float(moments[0, 0]), 1e-300)
        near_alpha = np.einsum("ij,jk,ik->i", left, moments, left).clip(0) / scale
        near_beta = np.einsum("ij,jk,ik->i", right, moments, right).clip(0) / scale
        both = np.sqrt(near_alpha * near_beta)
        doubt = 2 * both / np.maximum(near_alpha + near_beta, 1e-300)
        estimate = np.abs(solution.theta[:count]) * both
        backward = self.setting.backward
        found = [
            Candidate((backward[name].inputs[0], index), float(worth), float(open_))
            for (name, index), worth, open_ in zip(dual.gates.names, estimate, doubt, strict=True)
            if _splittable(backward[name].operator)
        ]
        return tuple(sorted(found, key=lambda candidate: -candidate.estimate))

    def children(
        self, problem: Subproblem, found: Evaluation, gate: tuple[str, int]
    ) -> list[Subproblem]:
        """The two halves, without those that are proved empty."""
        halves = []
        for side in (-1, 1):
            child = self._child(problem, Split(gate[0], gate[1], side), found)
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
        splits = (*problem.splits, *together)
        region = self._cut(splits, start)
        if region.is_empty():
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
            problem.objective, splits, tightened, fixed, region, found.upper, found.majorant
        )

    def _cut(self, splits: tuple[Split, ...], preactivations: Preactivations) -> CutRegion:
        """The root region with a half-space for every split, from relaxations on these bounds."""
        nothing = torch.zeros(0, self.setting.region.size, dtype=torch.float64)
        slopes, offsets = [nothing], [nothing[:, 0]]
        for name in dict.fromkeys(split.node for split in splits):
            mine = [split for split in splits if split.node == name]
            slope, offset = self._half_spaces(name, mine, preactivations)
            slopes.append(slope)
            offsets.append(offset)
        return CutRegion(self.setting.region, torch.cat(slopes), torch.cat(offsets))

    def _half_spaces(
        self, node: str, splits: list[Split], preactivations: Preactivations
    ) -> tuple[Tensor, Tensor]:
        """side z >= 0 implies slope . x + offset >= 0, by the relaxation above it: [k, n], [k]."""
        forward = self.setting.network.graph
        sides = torch.tensor([float(split.side) for split in splits], dtype=torch.float64)
        index = torch.tensor([split.index for split in splits])
        shape = (-1, *[1] * (1 + len(forward[node].shape)))
        objective = sides.reshape(shape) * one_hot(index, forward[node].shape)
        relaxations = activation_relaxations(forward, node, preactivations)
        sources, constant = substitute(forward, node, objective, relaxations)
        slopes, intercepts = {}, {}
        for name, relaxation in relaxations.items():
            operator = forward[name].operator
            assert isinstance(operator, Activation)
            slopes[name] = operator.gate(preactivations[forward[name].inputs[0]]).magnitude
            intercepts[name] = torch.maximum(
                relaxation.lower_intercept.abs(), relaxation.upper_intercept.abs()
            )
        reach = self.setting.region.bounding.magnitude.reshape(1, *forward.input_shape)
        slack = rounding_slack(
            forward, node, objective, {ForwardGraph.INPUT: reach}, slopes, intercepts
        )
        slope = sources[ForwardGraph.INPUT].reshape(len(splits), -1)
        return slope, (constant + slack).reshape(-1)

    def _fixed(
        self, splits: tuple[Split, ...], preactivations: Preactivations
    ) -> dict[str, Interval]:
        """The slopes of all gates on split neurons, one number each."""
        fixed: dict[str, Interval] = {}
        for gate in self.setting.backward.gates:
            mine = [split for split in splits if split.node == gate.inputs[0]]
            if not mine:
                continue
            if not _splittable(gate.operator):
                continue
            assert isinstance(gate.operator, Gate)
            slope = gate.operator.activation.gate(preactivations[gate.inputs[0]])
            lower, upper = slope.lower.clone(), slope.upper.clone()
            for split in mine:
                side = torch.tensor([float(split.side)], dtype=torch.float64)
                value = gate.operator.activation.derivative(side)
                lower.reshape(-1)[split.index] = value
                upper.reshape(-1)[split.index] = value
            fixed[gate.name] = Interval(lower, upper)
        return fixed

    def _half_space(self, problem: Subproblem, split: Split) -> tuple[Tensor, Tensor]:
        """side z >= 0 implies slope . x + offset >= 0, by the linear relaxation above side z."""
        forward = self.setting.network.graph
        objective = split.side * one_hot(torch.tensor([split.index]), forward[split.node].shape)
        relaxations = activation_relaxations(forward, split.node, problem.preactivations)
        sources, constant = substitute(forward, split.node, objective, relaxations)
        slopes, intercepts = {}, {}
        for name, relaxation in relaxations.items():
            operator = forward[name].operator
            assert isinstance(operator, Activation)
            slopes[name] = operator.gate(problem.preactivations[forward[name].inputs[0]]).magnitude
            intercepts[name] = torch.maximum(
                relaxation.lower_intercept.abs(), relaxation.upper_intercept.abs()
            )
        reach = self.setting.region.bounding.magnitude.reshape(1, *forward.input_shape)
        slack = rounding_slack(
            forward, split.node, objective, {ForwardGraph.INPUT: reach}, slopes, intercepts
        )
        return sources[ForwardGraph.INPUT].reshape(-1), (constant + slack).reshape(())

    def _read(self, objective: Objective, known: JacobianBounds) -> float:
        """The objective's upper end from elementwise bounds and row norms of the single row."""
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

    def _dual(self, objective: Objective, gates: OpenGates) -> QuadraticDual:
        if objective.direction is not None:
            return entry_dual(gates, objective.direction.numpy())
        if self.input_norm.dual.name == "2":
            return l2_dual(gates)
        return l1_dual(gates, self.config.max_signs)


@dataclass(frozen=True, eq=False)
class _Quadratic:
    """A proved bound, what it was read off, and the majorant that it used."""

    upper: float
    dual: QuadraticDual
    solution: LmiSolution
    majorant: Majorant | None


def _splittable(operator: AbstractOperator | None) -> bool:
    """Whether a half of the preactivation fixes the gate."""
    return isinstance(operator, Gate) and operator.activation.piecewise_linear


def _clamped(preactivations: Preactivations, split: Split) -> dict[str, Interval] | None:
    """The intervals with the split's half; None where nothing is left of it."""
    old = preactivations[split.node]
    lower, upper = old.lower.clone(), old.upper.clone()
    flat_lower, flat_upper = lower.reshape(-1), upper.reshape(-1)
    if split.side < 0:
        flat_upper[split.index] = min(0.0, float(flat_upper[split.index]))
    else:
        flat_lower[split.index] = max(0.0, float(flat_lower[split.index]))
    if float(flat_lower[split.index]) > float(flat_upper[split.index]):
        return None
    return {**preactivations, split.node: Interval(lower, upper)}


@dataclass(frozen=True, eq=False)
class SearchOutcome:
    """Proved upper end of the maximum over all objectives; how many subproblems were bounded."""

    upper: float
    subproblems: int
    open: int


def search(
    task: GateSearch,
    roots: list[Subproblem],
    target: Callable[[], float],
    clock: Clock,
    max_subproblems: int | None,
    note: Callable[[float, int], None],
    visit: Callable[[Tensor], None] = lambda point: None,
) -> SearchOutcome:
    """Bound the maximum over all objectives; ends when it is at most `target()`.

    `visit` is shown points at which a closed subproblem's bound may be attained. The roots of all
    objectives count as one subproblem together; `max_subproblems` 1 is the roots alone.
    """
    queue: list[tuple[float, int, Subproblem, Evaluation]] = []
    costs: dict[int, PseudoCosts] = {index: PseudoCosts() for index in range(len(task.objectives))}
    closed, count, serial = float("-inf"), 1, 0
    waiting = [(-problem.upper, index, problem) for index, problem in enumerate(roots)]
    heapq.heapify(waiting)

    def bound(problem: Subproblem) -> Evaluation:
        nonlocal closed, count, serial
        count += bool(problem.splits)
        found = task.evaluate(problem, target(), clock.expired)
        if found.point is not None:
            visit(found.point)
        if found.candidates and found.upper > target():
            heapq.heappush(queue, (-found.upper, serial, problem, found))
            serial += 1
        else:
            closed = max(closed, found.upper)
        return found

    def exhausted() -> bool:
        full = max_subproblems is not None and count >= max_subproblems and not waiting
        return clock.expired() or full

    while waiting or queue:
        worst_root = -waiting[0][0] if waiting else float("-inf")
        worst_open = -queue[0][0] if queue else float("-inf")
        note(max(worst_root, worst_open, closed), count)
        if max(worst_root, worst_open) <= target() or exhausted():
            break
        if worst_root >= worst_open:
            bound(heapq.heappop(waiting)[2])
            continue
        _, _, problem, found = heapq.heappop(queue)
        learned = costs[problem.objective]
        best = max(found.candidates, key=learned.score)
        for child in task.children(problem, found, best.gate):
            below = bound(child)
            side = child.splits[-1].side
            learned.learn(best.gate, side, found.upper, below.upper, best.estimate)
    worst = max([-item[0] for item in (*waiting[:1], *queue[:1])], default=float("-inf"))
    return SearchOutcome(max(worst, closed), count, len(queue) + len(waiting))
