"""Bounding methods of the Jacobian, by name. A new method is one file and one line in `METHODS`.

A method is a list of stages, cheap ones first; each is tried only if the ones before it did not
decide the question, and what they proved is kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from torch import Tensor

from lipverify.bounds.conflicts import Conflicts, find_conflicts
from lipverify.bounds.effort import EVERYTHING, Effort
from lipverify.bounds.jacobian import JacobianBounds, JacobianProblem, interval
from lipverify.bounds.linear import linear
from lipverify.bounds.mean_split import mean_split
from lipverify.bounds.norm_product import norm_product
from lipverify.bounds.optimised import GateBounds, optimised
from lipverify.bounds.preactivation import (
    ForwardProblem,
    Preactivations,
    crown,
    interval_values,
    open_of,
)
from lipverify.bounds.propagation import Engine, GateRelaxation, NativeEngine
from lipverify.bounds.reduced_graph import reduce_graph
from lipverify.config import GateConfig, PreactivationConfig
from lipverify.errors import UnknownMethod
from lipverify.graph import BackwardGraph, backward_graph
from lipverify.interval import Interval
from lipverify.network import Network
from lipverify.norms import AbstractNorm
from lipverify.operators import Activation, ReLU
from lipverify.operators.gate import relax_chords, relax_constant
from lipverify.region import AbstractRegion

QUADRATIC_GATES = 500
"""Open gates beyond which the quadratic dual takes more than ten seconds or so for a row."""
ALPHA_GAIN = 0.01
"""Preactivations' relative gain below which their next linear bounds would gain nothing."""
CONFLICT_NEURONS = 1000
"""Conflicts are looked for among up to so many open neurons: the pairs are tested one by one."""


@dataclass(frozen=True, eq=False)
class Setting:
    """A network on a region, with everything that several queries on it share, made once."""

    network: Network
    region: AbstractRegion
    config: PreactivationConfig
    memory: float = 4e9
    gates: GateConfig = field(default_factory=GateConfig)

    @cached_property
    def backward(self) -> BackwardGraph:
        return backward_graph(self.network.graph)

    @property
    def forward_problem(self) -> ForwardProblem:
        return ForwardProblem(self.network.graph, self.region, self.memory)

    @cached_property
    def interval_preactivations(self) -> Preactivations:
        return interval_values(self.forward_problem)

    @cached_property
    def crown_preactivations(self) -> Preactivations:
        """CROWN, intersected with interval arithmetic."""
        engine = self.native_engine(relax_chords)
        return crown(self.forward_problem, engine, self.interval_preactivations)

    @cached_property
    def alpha_preactivations(self) -> Preactivations:
        """alpha-CROWN through auto_LiRPA, intersected with CROWN; CROWN where nothing is gained."""
        start = self.crown_preactivations
        if not self.alpha_helps:
            return start
        return crown(self.forward_problem, self.alpha_engine, start)

    @cached_property
    def alpha_helps(self) -> bool:
        """Whether alpha-CROWN has slopes to choose: those of open ReLUs behind other neurons."""
        start = self.crown_preactivations
        relus = [
            node
            for node in self.network.graph.activations
            if isinstance(node.operator, ReLU) and _open(node.operator, start[node.inputs[0]])
        ]
        return len(self.network.graph.gated) > 1 and bool(relus)

    @cached_property
    def alpha_gains(self) -> bool:
        """Whether alpha-CROWN closed a gate, or made the open ones' preactivations narrower."""
        crown_width = alpha_width = 0.0
        for name, users in self.network.graph.gated:
            before, after = self.crown_preactivations[name], self.alpha_preactivations[name]
            for user in users:
                was_open, still_open = open_of(user, before), open_of(user, after)
                if was_open.numel() > still_open.numel():
                    return True
                crown_width += float(before.width.flatten()[was_open].sum())
                alpha_width += float(after.width.flatten()[was_open].sum())
        return alpha_width < (1 - ALPHA_GAIN) * crown_width

    @cached_property
    def conflicts(self) -> Conflicts:
        """Pairs of neurons that the region keeps apart."""
        return find_conflicts(self.forward_problem, self.alpha_preactivations, CONFLICT_NEURONS)

    @cached_property
    def alpha_engine(self) -> Engine:
        """auto_LiRPA: alpha-CROWN for forward nodes, plain substitution on the backward graph."""
        from lipverify.bounds.lirpa.engine import LirpaEngine  # heavy, and optional until used

        iterations = self.config.alpha_iterations
        rate = self.config.alpha_rate
        return LirpaEngine(self.backward, self.region, relax_chords, iterations, rate)

    @cached_property
    def gate_bounds(self) -> GateBounds:
        """Gates that see their preactivations, on the network reduced to its open neurons."""
        from lipverify.bounds.lirpa.gates import GateEngine

        reduced = reduce_graph(self.backward, self.region, self.alpha_preactivations)
        return GateBounds(
            self.backward,
            self.region,
            reduced,
            GateEngine(self.backward),
            GateEngine(reduced.backward),
            self.gates,
        )

    @property
    def is_hard_for_quadratics(self) -> bool:
        """Whether optimised gates are worth their time beside the quadratic dual.

        Measured: with smooth gates they beat it, since it knows no link between slope and
        preactivation; and with many gates it takes long for a row.
        """
        if self.network.graph.products:
            return True
        count = 0
        for node in self.network.graph.activations:
            assert isinstance(node.operator, Activation)
            slope = node.operator.gate(self.alpha_preactivations[node.inputs[0]])
            opened = int((slope.lower < slope.upper).sum())
            if opened and not node.operator.piecewise_linear:
                return True
            count += opened
        return count > QUADRATIC_GATES

    def native_engine(self, relax_gate: GateRelaxation) -> Engine:
        """Our own substitution with that gate relaxation (the same numbers, less overhead)."""
        return NativeEngine(self.backward, self.region, relax_gate)

    def problem(self, rows: Tensor, preactivations: Preactivations) -> JacobianProblem:
        return JacobianProblem(self.backward, rows, preactivations, self.memory)


