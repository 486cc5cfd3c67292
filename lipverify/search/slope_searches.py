"""The searches for the sign of one derivative, by the names of `choices`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lipverify.bounds.jacobian import JacobianBounds
from lipverify.bounds.line import LineAnswer, decide_line, walk_line
from lipverify.errors import UnsupportedOperator
from lipverify.norms import norm_named
from lipverify.query import SlopeQuery
from lipverify.search.branching import branching_named
from lipverify.search.choices import (
    Choice,
    best_preactivations,
    gate_stage,
    late_stages,
    seconds_of,
    too_many_gates,
)
from lipverify.search.exact import MilpBudget, milp_slope, milp_stage, size_of, too_large
from lipverify.search.gate_loop import GateLoop, Waiting, search
from lipverify.search.gate_split import GateSearch, Objective
from lipverify.search.input_split import NAME as INPUT_SPLITS
from lipverify.search.input_split import slope_search
from lipverify.search.job import TOO_LOOSE, Job, Stop
from lipverify.search.ladder import BREAKDOWNS, SlopeBounds, slope_bounds
from lipverify.search.pairs import Violation, pair_on_line, violating_pair
from lipverify.verdict import Counterexample, Reason

LINE = "line walk"


@dataclass(frozen=True, eq=False)
class Slope:
    """What is known of one asked derivative: number `which` of the query.

    `lower` and `upper` bound it; `stage` proved them; `stop` is why the last work on it ended
    without deciding; `violation` is what the search for a pair gave.
    """

    query: SlopeQuery
    which: int
    name: str
    lower: float
    upper: float
    stage: str
    stop: Stop | None
    violation: Violation = None
    known: JacobianBounds | None = None

    @property
    def index(self) -> int:
        return self.query.indices[self.which]

    @property
    def sign(self) -> int:
        return self.query.signs[self.which]

    @property
    def worst(self) -> float:
        """The proved upper end of sign d, which has to be at most the threshold."""
        return self.upper if self.sign > 0 else -self.lower

    @property
    def proved(self) -> bool:
        return self.worst <= self.query.threshold

    @property
    def decided(self) -> bool:
        return self.proved or isinstance(self.violation, Counterexample)

    def bounded(self, stage: str, worst: float, stop: Stop | None) -> "Slope":
        """With a proved upper end of sign d, which may be no better than what is known."""
        if not worst < self.worst:
            return replace(self, stop=stop)
        lower, upper = self.lower, self.upper
        if self.sign > 0:
            upper = max(worst, lower)
        else:
            lower = min(-worst, upper)
        return replace(self, lower=lower, upper=upper, stage=stage, stop=stop)

    def met(self, other: "Slope") -> "Slope":
        """What either knows; of the rest, what the newer `other` says."""
        lower, upper = max(self.lower, other.lower), min(self.upper, other.upper)
        if not lower <= upper:  # only rounding can make them cross
            lower, upper = other.lower, other.upper
        stage = self.stage if self.worst < other.worst else other.stage
        return replace(other, lower=lower, upper=upper, stage=stage, violation=self.violation)

    def seen(self, violation: Violation) -> "Slope":
        """With a pair, if there was none that is as good."""
        better = isinstance(violation, Counterexample) or self.violation is None
        return replace(self, violation=violation) if better else self

    def ends(self, worst: float) -> tuple[float, float]:
        """Lower and upper end with `worst` on the asked side."""
        worst = min(worst, self.worst)
        return (self.lower, worst) if self.sign > 0 else (-worst, self.upper)


SlopeSearch = Callable[[Job, Slope, Choice, int | None], tuple[Slope, int]]
"""(job, what is known, choice, most subproblems) -> what is known then, subproblems bounded."""


def by_late_stages(job: Job, slope: Slope, choice: Choice, limit: int | None) -> tuple[Slope, int]:
    """The stages of the ladder that cost more than some searches."""
    single = _single(slope)
    known = slope.known
    start = SlopeBounds(_tensor(slope.lower), _tensor(slope.upper), slope.stage, None, known)
    late = late_stages(job)
    found = slope_bounds(job.setting, single, late, job.clock, job.note, start)
    ends = float(found.lower), float(found.upper)
    found_slope = replace(slope, lower=ends[0], upper=ends[1], known=found.known, stop=found.stop)
    return replace(found_slope, stage=found.stage), 0


def by_program(job: Job, slope: Slope, choice: Choice, limit: int | None) -> tuple[Slope, int]:
    """One mixed-integer program; its points are tried as violations."""
    preactivations = best_preactivations(job, choice)
    stop = too_large(job, size_of(job, preactivations, 0))
    if stop is not None:
        return replace(slope, stop=stop), 0
    stage = milp_stage(job)
    label = f"{stage}: {slope.name}"

    def watch(worst: float) -> None:
        job.note(label, *slope.ends(worst), 1, choice.why)

    watch(slope.worst)
    found = milp_slope(
        job,
        slope.query.row,
        (slope.index, slope.sign),
        preactivations,
        slope.known,
        slope.query.threshold,
        MilpBudget(seconds_of(job, choice), limit),
        watch,
    )
    slope = slope.bounded(stage, float(found.upper), found.stop or TOO_LOOSE)
    job.note(label, slope.lower, slope.upper, found.nodes, choice.why)
    if not slope.proved and len(found.points):
        slope = slope.seen(violating_pair(job, slope.query, slope.which, found.points))
    return slope, found.nodes


def by_inputs(job: Job, slope: Slope, choice: Choice, limit: int | None) -> tuple[Slope, int]:
    """Branch and bound over the inputs; what it finds to violate is tried."""
    label = f"{INPUT_SPLITS}: {slope.name}"

    def note(stage: str, lower: float | None, upper: float | None, subproblems: int) -> None:
        worst = slope.worst if upper is None else upper
        job.note(label, *slope.ends(worst), subproblems, choice.why)

    found = slope_search(
        job.setting,
        _single(slope),
        _tensor(slope.worst),
        job.clock,
        note,
        limit,
        job.config.seed,
        job.slot(f"input splits {slope.which}"),
    )
    slope = slope.bounded(INPUT_SPLITS, float(found.upper), found.stop)
    point = found.candidates[0]
    if point is not None and not slope.proved:
        slope = slope.seen(violating_pair(job, slope.query, slope.which, point.unsqueeze(0)))
    return slope, found.subproblems


def by_gates(job: Job, slope: Slope, choice: Choice, limit: int | None) -> tuple[Slope, int]:
    """Quadratic dual and branch and bound over gates; points of leaves are tried."""
    stop = too_many_gates(job, 0)
    if stop is not None:
        return replace(slope, stop=stop), 0
    threshold = slope.query.threshold
    direction = torch.zeros(job.region.size, dtype=torch.float64)
    direction[slope.index] = float(slope.sign)
    objective = Objective(0, direction)
    task = GateSearch(
        job.setting, slope.query.row, (objective,), norm_named("1"), job.config.quadratic
    )
    pairs: list[Violation] = []

    def target() -> float:
        found = pairs and isinstance(pairs[-1], Counterexample)
        return float("inf") if found else threshold

    def visit(point: Tensor) -> bool:
        if target() == threshold:
            pair = violating_pair(job, slope.query, slope.which, point.unsqueeze(0))
            pairs.extend([pair] if pair is not None else [])
        return target() > threshold

    def note(worst: float, count: int) -> None:
        job.note(f"{gate_stage(count)}: {slope.name}", *slope.ends(worst), count, choice.why)

    outcome = search(
        GateLoop(
            task,
            (Waiting(0, job.setting.alpha_preactivations, slope.worst),),
            branching_named(job.config.branching),
            target,
            visit,
            note,
            job.clock,
            choice.most(limit),
        ),
        job.slot(f"gate splits {slope.which}"),
    )
    stage = gate_stage(outcome.subproblems)
    slope = slope.bounded(stage, outcome.upper, outcome.stop or slope.stop)
    return slope.seen(pairs[-1]) if pairs else slope, outcome.subproblems


SLOPE_SEARCHES: Mapping[str, SlopeSearch] = {
    "late": by_late_stages,
    "milp": by_program,
    "inputs": by_inputs,
    "gates": by_gates,
}


def moving_input(job: Job) -> int | None:
    """The only input that the region moves; None if it moves several, or none."""
    moving = (job.region.bounding.width > 0).nonzero().flatten().tolist()
    return moving[0] if len(moving) == 1 else None


def by_line(job: Job, slope: Slope) -> Slope:
    """The derivative along the only line that the region has, exactly where it can be walked.

    It is that of the network on the line: what its derivative is beside the line, where the region
    is not, does not count.
    """
    box = job.region.bounding
    low, high = float(box.lower[slope.index]), float(box.upper[slope.index])
    point = job.region.center
    why = "only this input moves"
    try:
        pieces = walk_line(job.network.graph, point, slope.index, low, high, slope.query.row)
    except UnsupportedOperator as error:
        return replace(slope, stop=Stop(Reason.UNSUPPORTED, str(error)))
    except BREAKDOWNS as error:
        return replace(slope, stop=Stop(Reason.NUMERICS, str(error)))
    decision = decide_line(pieces, slope.sign, slope.query.threshold)
    lower = float(pieces.slopes.lower[:, 0].min())
    upper = float(pieces.slopes.upper[:, 0].max())
    slope = replace(slope, lower=lower, upper=upper, stage=LINE, stop=TOO_LOOSE)
    job.note(f"{LINE}: {slope.name}", lower, upper, len(pieces.start), why)
    if decision.answer is LineAnswer.VIOLATED:
        slope = slope.seen(pair_on_line(job, slope.query, slope.which, point, pieces))
    return slope


def _single(slope: Slope) -> SlopeQuery:
    query = slope.query
    return SlopeQuery(query.row, (slope.index,), (slope.sign,), query.threshold)


def _tensor(value: float) -> Tensor:
    return torch.full((1,), value, dtype=torch.float64)


__all__ = ["SLOPE_SEARCHES", "Slope", "by_line", "moving_input"]
