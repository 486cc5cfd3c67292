"""Pairs of neurons that are never on two given sides of 0 at once.

If no input of the region has side_i z_i >= 0 and side_j z_j >= 0 together, then the product of the
two gates' distances from their slopes there vanishes: a constraint that ties gates to inputs in
the quadratic dual, and one that fixes gate j where a split puts neuron i on that side. The proof of
a pair is a weight w in [0, 1] for which w side_i z_i + (1 - w) side_j z_j is negative on the
whole region; linear functions above both sides (CROWN) make that one support function.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lipverify.bounds.preactivation import (
    ForwardProblem,
    Preactivations,
    one_hot,
    open_entries,
)
from lipverify.bounds.propagation import (
    forward_relaxations,
    rounding_slack,
    steepness,
    substitute,
)
from lipverify.graph import ForwardGraph
from lipverify.interval import Interval
from lipverify.numerics import SMALLEST, gamma
from lipverify.operators import Activation

Neuron = tuple[str, int]
Side = tuple[str, int, int]
"""Forward node, flat index, -1 or +1."""

ROUNDS = 6
"""Steps of the search for the weight; each cuts the bracket by tangents, few are ever needed."""
CHUNK_ENTRIES = 4_000_000


@dataclass(frozen=True)
class Conflict:
    """side z of the two neurons are never >= 0 together.

    Where the first one is, side z of the second is at most `second_upper` < 0, and the other way
    round.
    """

    first: Side
    second: Side
    first_upper: float
    second_upper: float


@dataclass(frozen=True, eq=False)
class Conflicts:
    """All conflicts that were found; more may exist."""

    pairs: tuple[Conflict, ...] = ()

    def __len__(self) -> int:
        return len(self.pairs)

    @cached_property
    def _by_side(self) -> Mapping[Side, tuple[tuple[Side, float], ...]]:
        found: dict[Side, list[tuple[Side, float]]] = defaultdict(list)
        for pair in self.pairs:
            found[pair.first].append((pair.second, pair.second_upper))
            found[pair.second].append((pair.first, pair.first_upper))
        return {side: tuple(others) for side, others in found.items()}

    def implied(self, sides: Iterable[Side]) -> dict[Neuron, tuple[int, float]]:
        """What holds where side z >= 0 for all of `sides`: neuron -> (its side, least side z).

        Neurons that get on a side by one conflict may be in others; both are followed.
        """
        waiting = list(sides)
        known = {(node, index): side for node, index, side in waiting}
        found: dict[Neuron, tuple[int, float]] = {}
        while waiting:
            for (node, index, side), upper in self._by_side.get(waiting.pop(), ()):
                old = found.get((node, index))
                if old is None or old[0] != -side or old[1] < -upper:
                    found[node, index] = (-side, -upper)
                if known.get((node, index)) != -side:
                    known[node, index] = -side
                    waiting.append((node, index, -side))
        return found


def find_conflicts(problem: ForwardProblem, preactivations: Preactivations, most: int) -> Conflicts:
    """Conflicts among the open piecewise-linear gates with their kink at 0; none above `most`."""
    upper = _uppers(problem, preactivations)
    if upper is None or len(upper.neurons) > most:
        return Conflicts()
    region = problem.region
    count = len(upper.neurons)
    both = 2 * count
    points = region.vertices(upper.slope)
    # values[a, b]: the function above side a, where that of side b is largest
    values = upper.slope @ points.T + upper.offset.unsqueeze(1)
    largest = values.diagonal()
    apart = (values < 0) & (values.T < 0) & (largest > 0) & (largest.unsqueeze(1) > 0)
    neuron = torch.arange(both) % count
    first, second = (apart & (neuron.unsqueeze(1) < neuron)).nonzero().unbind(1)
    chunk = max(1, CHUNK_ENTRIES // max(1, region.size))
    pairs: list[Conflict] = []
    for a, b in zip(first.split(chunk), second.split(chunk), strict=True):
        pairs.extend(_prove(problem, upper, values, a, b))
    return Conflicts(tuple(pairs))


@dataclass(frozen=True, eq=False)
class _Uppers:
    """side z <= slope . x + offset for both sides of each neuron, +1 first: [2 k, n], [2 k]."""

    neurons: tuple[Neuron, ...]
    slope: Tensor
    offset: Tensor

    def side(self, row: int) -> Side:
        count = len(self.neurons)
        return (*self.neurons[row % count], 1 if row < count else -1)


def _uppers(problem: ForwardProblem, preactivations: Preactivations) -> _Uppers | None:
    forward, neurons = problem.forward, []
    slopes: dict[int, list[Tensor]] = {1: [], -1: []}
    offsets: dict[int, list[Tensor]] = {1: [], -1: []}
    for name in dict.fromkeys(node.inputs[0] for node in forward.activations):
        index = _kinked(forward, name, preactivations[name])
        if not index.numel():
            continue
        neurons.extend((name, int(place)) for place in index)
        for side in (1, -1):
            slope, offset = linear_uppers(
                problem, name, side * one_hot(index, forward[name].shape), preactivations
            )
            slopes[side].append(slope)
            offsets[side].append(offset)
    if not neurons:
        return None
    return _Uppers(
        tuple(neurons),
        torch.cat([*slopes[1], *slopes[-1]]),
        torch.cat([*offsets[1], *offsets[-1]]),
    )


def _kinked(forward: ForwardGraph, name: str, preactivation: Interval) -> Tensor:
    """Open neurons all of whose activations change their slope at 0 alone."""
    users = [node.operator for node in forward.activations if node.inputs[0] == name]
    index = torch.zeros(0, dtype=torch.int64)
    for operator in users:
        assert isinstance(operator, Activation)
        if not operator.piecewise_linear or tuple(operator.kinks) != (0.0,):
            return torch.zeros(0, dtype=torch.int64)
        index = torch.cat([index, open_entries(operator, preactivation)])
    return index.unique()


def linear_uppers(
    problem: ForwardProblem, node: str, objective: Tensor, preactivations: Preactivations
) -> tuple[Tensor, Tensor]:
    """objective . z <= slope . x + offset on the region, rounding included: [k, n], [k].

    `objective` is [k, 1, *shape of the node].
    """
    forward = problem.forward
    relaxations = forward_relaxations(forward, node, preactivations)
    sources, constant = substitute(forward, node, objective, relaxations)
    steep = steepness(forward, relaxations, preactivations)
    reach = problem.region.bounding.magnitude.reshape(1, *forward.input_shape)
    slack = rounding_slack(
        forward,
        node,
        objective,
        {ForwardGraph.INPUT: reach},
        steep.slopes,
        steep.intercepts,
        steep.crossing,
    )
    slope = sources[ForwardGraph.INPUT].reshape(len(objective), -1)
    return slope, (constant + slack).reshape(-1)


def _prove(
    problem: ForwardProblem, upper: _Uppers, values: Tensor, first: Tensor, second: Tensor
) -> list[Conflict]:
    """Those of the candidate pairs [k] for which a weight proves the conflict.

    v(w) = max over the region of w f_first + (1 - w) f_second is convex; a maximiser's own line
    supports it from below. Two such lines, falling and rising, bracket the minimum: the weight
    where they meet is tried, and its maximiser's line replaces one of them (Kelley 1960).
    """
    region = problem.region
    magnitude = region.bounding.magnitude
    # (f_first, f_second) at the maximiser of second (falls with w) and of first (rises with w)
    falling = torch.stack([values[first, second], values[second, second]], 1)
    rising = torch.stack([values[first, first], values[second, first]], 1)
    found: list[Conflict] = []
    for _ in range(ROUNDS):
        if not first.numel():
            break
        difference = (falling[:, 1] - falling[:, 0]) + (rising[:, 0] - rising[:, 1])
        weight = ((falling[:, 1] - rising[:, 1]) / difference.clamp(min=SMALLEST)).clamp(0, 1)
        least = weight * falling[:, 0] + (1 - weight) * falling[:, 1]
        keep = (least < 0) & (weight > 0) & (weight < 1)
        first, second, weight = first[keep], second[keep], weight[keep]
        falling, rising = falling[keep], rising[keep]
        if not first.numel():
            break
        share = weight.unsqueeze(1)
        slope = share * upper.slope[first] + (1 - share) * upper.slope[second]
        offset = weight * upper.offset[first] + (1 - weight) * upper.offset[second]
        reach = slope.abs() @ magnitude
        reach += weight * (upper.slope[first].abs() @ magnitude + upper.offset[first].abs())
        reach += (1 - weight) * (upper.slope[second].abs() @ magnitude + upper.offset[second].abs())
        bound = region.support(slope) + offset
        bound = bound + gamma(2 * region.size + 16) * reach + SMALLEST
        proved = bound < 0
        for a, b, w, v in zip(
            first[proved].tolist(),
            second[proved].tolist(),
            weight[proved].tolist(),
            bound[proved].tolist(),
            strict=True,
        ):
            # w f + (1 - w) s <= v and f >= 0 give s <= v / (1 - w); a little less is claimed.
            shrink = 1 - 8 * 2.0**-53
            pair = Conflict(upper.side(a), upper.side(b), shrink * v / w, shrink * v / (1 - w))
            if pair.first_upper < 0 and pair.second_upper < 0:
                found.append(pair)
        point = region.vertices(slope)
        line = torch.stack(
            [
                (upper.slope[first] * point).sum(1) + upper.offset[first],
                (upper.slope[second] * point).sum(1) + upper.offset[second],
            ],
            1,
        )
        falls = (line[:, 0] < line[:, 1]).unsqueeze(1)
        falling = torch.where(falls, line, falling)
        rising = torch.where(falls, rising, line)
        open_ = ~proved & ~(line > 0).all(1)
        first, second = first[open_], second[open_]
        falling, rising = falling[open_], rising[open_]
    return found