class Stage(Protocol):
    """(setting, rows [r, m], input norm, what is known) -> bounds, intersected with it."""

    def __call__(
        self,
        setting: Setting,
        rows: Tensor,
        input_norm: AbstractNorm,
        known: JacobianBounds | None,
        effort: Effort = EVERYTHING,
    ) -> JacobianBounds: ...


def interval_stage(
    setting: Setting,
    rows: Tensor,
    input_norm: AbstractNorm,
    known: JacobianBounds | None,
    effort: Effort = EVERYTHING,
) -> JacobianBounds:
    return _meet(known, interval(setting.problem(rows, setting.interval_preactivations)))


def mean_split_stage(
    setting: Setting,
    rows: Tensor,
    input_norm: AbstractNorm,
    known: JacobianBounds | None,
    effort: Effort = EVERYTHING,
) -> JacobianBounds:
    problem = setting.problem(rows, setting.crown_preactivations)
    # Neither is always tighter; only intervals keep the sign of what is exactly non-negative.
    return _meet(known, interval(problem).intersect(mean_split(problem)))


def norm_product_stage(
    setting: Setting,
    rows: Tensor,
    input_norm: AbstractNorm,
    known: JacobianBounds | None,
    effort: Effort = EVERYTHING,
) -> JacobianBounds:
    """For the l2 norm of inputs; for others, only where nothing else is known."""
    if known is not None and input_norm.name != "2":
        return known
    problem = setting.problem(rows, setting.crown_preactivations)
    start = interval(problem) if known is None else known
    return start.intersect(norm_product(problem, input_norm))


def recurjac_stage(
    setting: Setting,
    rows: Tensor,
    input_norm: AbstractNorm,
    known: JacobianBounds | None,
    effort: Effort = EVERYTHING,
) -> JacobianBounds:
    problem = setting.problem(rows, setting.crown_preactivations)
    start = _meet(known, interval(problem))
    engine = setting.native_engine(relax_constant)
    return _meet(known, linear(problem, engine, relax_constant, input_norm, start, effort))


def crown_linear_stage(
    setting: Setting,
    rows: Tensor,
    input_norm: AbstractNorm,
    known: JacobianBounds | None,
    effort: Effort = EVERYTHING,
) -> JacobianBounds:
    engine = setting.native_engine(relax_chords)
    preactivations = setting.crown_preactivations
    return _linear(setting, rows, input_norm, known, preactivations, engine, effort)


def alpha_linear_stage(
    setting: Setting,
    rows: Tensor,
    input_norm: AbstractNorm,
    known: JacobianBounds | None,
    effort: Effort = EVERYTHING,
) -> JacobianBounds:
    if known is not None and known.row_norms is not None and not setting.alpha_gains:
        return known
    if setting.network.graph.products and not setting.alpha_helps:
        return crown_linear_stage(setting, rows, input_norm, known)
    engine, preactivations = setting.alpha_engine, setting.alpha_preactivations
    return _linear(setting, rows, input_norm, known, preactivations, engine, effort)


