"""Linear bound propagation over a graph, and what every engine for it has to offer.

Tensors of objectives have shape [specs, batch, *shape of the target node]: `batch` counts
independent copies of the graph (rows of the Jacobian), `specs` the functions bounded in each.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, final

import torch
from torch import Tensor

from lipverify.errors import NumericalFailure
from lipverify.graph import BackwardGraph, Dag, ForwardGraph, Node
from lipverify.interval import Interval
from lipverify.numerics import SMALLEST, gamma
from lipverify.operators import (
    Activation,
    AffineOperator,
    PlaneRelaxation,
    Product,
    Relaxation,
)
from lipverify.region import AbstractRegion

Relaxations = Mapping[str, Relaxation]
ForwardRelaxations = Mapping[str, Relaxation | PlaneRelaxation]
"""By name of an activation or of a product of two branches."""

LAYERS_HELD = 10.0
"""Arrays of the largest layer's size that a substitution holds at once."""
ALPHA_HELD = 10.0
"""Arrays of every layer's size that a step of alpha-CROWN holds at once: slopes, their gradients,
the optimiser's moments, and what is kept for the gradients."""


class Engine(Protocol):
    """Bounds linear functions of a node from above; results are not rounded outward yet."""

    def forward_upper(
        self, target: str, objective: Tensor, preactivations: Mapping[str, Interval]
    ) -> Tensor:
        """max objective . (value of the forward node), over the region: [specs, 1]."""
        ...

    def backward_upper(
        self,
        target: str,
        objective: Tensor,
        rows: Tensor,
        preactivations: Mapping[str, Interval],
        adjoints: Mapping[str, Interval],
        slopes: Mapping[str, Interval] | None = None,
    ) -> Tensor:
        """max objective . (value of the backward node) for each row: [specs, batch].

        `adjoints` holds the interval of the adjoint that each gate multiplies, by gate name;
        `slopes` the gates' own intervals, where they are narrower than the preactivations tell.
        """
        ...

    def values_held(self, dag: Dag, target: str) -> float:
        """About how many numbers each function of `target` takes at a time, per copy of the graph.

        Measured; so that callers can keep to a memory.
        """
        ...


def substitute(
    dag: Dag, target: str, objective: Tensor, relaxations: ForwardRelaxations
) -> tuple[dict[str, Tensor], Tensor]:
    """An affine function of the sources above objective . target: coefficients and constants.

    Zhang et al. 2018 (CROWN), on a DAG. Entries of `relaxations` have shape [batch or 1, *shape];
    their operand is the node's last one, or both of a product. Constants have shape [specs, batch].
    """
    specs, batch = objective.shape[:2]
    pending: dict[str, Tensor] = {target: objective}
    constant = torch.zeros(specs, batch, dtype=objective.dtype)
    sources: dict[str, Tensor] = {}
    needed = dag.ancestors(target)

    def hand_on(name: str, pulled: Tensor) -> None:
        pending[name] = pending[name] + pulled if name in pending else pulled

    for node in dag.reversed():
        if node.name not in needed or node.name not in pending:
            continue
        coefficient = pending.pop(node.name)
        operator = node.operator
        if operator is None:
            sources[node.name] = coefficient
        elif isinstance(operator, AffineOperator):
            if operator.constant is not None:
                shift = operator.constant.expand(node.shape)
                constant = constant + (coefficient * shift).flatten(2).sum(-1)
            flat = coefficient.reshape(specs * batch, *node.shape)
            for operand, name in enumerate(node.inputs):
                pulled = operator.transpose(flat, operand).reshape(specs, batch, *dag[name].shape)
                hand_on(name, pulled)
        else:
            relaxation = relaxations[node.name]
            positive, negative = coefficient.clamp(min=0.0), coefficient.clamp(max=0.0)
            constant = constant + (
                positive * relaxation.upper_intercept + negative * relaxation.lower_intercept
            ).flatten(2).sum(-1)
            if isinstance(relaxation, PlaneRelaxation):
                hand_on(node.inputs[0], coefficient * relaxation.x_slope)
                hand_on(node.inputs[1], coefficient * relaxation.y_slope)
            else:
                pulled = positive * relaxation.upper_slope + negative * relaxation.lower_slope
                hand_on(node.inputs[-1], pulled)
    return sources, constant


