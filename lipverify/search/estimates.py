"""About what each way of bounding takes in time and memory, from sizes alone, before it is tried.

Multiplications of one substitution through a graph, times the functions that are substituted,
times what a multiplication was measured to take (one thread; convolutions and dense layers of the
shared networks). Estimates decide what is tried, and never enter a bound.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from lipverify.bounds.linear import FEW
from lipverify.bounds.methods import Setting
from lipverify.bounds.preactivation import open_entries
from lipverify.bounds.propagation import ALPHA_HELD, LAYERS_HELD
from lipverify.config import QuadraticConfig
from lipverify.graph import BackwardGraph, Dag, Node
from lipverify.interval import Interval
from lipverify.milp.size import program_size, unsupported
from lipverify.operators import Activation, AffineOperator, Conv, Dense, Pullback
from lipverify.search.budget import Clock
from lipverify.search.job import Stop
from lipverify.verdict import Reason

DENSE, CONVOLUTION = 1.5e-10, 4e-10
"""Seconds of a multiplication in a matrix product and in a convolution."""
ENTRY = 1e-8
"""Seconds that everything else takes for an entry of a node."""
ALPHA = 2.0
"""A step of alpha-CROWN takes so many substitutions, with gradients and auto_LiRPA's own work."""
ALPHA_LAYER = 0.2
"""Seconds that alpha-CROWN takes for a layer whatever its size."""
MEAN_SPLIT_HELD = 3.0
"""Arrays of all nodes' size that the mean-split enclosure holds at once."""
STEP_SECONDS = 2e-9
"""An interior-point step of the quadratic dual takes this times the cube of its variables."""
STEP_BYTES = 400.0
"""And this times their square in memory."""
STEPS = 15
"""Fewer steps hardly ever give a bound that is better than the linear one."""
MOST_SIGNS = QuadraticConfig().max_signs
PATIENCE = 60.0
"""Seconds that CROWN may take where nothing but an estimate is asked for."""


@dataclass(frozen=True)
class Cost:
    """`bytes` is what the largest arrays take, kept within the memory where that can be done."""

    seconds: float
    bytes: float

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.seconds + other.seconds, max(self.bytes, other.bytes))


def substitution(dag: Dag, target: str) -> float:
    """Seconds of one function of a node, pulled back to the sources of its graph."""
    below = dag.ancestors(target)
    seconds = 0.0
    for node in dag:
        if node.name in below:
            seconds += ENTRY * node.size
            seconds += _product(dag, node)
    return seconds


def _product(dag: Dag, node: Node) -> float:
    """Seconds that the multiplications of an affine node take; those of a convolution are as many
    in its transpose, whose operand has the shape of its result."""
    operator, result = node.operator, node.size
    if isinstance(operator, Pullback):
        operator, result = operator.forward, dag[node.inputs[0]].size
    if isinstance(operator, Conv):
        return CONVOLUTION * result * operator.weight[0].numel()
    if isinstance(operator, Dense):
        return DENSE * result * operator.weight.shape[1]
    if isinstance(operator, AffineOperator):
        return DENSE * result * operator.terms
    return 0.0


def open_gates(setting: Setting, preactivations: Mapping[str, Interval]) -> dict[str, int]:
    """How many neurons of each activation have a slope that is not one number."""
    counts: dict[str, int] = {}
    for node in setting.network.graph.activations:
        assert isinstance(node.operator, Activation)
        counts[node.name] = open_entries(node.operator, preactivations[node.inputs[0]]).numel()
    return counts


def interval_cost(setting: Setting, rows: int) -> Cost:
    forward, backward = setting.network.graph, setting.backward
    once = substitution(forward, forward.output) + rows * substitution(backward, backward.jacobian)
    return Cost(6 * once, 8.0 * 6 * rows * sum(node.size for node in backward))


def crown_cost(setting: Setting, opened: Mapping[str, int]) -> Cost:
    """Both ends of every open preactivation."""
    forward = setting.network.graph
    seconds = 0.0
    for node in forward.activations:
        seconds += 2 * opened[node.name] * substitution(forward, node.inputs[0])
    largest = max(node.size for node in forward)
    held = 8.0 * LAYERS_HELD * largest * max(opened.values(), default=0)
    return Cost(seconds, min(held, setting.memory))


def alpha_crown_cost(setting: Setting, opened: Mapping[str, int]) -> Cost:
    once = crown_cost(setting, opened)
    steps = max(1, setting.config.alpha_iterations)
    layers = sum(count > 0 for count in opened.values())
    seconds = layers * ALPHA_LAYER + once.seconds * ALPHA * steps
    sizes = [node.size for node in setting.network.graph]
    held = 8.0 * (ALPHA_HELD * sum(sizes) + LAYERS_HELD * max(sizes))
    return Cost(seconds, min(held * max(opened.values(), default=0), setting.memory))


def mean_split_cost(setting: Setting, rows: int, opened: Mapping[str, int]) -> Cost:
    """Every open gate's row, pulled from there to the input."""
    backward = setting.backward
    whole = substitution(backward, backward.jacobian)
    seconds = rows * whole
    for gate in backward.gates:
        # What is behind the gate: everything less what is in front of it.
        behind = whole - substitution(backward, gate.inputs[1])
        seconds += opened[_activation(backward, gate.name)] * max(behind, ENTRY * gate.size)
    total = sum(node.size for node in backward)
    held = 8.0 * MEAN_SPLIT_HELD * total * max([rows, *opened.values()])
    return Cost(seconds, min(held, setting.memory))


