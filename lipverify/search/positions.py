"""Where to split a preactivation: at a kink that fixes the gate, or where slopes narrow most.

What a gate allows over an interval of its preactivation z is the rectangle [interval] x [range of
slopes]; two halves allow two rectangles, and the position with the smallest sum of their areas
describes the derivative best. Any position is sound: the halves are closed and share it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor

from lipverify.graph import BackwardGraph
from lipverify.interval import Interval
from lipverify.numerics import ELEMENTARY_ULPS, SMALLEST, UNIT_ROUNDOFF
from lipverify.operators import Activation, Curve, Gate
from lipverify.search.branching import GateName
from lipverify.search.split import Split

SHARES = 16
"""Positions are tried at so many equal steps through the interval."""
LEAST_GAIN = 1 / SHARES
"""Counts for splits that narrow no range by themselves (of a wave over several periods), but whose
halves' splits may."""
NOISE = 64 * ELEMENTARY_ULPS * UNIT_ROUNDOFF
"""Ranges of slopes this narrow, relative to the slopes, are due to rounding: no split helps."""


@dataclass(frozen=True)
class Place:
    """`gain` in (0, 1] is the share of the gate's rectangle that the halves do without."""

    position: float
    gain: float


class Places:
    """The positions for splits of one subproblem's open gates: `names` as in `OpenGates`."""

    def __init__(
        self,
        backward: BackwardGraph,
        preactivations: Mapping[str, Interval],
        names: Iterable[tuple[str, int]],
    ) -> None:
        self._preactivations = preactivations
        self._users: dict[str, list[_User]] = {}
        entries: dict[str, list[int]] = defaultdict(list)
        for name, index in names:
            entries[name].append(index)
        for name, index in entries.items():
            gate = backward[name]
            assert isinstance(gate.operator, Gate)
            opened = torch.zeros(gate.size, dtype=torch.bool)
            opened[index] = True
            users = self._users.setdefault(gate.inputs[0], [])
            users.append(_User(gate.operator.activation, opened))
        self._found: dict[str, tuple[list[float], list[float]]] = {}

    def of(self, gate: GateName) -> Place | None:
        """None: no float lies inside of its interval, or no split narrows its slopes."""
        node, index = gate
        if node not in self._found:
            positions, gains = _places(self._users[node], self._preactivations[node])
            self._found[node] = positions.tolist(), gains.tolist()
        positions, gains = self._found[node]
        return Place(positions[index], gains[index]) if gains[index] > 0 else None


@dataclass(frozen=True, eq=False)
class _User:
    """An activation of a preactivation, and at which entries [entries] its gate is open."""

    activation: Activation
    opened: Tensor


def fixes(activation: Activation, position: float) -> bool:
    """Whether both halves at this position leave a single slope each."""
    return activation.piecewise_linear and activation.kinks == (position,)


def one_sided(
    activation: Activation, preactivation: Interval, splits: Iterable[Split], split: Split
) -> Interval:
    """The range of slopes of a neuron split at a kink, the kink's other side left out: [1].

    The other slopes at the kink belong to points of the other half, or are limits of them. That is
    so for kinks where the neuron was split only; at other ends of the interval, all slopes count.
    """
    index = split.index
    x = Interval(
        preactivation.lower.reshape(-1)[index : index + 1],
        preactivation.upper.reshape(-1)[index : index + 1],
    )
    at = {one.position for one in splits if (one.node, one.index) == (split.node, index)}
    bare = set(activation.kinks) - at
    if bare & {float(x.lower), float(x.upper)}:
        return activation.gate(x)
    return activation.gate_within(x)


def _places(users: list[_User], x: Interval) -> tuple[Tensor, Tensor]:
    """Position and gain of every entry, [entries]; gain 0: not to be split."""
    lower, upper = x.lower.reshape(-1), x.upper.reshape(-1)
    bent = [user for user in users if not user.activation.piecewise_linear]
    position, gain = _narrowest(bent, lower, upper)
    for user in users:
        if not user.activation.piecewise_linear:
            continue
        # At an end of the interval as well: both slopes belong to the kink until it is split.
        for kink in user.activation.kinks:
            there = user.opened & (lower <= kink) & (kink <= upper)
            position = torch.where(there, kink, position)
            gain = torch.where(there, 1.0, gain)
    return position, gain


def _narrowest(users: list[_User], lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    """The best of a grid, of kinks and of inflection points, for gates without fixed slopes."""
    if not users:
        return torch.zeros_like(lower), torch.zeros_like(lower)
    tried = _tried([user.activation for user in users], lower, upper)
    inside = (lower < tried) & (tried < upper)
    point = torch.minimum(torch.maximum(tried, lower), upper)
    whole, halves = torch.zeros_like(lower), torch.zeros_like(tried)
    wide = torch.zeros_like(lower, dtype=torch.bool)
    for user in users:
        slope = user.activation.gate(Interval(lower, upper))
        wide |= user.opened & (slope.width > NOISE * slope.magnitude + 4 * SMALLEST)
        whole = whole + user.opened * (upper - lower) * slope.width
        for low, high in ((lower.expand_as(point), point), (point, upper.expand_as(point))):
            within = user.activation.gate_within(Interval(low, high))
            halves = halves + user.opened * (high - low) * within.width
    halves = torch.where(inside & torch.isfinite(halves), halves, torch.inf)
    least, which = halves.min(0)
    position = tried.gather(0, which.unsqueeze(0)).squeeze(0)
    gain = (1 - least / whole).nan_to_num(nan=0.0).clamp(LEAST_GAIN, 1.0)
    return position, torch.where(wide & torch.isfinite(least), gain, 0.0)


def _tried(activations: list[Activation], lower: Tensor, upper: Tensor) -> Tensor:
    """Positions [tried, entries], those in the middle first: they win where all are as good."""
    steps = sorted(range(1, SHARES), key=lambda step: abs(step - SHARES // 2))
    grid = [lower + (upper - lower) * (step / SHARES) for step in steps]
    marks = {kink for activation in activations for kink in activation.kinks}
    for activation in activations:
        if isinstance(activation, Curve):
            for piece in activation.pieces:
                marks |= {piece.lower, piece.upper}
    finite = sorted(mark for mark in marks if isfinite(mark))
    return torch.stack([*grid, *(torch.full_like(lower, mark) for mark in finite)])
