"""What every solver of mixed-integer programs has to offer."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lipverify.milp.certificate import lp_upper
from lipverify.milp.escape import objective_range, with_escape
from lipverify.milp.model import MilpModel
from lipverify.milp.prepare import Prepared, prepare
from lipverify.milp.status import MilpResult, MilpStatus

DEFAULT_GAP = 1e-6
"""Relative distance of bound and incumbent at which a solver may stop."""
ESCAPE_SLACKS = 2.0
"""Distance of an escape's value below the cutoff, in slacks and in smallest gaps; above 1."""


@dataclass(frozen=True)
class Limits:
    """When a solver has to stop; in the units of the model that it is given."""

    time: float | None
    """Seconds, > 0; None is no limit."""
    seed: int
    cutoff: float | None
    """Stop as soon as the dual bound is at or below it; without the model's offset."""
    gap: float
    nodes: int | None = None
    """Branch-and-bound nodes; None is no limit."""
    watch: Callable[[float], None] | None = None
    """Told the dual bound now and then, while a mixed-integer program runs."""


@dataclass(frozen=True, eq=False)
class Raw:
    """A solver's answer about the prepared model, without its offset, in our vocabulary."""

    status: MilpStatus
    bound: float
    """The solver's dual bound, as reported; only read where the status allows it."""
    incumbent: float | None
    point: NDArray | None
    multipliers: NDArray | None
    """Row duals [rows] of a linear program, of either sign convention; None for others."""
    nodes: int


class AbstractMilpBackend(ABC):
    """One solver. Importing it costs nothing: the package behind it is loaded at the first use."""

    name: ClassVar[str]

    @abstractmethod
    def require(self) -> None:
        """`MissingDependency` where the package is missing or does not start."""

    @abstractmethod
    def run(self, prepared: Prepared, limits: Limits) -> Raw:
        """Maximise the prepared model on one thread. `MissingDependency` without the package."""

    def solve(
        self,
        model: MilpModel,
        time_limit: float | None,
        seed: int,
        cutoff: float | None = None,
        gap: float | None = None,
        nodes: int | None = None,
        watch: Callable[[float], None] | None = None,
    ) -> MilpResult:
        """An upper end of the maximum of `model`, within `time_limit` seconds (None: no limit).

        `cutoff`: values at or below it are of no interest; the run ends with status CUTOFF once the
        bound is there, and does not look further down. `gap`: relative gap at which it may stop
        (default `DEFAULT_GAP`). `nodes`: a limit of its branch and bound. `watch` is told the
        proved bound so far, now and then. The bound is valid whatever made the run stop. Without
        integer variables it is proved by `lp_upper`; otherwise see `prepare.py` for what it rests
        on.
        """
        started = time.monotonic()
        if time_limit is not None and not time_limit > 0:
            return MilpResult(MilpStatus.TIME_LIMIT, np.inf, None, None, 0.0, 0)
        if model.rows == 0 and model.is_linear:
            return _without_rows(model)
        if cutoff is not None:
            boxed = lp_upper(model, np.zeros(model.rows))
            if boxed <= cutoff:
                return MilpResult(MilpStatus.CUTOFF, boxed, None, None, 0.0, 0)
        prepared = _prepared(model, cutoff)

        def tell(raw_bound: float) -> None:
            if watch is not None and np.isfinite(raw_bound):
                watch(prepared.outward(raw_bound + prepared.model.offset))

        limits = _limits(prepared, time_limit, seed, cutoff, gap)
        raw = self.run(prepared, replace(limits, nodes=nodes, watch=tell))
        bound = _bound(prepared, raw)
        point = None
        if raw.point is not None:
            point = (raw.point * prepared.variables)[: model.columns]
        return MilpResult(
            MilpStatus.CUTOFF if cutoff is not None and bound <= cutoff else raw.status,
            bound,
            None if point is None else float(model.objective @ point) + model.offset,
            point,
            time.monotonic() - started,
            raw.nodes,
        )


def _without_rows(model: MilpModel) -> MilpResult:
    """Every variable at the better end of its range: no solver is needed."""
    point = np.where(model.objective > 0, model.upper, model.lower)
    bound = lp_upper(model, np.zeros(0))
    value = float(model.objective @ point) + model.offset
    return MilpResult(MilpStatus.OPTIMAL, bound, value, point, 0.0, 0)


def _prepared(model: MilpModel, cutoff: float | None) -> Prepared:
    """The scaled model; with an escape where the cutoff lies in the objective's range.

    The escape's value is below the cutoff by more than the bound's slack and the smallest gap, so
    that a bound that has come down to it is at or below the cutoff.
    """
    prepared = prepare(model)
    if cutoff is None or model.is_linear:
        return prepared
    ends = objective_range(model)
    if not ends.least < cutoff < ends.most:
        return prepared
    slack = ESCAPE_SLACKS * _slack(prepare(with_escape(model, cutoff)), cutoff)
    value = cutoff - slack - ESCAPE_SLACKS * DEFAULT_GAP * abs(cutoff)
    return prepare(with_escape(model, value)) if value > ends.least else prepared


def _limits(
    prepared: Prepared, time_limit: float | None, seed: int, cutoff: float | None, gap: float | None
) -> Limits:
    """The limits in the scaled model's units; the cutoff such that the slack fits below it."""
    stop = None
    if cutoff is not None:
        stop = (cutoff - _slack(prepared, cutoff)) / prepared.objective - prepared.model.offset
    return Limits(time_limit, seed, stop, DEFAULT_GAP if gap is None else gap)


def _slack(prepared: Prepared, value: float) -> float:
    """About what is added to a bound of that value; only decides when to stop."""
    return (prepared.outward(value / prepared.objective) - value) * (1 + 1e-6)


def _bound(prepared: Prepared, raw: Raw) -> float:
    if prepared.model.is_linear:
        if raw.multipliers is None:
            return np.inf
        both = [lp_upper(prepared.model, sign * raw.multipliers) for sign in (1.0, -1.0)]
        return min(both) * prepared.objective
    if not raw.status.has_bound or not np.isfinite(raw.bound):
        return np.inf
    # An incumbent above the dual bound shows the solver's inexactness: it may only weaken.
    bound = raw.bound if raw.incumbent is None else max(raw.bound, raw.incumbent)
    return prepared.outward(bound + prepared.model.offset)
