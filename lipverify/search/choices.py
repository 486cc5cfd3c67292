"""Which searches follow the root's bounds, in which order, how long, and why.

The figures were measured (see each); they choose between methods that are all sound.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from lipverify.bounds.methods import Setting
from lipverify.bounds.preactivation import Preactivations, open_of
from lipverify.config import VerifyConfig
from lipverify.graph import ForwardGraph, Node
from lipverify.milp.size import unsupported
from lipverify.operators import Activation
from lipverify.query import NormQuery
from lipverify.region import Box
from lipverify.search.budget import Clock
from lipverify.search.estimates import alpha_stop, crown_stop, quadratic_cost
from lipverify.search.exact import not_offered, size_of, too_large
from lipverify.search.job import Job, Stop
from lipverify.search.ladder import BREAKDOWNS
from lipverify.search.rational import offered
from lipverify.verdict import Reason

FEW_INPUTS, MANY_GATES = 8, 40
"""Inputs are split first where at most so many move and more than so many gates are open; and where
at most so many move and a gate is smooth, they alone are split. Measured (scripts/compare.py's
methods, 12 s): up to 8 inputs, splits of inputs end lower on networks of tanh, gelu and softplus by
5 to 20 %; from 10 on, splits of gates do by as much, and more with each input. Where branches are
multiplied (GRU and LSTM of 20 inputs), splits of inputs end lower all the same."""
MOST_INPUTS = 32
"""Beyond so many moving inputs, splitting them is not tried."""
NORM_BINARIES = 36
"""Programs of a row's norm with more binaries are left to the search over gates."""
FINE = 1e-3
"""So are smaller ones where this relative gap, or a threshold, is all that is asked for."""
SIGN_BINARIES = 400
"""The same for programs of one derivative or one output, which are much easier."""
FEW_GATES = 60
"""Where few inputs move, neurons are split before inputs up to so many gates, open or not."""
MOST_GATES = 1000
"""In larger networks it is not even asked how many gates are open: searches find out faster."""
UNSAFE_BINARIES = 60
"""Programs of a clause's depth with more binaries are left to the search over neurons."""
EXACT_NEURONS = 24
"""With more open neurons, there may be too many affine pieces whose depths are near 0."""
SHARE = 0.5
"""Of the time left, for a program that may not finish."""
UNLIMITED = 60.0
"""Seconds that stand for the time left where there is no timeout, for shares of it."""


@dataclass(frozen=True)
class Choice:
    """A search by its name, why it was chosen, and its share of the time that is left then."""

    search: str
    why: str
    share: float = 1.0
    root_only: bool = False
    """Nothing is split: another search is better at that."""

    def most(self, limit: int | None) -> int | None:
        """How many subproblems it may bound, of those that are left."""
        return 1 if self.root_only else limit


WALKED_GATES = 12
"""With more open gates, a better lower end saves the searches more than the walk for it costs."""
LATE = Choice("late", "")
"""The method's late stages."""


@dataclass(frozen=True, eq=False)
class Openness:
    """What of a network is undecided on a region, by CROWN's preactivation bounds."""

    setting: Setting

    @cached_property
    def moving(self) -> int:
        """Inputs that the region does not fix."""
        return int((self.setting.region.bounding.width > 0).sum())

    @property
    def graph(self) -> ForwardGraph:
        return self.setting.network.graph

    @cached_property
    def gates(self) -> int:
        """One per entry of an activation, two per entry of a product."""
        graph = self.graph
        return sum(self._count(node) for node in (*graph.activations, *graph.products))

    @cached_property
    def smooth(self) -> int:
        """Open gates that halves of their preactivation only narrow."""
        graph = self.graph
        return sum(
            self._count(node)
            for node in (*graph.activations, *graph.products)
            if not (isinstance(node.operator, Activation) and node.operator.piecewise_linear)
        )

    def _count(self, node: Node) -> int:
        known = self.setting.crown_preactivations
        return sum(open_of(node, known[name]).numel() for name in node.inputs)

    def __str__(self) -> str:
        return f"{_count(self.moving, 'input moves', 'inputs move')}, {_gates(self.gates)} open"


