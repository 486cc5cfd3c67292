"""The search over gates as a loop (DESIGN 4.5): one queue for all objectives, worst first.

What lies at or below the target is closed. The proved upper end is the largest bound of any
subproblem still open, or of any closed one.
"""

from bisect import insort
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import final

from torch import Tensor

from lipverify.interval import Interval
from lipverify.search.branching import AbstractBranching, Crossing, GateName, PseudoCosts, Trial
from lipverify.search.budget import Clock
from lipverify.search.gate_split import Evaluation, GateSearch, Preactivations, Subproblem
from lipverify.search.job import TOO_LOOSE, Stop
from lipverify.search.loop import AbstractSearch, run
from lipverify.search.recheck import AGREEMENT, check_point
from lipverify.search.slot import AbstractSlot, NoSlot
from lipverify.search.split import Split
from lipverify.verdict import Reason

CANDIDATE_BYTES = 256
"""About what a candidate takes in memory."""
TRIAL_STEPS = 8
"""Interior-point steps that bound a half in a look-ahead."""


@dataclass(frozen=True, eq=False)
class Waiting:
    """An objective's root, with a proved upper end from before; not bounded by the search yet."""

    objective: int
    preactivations: Preactivations
    upper: float


@dataclass(frozen=True, eq=False)
class OpenSubproblem:
    """A bounded subproblem to be split: no more of it than its children need."""

    objective: int
    splits: tuple[Split, ...]
    preactivations: Preactivations
    found: Evaluation
    serial: int
    """Counts the subproblems that were opened; of equal ones the first goes first."""

    @property
    def rank(self) -> tuple[float, int]:
        return -self.found.upper, self.serial

    @cached_property
    def bytes(self) -> float:
        """About its share of memory."""
        numbers = sum(2 * interval.lower.numel() for interval in self.preactivations.values())
        start = self.found.start
        if start.majorant is not None:
            numbers += 2 * len(start.majorant.scale)
        if start.worth is not None:
            numbers += len(start.worth)
        return 8.0 * numbers + CANDIDATE_BYTES * len(self.found.candidates)


@dataclass(frozen=True, eq=False)
class GateState:
    """How far a search is. `waiting` and `open` are sorted, the worst first."""

    waiting: tuple[Waiting, ...]
    open: tuple[OpenSubproblem, ...]
    closed: float
    """Proved for all that is closed."""
    subproblems: int
    """Bounded so far; the roots count as one together."""
    serial: int
    costs: tuple[PseudoCosts, ...]
    """Of each objective."""
    point: Tensor | None
    """The last point [n] that raised the incumbent."""

    @property
    def pending(self) -> float:
        """The largest upper end of all that is not closed."""
        ends = [item.upper for item in self.waiting[:1]]
        ends += [item.found.upper for item in self.open[:1]]
        return max(ends, default=float("-inf"))

    @property
    def upper(self) -> float:
        """The proved upper end of the maximum over all objectives."""
        return max(self.pending, self.closed)

    @property
    def bytes(self) -> float:
        return sum(item.bytes for item in self.open)


@dataclass(frozen=True, eq=False)
class SearchOutcome:
    """Proved upper end of the maximum over all objectives; how many subproblems were bounded.

    `stop` is None where the target was reached.
    """

    upper: float
    subproblems: int
    stop: Stop | None


