"""Branch and bound over the inputs, for regions of few dimensions (DESIGN 4.5).

A subproblem is a box with proved upper ends of the query's numbers (norms of rows, entries of the
Jacobian, outputs). Many boxes are bounded at a time, the worst first; a box is cut in half along
the input that is likely to gain most, and both halves are closed and share the face. The proved
upper end is the largest bound of any box, open or closed. Points of the boxes are evaluated on the
way, so the lower end rises too. Anytime: a forced stop keeps the interval proved so far.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from lipverify.bounds.batched import (
    AbstractObjective,
    BatchSetting,
    Boxes,
    ClauseDepths,
    Entries,
    MatrixNorm,
    Outputs,
    RowNorms,
    bound_boxes,
    box_bytes,
    gate_count,
)
from lipverify.bounds.methods import Setting
from lipverify.norms import operator_norm
from lipverify.query import NormQuery, OutputQuery, SlopeQuery
from lipverify.region import Box
from lipverify.search.budget import Clock, Tell
from lipverify.search.frontier import (
    Frontier,
    bounded_frontier,
    check_frontier,
    children,
    empty_frontier,
)
from lipverify.search.goals import Goal, NormGoal, Seen, ThresholdGoal
from lipverify.search.job import TOO_LOOSE, Stop
from lipverify.search.ladder import SIGN_ROWS, sign_rows
from lipverify.search.loop import AbstractSearch, run
from lipverify.search.recheck import check_point
from lipverify.search.slot import AbstractSlot, NoSlot
from lipverify.search.unsafe_goal import UnsafeGoal
from lipverify.verdict import Reason
from lipverify.witness import NormWitness

NAME = "input splits"
PARENTS = 256
"""Boxes cut per step, at most."""
STEP_BYTES = 2.5e8
"""About how much memory the boxes of a step may take; so a step is short on large networks."""


@dataclass(frozen=True, eq=False)
class SearchResult:
    """A proved upper end (inf: none), the witness of the lower end, boxes bounded, why it ended."""

    upper: float
    witness: NormWitness
    subproblems: int
    stop: Stop | None


@dataclass(frozen=True, eq=False)
class ThresholdResult:
    """Proved upper ends [k] (inf: none), and for each number a point that violates it, or None.

    The points are candidates: our arithmetic says so, the original network has not been asked.
    """

    upper: Tensor
    candidates: tuple[Tensor | None, ...]
    subproblems: int
    stop: Stop | None


@dataclass(frozen=True)
class Budget:
    """When a search has to end: `max_subproblems` boxes at most, None for no limit."""

    clock: Clock
    max_subproblems: int | None


def norm_search(
    setting: Setting,
    query: NormQuery,
    root_upper: Tensor,
    lower: NormWitness,
    clock: Clock,
    note: Tell,
    max_subproblems: int | None = None,
    stop_gap: float | None = None,
    seed: int = 0,
    slot: AbstractSlot | None = None,
) -> SearchResult:
    """The operator norm of rows J over the region, as an interval.

    `root_upper` [r] holds proved bounds of each row's norm (inf: unknown), `lower` a witness to
    start from. Ends when the threshold is decided, upper <= lower (1 + stop_gap), no box is open,
    or the budget is spent.
    """
    objective, start = _norm_objective(setting, query, root_upper)
    goal = NormGoal(setting.backward, query, lower, stop_gap)
    budget = Budget(clock, max_subproblems)
    loop = InputLoop(setting, objective, goal, start, budget, note, seed)
    state, stop = _finish(loop, slot)
    assert isinstance(state.goal, NormGoal)
    upper = float(loop.upper(state).max())
    return SearchResult(upper, state.goal.witness, state.subproblems, stop)


def slope_search(
    setting: Setting,
    query: SlopeQuery,
    root_upper: Tensor,
    clock: Clock,
    note: Tell,
    max_subproblems: int | None = None,
    seed: int = 0,
    slot: AbstractSlot | None = None,
) -> ThresholdResult:
    """sign_k d(row . f)/d x_(index_k) <= threshold over the region, each entry k for itself.

    `root_upper` [k] holds proved bounds (inf: unknown). An entry with a violating point is left
    alone; the others go on until all are decided.
    """
    signs = torch.tensor(query.signs, dtype=torch.float64)
    objective = Entries(setting.backward, query.row, torch.tensor(query.indices), signs)
    nothing = (None,) * objective.size
    goal = ThresholdGoal(objective, query.threshold, False, False, nothing)
    budget = Budget(clock, max_subproblems)
    loop = InputLoop(setting, objective, goal, root_upper, budget, note, seed)
    return _threshold_result(loop, slot)


def output_search(
    setting: Setting,
    query: OutputQuery,
    root_upper: Tensor,
    clock: Clock,
    note: Tell,
    max_subproblems: int | None = None,
    seed: int = 0,
    slot: AbstractSlot | None = None,
) -> ThresholdResult:
    """rows . f <= threshold (strict: <) over the region; ends at the first violating point.

    `root_upper` [k] holds proved bounds of each row (inf: unknown).
    """
    objective = Outputs(setting.network.graph, query.rows)
    nothing = (None,) * objective.size
    goal = ThresholdGoal(objective, query.threshold, query.strict, True, nothing)
    budget = Budget(clock, max_subproblems)
    loop = InputLoop(setting, objective, goal, root_upper, budget, note, seed)
    return _threshold_result(loop, slot)


@dataclass(frozen=True, eq=False)
class DepthResult:
    """What the goal has seen, proved upper ends [k] of the depths, boxes bounded, why it ended."""

    goal: UnsafeGoal
    upper: Tensor
    subproblems: int
    stop: Stop | None


def depth_search(
    setting: Setting,
    objective: ClauseDepths,
    goal: UnsafeGoal,
    root_upper: Tensor,
    clock: Clock,
    note: Tell,
    max_subproblems: int | None = None,
    seed: int = 0,
    slot: AbstractSlot | None = None,
) -> DepthResult:
    """The depths of clauses below 0 over the region; ends at the first counterexample.

    `root_upper` [k] holds proved bounds of each depth (inf: unknown).
    """
    budget = Budget(clock, max_subproblems)
    loop = InputLoop(setting, objective, goal, root_upper, budget, note, seed)
    state, stop = _finish(loop, slot)
    assert isinstance(state.goal, UnsafeGoal)
    return DepthResult(state.goal, loop.upper(state), state.subproblems, stop)


def _threshold_result(loop: "InputLoop", slot: AbstractSlot | None) -> ThresholdResult:
    state, stop = _finish(loop, slot)
    assert isinstance(state.goal, ThresholdGoal)
    return ThresholdResult(loop.upper(state), state.goal.candidates, state.subproblems, stop)


def _finish(loop: "InputLoop", slot: AbstractSlot | None) -> tuple["InputState", Stop | None]:
    ended = run(loop, loop.budget.clock, slot or NoSlot())
    state, stop = ended.state, ended.stop
    decided = state.goal.decided(loop.upper(state))
    if stop is None and not (decided or state.goal.open_ended):
        stop = TOO_LOOSE
    return state, stop


def _norm_objective(
    setting: Setting, query: NormQuery, root_upper: Tensor
) -> tuple[AbstractObjective, Tensor]:
    """What to bound for an operator norm, and what `root_upper` [r] says of it, [k].

    The output norms inf and 1 are largest rows: of the matrix, or of its sign combinations
    ||J||_(p->1) = max over signs s of ||s J||_p*. The others need the matrix as a whole.
    """
    backward, dual = setting.backward, query.input_norm.dual
    if query.output_norm.name == "inf" or len(query.rows) == 1:
        return RowNorms(backward, query.rows, dual), root_upper
    total = root_upper.new_full((1,), operator_norm.from_rows(root_upper, query.output_norm))
    if query.output_norm.name == "1" and len(query.rows) <= SIGN_ROWS:
        signed = sign_rows(query.rows)
        if signed is not None:
            return RowNorms(backward, signed, dual), total.expand(len(signed))
    return MatrixNorm(backward, query.rows, query.input_norm, query.output_norm), total


@dataclass(frozen=True, eq=False)
class InputState:
    """How far a search is; `frontier` is None before the root is bounded."""

    goal: Goal
    frontier: Frontier | None
    subproblems: int
    generator: Tensor
    """The state of the random numbers."""


@dataclass(frozen=True, eq=False)
class StoredInputState:
    """What a file holds of it: points instead of goals, which are about a network."""

    seen: Seen
    frontier: Frontier | None
    subproblems: int
    generator: Tensor


@final
@dataclass(frozen=True, eq=False)
class InputLoop(AbstractSearch[InputState]):
    """`root_upper` [k] holds proved bounds; `goal` says what the search is after."""

    setting: Setting
    objective: AbstractObjective
    goal: Goal
    root_upper: Tensor
    budget: Budget
    note: Tell
    seed: int

    kind = StoredInputState

    @cached_property
    def batch(self) -> BatchSetting:
        region = self.setting.region
        outside = None if isinstance(region, Box) else region
        return BatchSetting(self.setting.backward, outside, memory=self.setting.memory)

    def start(self) -> InputState:
        assert self.root_upper.shape == (self.objective.size,)
        generator = torch.Generator().manual_seed(self.seed)
        return InputState(self.goal, None, 0, generator.get_state())

    def stored(self, state: InputState) -> StoredInputState:
        return StoredInputState(state.goal.seen, state.frontier, state.subproblems, state.generator)

    def restored(self, stored: StoredInputState) -> InputState:
        for point in stored.seen.points:
            if point is not None:
                check_point(self.setting.region, point)
        if stored.frontier is not None:
            check_frontier(stored.frontier, self.setting.region.bounding, self.objective.size)
        if stored.subproblems < 0:
            raise ValueError("a negative count")
        torch.Generator().set_state(stored.generator)  # raises for what is no state
        goal = self.goal.recall(stored.seen)
        return InputState(goal, stored.frontier, stored.subproblems, stored.generator)

    def upper(self, state: InputState) -> Tensor:
        """The proved upper ends [k]."""
        if state.frontier is None:
            return self.root_upper
        return torch.minimum(self.root_upper, state.frontier.upper)

    def done(self, state: InputState) -> bool:
        empty = state.frontier is not None and len(state.frontier) == 0
        return empty or state.goal.decided(self.upper(state))

    def limit(self, state: InputState) -> Stop | None:
        if state.frontier is None:
            boxes, memory = 1, box_bytes(self.batch, gate_count(self.batch.backward))
        else:
            boxes, memory = 2, 2 * state.frontier.bytes
        most = self.budget.max_subproblems
        if most is not None and state.subproblems + boxes > most:
            return Stop(Reason.SUBPROBLEMS, f"stopped after {state.subproblems} boxes")
        if memory > self.setting.memory:
            return Stop(
                Reason.MEMORY,
                f"input splits need {memory:.3g} bytes, allowed are {self.setting.memory:.3g}",
            )
        return None

    def show(self, state: InputState) -> None:
        if state.frontier is not None:
            upper = float(self.upper(state).max())
            self.note(NAME, state.goal.attained, upper, state.subproblems)

    def step(self, state: InputState) -> InputState:
        """Bound the root; or cut the worst boxes, and bound their halves."""
        frontier = state.frontier
        if frontier is None:
            bounding = self.setting.region.bounding
            root = Boxes(bounding.lower.unsqueeze(0), bounding.upper.unsqueeze(0))
            everything = torch.full((1,), gate_count(self.batch.backward))
            enough = state.goal.enough(torch.full_like(self.root_upper, -torch.inf))
            state = self._bounded(state, root, self.root_upper.unsqueeze(0), everything, enough)
        else:
            enough = state.goal.enough(frontier.closed)
            order = frontier.excess(enough).argsort(descending=True, stable=True)
            chosen = order[: self._parents(state, frontier, order)]
            mask = torch.zeros(len(frontier), dtype=torch.bool)
            mask[chosen] = True
            rest = frontier.without(mask)
            state = self._bounded(state, *children(frontier, chosen), enough)
            assert state.frontier is not None
            state = replace(state, frontier=rest.join(state.frontier))
        assert state.frontier is not None
        enough = state.goal.enough(state.frontier.closed)
        return replace(state, frontier=state.frontier.prune(enough))

    def _parents(self, state: InputState, frontier: Frontier, order: Tensor) -> int:
        """How many boxes to cut now; the same in every run."""
        count = min(PARENTS, len(order))
        largest = int(frontier.expected[order[:count]].max())
        count = min(count, int(STEP_BYTES / (2 * box_bytes(self.batch, largest))))
        if self.budget.max_subproblems is not None:
            count = min(count, (self.budget.max_subproblems - state.subproblems) // 2)
        return max(1, count)

    def _bounded(
        self,
        state: InputState,
        boxes: Boxes,
        previous: Tensor,
        expected: Tensor,
        enough: Tensor,
    ) -> InputState:
        """Those of the boxes that hold points of the region as the frontier; their points seen."""
        state = replace(state, subproblems=state.subproblems + len(boxes))
        if self.batch.region is not None:
            inside = self.batch.region.overlaps(boxes.lower, boxes.upper).nonzero().flatten()
            boxes, previous, expected = boxes.pick(inside), previous[inside], expected[inside]
        if len(boxes) == 0:
            return replace(state, frontier=empty_frontier(boxes, previous))
        bounds = bound_boxes(self.batch, self.objective, boxes, previous, enough, expected)
        live = (~(bounds.upper <= enough)).any(1)
        if bool(live.any()):
            state = self._look(state, boxes.pick(live), bounds.points[live])
        return replace(state, frontier=bounded_frontier(boxes, bounds, self.objective.exact))

    def _look(self, state: InputState, boxes: Boxes, hints: Tensor) -> InputState:
        """Evaluate the hint [boxes, n] of each box, and a random point of it."""
        generator = torch.Generator()
        generator.set_state(state.generator)
        share = torch.rand(boxes.lower.shape, generator=generator, dtype=torch.float64)
        random = torch.minimum(boxes.lower + share * boxes.width, boxes.upper)
        points = self.setting.region.project(torch.cat([hints, random]))
        goal = state.goal.see(points, self.objective.attained(points))
        return replace(state, goal=goal, generator=generator.get_state())


__all__ = [
    "DepthResult",
    "SearchResult",
    "ThresholdResult",
    "depth_search",
    "norm_search",
    "output_search",
    "slope_search",
]
