"""Splits of open neurons: children, what they say about other neurons, and which one to split."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lipverify.bounds.neurons.bound import Parts, substitute
from lipverify.bounds.neurons.open_net import Lines, OpenNet, Target
from lipverify.interval import Interval
from lipverify.numerics import SMALLEST, gamma

AT_ONCE = 1.5e7
"""Numbers that the rows of one refinement may have, about."""
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


def refine(net: OpenNet, parts: Parts, after: int) -> Refined:
    """The intervals of neurons in stages behind `after`, by CROWN under the splits."""
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
        choice = (most > -least).double()
        size = max(1, int(AT_ONCE / (rows.numel() + 1)))
        found = []
        for chunk in torch.arange(len(parts)).split(size):
            own = Lines(*(getattr(lines, n)[chunk].unsqueeze(1) for n in Lines.__annotations__))
            slopes = choice[chunk].unsqueeze(1)
            objective = rows.expand(len(chunk), -1, -1)
            ends = substitute(net, position, objective, own, slopes, torch.zeros_like(slopes))
            found.append(ends.value + slack)
        upper = torch.cat(found)
        spread = index + place.start
        high = torch.minimum(most[:, spread], upper[:, : len(index)])
        low = torch.maximum(least[:, spread], -upper[:, len(index) :])
        # Nothing is left where ends that are proved have crossed; written so that NaN is empty's
        # opposite.
        empty = empty | (low > high).any(1)
        least[:, spread], most[:, spread] = torch.minimum(low, high), torch.maximum(low, high)
    return Refined(replace(parts, least=least, most=most), empty)


def _row_slack(net: OpenNet, reach: Tensor) -> Tensor:
    extra = net.inputs + 8 * len(net.stages) + 32
    return 2 * gamma(2 * (net.reduced.operations + extra)) * reach + SMALLEST


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


def quick_upper(net: OpenNet, target: Target, parts: Parts) -> Tensor:
    """About the numbers' upper ends [b] with slopes and multipliers as they are. Not rounded."""
    own = target.pick(parts.number)
    logits = parts.logits.double().masked_fill(~own.used, -torch.inf)
    objective = (torch.softmax(logits, 1).unsqueeze(1) @ own.rows).squeeze(1)
    lines = net.lines(Interval(parts.least, parts.most))
    signed = parts.multipliers.double() * parts.sides.double()
    return substitute(net, target.before, objective, lines, parts.slopes.double(), signed).value
