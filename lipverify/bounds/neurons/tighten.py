"""Preactivation bounds with slopes optimised for each of them (alpha-CROWN, Xu et al. 2021)."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from lipverify.bounds.batched.reduced import Stage
from lipverify.bounds.neurons.bound import Effort, bound_parts, whole
from lipverify.bounds.neurons.open_net import OpenNet, Target, open_net
from lipverify.bounds.preactivation import Preactivations
from lipverify.errors import InvertedInterval, NumericalFailure
from lipverify.graph import ForwardGraph
from lipverify.interval import Interval
from lipverify.region import AbstractRegion

EFFORT = Effort(steps=20, slope_rate=0.3, decay=0.9)
MOST_ROWS = 128
"""Neurons that are bounded at once: time is looked at in between."""
WORTH = 0.75
"""The network is reduced again where no more than this share of its open neurons are still open."""
ROW_COPIES = 24.0
"""Numbers held at once per column of a bounded row: with gradients and what they need."""


def tightened_ends(
    net: OpenNet, memory: float = 4e9, stop: Callable[[], bool] = lambda: False
) -> Interval:
    """The open neurons' preactivations [1, g], all of them optimised, stage by stage.

    Where `stop` says so, what is left keeps its bounds.
    """
    for place in range(1, len(net.stages)):
        if net.bends_at_zero(net.stages[place]):
            net = replace(net, preactivation=_tightened(net, place, memory, stop))
    return net.preactivation


def with_ends(net: OpenNet, ends: Interval, stop: Callable[[], bool] = lambda: False) -> OpenNet:
    """The network with proved bounds [1, g] of its open neurons, reduced again where that pays.

    Raises `OutOfTime` where `stop` says so.
    """
    net = replace(net, preactivation=ends)
    left = int(((ends.lower < 0) & (ends.upper > 0)).sum())
    if left > WORTH * net.size:
        return net
    return open_net(net.forward, net.region, _by_node(net), stop)


def tightened_network(
    forward: ForwardGraph, region: AbstractRegion, known: Preactivations | None = None
) -> OpenNet:
    """The open neurons of the region, after all their bounds were optimised.

    `known` holds proved bounds [1, *shape].
    """
    net = open_net(forward, region, known)
    return with_ends(net, tightened_ends(net))


def _tightened(net: OpenNet, place: int, memory: float, stop: Callable[[], bool]) -> Interval:
    """The preactivations [1, g] with the ends of one stage's open neurons optimised."""
    stage = net.stages[place]
    lower, upper = net.preactivation.lower.clone(), net.preactivation.upper.clone()
    start = net.places(stage).start
    for part in torch.arange(stage.size).split(_rows_at_once(net, memory)):
        if stop():
            break
        ends = _ends(net, place, stage, part, stop)
        index = start + part
        upper[0, index] = torch.minimum(upper[0, index], ends[0])
        lower[0, index] = torch.maximum(lower[0, index], -ends[1])
    try:
        return Interval(lower, upper)
    except InvertedInterval as error:
        raise NumericalFailure("bounds of preactivations are inverted or NaN") from error


def _rows_at_once(net: OpenNet, memory: float) -> int:
    held = 8.0 * ROW_COPIES * (net.first + net.size)
    return max(1, min(MOST_ROWS, int(memory / held / 2)))


def _by_node(net: OpenNet) -> Preactivations:
    """All bounds [1, *shape], by preactivation."""
    known = dict(net.reduced.preactivations)
    for stage in net.stages:
        place, index = net.places(stage), stage.index[0]
        source = net.forward[stage.node].inputs[stage.operand]
        lower, upper = known[source].lower.clone(), known[source].upper.clone()
        flat_lower, flat_upper = lower.reshape(-1), upper.reshape(-1)
        flat_lower[index] = torch.maximum(flat_lower[index], net.preactivation.lower[0, place])
        flat_upper[index] = torch.minimum(flat_upper[index], net.preactivation.upper[0, place])
        known[source] = Interval(lower, upper)
    return known


def _ends(net: OpenNet, place: int, stage: Stage, part: Tensor, stop: Callable[[], bool]) -> Tensor:
    """Upper ends of z and of -z of some of the stage's neurons, [2, neurons]."""
    table = stage.table[0, part]
    rows = torch.cat([table, -table]).unsqueeze(1)
    reach = stage.reach[0, part].repeat(2).unsqueeze(1)
    target = Target(rows, torch.ones(len(rows), 1, dtype=torch.bool), reach, place)
    found = bound_parts(net, target, whole(net, target), EFFORT, stop=stop)
    return found.parts.upper.reshape(2, -1)