def linear_cost(setting: Setting, rows: int, opened: Mapping[str, int]) -> Cost:
    """Adjoints of open gates and all elements; less where rows or elements do not matter."""
    backward = setting.backward
    whole = substitution(backward, backward.jacobian)
    seconds = 2.0 * rows * backward[backward.jacobian].size * whole
    for gate in backward.gates:
        count = opened[_activation(backward, gate.name)]
        seconds += 2.0 * rows * count * substitution(backward, gate.inputs[1])
    return Cost(seconds, min(8.0 * LAYERS_HELD * FEW, setting.memory))


def quadratic_cost(setting: Setting, gates: int, extra: int) -> Cost:
    """The quadratic dual of one row, solved once; `extra` variables are no gates'."""
    variables = 1.0 + gates + extra
    values = sum(node.size for node in setting.backward)
    size = STEP_BYTES * variables**2 + 2 * 8.0 * variables * values
    return Cost(STEPS * STEP_SECONDS * variables**3, size)


def program_cost(setting: Setting, preactivations: Mapping[str, Interval]) -> Cost:
    """Writing the mixed-integer program of one row; solving it takes what it takes."""
    size = program_size(setting.backward, setting.region, preactivations, 0)
    return Cost(size.seconds, size.bytes)


@dataclass(frozen=True, eq=False)
class Estimates:
    """A network on a region, before any question: by activation the neurons that are open, and by
    method what all rows of the Jacobian take at the root, with a remark.

    `by` names the bounds that tell which neurons are open.
    """

    by: str
    opened: Mapping[str, int]
    costs: Mapping[str, tuple[Cost, str]]


def estimate(setting: Setting) -> Estimates:
    """CROWN decides which neurons are open where it is not too slow for that, else intervals."""
    forward = setting.network.graph
    rows = forward.output_size
    wide = open_gates(setting, setting.interval_preactivations)
    interval, crown = interval_cost(setting, rows), crown_cost(setting, wide)
    quick = crown.seconds <= PATIENCE
    preactivations = setting.crown_preactivations if quick else setting.interval_preactivations
    opened = open_gates(setting, preactivations)
    split = interval + crown + mean_split_cost(setting, rows, opened)
    chords = split + linear_cost(setting, rows, opened)
    alpha = chords + alpha_crown_cost(setting, opened)
    count = sum(opened.values())
    quadratic = alpha + quadratic_cost(setting, count, min(forward.input_size, MOST_SIGNS))
    costs = {
        "interval": (interval, ""),
        "mean-split": (split, ""),
        "recurjac": (chords, "at most: entries that do not matter are left out"),
        "linear-chords": (alpha, "at most: entries that do not matter are left out"),
        "linear": (alpha, "and optimised gates, as long as there is time"),
        "quadratic": (quadratic, "the root of one row; then branch and bound"),
    }
    moving = int((setting.region.bounding.width > 0).sum())
    costs["input-split"] = (split, f"one box; {moving} inputs move")
    why = unsupported(forward)
    if why is None:
        program = alpha + program_cost(setting, preactivations)
        costs["milp"] = (program, f"writing one row's program of {count} binaries or more")
    else:
        costs["milp"] = (Cost(float("inf"), float("inf")), why)
    return Estimates("CROWN" if quick else "interval arithmetic", opened, costs)


def crown_stop(setting: Setting, clock: Clock) -> Stop | None:
    """Why CROWN's preactivation bounds are out of reach; None if they are not, or are there."""
    if "crown_preactivations" in vars(setting):
        return None
    opened = open_gates(setting, setting.interval_preactivations)
    return _stop("CROWN", crown_cost(setting, opened), clock)


def alpha_stop(setting: Setting, clock: Clock) -> Stop | None:
    """The same for alpha-CROWN's, where CROWN's are there."""
    if "alpha_preactivations" in vars(setting):
        return None
    opened = open_gates(setting, setting.crown_preactivations)
    return _stop("alpha-CROWN", alpha_crown_cost(setting, opened), clock)


def stage_stop(setting: Setting, name: str, clock: Clock) -> Stop | None:
    """Why a stage (by its name in `STAGES`, or by that of its preactivation bounds) is not tried.

    Stages stop by themselves when the time is up; the bounds that they start from do not.
    """
    if name == "interval":
        return None
    stop = crown_stop(setting, clock)
    if stop is not None or not any(word in name for word in ("alpha-CROWN", "optimised")):
        return stop
    return alpha_stop(setting, clock)


def _stop(what: str, cost: Cost, clock: Clock) -> Stop | None:
    left = clock.left
    if left is None or cost.seconds <= left:
        return None
    detail = f"{what} would take about {cost.seconds:.0f} s, {left:.0f} s are left"
    return Stop(Reason.TIMEOUT, detail)


def _activation(backward: BackwardGraph, gate: str) -> str:
    """The forward node that the gate is of: it reads the same preactivation."""
    source = backward[gate].inputs[0]
    for node in backward.forward.activations:
        if node.inputs[0] == source:
            return node.name
    raise AssertionError(f"gate {gate!r} belongs to no activation")
