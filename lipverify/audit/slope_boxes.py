"""Bounds of one derivative on the boxes of many records at once, cut where they are too wide.

All boxes of a round share one batch, whatever record they are of; those that decide nothing yet are
halved along the input that gains most. A record whose boxes become too many is left to the searches
of `verify`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lipverify.audit.context import Context
from lipverify.audit.regions import Part
from lipverify.bounds.batched import (
    BatchSetting,
    BoxBounds,
    Boxes,
    Entries,
    bound_boxes,
    gate_count,
)
from lipverify.numerics import DTYPE

ROUNDS = 14
MOST_BOXES = 384
"""Of one record in a round."""


@dataclass(frozen=True)
class SlopeEnds:
    """All derivatives lie in [lower, upper], proved."""

    lower: float
    upper: float


def slope_ends(
    context: Context, index: int, sign: int, margin: float, groups: Sequence[Sequence[Part]]
) -> list[SlopeEnds]:
    """For each group of boxes, the derivative of row . graph by input `index`.

    Good enough where sign x derivative >= margin is proved. `UnsupportedOperator`, or a breakdown
    of arithmetic, where the network cannot be bounded this way.
    """
    owner = torch.tensor([place for place, parts in enumerate(groups) for _ in parts])
    every = [part for parts in groups for part in parts]
    boxes = Boxes(
        torch.stack([part.lower for part in every]), torch.stack([part.upper for part in every])
    )
    gates = gate_count(context.backward)
    expected = torch.full((len(boxes),), gates)
    lower = torch.full((len(groups),), torch.inf, dtype=DTYPE)
    upper = torch.full((len(groups),), -torch.inf, dtype=DTYPE)
    for round_ in range(ROUNDS):
        found = _bounded(context, index, sign, margin, boxes, expected)
        low, high = -found.upper[:, 0], found.upper[:, 1]
        asked = low if sign > 0 else -high
        # Written so that NaN stays open.
        left = ~(asked >= margin) & boxes.divisible().any(1) & (found.open_count > 0)
        count = torch.zeros(len(groups), dtype=torch.int64).index_add_(0, owner, left.long())
        left &= 2 * count[owner] <= MOST_BOXES
        if round_ == ROUNDS - 1:
            left[:] = False
        closed = ~left
        lower.scatter_reduce_(0, owner[closed], low[closed], "amin")
        upper.scatter_reduce_(0, owner[closed], high[closed], "amax")
        # A record with a box that is given up is open whatever else is proved.
        given_up = torch.zeros(len(groups), dtype=torch.bool)
        given_up[owner[closed & ~(asked >= margin)]] = True
        dropped = left & given_up[owner]
        lower.scatter_reduce_(0, owner[dropped], low[dropped], "amin")
        upper.scatter_reduce_(0, owner[dropped], high[dropped], "amax")
        left &= ~dropped
        if not bool(left.any()):
            break
        boxes = boxes.pick(left).halves(_cut(context, boxes.pick(left), found.gain[left]))
        owner = owner[left].repeat(2)
        expected = found.open_count[left].repeat(2)
    return [SlopeEnds(float(a), float(b)) for a, b in zip(lower, upper, strict=True)]


def _bounded(
    context: Context, index: int, sign: int, margin: float, boxes: Boxes, expected: Tensor
) -> BoxBounds:
    """Upper ends of -derivative and of derivative on each box."""
    signs = torch.tensor([-1.0, 1.0], dtype=DTYPE)
    entries = Entries(context.backward, context.target.row, torch.tensor([index, index]), signs)
    infinite = torch.full((len(boxes), 2), torch.inf, dtype=DTYPE)
    enough = torch.tensor([-margin, torch.inf] if sign > 0 else [torch.inf, -margin], dtype=DTYPE)
    setting = BatchSetting(context.backward, memory=context.config.memory)
    return bound_boxes(setting, entries, boxes, infinite, enough, expected)


def _cut(context: Context, boxes: Boxes, gain: Tensor) -> Tensor:
    """The input to halve each box along [boxes]: that with the largest gain, if one is known."""
    possible = boxes.divisible()
    gain = torch.where(possible, gain, -1.0)
    widths = torch.where(possible, boxes.width / context.widths, -1.0)
    return torch.where(gain.amax(1) > 0, gain.argmax(1), widths.argmax(1))
