"""Branch and bound over neurons, for unsafe outputs: every part fixes some of them to a side of 0.

Many parts are bounded at a time (`bounds.neurons`, beta-CROWN), those first that may hold the
deepest outputs. The neuron to split is the one, of those that two cheap scores name, whose halves
gain most by a bound without optimisation (as in Bunel et al. 2020 and De Palma et al. 2021). A part
without an open neuron is a linear program. Anytime: a forced stop keeps what was proved.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lipverify.bounds.methods import Setting
from lipverify.bounds.neurons import OpenNet, open_net, tightened_ends, with_ends
from lipverify.errors import OutOfTime
from lipverify.interval import Interval
from lipverify.query_output import Clause
from lipverify.search.budget import Clock, Tell
from lipverify.search.job import Stop, timeout
from lipverify.search.loop import run
from lipverify.search.neuron_loop import NAME, SMALL, NeuronLoop, NeuronState
from lipverify.search.slot import AbstractSlot, Slots, no_slots
from lipverify.search.unsafe_goal import UnsafeGoal

PILOT = 256
"""Subproblems after which two ways of choosing a neuron are compared."""


@dataclass(frozen=True, eq=False)
class NeuronResult:
    """What the goal has seen, proved upper ends [k] of the depths, parts bounded, why it ended."""

    goal: UnsafeGoal
    upper: Tensor
    subproblems: int
    stop: Stop | None


def neuron_search(
    setting: Setting,
    clauses: tuple[Clause, ...],
    goal: UnsafeGoal,
    root_upper: Tensor,
    clock: Clock,
    tell: Tell,
    max_subproblems: int | None = None,
    seed: int = 0,
    solver: str = "highs",
    slots: Slots = no_slots,
) -> NeuronResult:
    """The depths of clauses (with rows) below 0 over the region; ends at the first counterexample.

    `root_upper` [k] holds proved bounds of each depth (inf: unknown).
    """
    try:
        net = _network(setting, clock, slots(f"{NAME}: bounds"))
    except OutOfTime:
        return NeuronResult(goal, root_upper, 0, timeout(clock))
    search = NeuronLoop(
        setting, net, clauses, goal, root_upper, clock, tell, max_subproblems, seed, solver
    )
    slot = slots(NAME)
    if slot.load(search.kind, search.restored) is None:
        first = _piloted(search, search.step(search.start()))
        search = replace(search, first=first)
    ended = run(search, clock, slot)
    state = ended.state
    return NeuronResult(state.goal, search.upper(state), state.subproblems, ended.stop)


def _network(setting: Setting, clock: Clock, slot: AbstractSlot) -> OpenNet:
    """The open neurons of the region; the same ones in a run that is resumed."""
    net = open_net(setting.network.graph, setting.region, stop=clock.expired)

    def check(ends: Interval) -> Interval:
        if ends.shape != net.preactivation.shape:
            raise ValueError(f"bounds of shape {tuple(ends.shape)}, not of the open neurons")
        return ends

    ends = slot.load(Interval, check)
    if ends is None:
        ends = tightened_ends(net, setting.memory / 4, clock.expired)
        if not clock.expired():
            slot.keep(ends)
    return with_ends(net, ends, clock.expired)


def _piloted(search: NeuronLoop, first: NeuronState) -> NeuronState:
    """The state with the way of choosing neurons that leaves less of the hardest number open.

    Each way gets a few subproblems of that number alone; those of the better one are kept.
    """
    if search.done(first) or len(search.net.stages) < 2 or search.net.size <= SMALL:
        return first
    hardest = first.parts.number[first.parts.upper.argmax()]
    mine = first.parts.number == hardest
    alone = replace(first, parts=first.parts.pick(mine), choices=first.choices[mine])
    worst = float(search.upper(first).max())
    tried: list[tuple[float, NeuronState]] = []
    for far in (False, True):
        state = replace(alone, far=far)
        while state.subproblems < first.subproblems + PILOT and not search.done(state):
            if search.clock.expired() or search.limit(state) is not None:
                return first
            state = search.step(state)
            # The other numbers are as they were.
            search.tell(NAME, state.goal.attained, worst, state.subproblems)
        parts = state.parts
        depth = (parts.sides != 0).sum(1)
        tried.append((float((parts.upper * 0.5**depth).sum()), state))
        if state.goal.found is not None or not len(parts):
            break
    _, state = min(tried, key=lambda entry: entry[0])
    rest = first.parts.pick(~mine)
    spent = sum(other.subproblems - first.subproblems for _, other in tried)
    return replace(
        state,
        parts=rest.join(state.parts),
        choices=torch.cat([first.choices[~mine], state.choices]),
        subproblems=first.subproblems + spent,
    )


__all__ = ["NAME", "NeuronResult", "neuron_search"]