@final
class NativeEngine:
    """Dense batched torch; agrees with the auto_LiRPA engine (tests: to 1e-9)."""

    def __init__(
        self, backward: BackwardGraph, region: AbstractRegion, relax_gate: "GateRelaxation"
    ) -> None:
        self._backward = backward
        self._region = region
        self._relax_gate = relax_gate

    def forward_upper(
        self, target: str, objective: Tensor, preactivations: Mapping[str, Interval]
    ) -> Tensor:
        forward = self._backward.forward
        relaxations = forward_relaxations(forward, target, preactivations)
        sources, constant = substitute(forward, target, objective, relaxations)
        if ForwardGraph.INPUT not in sources:
            return constant
        return constant + self._region.support(sources[ForwardGraph.INPUT].flatten(2))

    def backward_upper(
        self,
        target: str,
        objective: Tensor,
        rows: Tensor,
        preactivations: Mapping[str, Interval],
        adjoints: Mapping[str, Interval],
        slopes: Mapping[str, Interval] | None = None,
    ) -> Tensor:
        if slopes is None:
            slopes = gate_slopes(self._backward, preactivations)
        relaxations = gate_relaxations(self._backward, target, slopes, adjoints, self._relax_gate)
        sources, constant = substitute(self._backward, target, objective, relaxations)
        seed = sources.get(BackwardGraph.SEED)
        if seed is None:
            return constant
        return constant + (seed.flatten(2) * rows.unsqueeze(0)).sum(-1)

    def values_held(self, dag: Dag, target: str) -> float:
        below = dag.ancestors(target)
        return LAYERS_HELD * max(node.size for node in dag if node.name in below)


class GateRelaxation(Protocol):
    """A relaxation of y = d g from the intervals of d and g."""

    def __call__(self, slope: Interval, g: Interval) -> Relaxation: ...


def forward_relaxations(
    forward: ForwardGraph, target: str, preactivations: Mapping[str, Interval]
) -> ForwardRelaxations:
    """The default relaxation of every activation and product below `target`, [1, *shape]."""
    below = forward.ancestors(target)
    relax = preactivations.relaxation if isinstance(preactivations, Known) else None
    return {
        node.name: _relaxed(node, preactivations) if relax is None else relax(node)
        for node in (*forward.activations, *forward.products)
        if node.name in below
    }


def _relaxed(node: Node, preactivations: Mapping[str, Interval]) -> Relaxation | PlaneRelaxation:
    operands = [preactivations[name] for name in node.inputs]
    if isinstance(node.operator, Product):
        return node.operator.relax(operands[0], operands[1])
    assert isinstance(node.operator, Activation)
    return node.operator.relax(operands[0])


@final
class Known(Mapping[str, Interval]):
    """Intervals by node, and the relaxations that follow from them: each is made only once.

    Those of smooth activations take long, and every later node that is bounded needs them again.
    """

    def __init__(self, intervals: Mapping[str, Interval]) -> None:
        self._intervals = dict(intervals)
        self._relaxations: dict[str, Relaxation | PlaneRelaxation] = {}

    def __getitem__(self, name: str) -> Interval:
        return self._intervals[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._intervals)

    def __len__(self) -> int:
        return len(self._intervals)

    def relaxation(self, node: Node) -> Relaxation | PlaneRelaxation:
        """Of an activation or a product whose operands are known."""
        if node.name not in self._relaxations:
            self._relaxations[node.name] = _relaxed(node, self._intervals)
        return self._relaxations[node.name]

    def with_one(self, name: str, interval: Interval) -> "Known":
        """With one more interval; the relaxations made so far are kept."""
        assert name not in self._intervals
        more = Known({**self._intervals, name: interval})
        more._relaxations.update(self._relaxations)
        return more


def gate_slopes(
    backward: BackwardGraph, preactivations: Mapping[str, Interval]
) -> dict[str, Interval]:
    """The range of every gate's slope, [1, *shape] by gate name."""
    return {
        gate.name: gate.operator.activation.gate(preactivations[gate.inputs[0]])  # type: ignore[union-attr]
        for gate in backward.gates
    }


def gate_relaxations(
    backward: BackwardGraph,
    target: str,
    slopes: Mapping[str, Interval],
    adjoints: Mapping[str, Interval],
    relax_gate: GateRelaxation,
) -> Relaxations:
    """The relaxation of every gate below `target`, [batch, *shape]."""
    below = backward.ancestors(target)
    return {
        gate.name: relax_gate(slopes[gate.name], adjoints[gate.name])
        for gate in backward.gates
        if gate.name in below
    }


@dataclass(frozen=True, eq=False)
class Steepness:
    """By node, the largest |slope| and |intercept| of a relaxation, [1, *shape]; for a product, in
    its last operand, and `crossing` in its first."""

    slopes: Mapping[str, Tensor]
    intercepts: Mapping[str, Tensor]
    crossing: Mapping[str, Tensor]


