"""Choosing the open neurons of each box, as many places as the box with the most of them has."""

import torch
from torch import Tensor

from lipverify.interval import Interval
from lipverify.operators import Relaxation


def padded_index(chosen: Tensor) -> tuple[Tensor, Tensor]:
    """The chosen positions of each row, padded to one length: [b, size] bool -> index, valid."""
    counts = chosen.sum(1)
    longest = int(counts.max()) if counts.numel() else 0
    order = chosen.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :longest]
    return order, torch.arange(longest).unsqueeze(0) < counts.unsqueeze(1)


def fixed_factor(gate: Interval, relaxation: Relaxation) -> tuple[Tensor, Tensor]:
    """The factor of entries on which the activation is y = factor x (else 0), and which these are.

    Both the value and its derivative have to be that factor exactly.
    """
    is_fixed = (
        (gate.lower == gate.upper)
        & (relaxation.lower_slope == gate.lower)
        & (relaxation.upper_slope == gate.lower)
        & (relaxation.lower_intercept == 0)
        & (relaxation.upper_intercept == 0)
    )
    return torch.where(is_fixed, gate.lower, torch.zeros_like(gate.lower)), is_fixed


def pick_columns(columns: Tensor, index: Tensor) -> Tensor:
    """[boxes, columns, size] -> [boxes, picked, columns]."""
    spread = index.unsqueeze(1).expand(-1, columns.shape[1], -1)
    return columns.gather(2, spread).transpose(1, 2).contiguous()


def pick_interval(interval: Interval, index: Tensor) -> Interval:
    """[boxes, size] -> [boxes, picked]."""
    return Interval(interval.lower.gather(1, index), interval.upper.gather(1, index))


def masked(interval: Interval, valid: Tensor) -> Interval:
    """The interval where `valid`, and zero elsewhere: [boxes, picked]."""
    zero = torch.zeros_like(interval.lower)
    return Interval(
        torch.where(valid, interval.lower, zero), torch.where(valid, interval.upper, zero)
    )


def pick_relaxation(relaxation: Relaxation, index: Tensor, valid: Tensor) -> Relaxation:
    """[boxes, size] -> [boxes, picked], zero where not valid."""

    def pick(values: Tensor) -> Tensor:
        return torch.where(valid, values.gather(1, index), torch.zeros((), dtype=values.dtype))

    return Relaxation(
        pick(relaxation.lower_slope),
        pick(relaxation.lower_intercept),
        pick(relaxation.upper_slope),
        pick(relaxation.upper_intercept),
    )