def norm_choices(job: Job, query: NormQuery, signs: int, on_rows: bool) -> tuple[Choice, ...]:
    """For an operator norm whose worst row has `signs` entries of open sign.

    `on_rows`: the norm is a maximum of objectives on single rows.
    """
    if crown_stop(job.setting, job.clock) is not None:
        return ()
    asked, openness = _asked(job), Openness(job.setting)
    walk = [Choice("walk", str(openness))] if openness.gates > WALKED_GATES else []
    if asked is not None:
        return asked if job.method.searches == ("milp",) else (*walk, *asked)
    found: list[Choice] = []
    inputs_first = openness.moving <= FEW_INPUTS and openness.gates > MANY_GATES
    if inputs_first:
        found += [*walk, Choice("inputs", str(openness))]
        walk = []
    fine = query.threshold is None and (query.gap is None or query.gap < FINE)
    small = on_rows and fine and openness.gates + signs <= NORM_BINARIES
    if small and _has_program(job, signs, query):
        why = f"{_gates(openness.gates)} and {_count(signs, 'sign is', 'signs are')} open"
        found.append(Choice("milp", why, SHARE))
    found += [LATE, *walk, _gate_splits(openness)]
    if not inputs_first and openness.smooth:
        found += _last_resort(openness)
    return tuple(found)


def sign_choices(job: Job) -> tuple[Choice, ...]:
    """For the sign of one derivative."""
    if crown_stop(job.setting, job.clock) is not None:
        return ()
    asked = _asked(job)
    if asked is not None:
        return asked
    openness = Openness(job.setting)
    found: list[Choice] = []
    if openness.gates <= SIGN_BINARIES and _has_program(job, 0):
        found.append(Choice("milp", f"{_gates(openness.gates)} open", SHARE))
    inputs_first = openness.moving <= FEW_INPUTS and openness.gates > MANY_GATES
    if inputs_first:
        found.append(Choice("inputs", str(openness)))
    found += [LATE, _gate_splits(openness)]
    if openness.smooth and not inputs_first:
        found += _last_resort(openness)
    return tuple(found)


def output_choices(job: Job) -> tuple[Choice, ...]:
    """For linear constraints on outputs."""
    if crown_stop(job.setting, job.clock) is not None:
        return ()
    asked = _asked(job)
    if asked is not None:
        return tuple(choice for choice in asked if choice.search != "gates")
    openness = Openness(job.setting)
    found: list[Choice] = []
    few = openness.moving <= FEW_INPUTS
    # Programs know the box around a ball alone, which is much larger.
    box = isinstance(job.region, Box)
    program = box and openness.gates <= SIGN_BINARIES and _has_program(job, 0)
    if openness.gates > openness.smooth and job.config.max_subproblems != 1:
        others = program or few or openness.smooth
        found.append(Choice("neurons", str(openness), SHARE if others else 1.0))
    if program:
        found.append(Choice("milp", f"{_gates(openness.gates)} open", SHARE))
    found += [*_exact(job, openness), LATE]
    if few or openness.smooth:
        found += _last_resort(openness)
    return tuple(found)


def unsafe_choices(setting: Setting, config: VerifyConfig, clock: Clock) -> tuple[Choice, ...]:
    """For unsafe sets of outputs. Each gets what those before it left open."""
    openness = Openness(setting)
    gates = sum(node.size for node in (*openness.graph.activations, *openness.graph.products))
    moving = _count(openness.moving, "input moves", "inputs move")
    inputs = openness.moving <= FEW_INPUTS
    small = gates <= MOST_GATES and _small(openness, clock)
    box = isinstance(setting.region, Box)
    program = small and box and config.max_subproblems != 1 and unsupported(openness.graph) is None
    exact = small and openness.gates <= EXACT_NEURONS and offered(openness.graph, setting.region)
    found: list[Choice] = []
    if not inputs or gates <= FEW_GATES:
        others = inputs or program or exact
        found.append(Choice("neurons", f"{moving}, {_gates(gates)}", SHARE if others else 1.0))
        if program:
            found.append(Choice("milp", f"{openness}", SHARE if inputs or exact else 1.0))
    if exact:
        found.append(Choice("exact", str(openness), SHARE if inputs else 1.0))
    if inputs:
        found.append(Choice("inputs", f"{moving}, {_gates(gates)}"))
    return tuple(found)


