"""The checker's rules for linear bounds in float64, to choose what is written by their results.

Nothing here has to be right for a certificate to be right: the checker derives every bound anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from lipverify.bounds.conflicts import Conflict, Conflicts
from lipverify.bounds.interior import ExactForward
from lipverify.bounds.methods import Setting
from lipverify.errors import EmptyRegion, InvertedInterval, UnsupportedCertificate
from lipverify.graph import ForwardGraph, Node, evaluate_intervals
from lipverify.interval import Interval
from lipverify.operators import Activation, AffineOperator, Relaxation
from lipverify.region import AbstractRegion, Ball, BallInBox, Box
from lipverify.search.split import Split

MARGIN = 1e-12
"""Bounds are read so much worse, relative to their interval, than they were computed."""

Lines = Mapping[str, Relaxation]
"""By name of the activation, [1 or T, *shape]."""


Pair = tuple[int, int, int, int, int, int]
"""A conflict in the format's words: layer, neuron, side, twice."""


@dataclass(frozen=True)
class Listed:
    """A conflict that the certificate has proved."""

    conflict: Conflict
    pair: Pair


@dataclass(frozen=True, eq=False)
class State:
    """What is known at a node of the tree: the region cut by input splits, the preactivations
    [1, *shape] by name of the forward node, the splits of neurons that led here, and the conflicts
    in the format's order."""

    region: AbstractRegion
    known: Mapping[str, Interval]
    splits: tuple[Split, ...] = ()
    listed: tuple[Listed, ...] = ()

    @cached_property
    def conflicts(self) -> Conflicts:
        return Conflicts(tuple(item.conflict for item in self.listed))


class Empty(Exception):
    """A node whose intervals are empty: the checker sees that by itself."""


