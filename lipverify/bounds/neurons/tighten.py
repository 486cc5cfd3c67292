"""Preactivation bounds with slopes optimised for each of them (alpha-CROWN, Xu et al. 2021)."""

from collections.abc import Callable

import torch
from torch import Tensor

from lipverify.bounds.batched.reduced import Stage
from lipverify.bounds.neurons.bound import Effort, bound_parts, whole
from lipverify.bounds.neurons.open_net import OpenNet, Target, open_net
from lipverify.bounds.preactivation import Preactivations
from lipverify.graph import ForwardGraph
from lipverify.interval import Interval
from lipverify.region import AbstractRegion

EFFORT = Effort(steps=10, slope_rate=0.3, decay=0.9)
ROW_COPIES = 24.0
"""Numbers held at once per column of a bounded row: with gradients and what they need."""


def tightened_network(
    forward: ForwardGraph,
    region: AbstractRegion,
    known: Preactivations | None = None,
    memory: float = 4e9,
    stop: Callable[[], bool] = lambda: False,
) -> OpenNet:
    """The open neurons of the region, after all their bounds were optimised, stage by stage.

    `known` holds proved bounds [1, *shape]. Where `stop` says so, what is left keeps CROWN's.
    """
    net = open_net(forward, region, known)
    merged = dict(known or {}) | dict(net.reduced.preactivations)
    place = 1
    while place < len(net.stages) and not stop():
        stage = net.stages[place]
        name = stage.node
        if net.bends_at_zero(stage) and stage.size:
            source = forward[name].inputs[0]
            merged[source] = _tightened(net, place, merged[source], memory, stop)
            net = open_net(forward, region, merged)
            merged = merged | dict(net.reduced.preactivations)
        place += 1
    return net


def _tightened(
    net: OpenNet, place: int, current: Interval, memory: float, stop: Callable[[], bool]
) -> Interval:
    """`current` [1, *shape], with the ends of the stage's open neurons optimised."""
    stage = net.stages[place]
    lower, upper = current.lower.clone(), current.upper.clone()
    flat_lower, flat_upper = lower.reshape(-1), upper.reshape(-1)
    held = 8.0 * ROW_COPIES * (net.first + net.size)
    for part in torch.arange(stage.size).split(max(1, int(memory / held / 2))):
        if stop():
            break
        ends = _ends(net, place, stage, part)
        index = stage.index[0, part]
        flat_upper[index] = torch.minimum(flat_upper[index], ends[0])
        flat_lower[index] = torch.maximum(flat_lower[index], -ends[1])
    return Interval(lower, upper)


def _ends(net: OpenNet, place: int, stage: Stage, part: Tensor) -> Tensor:
    """Upper ends of z and of -z of some of the stage's neurons, [2, neurons]."""
    table = stage.table[0, part]
    rows = torch.cat([table, -table]).unsqueeze(1)
    reach = stage.reach[0, part].repeat(2).unsqueeze(1)
    target = Target(rows, torch.ones(len(rows), 1, dtype=torch.bool), reach, place)
    return bound_parts(net, target, whole(net, target), EFFORT).parts.upper.reshape(2, -1)
