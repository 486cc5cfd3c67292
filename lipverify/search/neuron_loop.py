"""The loop of branch and bound over neurons: which parts are split at which neuron, and bounded."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from lipverify.bounds.methods import Setting
from lipverify.bounds.neurons import (
    Bounded,
    Effort,
    OpenNet,
    Parts,
    Target,
    attaining_points,
    bound_parts,
    candidates,
    check_parts,
    children,
    clause_target,
    quick_halves,
    refine,
    whole,
)
from lipverify.graph import output
from lipverify.interval import Interval
from lipverify.milp import solver_named
from lipverify.milp.depth import depth_upper
from lipverify.milp.problem import MilpProblem, Split
from lipverify.milp.size import unsupported
from lipverify.query_output import Clause
from lipverify.search.budget import Clock, Tell
from lipverify.search.goals import Seen
from lipverify.search.job import Stop
from lipverify.search.loop import AbstractSearch
from lipverify.search.unsafe_goal import UnsafeGoal
from lipverify.verdict import Reason
from lipverify.witness import ascend, clause_depths

NAME = "neuron splits"
PARENTS = 128
"""Parts that are split per step, at most."""
STEP_NUMBERS = 4e7
"""Numbers that the coefficients of a step's parts may be, about: so a step is short."""
ROOT_EFFORT = Effort(steps=40)
EFFORT = Effort(steps=25, multiplier_rate=2.0, decay=0.96, moments=(0.8, 0.8))
STUCK_EFFORT = Effort(steps=200, multiplier_rate=10.0, decay=0.975, moments=(0.8, 0.8))
DEEP = 2.0
"""Parts behind so many times the splits of a balanced tree get `STUCK_EFFORT` if `EFFORT` gained
nothing: many are empty (measured), and only large multipliers show that."""
FAR_DEPTH = 16
"""Behind so many splits, neurons are chosen by quick bounds in any case."""
REFINED = 4
"""With every so many splits, the preactivations of later neurons are bounded again."""
SMALL = 40
"""Up to so many open neurons, linear programs bound every part that is left open, too."""
CLIMBERS, CLIMB_STEPS, CLIMB_EVERY = 16, 12, 4
"""Points that climb from where bounds are attained: how many, how far, in which steps."""


@dataclass(frozen=True, eq=False)
class NeuronState:
    """Open parts, the neurons that each may be split at [b, c] (-1: none), and the closed ones.

    `closed` [k] is the largest proved upper end of each number's closed parts. `started` is False
    until the whole region is bounded. `far`: near the root, neurons are chosen by what they do to
    later ones, whose bounds follow every split; otherwise by a quick bound of the halves.
    """

    goal: UnsafeGoal
    parts: Parts
    choices: Tensor
    closed: Tensor
    subproblems: int
    steps: int
    started: bool
    far: bool = False


@dataclass(frozen=True, eq=False)
class StoredNeurons:
    """What a file holds of it: points instead of the goal, which is about a network."""

    seen: Seen
    parts: Parts
    choices: Tensor
    closed: Tensor
    subproblems: int
    steps: int
    far: bool