@final
@dataclass(frozen=True, eq=False)
class GateLoop(AbstractSearch[GateState]):
    """Bounds the maximum over all objectives, down to `target()`.

    `visit` is shown points at which a closed subproblem's bound may be attained, and says whether
    one raised the incumbent. `note` is told (upper end, subproblems).
    """

    task: GateSearch
    roots: tuple[Waiting, ...]
    branching: AbstractBranching
    target: Callable[[], float]
    visit: Callable[[Tensor], bool]
    note: Callable[[float, int], None]
    clock: Clock
    max_subproblems: int | None

    def start(self) -> GateState:
        roots = tuple(sorted(self.roots, key=lambda root: -root.upper))
        costs = tuple(PseudoCosts() for _ in self.task.objectives)
        return GateState(roots, (), float("-inf"), 1, 0, costs, None)

    kind = GateState

    def stored(self, state: GateState) -> GateState:
        return state

    def restored(self, stored: GateState) -> GateState:
        check(self, stored)
        if stored.point is not None:
            self.visit(stored.point)
        return stored

    def done(self, state: GateState) -> bool:
        return state.pending <= self.target()

    def limit(self, state: GateState) -> Stop | None:
        most, count = self.max_subproblems, state.subproblems
        if most is not None and count >= most and not self._root_is_next(state):
            return Stop(Reason.SUBPROBLEMS, f"stopped after {count} of {most}")
        if state.bytes > self.task.setting.memory:
            return Stop(
                Reason.MEMORY,
                f"{len(state.open)} open subproblems take {state.bytes:.3g} bytes, allowed are "
                f"{self.task.setting.memory:.3g}",
            )
        return None

    def show(self, state: GateState) -> None:
        self.note(state.upper, state.subproblems)

    def step(self, state: GateState) -> GateState:
        """Bound the worst root, or split the worst open subproblem and bound its halves."""
        if self._root_is_next(state):
            root = state.waiting[0]
            problem = self.task.root(root.objective, root.preactivations, root.upper)
            return self._bound(replace(state, waiting=state.waiting[1:]), problem)[0]
        return self._split(state)

    def _root_is_next(self, state: GateState) -> bool:
        return bool(state.waiting) and state.waiting[0].upper == state.pending

    def _split(self, state: GateState) -> GateState:
        item, state = state.open[0], replace(state, open=state.open[1:])
        problem = Subproblem(
            item.objective,
            item.splits,
            item.preactivations,
            {},
            self.task.setting.region,
            item.found.upper,
        )
        tried: dict[GateName, list[Subproblem]] = {}
        positions = {one.gate: one.position for one in item.found.candidates}

        def attempt(gate: GateName) -> Trial:
            halves = self.task.children(problem, item.found, gate, positions[gate])
            tried[gate] = self._tried(halves)
            ends = {half.splits[len(item.splits)].side: half.upper for half in tried[gate]}
            empty = float("-inf")
            return Trial(ends.get(-1, empty), ends.get(1, empty))

        best = self.branching.choose(
            Crossing(
                item.found.candidates,
                item.found.upper,
                self.target(),
                item.preactivations,
                state.costs[item.objective],
                attempt,
            )
        )
        if best.gate not in tried:
            tried[best.gate] = self.task.children(problem, item.found, best.gate, best.position)
        for half in tried[best.gate]:
            state, upper = self._bound(state, half)
            side = half.splits[len(item.splits)].side
            costs = list(state.costs)
            costs[item.objective] = costs[item.objective].learn(
                best.gate, side, item.found.upper, upper, best.estimate
            )
            state = replace(state, costs=tuple(costs))
        return state

    def _bound(self, state: GateState, problem: Subproblem) -> tuple[GateState, float]:
        """The state with one more subproblem bounded, and its upper end."""
        found = self.task.evaluate(problem, self.target(), self.clock.expired)
        count = state.subproblems + bool(problem.splits)
        point = state.point
        if found.point is not None and self.visit(found.point):
            point = found.point
        state = replace(state, subproblems=count, point=point)
        if not (found.candidates and found.upper > self.target()):
            return replace(state, closed=max(state.closed, found.upper)), found.upper
        item = OpenSubproblem(
            problem.objective, problem.splits, _own(problem.preactivations), found, state.serial
        )
        queue = list(state.open)
        insort(queue, item, key=lambda one: one.rank)
        return replace(state, open=tuple(queue), serial=state.serial + 1), found.upper

    def _tried(self, halves: list[Subproblem]) -> list[Subproblem]:
        """With upper ends from a few steps; what they prove is kept."""
        tried = []
        for half in halves:
            found = self._light.evaluate(half, self.target(), self.clock.expired)
            tried.append(replace(half, upper=min(half.upper, found.upper)))
        return tried

    @cached_property
    def _light(self) -> GateSearch:
        config = replace(self.task.config, rounds=1, max_steps=TRIAL_STEPS)
        return replace(self.task, config=config)


