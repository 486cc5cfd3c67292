"""Branch and bound over the inputs, for regions of few dimensions (DESIGN 4.5).

A subproblem is a box with proved upper ends of the query's numbers (norms of rows, entries of the
Jacobian, outputs). Many boxes are bounded at a time, the worst first; a box is cut in half along
the input that is likely to gain most, and both halves are closed and share the face. The proved
upper end is the largest bound of any box, open or closed. Points of the boxes are evaluated on the
way, so the lower end rises too. Anytime: a forced stop keeps the interval proved so far.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lipverify.bounds.batched import (
    AbstractObjective,
    BatchSetting,
    Boxes,
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
from lipverify.search.budget import Clock, Note
from lipverify.search.frontier import Frontier, bounded_frontier, children, empty_frontier
from lipverify.search.goals import Goal, NormGoal, ThresholdGoal
from lipverify.search.job import TOO_LOOSE, Stop, timeout
from lipverify.search.ladder import BREAKDOWNS, SIGN_ROWS, sign_rows
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
    note: Note,
    max_subproblems: int | None = None,
    stop_gap: float | None = None,
    seed: int = 0,
) -> SearchResult:
    """The operator norm of rows J over the region, as an interval.

    `root_upper` [r] holds proved bounds of each row's norm (inf: unknown), `lower` a witness to
    start from. Ends when the threshold is decided, upper <= lower (1 + stop_gap), no box is open,
    or the budget is spent.
    """
    objective, start = _norm_objective(setting, query, root_upper)
    goal = NormGoal(setting.backward, query, lower, stop_gap)
    run = _Run(setting, objective, goal, Budget(clock, max_subproblems), note, seed)
    stop = run.finish(start)
    assert isinstance(run.goal, NormGoal)
    return SearchResult(float(run.upper.max()), run.goal.witness, run.subproblems, stop)


def slope_search(
    setting: Setting,
    query: SlopeQuery,
    root_upper: Tensor,
    clock: Clock,
    note: Note,
    max_subproblems: int | None = None,
    seed: int = 0,
) -> ThresholdResult:
    """sign_k d(row . f)/d x_(index_k) <= threshold over the region, each entry k for itself.

    `root_upper` [k] holds proved bounds (inf: unknown). An entry with a violating point is left
    alone; the others go on until all are decided.
    """
    signs = torch.tensor(query.signs, dtype=torch.float64)
    objective = Entries(setting.backward, query.row, torch.tensor(query.indices), signs)
    nothing = (None,) * objective.size
    goal = ThresholdGoal(objective, query.threshold, False, False, nothing)
    return _threshold_search(
        setting, objective, goal, root_upper, Budget(clock, max_subproblems), note, seed
    )


def output_search(
    setting: Setting,
    query: OutputQuery,
    root_upper: Tensor,
    clock: Clock,
    note: Note,
    max_subproblems: int | None = None,
    seed: int = 0,
) -> ThresholdResult:
    """rows . f <= threshold (strict: <) over the region; ends at the first violating point.

    `root_upper` [k] holds proved bounds of each row (inf: unknown).
    """
    objective = Outputs(setting.network.graph, query.rows)
    nothing = (None,) * objective.size
    goal = ThresholdGoal(objective, query.threshold, query.strict, True, nothing)
    return _threshold_search(
        setting, objective, goal, root_upper, Budget(clock, max_subproblems), note, seed
    )


def _threshold_search(
    setting: Setting,
    objective: AbstractObjective,
    goal: ThresholdGoal,
    root_upper: Tensor,
    budget: Budget,
    note: Note,
    seed: int,
) -> ThresholdResult:
    run = _Run(setting, objective, goal, budget, note, seed)
    stop = run.finish(root_upper)
    assert isinstance(run.goal, ThresholdGoal)
    return ThresholdResult(run.upper, run.goal.candidates, run.subproblems, stop)


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


class _Run:
    """One search at work. `upper`, `goal` and `subproblems` hold at every moment."""

    def __init__(
        self,
        setting: Setting,
        objective: AbstractObjective,
        goal: Goal,
        budget: Budget,
        note: Note,
        seed: int,
    ) -> None:
        self.setting = setting
        self.objective = objective
        self.goal = goal
        self.budget = budget
        self.note = note
        self.generator = torch.Generator().manual_seed(seed)
        self.subproblems = 0
        self.upper = torch.full((objective.size,), torch.inf, dtype=torch.float64)
        self.batch = BatchSetting(
            setting.backward,
            None if isinstance(setting.region, Box) else setting.region,
            memory=setting.memory,
        )

    def finish(self, start: Tensor) -> Stop | None:
        """Search until decided (None), or until something forces a stop."""
        assert start.shape == self.upper.shape
        self.upper = start
        try:
            return self._search(start)
        except KeyboardInterrupt:
            return Stop(Reason.INTERRUPTED, f"interrupted after {self.subproblems} boxes")
        except BREAKDOWNS as error:
            return Stop(Reason.NUMERICS, str(error))

    def _search(self, start: Tensor) -> Stop | None:
        if self.goal.decided(self.upper):
            return None
        stop = self._forced(1, box_bytes(self.batch, gate_count(self.batch.backward)))
        if stop is not None:
            return stop
        bounding = self.setting.region.bounding
        root = Boxes(bounding.lower.unsqueeze(0), bounding.upper.unsqueeze(0))
        everything = torch.full((1,), gate_count(self.batch.backward))
        enough = self.goal.enough(torch.full_like(start, -torch.inf))
        frontier = self._bounded(root, start.unsqueeze(0), everything, enough)
        while True:
            self.upper = torch.minimum(start, frontier.upper)
            self.note(NAME, self.goal.attained, float(self.upper.max()), self.subproblems)
            if self.goal.decided(self.upper):
                return None
            frontier = frontier.prune(self.goal.enough(frontier.closed))
            if len(frontier) == 0:
                return None if self.goal.open_ended else TOO_LOOSE
            stop = self._forced(2, 2 * frontier.bytes)
            if stop is not None:
                return stop
            frontier = self._step(frontier)

    def _step(self, frontier: Frontier) -> Frontier:
        """Cut the worst boxes, bound their halves."""
        enough = self.goal.enough(frontier.closed)
        order = frontier.excess(enough).argsort(descending=True, stable=True)
        chosen = order[: self._parents(frontier, order)]
        boxes, previous, expected = children(frontier, chosen)
        bounded = self._bounded(boxes, previous, expected, enough)
        mask = torch.zeros(len(frontier), dtype=torch.bool)
        mask[chosen] = True
        return frontier.without(mask).join(bounded)

    def _parents(self, frontier: Frontier, order: Tensor) -> int:
        """How many boxes to cut now; the same in every run."""
        count = min(PARENTS, len(order))
        largest = int(frontier.expected[order[:count]].max())
        count = min(count, int(STEP_BYTES / (2 * box_bytes(self.batch, largest))))
        if self.budget.max_subproblems is not None:
            count = min(count, (self.budget.max_subproblems - self.subproblems) // 2)
        return max(1, count)

    def _bounded(
        self, boxes: Boxes, previous: Tensor, expected: Tensor, enough: Tensor
    ) -> Frontier:
        """The boxes that hold points of the region, bounded; their points seen."""
        self.subproblems += len(boxes)
        if self.batch.region is not None:
            inside = self.batch.region.overlaps(boxes.lower, boxes.upper).nonzero().flatten()
            boxes, previous, expected = boxes.pick(inside), previous[inside], expected[inside]
        if len(boxes) == 0:
            return empty_frontier(boxes, previous)
        bounds = bound_boxes(self.batch, self.objective, boxes, previous, enough, expected)
        live = (~(bounds.upper <= enough)).any(1)
        if bool(live.any()):
            self._look(boxes.pick(live), bounds.points[live])
        return bounded_frontier(boxes, bounds)

    def _look(self, boxes: Boxes, hints: Tensor) -> None:
        """Evaluate the hint [boxes, n] of each box, and a random point of it."""
        share = torch.rand(boxes.lower.shape, generator=self.generator, dtype=torch.float64)
        random = torch.minimum(boxes.lower + share * boxes.width, boxes.upper)
        points = self.setting.region.project(torch.cat([hints, random]))
        self.goal = self.goal.see(points, self.objective.attained(points))

    def _forced(self, boxes: int, memory: float) -> Stop | None:
        """Why no more boxes may be bounded; None if they may."""
        if self.budget.clock.expired():
            return timeout(self.budget.clock)
        limit = self.budget.max_subproblems
        if limit is not None and self.subproblems + boxes > limit:
            return Stop(Reason.SUBPROBLEMS, f"stopped after {self.subproblems} boxes")
        if memory > self.setting.memory:
            return Stop(
                Reason.MEMORY,
                f"input splits need {memory:.3g} bytes, allowed are {self.setting.memory:.3g}",
            )
        return None


__all__ = ["SearchResult", "ThresholdResult", "norm_search", "output_search", "slope_search"]