def seconds_of(job: Job, choice: Choice) -> float | None:
    """The choice's share of the time; without a timeout, that of a minute, or no limit for all."""
    if choice.share == 1.0:
        return job.clock.left
    return choice.share * (UNLIMITED if job.clock.left is None else job.clock.left)


def best_preactivations(job: Job, choice: Choice) -> Preactivations:
    """CROWN's for a first try, which has to be quick; else the tightest that the method offers."""
    quick = choice.share < 1.0 and job.method.late
    if quick or alpha_stop(job.setting, job.clock) is not None:
        return job.setting.crown_preactivations
    return job.setting.alpha_preactivations


def late_stages(job: Job) -> tuple[str, ...]:
    """The method's late stages for this network and region."""
    if alpha_stop(job.setting, job.clock) is not None:
        return job.method.late
    return job.method.late_on(job.setting)


def gate_stage(subproblems: int) -> str:
    return "quadratic" if subproblems <= 1 else "branch and bound"


def too_many_gates(job: Job, extra: int) -> Stop | None:
    """Why the quadratic dual is not attempted; None if it can be. `extra` variables are no gates'.

    Without a timeout, memory decides alone.
    """
    stop = alpha_stop(job.setting, job.clock)
    if stop is not None:
        return stop
    gates = Openness(job.setting).gates
    cost = quadratic_cost(job.setting, gates, extra)
    what = f"the quadratic dual of {_gates(gates)}"
    if cost.bytes > job.setting.memory:
        allowed = job.setting.memory
        return Stop(
            Reason.MEMORY, f"{what} needs {cost.bytes:.3g} bytes, allowed are {allowed:.3g}"
        )
    seconds, left = cost.seconds, job.clock.left
    if left is not None and seconds > left:
        return Stop(Reason.TIMEOUT, f"{what} takes about {seconds:.0f} s, {left:.0f} s are left")
    return None


def _asked(job: Job) -> tuple[Choice, ...] | None:
    """The searches of a method that has not more than one."""
    searches: Sequence[str] = job.method.searches
    if len(searches) > 1:
        return None
    return tuple(Choice(search, f"--method {job.config.method}") for search in searches)


def _gate_splits(openness: Openness) -> Choice:
    """Down to fixed gates, where there are such; else only where splits of inputs gain less."""
    few = MOST_INPUTS if openness.graph.products else FEW_INPUTS
    if openness.smooth and openness.moving <= few:
        why = f"{openness}, {openness.smooth} smooth: inputs are split instead"
        return Choice("gates", why, root_only=True)
    return Choice("gates", str(openness))


def _last_resort(openness: Openness) -> list[Choice]:
    if openness.moving > MOST_INPUTS:
        return []
    return [Choice("inputs", str(openness))]


def _has_program(job: Job, signs: int, query: NormQuery | None = None) -> bool:
    """Beside what `Choice` says: the programs' nodes count as subproblems, 1 is the root alone."""
    if job.config.max_subproblems == 1 or not_offered(job, query) is not None:
        return False
    return too_large(job, size_of(job, job.setting.crown_preactivations, signs)) is None


def _small(openness: Openness, clock: Clock) -> bool:
    try:
        return crown_stop(openness.setting, clock) is None and openness.gates <= UNSAFE_BINARIES
    except BREAKDOWNS:
        return False


def _exact(job: Job, openness: Openness) -> list[Choice]:
    """Complete where floats are not; nothing where the root alone is asked for."""
    fits = openness.gates <= EXACT_NEURONS and offered(openness.graph, job.region)
    if not fits or job.config.max_subproblems == 1:
        return []
    return [Choice("exact", str(openness))]


def _gates(count: int) -> str:
    return _count(count, "gate", "gates")


def _count(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


__all__ = [
    "Choice",
    "Openness",
    "late_stages",
    "norm_choices",
    "output_choices",
    "sign_choices",
    "too_many_gates",
    "unsafe_choices",
]