def optimised_gates_stage(
    setting: Setting,
    rows: Tensor,
    input_norm: AbstractNorm,
    known: JacobianBounds | None,
    effort: Effort = EVERYTHING,
) -> JacobianBounds:
    """What comes after the linear stage; which is done first if nothing is known.

    Nothing where branches are multiplied: their gates' planes are not optimised.
    """
    if known is None:
        known = alpha_linear_stage(setting, rows, input_norm, known, effort)
    if setting.network.graph.products:
        return known
    problem = setting.problem(rows, setting.alpha_preactivations)
    return optimised(setting.gate_bounds, problem, input_norm, known, effort)


def _linear(
    setting: Setting,
    rows: Tensor,
    input_norm: AbstractNorm,
    known: JacobianBounds | None,
    preactivations: Preactivations,
    engine: Engine,
    effort: Effort,
) -> JacobianBounds:
    problem = setting.problem(rows, preactivations)
    start = _meet(known, interval(problem).intersect(mean_split(problem)))
    return _meet(known, linear(problem, engine, relax_chords, input_norm, start, effort))


STAGES: Mapping[str, Stage] = {
    "interval": interval_stage,
    "mean-split": mean_split_stage,
    "norm product": norm_product_stage,
    "recurjac": recurjac_stage,
    "linear (CROWN)": crown_linear_stage,
    "linear (alpha-CROWN)": alpha_linear_stage,
    "linear (optimised gates)": optimised_gates_stage,
}


@dataclass(frozen=True)
class Method:
    """The stages of a method, by their names in `STAGES`, and one line for users."""

    stages: tuple[str, ...]
    summary: str
    searches: tuple[str, ...] = ()
    """Complete searches that may follow; of several, `search/choices.py` picks by the question."""
    late: tuple[str, ...] = ()
    """More stages, which some searches are quicker than."""
    spare: str | None = None
    """A last one of these, for networks where the quadratic dual is slow or weak."""

    def late_on(self, setting: Setting) -> tuple[str, ...]:
        """The late stages for a network on a region."""
        if self.spare is None or not setting.is_hard_for_quadratics:
            return self.late
        return (*self.late, self.spare)


METHODS: Mapping[str, Method] = {
    "interval": Method(("interval",), "interval arithmetic, forward and backward"),
    "mean-split": Method(("mean-split",), "mean-split enclosure on CROWN preactivation bounds"),
    "norm-product": Method(
        ("norm product",), "products of the layers' l2 norms: for layers made to have small ones"
    ),
    "recurjac": Method(("recurjac",), "RecurJac's relaxation (Zhang et al. 2019)"),
    "linear-chords": Method(
        ("linear (alpha-CROWN)",), "linear bound propagation with the gates of Shi et al. 2022 only"
    ),
    "linear": Method(
        ("linear (alpha-CROWN)", "linear (optimised gates)"),
        "the same, then with optimised gates, which see their preactivations",
    ),
    "quadratic": Method(
        ("linear (alpha-CROWN)",),
        "quadratic (semidefinite) dual over the open gates, then branch and bound",
        searches=("gates",),
    ),
    "milp": Method(
        ("linear (alpha-CROWN)",),
        "mixed-integer linear programs (Jordan and Dimakis 2020): exact, for small networks",
        searches=("milp",),
    ),
    "input-split": Method(
        ("mean-split", "linear (CROWN)"),
        "branch and bound over the inputs, for few of them",
        searches=("inputs",),
    ),
    "auto": Method(
        ("interval", "mean-split", "norm product", "linear (CROWN)"),
        "of the above what fits the question, until it is decided (default)",
        searches=("line", "inputs", "milp", "gates"),
        late=("linear (alpha-CROWN)",),
        spare="linear (optimised gates)",
    ),
}


def method_named(name: str) -> Method:
    if name not in METHODS:
        raise UnknownMethod(f"method {name!r} is not offered; choose one of {', '.join(METHODS)}")
    return METHODS[name]


def _meet(known: JacobianBounds | None, new: JacobianBounds) -> JacobianBounds:
    return new if known is None else known.intersect(new)


def _open(activation: Activation, preactivation: Interval) -> bool:
    slope = activation.gate(preactivation)
    return bool((slope.lower < slope.upper).any())
