"""One query at its root: stages in turn, cheap ones first, until the question is decided.

Every function returns Unknown unless an explicit condition earned more. A forced stop before the
first proved number is Unknown; after it, the numbers proved so far are kept.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lipverify.bounds.effort import Effort
from lipverify.bounds.jacobian import JacobianBounds
from lipverify.bounds.methods import STAGES, Setting
from lipverify.bounds.preactivation import Preactivations, forward_upper
from lipverify.errors import InvertedInterval, NumericalFailure, OutOfDomain
from lipverify.norms import AbstractNorm, norm_named, operator_norm
from lipverify.numerics import add_down, add_up, gamma
from lipverify.operators.gate import relax_chords
from lipverify.query import NormQuery, OutputQuery, SlopeQuery
from lipverify.search.budget import Clock, Note
from lipverify.search.estimates import stage_stop
from lipverify.search.job import TOO_LOOSE, Stop, timeout
from lipverify.verdict import Reason

SIGN_ROWS = 5
"""Up to this many rows, an l1 output norm is bounded through all of its 2^(r-1) sign vectors."""

BREAKDOWNS = (NumericalFailure, OutOfDomain, InvertedInterval)
"""What arithmetic can raise on the way to a bound; it ends a stage, never a run."""


@dataclass(frozen=True, eq=False)
class NormBound:
    """A proved upper end of an operator norm (inf: none), the stage that gave it, why it ended."""

    upper: float
    stage: str
    stop: Stop | None
    known: JacobianBounds | None = None
    """Everything that the stages proved of the rows."""


def norm_upper(
    setting: Setting,
    query: NormQuery,
    stages: tuple[str, ...],
    lower: float,
    clock: Clock,
    note: Note,
    start: NormBound | None = None,
) -> NormBound:
    """The best proved upper end of `query`, given its attained `lower` end; `start` is known."""
    best = start or NormBound(float("inf"), "none", None)

    def decided() -> bool:
        if query.threshold is not None:
            return best.upper <= query.threshold or lower > query.threshold
        return query.gap is not None and best.upper <= lower * (1 + query.gap)

    by_signs = query.output_norm.name == "1" and 1 < len(query.rows) <= SIGN_ROWS
    signed = sign_rows(query.rows) if by_signs else None
    known = best.known
    known_signs: JacobianBounds | None = None
    effort = Effort(clock.expired, _enough(query, lower), norms_only=True)
    skipped: Stop | None = None
    for name in stages:
        if clock.expired():
            return NormBound(best.upper, best.stage, timeout(clock), known)
        left_out = stage_stop(setting, name, clock)
        if left_out is not None:
            skipped = left_out
            note(name, lower, best.upper, detail=f"left out: {left_out.detail}")
            continue
        stage = STAGES[name]
        try:
            known = stage(setting, query.rows, query.input_norm, known, effort)
            upper = operator_norm.upper(known.elements, query.input_norm, query.output_norm)
            rows = known.row_norm(query.input_norm.dual)
            upper = min(upper, operator_norm.from_rows(rows, query.output_norm))
            if known.joint is not None and query.input_norm.name == query.output_norm.name == "2":
                upper = min(upper, known.joint)
            if signed is not None:
                known_signs = stage(setting, signed, query.input_norm, known_signs, effort)
                upper = min(upper, _largest(known_signs, query.input_norm))
        except BREAKDOWNS as error:
            return NormBound(best.upper, best.stage, Stop(Reason.NUMERICS, str(error)), known)
        if upper < best.upper:
            best = NormBound(upper, name, None)
        note(name, lower, best.upper)
        if decided():
            return NormBound(best.upper, best.stage, None, known)
    return NormBound(best.upper, best.stage, skipped or TOO_LOOSE, known)


def _enough(query: NormQuery, lower: float) -> float:
    """What a row's norm need not be proved to be below; -inf where rows add up."""
    if query.output_norm.name != "inf":
        return float("-inf")
    if query.threshold is not None:
        return query.threshold
    return lower * (1 + (query.gap or 0.0))


@dataclass(frozen=True, eq=False)
class SlopeBounds:
    """Proved two-sided bounds of each asked derivative, [k] each."""

    lower: Tensor
    upper: Tensor
    stage: str
    stop: Stop | None
    known: JacobianBounds | None = None
    """Everything that the stages proved of the row."""


def slope_bounds(
    setting: Setting,
    query: SlopeQuery,
    stages: tuple[str, ...],
    clock: Clock,
    note: Note,
    start: SlopeBounds | None = None,
) -> SlopeBounds:
    """Bounds of the derivatives that `query` asks about, until all are within the threshold.

    `start` is known from other stages.
    """
    norm = norm_named("1")  # its dual is the largest entry: no objective beside the elements
    index = torch.tensor(query.indices)
    signs = torch.tensor(query.signs, dtype=torch.float64)
    infinite = torch.full((len(query.indices),), torch.inf, dtype=torch.float64)
    best = start or SlopeBounds(-infinite, infinite, "none", None)
    known = best.known
    effort = Effort(clock.expired)
    skipped: Stop | None = None
    for name in stages:
        if clock.expired():
            return replace(best, stop=timeout(clock))
        left_out = stage_stop(setting, name, clock)
        if left_out is not None:
            skipped = left_out
            note(name, None, None, detail=f"left out: {left_out.detail}")
            continue
        try:
            known = STAGES[name](setting, query.row, norm, known, effort)
        except BREAKDOWNS as error:
            return replace(best, stop=Stop(Reason.NUMERICS, str(error)))
        lower = torch.maximum(known.elements.lower[0, index], best.lower)
        upper = torch.minimum(known.elements.upper[0, index], best.upper)
        best = SlopeBounds(lower, upper, name, None, known)
        worst = torch.where(signs > 0, upper, -lower)
        note(name, float(lower.min()), float(upper.max()))
        if bool((worst <= query.threshold).all()):
            return best
    return replace(best, stop=skipped or TOO_LOOSE)


