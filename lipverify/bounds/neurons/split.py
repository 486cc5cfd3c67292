"""Splits of open neurons: children, what they say about other neurons, and which one to split."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lipverify.bounds.neurons.bound import Parts, combined
from lipverify.bounds.neurons.open_net import OpenNet, Target
from lipverify.bounds.neurons.substitute import Objectives, substitute
from lipverify.interval import Interval
from lipverify.numerics import SMALLEST, gamma

AT_ONCE = 2e6
"""Numbers over neurons that are held at once, in many arrays: small ones are reused (measured)."""
OPTIONS = 8
"""Neurons that each score names."""


@dataclass(frozen=True, eq=False)
class Refined:
    """Parts with narrower intervals; those that are proved to be `empty` [b] keep some interval."""

    parts: Parts
    empty: Tensor


def children(parts: Parts, neuron: Tensor) -> Parts:
    """Both closed halves of each part, split at `neuron` [b]: z <= 0 first, then z >= 0."""
    twice = parts.join(parts)
    at = neuron.repeat(2).unsqueeze(1)
    count = len(parts)
    side = torch.ones(2 * count, 1, dtype=torch.int8)
    side[:count] = -1
    below = side < 0
    least, most = twice.least.gather(1, at), twice.most.gather(1, at)
    least = torch.where(below, torch.minimum(least, most.clamp(max=0.0)), least.clamp(min=0.0))
    most = torch.where(below, most.clamp(max=0.0), torch.maximum(most, least))
    return replace(
        twice,
        sides=twice.sides.scatter(1, at, side),
        least=twice.least.scatter(1, at, least),
        most=twice.most.scatter(1, at, most),
    )


def refine(
    net: OpenNet, parts: Parts, after: int, stop: Callable[[], bool] = lambda: False
) -> Refined:
    """The intervals of neurons in stages behind `after`, by CROWN under the splits.

    Where `stop` says so, what is left stays as it is.
    """
    empty = torch.zeros(len(parts), dtype=torch.bool)
    least, most = parts.least.clone(), parts.most.clone()
    for position in range(max(1, after + 1), len(net.stages)):
        stage = net.stages[position]
        place = net.places(stage)
        open_now = (least[:, place] < 0) & (most[:, place] > 0)
        index = open_now.any(0).nonzero().flatten()
        if not net.bends_at_zero(stage) or not len(index):
            continue
        table = stage.table[0, index]
        rows = torch.cat([table, -table])
        slack = _row_slack(net, stage.reach[0, index]).repeat(2)
        lines = net.lines(Interval(least, most))
        bands = lines.at((most > -least).double())
        size = max(1, int(AT_ONCE / (len(rows) * max(1, place.start))))
        found = []
        for chunk in torch.arange(len(parts)).split(size):
            if stop():
                return Refined(replace(parts, least=least, most=most), empty)
            which = torch.arange(len(rows)).expand(len(chunk), -1)
            own = bands.pick(chunk).unsqueeze(1)
            found.append(substitute(net, position, Objectives(rows, which), own, None).value)
        upper = torch.cat(found) + slack
        spread = index + place.start
        high = torch.minimum(most[:, spread], upper[:, : len(index)])
        low = torch.maximum(least[:, spread], -upper[:, len(index) :])
        # Nothing is left where ends that are proved have crossed; written so that NaN is empty's
        # opposite.
        empty = empty | (low > high).any(1)
        least[:, spread], most[:, spread] = torch.minimum(low, high), torch.maximum(low, high)
    return Refined(replace(parts, least=least, most=most), empty)


def _row_slack(net: OpenNet, reach: Tensor) -> Tensor:
    return 2 * gamma(net.roundings(1)) * reach + SMALLEST


def candidates(net: OpenNet, parts: Parts, coefficients: Tensor) -> Tensor:
    """The neurons that two scores call the best to split, [b, c]; -1 where there are fewer.

    Both start from what the relaxation of an open neuron costs the bound where it is: its gap times
    its coefficient. The second adds, of what later neurons cost, the share of their intervals that
    the gap makes. Guides, no bounds.
    """
    straddles = (parts.least < 0) & (parts.most > 0)
    width = (parts.most - parts.least).clamp(min=1e-300)
    gap = torch.where(straddles, -parts.least * parts.most / width, 0.0)
    above = coefficients.clamp(min=0.0)
    choice = parts.slopes.double()
    beside = torch.minimum(-choice * parts.least, (1 - choice) * parts.most)
    direct = above * gap + (above - coefficients) * torch.where(straddles, beside, 0.0)
    worth = coefficients.abs() * gap
    for stage in reversed(net.stages):
        place = net.places(stage)
        pulled = (worth[:, place] / width[:, place]) @ stage.table[0, :, net.first :].abs()
        earlier = slice(0, stage.first - net.first)
        worth[:, earlier] = worth[:, earlier] + pulled * gap[:, earlier]
    usable = straddles & net.splittable
    count = min(OPTIONS, net.size)
    found = [torch.where(usable, score, -torch.inf).topk(count, 1) for score in (direct, worth)]
    index = torch.cat([top.indices for top in found], 1)
    values = torch.cat([top.values for top in found], 1)
    return torch.where(values > -torch.inf, index, -1)


def quick_halves(net: OpenNet, target: Target, parts: Parts, choices: Tensor) -> Tensor:
    """About the upper ends of both halves of the parts at each of the `choices` [b, c]: [2, b, c].

    With slopes and multipliers as they are, and every other interval as it is. Not rounded.
    """
    count, options = choices.shape
    at = choices.clamp(min=0)
    slopes = parts.slopes.double()
    whole = net.lines(Interval(parts.least, parts.most)).at(slopes)
    zero = torch.zeros_like(parts.least)
    halves = (
        Interval(torch.minimum(parts.least, zero), torch.minimum(parts.most, zero)),
        Interval(torch.maximum(parts.least, zero), torch.maximum(parts.most, zero)),
    )
    signed = parts.multipliers.double() * parts.sides.double()
    objectives, _ = combined(target, parts.number, parts.logits.double())
    which = objectives.which.unsqueeze(1).expand(-1, options)
    found = []
    for half in halves:
        changed = net.lines(half).at(slopes)
        bands = whole.with_entries(at, changed)
        found.append(
            substitute(
                net,
                target.before,
                Objectives(objectives.table, which),
                bands,
                signed.unsqueeze(1),
            ).value
        )
    return torch.stack(found).reshape(2, count, options)