@dataclass(frozen=True, eq=False)
class Model:
    """The network as the checker sees it."""

    setting: Setting

    def __post_init__(self) -> None:
        graph = self.setting.network.graph
        if graph.products:
            raise UnsupportedCertificate("products of two branches have no rule in the checker")

    @property
    def forward(self) -> ForwardGraph:
        return self.setting.network.graph

    @cached_property
    def exact(self) -> ExactForward:
        return ExactForward(self.forward, self.setting.region)

    @cached_property
    def layers(self) -> Mapping[str, tuple[int, ...]]:
        """The numbers of the activations of each preactivation, by its node's name."""
        found: dict[str, list[int]] = {}
        for number, node in enumerate(self.forward.activations):
            found.setdefault(node.inputs[0], []).append(number)
        return {name: tuple(numbers) for name, numbers in found.items()}

    def users(self, name: str) -> tuple[Activation, ...]:
        return tuple(self.activation(self.forward.activations[k]) for k in self.layers[name])

    @staticmethod
    def activation(node: Node) -> Activation:
        assert isinstance(node.operator, Activation)
        return node.operator

    def intervals(self, region: AbstractRegion) -> dict[str, Interval]:
        start = region.bounding.reshape(1, *self.forward.input_shape)
        values = evaluate_intervals(self.forward, {ForwardGraph.INPUT: start})
        return {name: values[name] for name in self.layers}

    def open(self, name: str, interval: Interval) -> Tensor:
        """The neurons with an open gate, as flat indices."""
        mask = torch.zeros(self.forward[name].size, dtype=torch.bool)
        for activation in self.users(name):
            slope = activation.gate_within(interval)
            mask |= (slope.lower < slope.upper).flatten() & (interval.width > 0).flatten()
        return mask.nonzero().flatten()

    def lines(self, known: Mapping[str, Interval]) -> dict[str, Relaxation]:
        """The default relaxation of every activation, [1, *shape]."""
        return {
            node.name: self.activation(node).relax(known[node.inputs[0]])
            for node in self.forward.activations
            if node.inputs[0] in known
        }

    def substitute(
        self,
        state: State,
        start: Mapping[str, Tensor],
        lines: Lines,
        betas: Mapping[str, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """An affine function of x above `start` . values + the betas' terms: [T, n], [T].

        `start` by node [T, *shape]; `betas` by preactivation [T, *shape]. Also returned: the
        coefficients of the activations' values.
        """
        betas = betas or {}
        count = len(next(iter(start.values())))
        pending = dict(start)
        seen: dict[str, Tensor] = {}
        constant = torch.zeros(count, dtype=torch.float64)
        for node in self.forward.reversed():
            beta = betas.get(node.name)
            if beta is not None:
                ends = state.known[node.name]
                gained = beta.clamp(min=0.0) * ends.upper + beta.clamp(max=0.0) * ends.lower
                constant = constant + gained.flatten(1).sum(1)
                pending[node.name] = pending[node.name] - beta if node.name in pending else -beta
            if node.name not in pending:
                continue
            coefficient = pending[node.name]
            operator = node.operator
            if operator is None:
                continue
            del pending[node.name]
            if isinstance(operator, AffineOperator):
                if operator.constant is not None:
                    shift = operator.constant.expand(node.shape)
                    constant = constant + (coefficient * shift).flatten(1).sum(1)
                pulled = [
                    (name, operator.transpose(coefficient, operand))
                    for operand, name in enumerate(node.inputs)
                ]
            else:
                seen[node.name] = coefficient
                line = lines[node.name]
                positive, negative = coefficient.clamp(min=0.0), coefficient.clamp(max=0.0)
                shifts = positive * line.upper_intercept + negative * line.lower_intercept
                constant = constant + shifts.flatten(1).sum(1)
                slope = positive * line.upper_slope + negative * line.lower_slope
                pulled = [(node.inputs[0], slope)]
            for name, value in pulled:
                pending[name] = pending[name] + value if name in pending else value
        slope = pending.get(ForwardGraph.INPUT)
        if slope is None:
            slope = torch.zeros(count, self.forward.input_size, dtype=torch.float64)
        return slope.flatten(1), constant, seen

    def cut(self, state: State, node: str, index: Tensor, bounds: Interval) -> State:
        """With proved bounds [k] of some neurons; raises `Empty` where nothing is left."""
        old = state.known[node]
        lower, upper = old.lower.clone(), old.upper.clone()
        # Cancellation leaves errors of the size of what was cancelled: that of the old interval.
        slack = MARGIN * (bounds.magnitude + old.magnitude.flatten()[index])
        flat_lower, flat_upper = lower.reshape(-1), upper.reshape(-1)
        flat_lower[index] = torch.maximum(flat_lower[index], bounds.lower - slack)
        flat_upper[index] = torch.minimum(flat_upper[index], bounds.upper + slack)
        return self.with_known(state, node, lower, upper)

    def with_known(self, state: State, node: str, lower: Tensor, upper: Tensor) -> State:
        if bool((lower > upper).any()):
            raise Empty
        return replace(state, known={**state.known, node: Interval(lower, upper)})

    def halved(self, state: State, split: Split) -> State:
        """The closed half of a neuron, and what the conflicts then say."""
        state = self._clamped(state, split)
        if split.from_zero:
            side = (split.node, split.index, split.side)
            for (node, index), (other, _) in state.conflicts.implied([side]).items():
                state = self._clamped(state, Split(node, index, other))
        return replace(state, splits=(*state.splits, split))

    def _clamped(self, state: State, split: Split) -> State:
        old = state.known[split.node]
        lower, upper = old.lower.clone(), old.upper.clone()
        flat_lower, flat_upper = lower.reshape(-1), upper.reshape(-1)
        if split.side < 0:
            flat_upper[split.index] = min(split.position, float(flat_upper[split.index]))
        else:
            flat_lower[split.index] = max(split.position, float(flat_lower[split.index]))
        return self.with_known(state, split.node, lower, upper)

    def input_half(self, state: State, index: int, at: float, side: int) -> State:
        """The closed half of an input, with intervals through the network."""
        box = state.region.bounding
        lower, upper = box.lower.clone(), box.upper.clone()
        (upper if side < 0 else lower)[index] = at
        try:
            region = _boxed(state.region, Box(lower, upper))
        except EmptyRegion:
            raise Empty from None
        found = {}
        try:
            for name, now in self.intervals(region).items():
                found[name] = now.intersect(state.known[name])
        except InvertedInterval:
            raise Empty from None
        return replace(state, region=region, known=found)


def _boxed(region: AbstractRegion, box: Box) -> AbstractRegion:
    match region:
        case Box():
            return box
        case Ball():
            return BallInBox(region, box)
        case BallInBox():
            return BallInBox(region.ball, box)
        case _:
            raise UnsupportedCertificate(f"no splits of a region {type(region).__name__}")
