"""Robustness: attack first, then bounds of all margins at once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lipverify import confirm
from lipverify.confirm import Unconfirmed
from lipverify.evidence import Bound
from lipverify.graph import output
from lipverify.numerics import add_up
from lipverify.query import OutputQuery, output_query, violations
from lipverify.query_output import OutputQuery as UnsafeQuery
from lipverify.search.budget import points_clock
from lipverify.search.choices import Choice, best_preactivations, output_choices, seconds_of
from lipverify.search.exact import (
    MilpBudget,
    milp_output,
    milp_stage,
    not_offered,
    size_of,
    too_large,
)
from lipverify.search.input_split import NAME as INPUT_SPLITS
from lipverify.search.input_split import output_search
from lipverify.search.job import TOO_LOOSE, Decision, Job, timeout
from lipverify.search.ladder import OutputBounds, output_upper, satisfied
from lipverify.search.neuron_split import NAME as NEURON_SPLITS
from lipverify.search.neuron_split import neuron_search
from lipverify.search.rational import NAME as EXACT
from lipverify.search.rational import RationalSearch
from lipverify.search.unsafe_goal import UnsafeGoal, touching
from lipverify.spec.property import Robustness
from lipverify.verdict import Counterexample, Falsified, Verdict, Verified
from lipverify.witness import search_output


@dataclass(frozen=True, eq=False)
class Margins:
    """`bounds` of rows . f, the smallest margin attained, and what violations were found."""

    bounds: OutputBounds
    attained: float
    found: Counterexample | Unconfirmed | None
    by: str = "attack"
    """What found the violation."""

    def seen(self, job: Job, query: OutputQuery, points: Tensor, by: str) -> "Margins":
        """With the outputs at points [k, n] of the region."""
        if not len(points):
            return self
        values = output(job.network.graph, points) @ query.rows.T
        attained = min(self.attained, -float(values.max()))
        found = confirm.confirm_output(job.network, job.region, query, points)
        if isinstance(found, Counterexample) or (found is not None and self.found is None):
            return replace(self, attained=attained, found=found, by=by)
        return replace(self, attained=attained)


def decide_robustness(job: Job, prop: Robustness) -> Decision:
    """The bound is of the smallest margin: proved from below, attained from above."""
    query = output_query(prop, _label(job, prop), job.network.graph.output_size)
    if job.method.searches == ("milp",):
        refused = not_offered(job)
        if refused is not None:
            return Decision(refused.verdict, "none", subproblems=0)
    candidates = search_output(
        job.network.graph,
        job.region,
        query,
        job.config.witness,
        job.config.seed,
        points_clock(job.clock).expired,
    )
    infinite = torch.full((len(query.rows),), torch.inf, dtype=torch.float64)
    margins = Margins(OutputBounds(infinite, "none", None), float("inf"), None)
    margins = margins.seen(job, query, candidates, "attack")
    job.note("attack", None, margins.attained)
    subproblems = 1
    if not isinstance(margins.found, Counterexample):
        bounds = output_upper(job.setting, query, job.method.stages, job.clock, job.note)
        margins, subproblems = _search(job, query, replace(margins, bounds=bounds))
    bounds = margins.bounds
    bound = Bound(-float(bounds.upper.max()), margins.attained)
    if isinstance(margins.found, Counterexample):
        return Decision(Falsified(margins.found), margins.by, bound, subproblems=subproblems)
    verdict: Verdict = (bounds.stop or TOO_LOOSE).verdict
    if satisfied(bounds.upper, query):
        verdict = Verified()
    elif margins.found is not None:
        verdict = margins.found.verdict
    return Decision(verdict, bounds.stage, bound, subproblems=subproblems)


def _label(job: Job, prop: Robustness) -> int:
    if prop.label is not None:
        return prop.label
    return int(job.network.original(job.region.center.unsqueeze(0))[0].argmax())


def _search(job: Job, query: OutputQuery, margins: Margins) -> tuple[Margins, int]:
    """The searches that fit, one after the other, until all margins are decided."""
    subproblems = 1
    for choice in () if satisfied(margins.bounds.upper, query) else output_choices(job):
        if job.clock.expired():
            stopped = replace(margins.bounds, stop=timeout(job.clock))
            return replace(margins, bounds=stopped), subproblems
        most = job.config.max_subproblems
        limit = None if most is None else max(1, most - subproblems + 1)
        margins, count = _OUTPUT_SEARCHES[choice.search](job, query, margins, choice, limit)
        subproblems += max(0, count - 1)
        decided = satisfied(margins.bounds.upper, query)
        # Exact arithmetic has the last word.
        if decided or isinstance(margins.found, Counterexample) or margins.by == EXACT:
            break
    return margins, subproblems


def _by_late_stages(
    job: Job, query: OutputQuery, margins: Margins, choice: Choice, limit: int | None
) -> tuple[Margins, int]:
    late = job.method.late
    bounds = output_upper(job.setting, query, late, job.clock, job.note, margins.bounds)
    return replace(margins, bounds=bounds), 0


def _by_program(
    job: Job, query: OutputQuery, margins: Margins, choice: Choice, limit: int | None
) -> tuple[Margins, int]:
    preactivations = best_preactivations(job, choice)
    bounds = margins.bounds
    stop = too_large(job, size_of(job, preactivations, 0))
    if stop is not None:
        return replace(margins, bounds=replace(bounds, stop=stop)), 0
    stage = milp_stage(job)

    def watch(upper: float) -> None:
        upper = min(upper, float(bounds.upper.max()))
        job.note(stage, -upper, margins.attained, 1, choice.why)

    watch(torch.inf)
    level = torch.tensor(query.threshold, dtype=torch.float64)
    if query.strict:
        level = torch.nextafter(level, torch.full_like(level, -torch.inf))
    # Written so that NaN is wanted.
    wanted = (~(bounds.upper <= level)).nonzero().flatten()
    found = milp_output(
        job,
        query.rows[wanted],
        preactivations,
        float(level),
        MilpBudget(seconds_of(job, choice), limit),
        watch,
    )
    upper = bounds.upper.clone()
    upper[wanted] = torch.minimum(upper[wanted], found.upper)
    margins = margins.seen(job, query, found.points, stage)
    new = OutputBounds(upper, stage, found.stop or TOO_LOOSE)
    job.note(stage, -float(upper.max()), margins.attained, found.nodes, choice.why)
    return replace(margins, bounds=new), found.nodes


def _by_inputs(
    job: Job, query: OutputQuery, margins: Margins, choice: Choice, limit: int | None
) -> tuple[Margins, int]:
    def note(stage: str, lower: float | None, upper: float | None, subproblems: int) -> None:
        proved = float(margins.bounds.upper.max()) if upper is None else upper
        job.note(stage, -proved, margins.attained, subproblems, choice.why)

    found = output_search(
        job.setting,
        query,
        margins.bounds.upper,
        job.clock,
        note,
        limit,
        job.config.seed,
        job.slot("input splits"),
    )
    upper = torch.minimum(margins.bounds.upper, found.upper)
    points = [point for point in found.candidates if point is not None]
    if points:
        margins = margins.seen(job, query, torch.stack(points), INPUT_SPLITS)
    bounds = OutputBounds(upper, INPUT_SPLITS, found.stop)
    return replace(margins, bounds=bounds), found.subproblems


def _by_neurons(
    job: Job, query: OutputQuery, margins: Margins, choice: Choice, limit: int | None
) -> tuple[Margins, int]:
    clauses = violations(query)
    seconds = seconds_of(job, choice)

    def tell(stage: str, lower: float | None, upper: float | None, subproblems: int) -> None:
        proved = float(margins.bounds.upper.max())
        if upper is not None:
            proved = min(proved, upper + query.threshold)
        job.note(stage, -proved, margins.attained, subproblems, choice.why)

    level = torch.tensor(query.threshold, dtype=torch.float64)
    # Written so that NaN is wanted.
    wanted = (~(margins.bounds.upper < level)).nonzero().flatten()
    found = neuron_search(
        job.setting,
        tuple(clauses[k] for k in wanted.tolist()),
        UnsafeGoal(job.network, UnsafeQuery(job.region, clauses)),
        add_up(margins.bounds.upper[wanted], -level),
        job.clock if seconds is None else job.clock.limited(seconds),
        tell,
        limit,
        job.config.seed,
        job.config.solver,
        job.slot,
    )
    upper = margins.bounds.upper.clone()
    upper[wanted] = torch.minimum(upper[wanted], add_up(found.upper, level))
    if found.goal.points:
        margins = margins.seen(job, query, torch.stack(found.goal.points), NEURON_SPLITS)
    bounds = OutputBounds(upper, NEURON_SPLITS, found.stop or TOO_LOOSE)
    return replace(margins, bounds=bounds), found.subproblems


def _exactly(
    job: Job, query: OutputQuery, margins: Margins, choice: Choice, limit: int | None
) -> tuple[Margins, int]:
    """The rows that are open, in exact arithmetic: where depths are 0, or as good as that."""
    clauses = violations(query)
    unsafe = UnsafeQuery(job.region, clauses)
    config = job.config
    search = RationalSearch(job.setting, unsafe, job.clock, config.seed, config.solver)
    level = torch.tensor(query.threshold, dtype=torch.float64)
    upper, count, stop = margins.bounds.upper.clone(), 0, None
    # Written so that NaN is open.
    for which in (~(upper < level)).nonzero().flatten().tolist():
        left = None if limit is None else limit - count
        found = search.decide(clauses[which], left)
        count += found.subproblems
        proved = add_up(torch.tensor(found.upper, dtype=torch.float64), level)
        if found.refuted and not query.strict:
            proved = torch.minimum(proved, level)
        upper[which] = torch.minimum(upper[which], proved)
        job.note(EXACT, -float(upper.max()), margins.attained, count, choice.why)
        if found.found is not None:
            margins = margins.seen(job, query, found.found.inputs[0].unsqueeze(0), EXACT)
        elif found.touched is not None and margins.found is None:
            margins = replace(margins, found=touching(float(found.touched)), by=EXACT)
        stop = stop or found.stop
        if stop is not None or isinstance(margins.found, Counterexample):
            break
    bounds = OutputBounds(upper, EXACT, stop or TOO_LOOSE)
    return replace(margins, bounds=bounds), max(1, count)


_OutputSearch = Callable[[Job, OutputQuery, Margins, Choice, int | None], tuple[Margins, int]]

_OUTPUT_SEARCHES: Mapping[str, _OutputSearch] = {
    "late": _by_late_stages,
    "neurons": _by_neurons,
    "milp": _by_program,
    "exact": _exactly,
    "inputs": _by_inputs,
}