@dataclass(frozen=True, eq=False)
class OutputBounds:
    """Proved upper ends of rows . f, [k]."""

    upper: Tensor
    stage: str
    stop: Stop | None


def output_upper(
    setting: Setting,
    query: OutputQuery,
    stages: tuple[str, ...],
    clock: Clock,
    note: Note,
    start: OutputBounds | None = None,
) -> OutputBounds:
    """Upper ends of rows . f(x) over the region, until all are within the threshold.

    `start` is known from other stages.
    """
    forward = setting.network.graph
    infinite = torch.full((len(query.rows),), torch.inf, dtype=torch.float64)
    best = start or OutputBounds(infinite, "none", None)
    objective = query.rows.reshape(len(query.rows), 1, *forward.output_shape)
    skipped: Stop | None = None
    for name, bound in _output_stages(setting, objective, stages):
        if clock.expired():
            return OutputBounds(best.upper, best.stage, timeout(clock))
        left_out = stage_stop(setting, name, clock)
        if left_out is not None:
            skipped = left_out
            note(name, -float(best.upper.max()), None, detail=f"left out: {left_out.detail}")
            continue
        try:
            upper = torch.minimum(best.upper, bound())
        except BREAKDOWNS as error:
            return OutputBounds(best.upper, best.stage, Stop(Reason.NUMERICS, str(error)))
        best = OutputBounds(upper, name, None)
        note(name, -float(upper.max()), None)
        if satisfied(upper, query):
            return best
    return OutputBounds(best.upper, best.stage, skipped or TOO_LOOSE)


def satisfied(upper: Tensor, query: OutputQuery) -> bool:
    """Whether proved upper ends prove the query. Written so that NaN fails it."""
    within = upper < query.threshold if query.strict else upper <= query.threshold
    return bool(within.all())


def _output_stages(
    setting: Setting, objective: Tensor, names: tuple[str, ...]
) -> list[tuple[str, Callable[[], Tensor]]]:
    """Forward bounds that match a method's stages: intervals, CROWN, alpha-CROWN."""
    forward = setting.network.graph
    problem = setting.forward_problem

    def by_interval() -> Tensor:
        value = setting.interval_preactivations[forward.output]
        center = (objective * value.center).flatten(2).sum(-1)
        radius = (objective.abs() * value.radius).flatten(2).sum(-1)
        reach = (objective.abs() * value.magnitude).flatten(2).sum(-1)
        slack = 2 * gamma(objective[0].numel() + 8) * reach
        return (center + radius + slack).squeeze(1)

    def by_crown() -> Tensor:
        return _forward(setting.crown_preactivations, alpha=False)

    def by_alpha_crown() -> Tensor:
        return _forward(setting.alpha_preactivations, alpha=True)

    def _forward(preactivations: Preactivations, *, alpha: bool) -> Tensor:
        engine = setting.alpha_engine if alpha else setting.native_engine(relax_chords)
        return forward_upper(problem, engine, forward.output, objective, preactivations)

    kinds: dict[str, tuple[str, Callable[[], Tensor]]] = {
        "interval": ("interval", by_interval),
        "mean-split": ("CROWN", by_crown),
        "norm product": ("CROWN", by_crown),
        "recurjac": ("CROWN", by_crown),
        "linear (CROWN)": ("CROWN", by_crown),
        "linear (alpha-CROWN)": ("alpha-CROWN", by_alpha_crown),
        "linear (optimised gates)": ("alpha-CROWN", by_alpha_crown),
    }
    stages: dict[str, Callable[[], Tensor]] = {}
    for name in names:
        label, bound = kinds[name]
        stages.setdefault(label, bound)
    return list(stages.items())


def sign_rows(rows: Tensor) -> Tensor | None:
    """s rows for all sign vectors s up to a common sign; None where a float sum is inexact.

    [r, m] -> [2^(r-1), m]. Bounds of rounded combinations would be about others than those asked.
    """
    total = rows[:1]
    for row in rows[1:]:
        twice = torch.cat([total, total])
        signed = torch.cat([row.expand_as(total), -row.expand_as(total)])
        total = add_up(twice, signed)
        if not bool((total == add_down(twice, signed)).all()):
            return None
    return total


def _largest(bounds: JacobianBounds, input_norm: AbstractNorm) -> float:
    return operator_norm.from_rows(bounds.row_norm(input_norm.dual), norm_named("inf"))
