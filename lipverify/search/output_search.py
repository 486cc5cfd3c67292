"""Whether an input of a region has unsafe outputs: attack, bounds, branch and bound.

`decide(network, query, config)` answers an `OutputQuery` (`lipverify.query_output`) with an
`OutputAnswer`: verified, falsified with an input that the original network confirms, or unknown.
In this order: gradients from many starts; inputs in which all depths are monotone are fixed at
their ends; branch and bound over neurons (`neuron_split`), or over inputs where few of them move
(`input_split`), both with points of their own on the way; for small networks, mixed-integer
programs (`milp.depth`), and exact arithmetic where depths are too near 0 (`rational`).

KeyboardInterrupt passes through; nothing is claimed then.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lipverify.bounds.batched import ClauseDepths
from lipverify.bounds.methods import STAGES, Setting
from lipverify.config import VerifyConfig
from lipverify.errors import InputError
from lipverify.graph import ForwardGraph, output
from lipverify.milp import solver_named
from lipverify.milp.depth import depth_upper
from lipverify.milp.problem import MilpProblem
from lipverify.network import Network
from lipverify.norms import norm_named
from lipverify.query_output import OutputQuery
from lipverify.region import Box
from lipverify.search.budget import Clock, Tell, points_clock
from lipverify.search.choices import Choice, unsafe_choices
from lipverify.search.estimates import crown_stop
from lipverify.search.input_split import NAME as INPUT_SPLITS
from lipverify.search.input_split import depth_search
from lipverify.search.job import TOO_LOOSE, Stop, timeout
from lipverify.search.ladder import BREAKDOWNS
from lipverify.search.neuron_split import NAME as NEURON_SPLITS
from lipverify.search.neuron_split import neuron_search
from lipverify.search.rational import NAME as EXACT
from lipverify.search.rational import RationalSearch
from lipverify.search.slot import Slots, no_slots
from lipverify.search.unsafe_goal import UnsafeGoal
from lipverify.verdict import Falsified, Reason, Verdict, Verified
from lipverify.witness import clause_depths, search_depth

MOST_INPUTS = 32
"""Up to so many moving inputs, it is asked which of them the depths are monotone in."""
ATTACK_POINTS = 128
ATTACK_STEPS = 40


@dataclass(frozen=True, eq=False)
class OutputAnswer:
    """The verdict, what decided it, the subproblems that were bounded, and the time it took.

    `bound` holds proved upper ends of the depths of the query's clauses, [k] (inf: none): how far
    inside its rows' half-spaces an output may lie. `attained` is the largest depth that was met.
    """

    verdict: Verdict
    stage: str
    subproblems: int
    seconds: float
    bound: Tensor
    attained: float | None


@dataclass(frozen=True, eq=False)
class Progressed:
    """How far the work on a query is; `upper` [k] are proved upper ends of all depths.

    `refuted` holds the positions of clauses that exact arithmetic says no input satisfies.
    """

    goal: UnsafeGoal
    upper: Tensor
    stage: str = "none"
    subproblems: int = 1
    stop: Stop | None = None
    refuted: frozenset[int] = frozenset()

    @property
    def proved(self) -> bool:
        """Whether no clause can hold. With exact proofs, what rounding makes of a point is none."""
        if self.refuted:
            return not len(self.open)
        return self.goal.proved(self.upper)

    @property
    def decided(self) -> bool:
        return self.goal.found is not None or self.proved

    @property
    def done(self) -> bool:
        return self.goal.decided(self.upper)

    @property
    def open(self) -> Tensor:
        """Positions of the clauses that are not proved out of reach."""
        # Written so that NaN is open.
        opened = ~(self.upper < 0)
        opened[list(self.refuted)] = False
        return opened.nonzero().flatten()

    @property
    def verdict(self) -> Verdict:
        """Unknown unless an explicit condition earns more."""
        if self.goal.found is not None:
            return Falsified(self.goal.found)
        if self.proved:
            return Verified()
        if self.goal.unconfirmed is not None and (self.stop is None or self.done):
            return self.goal.unconfirmed.verdict
        return (self.stop or TOO_LOOSE).verdict


def silent(stage: str, lower: float | None, upper: float | None, subproblems: int) -> None:
    """Tells nobody."""


def decide(
    network: Network,
    query: OutputQuery,
    config: VerifyConfig | None = None,
    clock: Clock | None = None,
    tell: Tell = silent,
    slots: Slots = no_slots,
) -> OutputAnswer:
    """The answer to one query within the clock (the default: `config.timeout` from now on).

    `tell(stage, lower, upper, subproblems)` hears of the largest depth: attained, and proved.
    Raises `InputError` where the query does not fit the network.
    """
    config = config or VerifyConfig()
    clock = clock or Clock(config.timeout)
    _check_sizes(network, query)
    infinite = torch.full((len(query.unsafe),), torch.inf, dtype=torch.float64)
    state = Progressed(UnsafeGoal(network, query), infinite)
    if clock.expired():
        state = replace(state, stop=timeout(clock), subproblems=0)
    elif query.unsafe:
        setting = Setting(network, query.region, config.preactivation, config.memory)
        search = OutputSearch(setting, query, config, clock, tell, slots)
        state = search.attack(state)
        if not state.decided:
            state = search.search(state)
    return OutputAnswer(
        state.verdict,
        state.stage,
        state.subproblems,
        clock.seconds,
        state.upper,
        state.goal.attained,
    )


def _check_sizes(network: Network, query: OutputQuery) -> None:
    graph = network.graph
    if query.region.size != graph.input_size:
        raise InputError(
            f"the query's region has {query.region.size} inputs, {network.source} has "
            f"{graph.input_size}"
        )
    if query.outputs not in (None, graph.output_size):
        raise InputError(
            f"the query's clauses are over {query.outputs} outputs, {network.source} has "
            f"{graph.output_size}"
        )


@dataclass(frozen=True, eq=False)
class OutputSearch:
    """One query at work."""

    setting: Setting
    query: OutputQuery
    config: VerifyConfig
    clock: Clock
    tell: Tell
    slots: Slots

    @property
    def forward(self) -> ForwardGraph:
        return self.setting.network.graph

    def attack(self, state: Progressed) -> Progressed:
        """Points that gradients lead to, before any bound."""
        stop = points_clock(self.clock).expired
        points = search_depth(
            self.forward,
            self.query.region,
            self.query.unsafe,
            ATTACK_POINTS,
            ATTACK_STEPS,
            self.config.seed,
            stop,
        )
        state = replace(state, goal=self._seen(state.goal, points), stage="attack")
        self.tell("attack", state.goal.attained, None, 1)
        return state

    def _seen(self, goal: UnsafeGoal, points: Tensor) -> UnsafeGoal:
        return goal.see(points, clause_depths(self.query.unsafe, output(self.forward, points)))

    def search(self, state: Progressed) -> Progressed:
        """The searches that fit, one after the other, until the query is decided."""
        try:
            here = self._without_monotone(state)
        except BREAKDOWNS:
            here = self
        return here._search(state)

    def _without_monotone(self, state: Progressed) -> "OutputSearch":
        """The search on the face of the box where the depths are largest.

        An input is fixed at one end if no row of an open clause ever gets deeper away from it: if
        the signs of their derivatives are known on the whole box.
        """
        region = self.query.region
        few = self._moving <= MOST_INPUTS
        if not few or not isinstance(region, Box) or crown_stop(self.setting, self.clock):
            return self
        rows = torch.cat([-self.query.unsafe[k].coefficients for k in state.open.tolist()])
        known = STAGES["mean-split"](self.setting, rows, norm_named("1"), None).elements
        rises, falls = (known.lower >= 0).all(0), (known.upper <= 0).all(0)
        lower = torch.where(rises, region.upper, region.lower)
        upper = torch.where(falls & ~rises, region.lower, region.upper)
        if not bool(((lower > region.lower) | (upper < region.upper)).any()):
            return self
        face = Box(lower, upper)
        return replace(
            self,
            setting=replace(self.setting, region=face),
            query=OutputQuery(face, self.query.unsafe),
        )

    def _search(self, state: Progressed) -> Progressed:
        for choice in unsafe_choices(self.setting, self.config, self.clock):
            if state.decided:
                break
            # Others than exact arithmetic have nothing to add where depths are as good as 0.
            if state.done and choice.search != "exact":
                continue
            if self.clock.expired():
                return replace(state, stop=timeout(self.clock))
            most = self.config.max_subproblems
            if most is not None and state.subproblems > most:
                detail = f"stopped after {state.subproblems} subproblems"
                return replace(state, stop=Stop(Reason.SUBPROBLEMS, detail))
            try:
                state = _SEARCHES[choice.search](self, state, self._clock(choice))
            except BREAKDOWNS as error:
                state = replace(state, stop=Stop(Reason.NUMERICS, str(error)))
        return state

    def _clock(self, choice: Choice) -> Clock:
        left = self.clock.left
        return self.clock if left is None else self.clock.limited(choice.share * left)

    @property
    def _moving(self) -> int:
        return int((self.query.region.bounding.width > 0).sum())

    def _by_neurons(self, state: Progressed, clock: Clock) -> Progressed:
        """Branch and bound over neurons, about the clauses that are open."""
        opened = state.open
        found = neuron_search(
            self.setting,
            tuple(self.query.unsafe[k] for k in opened.tolist()),
            state.goal,
            state.upper[opened],
            clock,
            self.tell,
            self._left(state),
            self.config.seed,
            self.config.solver,
            self.slots,
        )
        upper = state.upper.clone()
        upper[opened] = torch.minimum(upper[opened], found.upper)
        count = state.subproblems + max(0, found.subproblems - 1)
        goal = found.goal
        return replace(
            state, goal=goal, upper=upper, stage=NEURON_SPLITS, subproblems=count, stop=found.stop
        )

    def _left(self, state: Progressed) -> int | None:
        most = self.config.max_subproblems
        return None if most is None else max(1, most - state.subproblems + 1)

    def _by_inputs(self, state: Progressed, clock: Clock) -> Progressed:
        """Branch and bound over boxes, about the clauses that are open."""
        opened = state.open
        clauses = tuple(self.query.unsafe[k] for k in opened.tolist())
        found = depth_search(
            self.setting,
            ClauseDepths(self.forward, clauses),
            state.goal,
            state.upper[opened],
            clock,
            self.tell,
            self._left(state),
            self.config.seed,
            self.slots("input splits"),
        )
        upper = state.upper.clone()
        upper[opened] = torch.minimum(upper[opened], found.upper)
        count = state.subproblems + max(0, found.subproblems - 1)
        goal = found.goal
        return replace(
            state, goal=goal, upper=upper, stage=INPUT_SPLITS, subproblems=count, stop=found.stop
        )

    def _by_programs(self, state: Progressed, clock: Clock) -> Progressed:
        """One mixed-integer program per open clause, which knows no splits."""
        state = replace(state, stage=f"milp ({self.config.solver})", stop=None)
        opened = state.open.tolist()
        for place, which in enumerate(opened):
            left = clock.left
            clause = self.query.unsafe[which]
            problem = MilpProblem(
                self.setting.backward,
                self.setting.region,
                clause.coefficients,
                self.setting.crown_preactivations,
            )
            found = depth_upper(
                problem,
                clause,
                solver_named(self.config.solver),
                None if left is None else left / (len(opened) - place),
                self.config.seed,
                relaxed=False,
                cutoff=float(state.goal.enough(state.upper)[which]),
                nodes=self._left(state),
            )
            upper = state.upper.clone()
            upper[which] = min(float(upper[which]), found.upper)
            state = replace(state, upper=upper, subproblems=state.subproblems + found.nodes - 1)
            if found.point is not None:
                points = self.setting.region.project(found.point.unsqueeze(0))
                state = replace(state, goal=self._seen(state.goal, points))
            self.tell(state.stage, state.goal.attained, float(upper.max()), state.subproblems)
            if state.goal.found is not None:
                break
            if clock.expired():
                return replace(state, stop=timeout(self.clock))
        return state

    def _exactly(self, state: Progressed, clock: Clock) -> Progressed:
        """The clauses that are open, in exact arithmetic."""
        query = OutputQuery(self.setting.region, self.query.unsafe)
        search = RationalSearch(self.setting, query, clock, self.config.seed, self.config.solver)
        state = replace(state, stage=EXACT, stop=None)
        touched: list[float] = []
        for which in state.open.tolist():
            found = search.decide(self.query.unsafe[which], self._left(state))
            upper = state.upper.clone()
            upper[which] = min(float(upper[which]), found.upper)
            count = state.subproblems + max(0, found.subproblems - 1)
            state = replace(state, upper=upper, subproblems=count, stop=found.stop)
            self.tell(EXACT, state.goal.attained, float(upper.max()), count)
            if found.refuted:
                state = replace(state, refuted=state.refuted | {which})
                continue
            if found.found is not None:
                return replace(state, goal=replace(state.goal, found=found.found))
            if found.stop is not None:
                return state
            touched.append(found.upper)
        if touched:
            state = replace(state, goal=state.goal.touched(max(touched)))
        return state


_SEARCHES: Mapping[str, Callable[[OutputSearch, Progressed, Clock], Progressed]] = {
    "neurons": OutputSearch._by_neurons,
    "milp": OutputSearch._by_programs,
    "inputs": OutputSearch._by_inputs,
    "exact": OutputSearch._exactly,
}