def search(loop: GateLoop, slot: AbstractSlot | None = None) -> SearchOutcome:
    """Run to the target, or to what forces a stop."""
    ended = run(loop, loop.clock, slot or NoSlot())
    state, stop = ended.state, ended.stop
    if stop is None and not state.upper <= loop.target():
        stop = TOO_LOOSE
    return SearchOutcome(state.upper, state.subproblems, stop)


def _own(preactivations: Preactivations) -> dict[str, Interval]:
    """Copies of one layout: results may depend on it in the last bit, and files keep none."""
    return {
        name: Interval(interval.lower.contiguous().clone(), interval.upper.contiguous().clone())
        for name, interval in preactivations.items()
    }


def check(loop: GateLoop, state: GateState) -> None:
    """ValueError for a state that this search cannot have been in."""
    objectives = range(len(loop.task.objectives))
    if len(state.costs) != len(objectives):
        raise ValueError(f"{len(state.costs)} objectives, expected {len(objectives)}")
    if state.subproblems < 1 or state.serial < 0:
        raise ValueError("negative counts")
    highest = max((root.upper for root in loop.roots), default=float("-inf"))
    ends = [state.closed, *(item.upper for item in state.waiting)]
    ends += [item.found.upper for item in state.open]
    if not all(end <= highest for end in ends):  # so that NaN fails it
        raise ValueError(f"an upper end is NaN, or above the root's {highest!r}")
    roots = {root.objective: root.preactivations for root in loop.roots}
    for item in (*state.waiting, *state.open):
        if item.objective not in roots:
            raise ValueError(f"objective {item.objective} is not searched")
        _check_preactivations(item.preactivations, roots[item.objective])
    for item in state.open:
        worth = item.found.start.worth
        if worth is not None and len(worth) != len(loop.task.setting.conflicts.pairs):
            raise ValueError("conflicts of other neurons")
        for split in item.splits:
            _check_split(split, item.preactivations)
        if not item.found.candidates:
            raise ValueError("an open subproblem has nothing to split")
        for candidate in item.found.candidates:
            low, high = _ends(*candidate.gate, item.preactivations)
            if not low <= candidate.position <= high:
                raise ValueError(f"no split of {candidate.gate} at {candidate.position!r}")
    ranks = [item.rank for item in state.open]
    if ranks != sorted(set(ranks)) or any(rank[1] >= state.serial for rank in ranks):
        raise ValueError("the open subproblems are out of order")
    if state.point is not None:
        check_point(loop.task.setting.region, state.point)


def _check_preactivations(found: Preactivations, root: Mapping[str, Interval]) -> None:
    """Of the same entries as the root's, and within them but for another machine's rounding."""
    if found.keys() != root.keys():
        raise ValueError("preactivations of other nodes")
    for name, interval in found.items():
        if interval.shape != root[name].shape:
            raise ValueError(f"preactivations of {name!r} have another shape")
        slack = AGREEMENT * (1 + root[name].magnitude)
        within = interval.lower >= root[name].lower - slack
        within &= interval.upper <= root[name].upper + slack
        if not bool(within.all()):
            raise ValueError(f"preactivations of {name!r} are wider than the root's")


def _check_split(split: Split, preactivations: Preactivations) -> None:
    low, high = _ends(split.node, split.index, preactivations)
    if not (high <= split.position if split.side < 0 else low >= split.position):
        raise ValueError(f"preactivations on both sides of {split}")


def _ends(node: str, index: int, preactivations: Preactivations) -> tuple[float, float]:
    if node not in preactivations or not 0 <= index < preactivations[node].lower.numel():
        raise ValueError(f"no preactivation {index} of {node!r}")
    interval = preactivations[node]
    return float(interval.lower.reshape(-1)[index]), float(interval.upper.reshape(-1)[index])


__all__ = ["GateLoop", "GateState", "SearchOutcome", "Waiting", "search"]