@final
@dataclass(frozen=True, eq=False)
class NeuronLoop(AbstractSearch[NeuronState]):
    """`first` is where the search begins, if not before the root."""

    setting: Setting
    net: OpenNet
    clauses: tuple[Clause, ...]
    goal: UnsafeGoal
    root_upper: Tensor
    clock: Clock
    tell: Tell
    max_subproblems: int | None
    seed: int
    solver: str
    first: NeuronState | None = None

    kind = StoredNeurons

    @cached_property
    def target(self) -> Target:
        return clause_target(self.net, self.clauses)

    @cached_property
    def linear_leaves(self) -> bool:
        """Whether parts without open neurons are linear programs."""
        return unsupported(self.setting.network.graph) is None

    def start(self) -> NeuronState:
        if self.first is not None:
            return self.first
        parts = replace(whole(self.net, self.target), upper=self.root_upper.clone())
        closed = torch.full_like(self.root_upper, -torch.inf)
        nothing = torch.zeros(len(parts), 0, dtype=torch.int64)
        return NeuronState(self.goal, parts, nothing, closed, 0, 0, False)

    def stored(self, state: NeuronState) -> StoredNeurons:
        return StoredNeurons(
            state.goal.seen,
            state.parts,
            state.choices,
            state.closed,
            state.subproblems,
            state.steps,
            state.far,
        )

    def restored(self, stored: StoredNeurons) -> NeuronState:
        check_parts(self.net, self.target, stored.parts)
        count, numbers = len(stored.parts), len(self.target)
        if stored.choices.ndim != 2 or len(stored.choices) != count:
            raise ValueError(f"neurons to split have shape {tuple(stored.choices.shape)}")
        if not bool(((stored.choices >= -1) & (stored.choices < self.net.size)).all()):
            raise ValueError("a split of no open neuron")
        if stored.closed.shape != (numbers,) or bool(stored.closed.isnan().any()):
            raise ValueError("the closed parts' bounds are not one for each clause")
        if stored.subproblems < 1 or stored.steps < 0:
            raise ValueError("a count that is too small")
        return NeuronState(
            self.goal.recall(stored.seen),
            stored.parts,
            stored.choices,
            stored.closed,
            stored.subproblems,
            stored.steps,
            True,
            stored.far,
        )

    def upper(self, state: NeuronState) -> Tensor:
        """The proved upper ends [k]."""
        parts = state.parts
        return state.closed.scatter_reduce(0, parts.number, parts.upper, "amax")

    def done(self, state: NeuronState) -> bool:
        return len(state.parts) == 0 or state.goal.decided(self.upper(state))

    def limit(self, state: NeuronState) -> Stop | None:
        most = self.max_subproblems
        if most is not None and state.subproblems + 2 > most and state.started:
            return Stop(Reason.SUBPROBLEMS, f"stopped after {state.subproblems} subproblems")
        memory = 2 * state.parts.bytes
        if memory > self.setting.memory:
            allowed = self.setting.memory
            detail = f"neuron splits need {memory:.3g} bytes, allowed are {allowed:.3g}"
            return Stop(Reason.MEMORY, detail)
        return None

    def show(self, state: NeuronState) -> None:
        if state.started:
            upper = float(self.upper(state).max())
            self.tell(NAME, state.goal.attained, upper, state.subproblems)

    def step(self, state: NeuronState) -> NeuronState:
        """Bound the region; or split the deepest parts, and bound their halves."""
        if not state.started:
            state = replace(state, started=True, subproblems=1)
            return self._bounded(state, state.parts, ROOT_EFFORT)
        order = state.parts.upper.argsort(descending=True, stable=True)
        chosen = order[: self._parents(state, len(order))]
        mask = torch.ones(len(order), dtype=torch.bool)
        mask[chosen] = False
        parents, choices = state.parts.pick(chosen), state.choices[chosen]
        state = replace(state, parts=state.parts.pick(mask), choices=state.choices[mask])
        leaves = (choices < 0).all(1)
        state = self._leaves(state, parents.pick(leaves))
        parents, choices = parents.pick(~leaves), choices[~leaves]
        if not len(parents) or state.goal.found is not None:
            return replace(state, steps=state.steps + 1)
        halves = self._split(parents, choices, state.far)
        count = state.subproblems + 2 * len(parents)
        state = replace(state, subproblems=count, steps=state.steps + 1)
        return self._bounded(state, halves, EFFORT)

    def _parents(self, state: NeuronState, count: int) -> int:
        width = self.net.first + self.net.size
        most = max(1, int(STEP_NUMBERS / (2 * width * (1 + len(self.net.stages)))))
        most = min(PARENTS, most, count)
        if self.max_subproblems is not None:
            most = min(most, (self.max_subproblems - state.subproblems) // 2)
        return max(1, most)

    def _split(self, parents: Parts, choices: Tensor, far: bool) -> Parts:
        """The halves of each part that are not proved to be empty."""
        depth = (parents.sides != 0).sum(1)
        neuron = self._best(parents, choices)
        again = (depth + 1) % REFINED == 0
        if far:
            shallow = depth < FAR_DEPTH
            neuron = torch.where(shallow, choices[:, choices.shape[1] // 2], neuron)
            again = again | shallow
        halves = children(parents, neuron)
        return self._refined(halves, neuron.repeat(2), again.repeat(2))

    def _best(self, parents: Parts, choices: Tensor) -> Tensor:
        """The neuron [b], of the choices [b, c], whose halves gain most together."""
        upper = quick_halves(self.net, self.target, parents, choices)
        worth = _together(parents.upper.unsqueeze(1), upper)
        worth = torch.where(choices < 0, -1.0, worth)
        return choices.gather(1, worth.argmax(1, keepdim=True)).squeeze(1)

    def _refined(self, halves: Parts, neuron: Tensor, again: Tensor) -> Parts:
        """The parts, where `again` with narrower intervals of the neurons behind the one split.

        Those that are proved to be empty are left out.
        """
        least, most = halves.least.clone(), halves.most.clone()
        empty = torch.zeros(len(halves), dtype=torch.bool)
        for position, stage in enumerate(self.net.stages):
            place = self.net.places(stage)
            mine = again & (neuron >= place.start) & (neuron < place.stop)
            index = mine.nonzero().flatten()
            if len(index):
                found = refine(self.net, halves.pick(index), position, self.clock.expired)
                least[index], most[index] = found.parts.least, found.parts.most
                empty[index] = found.empty
        return replace(halves, least=least, most=most).pick(~empty)

    def _bounded(self, state: NeuronState, parts: Parts, effort: Effort) -> NeuronState:
        """The parts bounded; those that are good enough closed, the others open."""
        found = self._bounds(parts, effort, self._level(state), state.subproblems)
        # Written so that NaN stays open.
        state = self._look(state, found.parts.pick(~(found.parts.upper <= self._level(state))))
        live = (~(found.parts.upper <= self._level(state))).nonzero().flatten()
        rest, coefficients = found.parts.pick(live), found.coefficients[live]
        mask = torch.ones(len(found.parts), dtype=torch.bool)
        mask[live] = False
        state = self._close(state, found.parts.pick(mask))
        if self.linear_leaves and self.net.size <= SMALL:
            state, rest = self._by_programs(state, rest)
            still = ~(rest.upper <= self._level(state))
            state = self._close(state, rest.pick(~still))
            rest, coefficients = rest.pick(still), coefficients[still]
        choices = candidates(self.net, rest, coefficients)
        if state.choices.shape[1] != choices.shape[1]:
            state = replace(state, choices=choices[:0])
        joined = state.parts.join(rest) if state.steps else rest
        both = torch.cat([state.choices, choices]) if state.steps else choices
        return replace(state, parts=joined, choices=both)

    def _bounds(self, parts: Parts, effort: Effort, level: float, count: int) -> Bounded:
        """The parts bounded, in any order; deep ones that gain nothing with more effort.

        `count`: the subproblems so far.
        """
        stop = self.clock.expired
        found = bound_parts(self.net, self.target, parts, effort, level, stop)
        upper = found.parts.upper
        deep = (parts.sides != 0).sum(1) > DEEP * math.log2(count)
        # Written so that NaN is stuck.
        stuck = deep & ~(upper <= level) & ~(upper < parts.upper)
        if stop() or not bool(stuck.any()):
            return found
        again = bound_parts(
            self.net, self.target, found.parts.pick(stuck), STUCK_EFFORT, level, stop
        )
        return Bounded(
            found.parts.pick(~stuck).join(again.parts),
            torch.cat([found.coefficients[~stuck], again.coefficients]),
        )

    def _close(self, state: NeuronState, parts: Parts) -> NeuronState:
        closed = state.closed.scatter_reduce(0, parts.number, parts.upper, "amax")
        return replace(state, closed=closed)

    def _look(self, state: NeuronState, parts: Parts) -> NeuronState:
        """Evaluate the points where bounds are attained; now and then, climb from the deepest."""
        if not len(parts):
            return state
        graph, region = self.net.forward, self.setting.region
        points = region.project(attaining_points(self.net, self.target, parts))
        depths = clause_depths(self.clauses, output(graph, points))
        goal = state.goal.see(points, depths)
        if goal.found is None and state.steps % CLIMB_EVERY == 0:
            order = depths.flatten().argsort(descending=True)[:CLIMBERS]
            count = len(self.clauses)
            climbed = ascend(
                graph,
                region,
                region.bounding.width / 4,
                self.clauses,
                points[order // count],
                order % count,
                CLIMB_STEPS,
                self.clock.expired,
            )
            goal = goal.see(climbed, clause_depths(self.clauses, output(graph, climbed)))
        return replace(state, goal=goal)

    def _leaves(self, state: NeuronState, parts: Parts) -> NeuronState:
        """Parts without an open neuron that can be split: programs have the last word."""
        if self.linear_leaves:
            state, parts = self._by_programs(state, parts)
        return self._close(state, parts)

    def _by_programs(self, state: NeuronState, parts: Parts) -> tuple[NeuronState, Parts]:
        """The parts, each bounded by the linear program of its relaxation; its solution seen."""
        upper = parts.upper.clone()
        for place in range(len(parts)):
            if self.clock.expired() or state.goal.found is not None:
                break
            part = parts.pick(torch.tensor([place]))
            found = depth_upper(
                self._problem(part),
                self.clauses[int(part.number)],
                solver_named(self.solver),
                self.clock.left,
                self.seed,
                relaxed=True,
            )
            upper[place] = min(float(upper[place]), found.upper)
            if found.point is not None and not found.upper <= self._level(state):
                point = self.setting.region.project(found.point.unsqueeze(0))
                depths = clause_depths(self.clauses, output(self.net.forward, point))
                state = replace(state, goal=state.goal.see(point, depths))
        return state, replace(parts, upper=upper)

    def _level(self, state: NeuronState) -> float:
        """Parts whose proved upper end is at most this are done with."""
        return float(state.goal.enough(self.root_upper).max())

    def _problem(self, part: Parts) -> MilpProblem:
        """The network under a part's splits and intervals."""
        known = dict(self.net.reduced.preactivations)
        splits: list[Split] = []
        for stage in self.net.stages:
            place = self.net.places(stage)
            source = self.net.forward[stage.node].inputs[stage.operand]
            index = stage.index[0]
            lower, upper = known[source].lower.clone(), known[source].upper.clone()
            lower.reshape(-1)[index] = part.least[0, place]
            upper.reshape(-1)[index] = part.most[0, place]
            known[source] = Interval(lower, upper)
            sides = part.sides[0, place]
            for spot in sides.nonzero().flatten().tolist():
                splits.append((source, int(index[spot]), int(sides[spot])))
        rows = self.clauses[int(part.number)].coefficients
        return MilpProblem(
            self.setting.backward, self.setting.region, rows, known, splits=tuple(splits)
        )


def _together(before: Tensor, halves: Tensor) -> Tensor:
    """The product of what both halves [2, b, c] are lower than `before` [b, 1]: [b, c]."""
    gain = (before - halves.clamp(min=0.0)).clamp(min=0.0)
    smallest = 1e-6 * before.abs()
    return (gain[0] + smallest) * (gain[1] + smallest)


__all__ = ["NAME", "NeuronLoop", "NeuronState", "StoredNeurons"]
