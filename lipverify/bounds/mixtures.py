"""The backward graph bounded together with the forward graph: the question, and its parameters.

Gates relaxed over (z, g) (DESIGN 4.2) hand part of the bound to the preactivation z, whose own
linear relaxation carries it on to the input: there, the region answers for all gates at once, and
with it whatever half-spaces splits have cut it to.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from lipverify.bounds.propagation import PathReach, path_reach
from lipverify.graph import BackwardGraph, ForwardGraph, Node
from lipverify.interval import Interval
from lipverify.operators import FACTOR, Activation, Gate, Relaxation
from lipverify.operators.gate import relax_chords
from lipverify.operators.gate_planes import GatePlanes, gate_planes, mixed
from lipverify.region import AbstractRegion


@dataclass(frozen=True, eq=False)
class ForwardPart:
    """What is known of every activation on a region, by its node's name, [batch or 1, *shape]:
    the interval of its preactivation, its relaxation, and lines around its derivative."""

    intervals: Mapping[str, Interval]
    relaxations: Mapping[str, Relaxation]
    lines: Mapping[str, Relaxation]


def forward_part(forward: ForwardGraph, preactivations: Mapping[str, Interval]) -> ForwardPart:
    """All of it, from the preactivations by node."""
    intervals, relaxations, lines = {}, {}, {}
    for node in forward.activations:
        assert isinstance(node.operator, Activation)
        z = preactivations[node.inputs[0]]
        intervals[node.name] = z
        relaxations[node.name] = node.operator.relax(z)
        lines[node.name] = node.operator.gate_lines(z)
    return ForwardPart(intervals, relaxations, lines)


@dataclass(frozen=True, eq=False)
class Question:
    """max objective . (value of the backward node `target`), for each of a batch of copies.

    A copy is one row of the Jacobian on one subproblem: `rows` [batch, m], `objective` [specs,
    batch, *shape of target]. `slopes` and `adjoints` hold intervals [batch or 1, *shape] by gate,
    for those that the target depends on. `regions` has one entry, or one per copy.
    """

    target: str
    objective: Tensor
    rows: Tensor
    forward: ForwardPart
    slopes: Mapping[str, Interval]
    adjoints: Mapping[str, Interval]
    regions: Sequence[AbstractRegion]

    @property
    def size(self) -> tuple[int, int]:
        """specs, batch."""
        return self.objective.shape[0], self.objective.shape[1]

    def part(self, specs: slice) -> "Question":
        return replace(self, objective=self.objective[specs])


@dataclass(frozen=True, eq=False)
class Mixtures:
    """Parameters of the bound, for some specs and copies; any values give a proved bound.

    By name of the activation node: `index` [k], the flat positions that have parameters, in
    ascending order; `weights` [2, PLANES - 1, specs, batch, k] of the gates' planes, as `mixed`
    takes them; `choices` [specs, batch, k] in [0, 1] of the activations' own relaxations.
    """

    index: Mapping[str, Tensor]
    weights: Mapping[str, Tensor]
    choices: Mapping[str, Tensor]


class Evaluator(Protocol):
    """An engine that bounds with given parameters."""

    def evaluate(self, question: Question, mixtures: Mixtures) -> Tensor:
        """The bound [specs, batch], not rounded."""
        ...


def gate_of(backward: BackwardGraph) -> dict[str, Node]:
    """The gate of each activation node, by the latter's name."""
    # Gates come in the reverse order of their activations.
    names = [node.name for node in reversed(backward.forward.activations)]
    gates = [
        gate
        for gate in backward.gates
        if isinstance(gate.operator, Gate) and gate.operator.activation is not FACTOR
    ]
    return dict(zip(names, gates, strict=True))


def pick(interval: Interval, index: Tensor) -> Interval:
    """The given flat positions: [batch, *shape] -> [batch, k]."""
    return Interval(interval.lower.flatten(1)[:, index], interval.upper.flatten(1)[:, index])


def pick_relaxation(relaxation: Relaxation, index: Tensor) -> Relaxation:
    """The given flat positions: [batch, *shape] -> [batch, k]."""
    return Relaxation(
        relaxation.lower_slope.flatten(1)[:, index],
        relaxation.lower_intercept.flatten(1)[:, index],
        relaxation.upper_slope.flatten(1)[:, index],
        relaxation.upper_intercept.flatten(1)[:, index],
    )


