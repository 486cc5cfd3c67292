"""The normal form of every question: prove objective <= threshold on a region.

Signs are flipped here and nowhere else.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lipverify.norms import AbstractNorm
from lipverify.query_output import Clause
from lipverify.spec.property import Lipschitz, Monotonicity, Robustness


@dataclass(frozen=True, eq=False)
class NormQuery:
    """The operator norm of rows J(x), rows [r, m], is at most `threshold` (None: how large?)."""

    rows: Tensor
    input_norm: AbstractNorm
    output_norm: AbstractNorm
    threshold: float | None
    gap: float | None


@dataclass(frozen=True, eq=False)
class SlopeQuery:
    """sign_k d(row . f)/d x_(index_k) <= threshold, for every k; row [1, m]."""

    row: Tensor
    indices: tuple[int, ...]
    signs: tuple[int, ...]
    threshold: float


@dataclass(frozen=True, eq=False)
class OutputQuery:
    """rows . f(x) <= threshold for every row [k, m]; with `strict`, < threshold."""

    rows: Tensor
    threshold: float
    strict: bool


def norm_query(prop: Lipschitz) -> NormQuery:
    rows = torch.tensor(prop.rows, dtype=torch.float64)
    return NormQuery(rows, prop.input_norm, prop.output_norm, prop.at_most, prop.gap)


def slope_query(prop: Monotonicity) -> SlopeQuery:
    """Increasing: d >= margin is -d <= -margin. Decreasing: d <= -margin as it is."""
    indices = (*prop.increasing, *prop.decreasing)
    signs = (*(-1 for _ in prop.increasing), *(1 for _ in prop.decreasing))
    row = torch.tensor([prop.weights], dtype=torch.float64)
    return SlopeQuery(row, indices, signs, -prop.margin)


def output_query(prop: Robustness, label: int, outputs: int) -> OutputQuery:
    """f_j - f_label <= -margin for every j other than the label (< 0 for margin 0)."""
    others = [j for j in range(outputs) if j != label]
    rows = torch.zeros(len(others), outputs, dtype=torch.float64)
    rows[torch.arange(len(others)), others] = 1.0
    rows[:, label] -= 1.0
    return OutputQuery(rows, 0.0 - prop.margin, strict=prop.margin == 0.0)


def violations(query: OutputQuery) -> tuple[Clause, ...]:
    """What may not be, one clause per row: row . f > threshold, or >= where `strict`.

    A clause's depth is row . f - threshold.
    """
    offset = torch.tensor([query.threshold], dtype=torch.float64)
    open_end = torch.tensor([not query.strict])
    return tuple(Clause(-row.unsqueeze(0), offset, open_end) for row in query.rows)
