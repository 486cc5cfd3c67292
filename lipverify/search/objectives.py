"""A norm as the maximum of objectives, for searches that bound one of them at a time."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lipverify.bounds.jacobian import JacobianBounds
from lipverify.interval import Interval
from lipverify.norms import operator_norm
from lipverify.query import NormQuery
from lipverify.search.gate_split import Objective
from lipverify.search.ladder import SIGN_ROWS, sign_rows


@dataclass(frozen=True, eq=False)
class NormPlan:
    """Objectives with their root uppers; `rest` is proved for all that is left out.

    `signed`: the rows are sign combinations of the query's.
    """

    rows: Tensor
    objectives: tuple[Objective, ...]
    uppers: tuple[float, ...]
    rest: float
    signed: bool = False

    @property
    def on_rows(self) -> bool:
        """Whether each objective is about one row."""
        return all(objective.row is not None for objective in self.objectives)


def norm_plan(query: NormQuery, known: JacobianBounds, target: float) -> NormPlan:
    """Objectives whose maximum is the norm.

    The largest row norm (output norm inf, or one row), over sign vectors c of few rows (output
    norm 1), and for input norm 1 the largest entry, or norm of a column. Else one objective in
    which c is a variable.
    """
    rows = query.rows
    by_rows = len(rows) == 1 or query.output_norm.name == "inf"
    if query.input_norm.name == "1":
        return _entries(rows, known, target) if by_rows else _columns(query, known, target)
    if by_rows:
        uppers = known.row_norm(query.input_norm.dual) * (1 + 1e-12)
    elif query.output_norm.name == "1" and len(rows) <= SIGN_ROWS:
        signed = sign_rows(rows)
        if signed is None:
            return NormPlan(rows, (Objective(None),), (float("inf"),), 0.0)
        rows = signed
        uppers = torch.full((len(rows),), float("inf"), dtype=rows.dtype)
    else:
        return NormPlan(rows, (Objective(None),), (float("inf"),), 0.0)
    wanted = (uppers > target).nonzero().flatten().tolist()
    rest = uppers[uppers <= target]
    return NormPlan(
        rows,
        tuple(Objective(row) for row in wanted),
        tuple(float(uppers[row]) for row in wanted),
        float(rest.max()) if rest.numel() else 0.0,
        rows is not query.rows,
    )


def _entries(rows: Tensor, known: JacobianBounds, target: float) -> NormPlan:
    objectives, uppers, rest = [], [], 0.0
    ends = {1.0: known.elements.upper, -1.0: -known.elements.lower}
    for sign, end in ends.items():
        wanted = end > target
        # Also of an entry whose other end is searched: this end is left as it is.
        rest = max(rest, float(end[~wanted].max()) if bool((~wanted).any()) else 0.0)
        for row, column in wanted.nonzero().tolist():
            direction = torch.zeros(end.shape[1], dtype=torch.float64)
            direction[column] = sign
            objectives.append(Objective(row, direction))
            uppers.append(float(end[row, column]))
    return NormPlan(rows, tuple(objectives), tuple(uppers), rest)


def _columns(query: NormQuery, known: JacobianBounds, target: float) -> NormPlan:
    """The largest output norm of a column: one objective per input."""
    columns = Interval(known.elements.lower.T.unsqueeze(-1), known.elements.upper.T.unsqueeze(-1))
    uppers = operator_norm.uppers(columns, query.input_norm, query.output_norm)
    objectives, wanted = [], (uppers > target).nonzero().flatten().tolist()
    for column in wanted:
        direction = torch.zeros(len(uppers), dtype=torch.float64)
        direction[column] = 1.0
        objectives.append(Objective(None, direction))
    rest = uppers[uppers <= target]
    return NormPlan(
        query.rows,
        tuple(objectives),
        tuple(float(uppers[column]) for column in wanted),
        float(rest.max()) if rest.numel() else 0.0,
    )
