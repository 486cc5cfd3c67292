"""What a mixed-integer program of a network on a region is made from."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lipverify.errors import OutOfDomain, UnsupportedOperator
from lipverify.graph import BackwardGraph, ForwardGraph, evaluate_intervals
from lipverify.interval import Interval
from lipverify.numerics import DTYPE
from lipverify.operators import Activation
from lipverify.region import AbstractRegion, Box

Split = tuple[str, int, int]
"""(forward node that is a preactivation, flat index, side): side -1 is z <= 0, +1 is z >= 0."""


@dataclass(frozen=True, eq=False)
class MilpProblem:
    """The rows [r, m] of a network's output, or of its Jacobian, over a region.

    `preactivations` holds [1, *shape] intervals by forward node, valid on the region. `elements`
    [r, n] and `adjoints` ([r, *shape] by gate name) are what is known of the Jacobian over the
    gate-product set (interval arithmetic where None). Every split is a closed half; one on a
    preactivation that several activations read holds for all of them.

    For the inputs, a model has only the region's bounding box. Bounds hold on the region; they are
    exact for a `Box`, and for other regions as good as its box allows (`is_box`).
    """

    backward: BackwardGraph
    region: AbstractRegion
    rows: Tensor
    preactivations: Mapping[str, Interval]
    elements: Interval | None = None
    adjoints: Mapping[str, Interval] | None = None
    splits: tuple[Split, ...] = ()

    @property
    def forward(self) -> ForwardGraph:
        return self.backward.forward

    @property
    def box(self) -> Interval:
        return self.region.bounding

    @property
    def is_box(self) -> bool:
        """Whether models describe the region exactly."""
        return isinstance(self.region, Box)

    @cached_property
    def jacobian(self) -> "KnownJacobian":
        """Intervals of the Jacobian's elements and of the gates' adjoints, all rows."""
        if self.elements is not None and self.adjoints is not None:
            return KnownJacobian(self.elements, self.adjoints)
        seed = self.rows.reshape(-1, *self.forward.output_shape)
        known = {
            node.inputs[0]: self.preactivations[node.inputs[0]] for node in self.forward.activations
        }
        values = evaluate_intervals(
            self.backward, {BackwardGraph.SEED: Interval(seed, seed), **known}
        )
        elements = values[self.backward.jacobian].reshape(self.rows.shape[0], -1)
        adjoints = {gate.name: values[gate.inputs[1]] for gate in self.backward.gates}
        return KnownJacobian(
            elements if self.elements is None else self.elements,
            adjoints if self.adjoints is None else self.adjoints,
        )


@dataclass(frozen=True, eq=False)
class KnownJacobian:
    """elements [r, n]; adjoints [r, *shape] by gate name."""

    elements: Interval
    adjoints: Mapping[str, Interval]


@dataclass(frozen=True)
class Slopes:
    """An activation that is `below` x for x <= 0 and `above` x for x >= 0."""

    below: float
    above: float


def slopes_of(activation: Activation, where: str) -> Slopes:
    """Both slopes; `UnsupportedOperator` for activations without just one kink, at the origin."""
    origin, one = torch.zeros((), dtype=DTYPE), torch.ones((), dtype=DTYPE)
    one_kink = activation.piecewise_linear and activation.kinks == (0.0,)
    if not one_kink or float(activation.evaluate(origin)) != 0.0:
        raise UnsupportedOperator(
            f"{activation.name} at node {where!r} is not piecewise linear with one kink at 0 "
            "(ReLU, LeakyReLU, Abs): no mixed-integer program. Use another method"
        )
    return Slopes(float(activation.derivative(-one)), float(activation.derivative(one)))


@dataclass(frozen=True, eq=False)
class Neurons:
    """The neurons of one activation node under the splits, all tensors [size].

    `lower` and `upper` bound the preactivation; `slope` is the gate where `fixed`; `side` is that
    of the neuron's split, 0 without one or where its splits are on both sides.
    """

    slopes: Slopes
    lower: Tensor
    upper: Tensor
    slope: Tensor
    fixed: Tensor
    side: Tensor


def tightened(problem: MilpProblem) -> dict[str, Interval] | None:
    """The preactivations cut by the splits; None if that leaves one without any value.

    `OutOfDomain` for a preactivation with an infinite bound.
    """
    needed = {node.inputs[0] for node in problem.forward.activations}
    lower = {name: problem.preactivations[name].lower.flatten().clone() for name in needed}
    upper = {name: problem.preactivations[name].upper.flatten().clone() for name in needed}
    for name, index, side in problem.splits:
        assert name in needed, "a split is on a preactivation that the output depends on"
        end = upper[name] if side < 0 else lower[name]
        end[index] = end[index].clamp(max=0.0) if side < 0 else end[index].clamp(min=0.0)
    if any(bool((lower[name] > upper[name]).any()) for name in needed):
        return None
    cut = {
        name: Interval(lower[name], upper[name]).reshape(*problem.preactivations[name].shape)
        for name in needed
    }
    if not all(interval.is_finite() for interval in cut.values()):
        raise OutOfDomain("a preactivation has an infinite bound: no mixed-integer program")
    return cut


def neurons(problem: MilpProblem, name: str, preactivation: Interval) -> Neurons:
    """The neurons of the activation node `name`, given the cut preactivation [1, *shape].

    A gate is fixed where the interval says so, or where the neuron's splits agree on one side.
    """
    node = problem.forward[name]
    assert isinstance(node.operator, Activation)
    slopes = slopes_of(node.operator, node.origin or node.name)
    gate = node.operator.gate(preactivation)
    slope, fixed = gate.lower.flatten().clone(), (gate.lower == gate.upper).flatten()
    below, above = torch.zeros_like(fixed), torch.zeros_like(fixed)
    for source, index, side in problem.splits:
        if source == node.inputs[0]:
            (below if side < 0 else above)[index] = True
    side = above.int() - below.int()
    chosen = ~fixed & (side != 0)
    slope[chosen & (side < 0)] = slopes.below
    slope[chosen & (side > 0)] = slopes.above
    lower, upper = preactivation.lower.flatten(), preactivation.upper.flatten()
    return Neurons(slopes, lower, upper, slope, fixed | chosen, side)