def planes_at(activation: str, gate: str, question: Question, index: Tensor) -> GatePlanes:
    """The planes of the flat positions `index` of a gate: fields [PLANES, batch, k]."""
    return gate_planes(
        pick(question.slopes[gate], index),
        pick_relaxation(question.forward.lines[activation], index),
        pick(question.forward.intervals[activation], index),
        pick(question.adjoints[gate], index),
    )


def proved_upper(
    engine: Evaluator, backward: BackwardGraph, question: Question, mixtures: Mixtures
) -> Tensor:
    """The bound with these parameters, rounded up: [specs, batch]."""
    return engine.evaluate(question, mixtures) + joint_slack(backward, question, mixtures)


def joint_slack(backward: BackwardGraph, question: Question, mixtures: Mixtures) -> Tensor:
    """A bound of the rounding error of `evaluate`: [specs, batch].

    Backward substitution through both graphs is a sum of products along paths, as on one of them
    (`propagation.rounding_slack`): from the target through gates, from a gate on along the adjoint
    or, by the plane's slope in z, into the forward graph, and there to the input. So the magnitudes
    of the forward graph's paths, up to each preactivation, are sources of the backward graph's.
    The planes themselves, and the extremum over the region's cuts, bring their own rounding.
    """
    forward = backward.forward
    # The running total of constants is added to once per node and source.
    nodes = len(list(forward)) + len(list(backward))
    far = torch.stack([region.bounding.magnitude for region in question.regions])
    start = PathReach(
        {ForwardGraph.INPUT: far.reshape(-1, *forward.input_shape)},
        {ForwardGraph.INPUT: 8 + forward.input_size + nodes},
    )
    slopes, intercepts = {}, {}
    for node in forward.activations:
        assert isinstance(node.operator, Activation)
        relaxation = question.forward.relaxations[node.name]
        # Of every choice that the activation has: slopes are in the gate, intercepts the same.
        slopes[node.name] = node.operator.gate(question.forward.intervals[node.name]).magnitude
        intercepts[node.name] = torch.maximum(
            relaxation.lower_intercept.abs(), relaxation.upper_intercept.abs()
        )
    shared = path_reach(forward, forward.output, start, slopes, intercepts)
    seed = question.rows.reshape(-1, *forward.output_shape).abs()
    sources = PathReach(
        {**shared.magnitude, BackwardGraph.SEED: seed},
        {**shared.depth, BackwardGraph.SEED: 8 + forward.output_size + nodes},
    )
    return _backward_reach(backward, question, mixtures, sources).slack(
        backward, question.target, question.objective
    )


def _backward_reach(
    backward: BackwardGraph, question: Question, mixtures: Mixtures, sources: PathReach
) -> PathReach:
    slopes, intercepts, crossing = {}, {}, {}
    below = backward.ancestors(question.target)
    for name, gate in gate_of(backward).items():
        if gate.name not in below:
            continue
        slope, adjoint = question.slopes[gate.name], question.adjoints[gate.name]
        chord = relax_chords(slope, adjoint)
        # Mixtures of planes have slopes between the gate's ends, as chords have.
        slopes[gate.name] = slope.magnitude
        intercepts[gate.name] = torch.maximum(
            chord.lower_intercept.abs(), chord.upper_intercept.abs()
        )
        if name not in mixtures.weights:
            continue
        index = mixtures.index[name]
        planes = mixed(planes_at(name, gate.name, question, index), mixtures.weights[name])
        sides = (planes.below, planes.above)
        steepest = torch.stack([side.z_slope.abs() for side in sides]).amax((0, 1))
        highest = torch.stack([side.intercept.abs() for side in sides]).amax((0, 1))
        flat = intercepts[gate.name].flatten(1).clone()
        flat[:, index] = torch.maximum(flat[:, index], highest)
        intercepts[gate.name] = flat.reshape(intercepts[gate.name].shape)
        crossing[gate.name] = torch.zeros_like(flat).index_copy(1, index, steepest)
        crossing[gate.name] = crossing[gate.name].reshape(intercepts[gate.name].shape)
    return path_reach(backward, question.target, sources, slopes, intercepts, crossing)
