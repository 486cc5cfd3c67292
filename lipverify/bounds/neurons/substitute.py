"""Backward substitution on a network's open neurons, for many objectives at once.

There may be many inputs, and their coefficients are not looked at before the end: so only the
neurons' columns are carried from stage to stage, and one product leads to the inputs, a few
objectives at a time.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lipverify.bounds.neurons.open_net import Bands, OpenNet

CHUNK = 2e5
"""Numbers over the inputs that are held at once: they stay near the processor (measured)."""


@dataclass(frozen=True, eq=False)
class Objectives:
    """Rows `which` [...] of a table [k, columns] over (1, x, a)."""

    table: Tensor
    which: Tensor


@dataclass(frozen=True, eq=False)
class Attained:
    """Where bounds are attained if they are exact: `points` [..., n], if asked for, and the part
    of the open neurons' preactivations [..., g] that depends on the inputs alone."""

    points: Tensor | None
    affine: Tensor


@dataclass(frozen=True, eq=False)
class Substituted:
    """Upper ends `value` [...], not rounded. The coefficients of the open neurons' values,
    `coefficients` [..., g], and of their preactivations, `pulled`."""

    value: Tensor
    coefficients: Tensor
    pulled: Tensor
    attained: Attained | None


def substitute(
    net: OpenNet,
    before: int,
    objectives: Objectives,
    bands: Bands,
    signed: Tensor | None,
    attained: bool = False,
    points: bool = False,
) -> Substituted:
    """An upper end of each objective, which has no columns from the stage `before` on.

    `bands` and the signed multipliers are [..., g], or broadcast to it; g counts the neurons of the
    first `before` stages here.
    """
    table, which = objectives.table, objectives.which
    size = net.width(before)
    outer = table[:, 1 : net.first]
    start = table[:, 0] + outer @ net.middle
    value = start[which]
    met = table[:, net.first : net.first + size][which]
    pulled = torch.empty_like(met)
    for position in reversed(range(before)):
        place = net.places(net.stages[position])
        own = met[..., place]
        above = own.clamp(min=0.0)
        below = own - above
        mine = above * bands.upper_slope[..., place]
        mine += below * bands.lower_slope[..., place]
        if signed is not None:
            mine += signed[..., place]
        pulled[..., place] = mine
        above *= bands.upper_intercept[..., place]
        below *= bands.lower_intercept[..., place]
        value += above.sum(-1)
        value += below.sum(-1)
        if place.start:
            met[..., : place.start] += mine @ net.inner(position)
    value += pulled @ net.constants[:size]
    found = _at_inputs(net, outer, which, pulled, attained or points, points)
    return Substituted(value + found[0], met, pulled, found[1])


def _at_inputs(
    net: OpenNet, outer: Tensor, which: Tensor, pulled: Tensor, attained: bool, points: bool
) -> tuple[Tensor, Attained | None]:
    """What the inputs add at most to the objectives' values at the middle of the box, [...]."""
    size = pulled.shape[-1]
    inputs = net.outer[:size]
    rows = which.reshape(-1)
    flat = pulled.reshape(len(rows), size)
    highest = pulled.new_empty(len(flat))
    affine = pulled.new_empty(len(flat) if attained else 0, size)
    kept: list[Tensor] = []
    chunk = max(1, int(CHUNK / net.inputs))
    for begin in range(0, len(flat), chunk):
        part = slice(begin, begin + chunk)
        slope = outer[rows[part]].addmm_(flat[part], inputs)
        highest[part] = slope.abs() @ net.radius
        moved = None
        if net.reduced.region is not None:
            region = net.reduced.region
            inside = region.support(slope) - slope @ net.middle
            use = inside < highest[part]
            highest[part] = torch.where(use, inside, highest[part])
            if attained:
                moved = torch.where(
                    use.unsqueeze(1), region.vertices(slope) - net.middle, slope.sign() * net.radius
                )
        elif attained:
            moved = slope.sign_().mul_(net.radius)
        if moved is not None:
            torch.mm(moved, inputs.T, out=affine[part])
            if points:
                kept.append(moved + net.middle)
    highest = highest.reshape(which.shape)
    if not attained:
        return highest, None
    where = torch.cat(kept).reshape(*which.shape, net.inputs) if points and kept else None
    return highest, Attained(where, affine.reshape(pulled.shape))


def preactivations(net: OpenNet, found: Substituted, bands: Bands) -> tuple[Tensor, Tensor]:
    """Preactivations and values [..., g] of the open neurons where the bound is attained.

    There every neuron is on the line that its coefficient's sign chose. The preactivations are the
    derivatives of the bound by the coefficients that are put on them (Danskin's theorem).
    """
    assert found.attained is not None
    size = found.pulled.shape[-1]
    z = found.attained.affine + net.constants[:size]
    values = torch.empty_like(z)
    for position, stage in enumerate(net.stages):
        place = net.places(stage)
        if place.start >= size:
            break
        if place.start:
            z[..., place] += values[..., : place.start] @ net.inner(position).T
        own = z[..., place]
        upper = own * bands.upper_slope[..., place] + bands.upper_intercept[..., place]
        lower = own * bands.lower_slope[..., place] + bands.lower_intercept[..., place]
        values[..., place] = torch.where(found.coefficients[..., place] >= 0, upper, lower)
    return z, values