def steepness(
    forward: ForwardGraph, relaxations: ForwardRelaxations, preactivations: Mapping[str, Interval]
) -> Steepness:
    """Of the relaxations, and of every choice that their activations have instead."""
    slopes, intercepts, crossing = {}, {}, {}
    for name, relaxation in relaxations.items():
        node = forward[name]
        if isinstance(relaxation, PlaneRelaxation):
            slopes[name] = relaxation.y_slope.abs()
            crossing[name] = relaxation.x_slope.abs()
        else:
            assert isinstance(node.operator, Activation)
            slopes[name] = node.operator.gate(preactivations[node.inputs[0]]).magnitude
        intercepts[name] = torch.maximum(
            relaxation.lower_intercept.abs(), relaxation.upper_intercept.abs()
        )
    return Steepness(slopes, intercepts, crossing)


def rounding_slack(
    dag: Dag,
    target: str,
    objective: Tensor,
    sources: Mapping[str, Tensor],
    slopes: Mapping[str, Tensor],
    intercepts: Mapping[str, Tensor],
    crossing: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """A bound of the rounding error of any backward substitution from `target`: [specs, batch].

    Every float result of `substitute` is a sum of products along paths, each factor rounded once;
    so it errs by at most gamma(K) times the sum of the paths' magnitudes, K the operations on the
    longest path (Higham 2002, section 3.1). `sources` holds magnitudes of the sources [batch,
    *shape], `slopes` and `intercepts` the largest |slope| and |intercept| of each relaxed node;
    `crossing` is as in `path_reach`.
    """
    reach = substitution_reach(dag, target, sources, slopes, intercepts, crossing)
    return reach.slack(dag, target, objective)


def substitution_reach(
    dag: Dag,
    target: str,
    sources: Mapping[str, Tensor],
    slopes: Mapping[str, Tensor],
    intercepts: Mapping[str, Tensor],
    crossing: Mapping[str, Tensor] | None = None,
) -> "PathReach":
    """What `rounding_slack` knows before it sees an objective."""
    # Each constant is a flat sum over a node, and so is the last step at a source.
    depth = {name: 8 + dag[name].size for name in sources}
    return path_reach(dag, target, PathReach(sources, depth), slopes, intercepts, crossing)


@dataclass(frozen=True, eq=False)
class PathReach:
    """By node: the sum of the magnitudes of all paths from it to a source, [batch, *shape], and the
    float operations on the longest one."""

    magnitude: Mapping[str, Tensor]
    depth: Mapping[str, int]

    def slack(self, dag: Dag, target: str, objective: Tensor) -> Tensor:
        """A bound of the rounding error of objective . target: [specs, batch]."""
        magnitude = (objective.abs() * self.magnitude[target].unsqueeze(0)).flatten(2).sum(-1)
        slack = 2 * gamma(self.depth[target] + dag[target].size) * magnitude + SMALLEST
        if not bool(torch.isfinite(slack).all()):
            raise NumericalFailure(f"overflow while bounding {target!r}")
        return slack


def path_reach(
    dag: Dag,
    target: str,
    sources: PathReach,
    slopes: Mapping[str, Tensor],
    intercepts: Mapping[str, Tensor],
    crossing: Mapping[str, Tensor] | None = None,
) -> PathReach:
    """`sources`, and every node that `target` depends on.

    `crossing` holds, for products, the largest |slope| in the first factor; and for gates that are
    relaxed over (z, g), that in z: paths go on into the forward graph, whose preactivations are
    then among the sources.
    """
    crossing = crossing or {}
    reach, depth = dict(sources.magnitude), dict(sources.depth)
    below = dag.ancestors(target)
    for node in dag:
        if node.name not in below or node.operator is None:
            continue
        if isinstance(node.operator, AffineOperator):
            absolute = node.operator.absolute_cached
            reach[node.name] = absolute.evaluate(*(reach[name] for name in node.inputs))
            flat = 0 if node.operator.constant is None else node.size
            longest = max(depth[name] for name in node.inputs)
            depth[node.name] = node.operator.terms + 4 + flat + longest
        else:
            operand = node.inputs[-1]
            total = slopes[node.name] * reach[operand] + intercepts[node.name]
            longest = depth[operand]
            if node.name in crossing:
                shared = node.inputs[0]
                total = total + crossing[node.name] * reach[shared]
                longest = max(longest, depth[shared])
            reach[node.name] = total
            depth[node.name] = 16 + node.size + longest
    return PathReach(reach, depth)
