"""The searches for an operator norm, by the names of `choices`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from lipverify.bounds.jacobian import JacobianBounds
from lipverify.query import NormQuery
from lipverify.search.branching import branching_named
from lipverify.search.choices import (
    Choice,
    best_preactivations,
    gate_stage,
    late_stages,
    seconds_of,
    too_many_gates,
)
from lipverify.search.exact import (
    MilpBudget,
    milp_norm,
    milp_stage,
    size_of,
    too_large,
)
from lipverify.search.gate_loop import GateLoop, Waiting, search
from lipverify.search.gate_split import GateSearch
from lipverify.search.input_split import NAME as INPUT_SPLITS
from lipverify.search.input_split import norm_search
from lipverify.search.job import Job
from lipverify.search.ladder import NormBound, norm_upper
from lipverify.search.objectives import norm_plan
from lipverify.search.recheck import recheck_witness
from lipverify.search.slot import once
from lipverify.witness import NormWitness, prove_norm, walk_norm

EXACT = 1e-7
"""Relative gap at which an interval counts as one number, where none is asked for."""
SOLVED = 1e-5
"""The same after a solver's exact answer: what is left is within its tolerances."""


@dataclass(eq=False)
class Best:
    """The incumbent; it only rises."""

    witness: NormWitness

    def target(self, query: NormQuery) -> float:
        """Subproblems at or below this need no more work."""
        if query.threshold is not None:
            if self.witness.value > query.threshold:
                return float("inf")
            return query.threshold
        gap = EXACT if query.gap is None else max(query.gap, EXACT)
        return self.witness.value * (1 + gap)

    def see(self, job: Job, query: NormQuery, point: Tensor) -> bool:
        """Whether the point raises the incumbent."""
        witness = prove_norm(job.setting.backward, query, point)
        if not witness.value > self.witness.value:
            return False
        self.witness = witness
        return True


@dataclass(frozen=True, eq=False)
class NormStep:
    """What a search adds: `subproblems` beside the root.

    `solved`: to within a solver's tolerances. Nothing else can gain more than those.
    """

    bound: NormBound
    subproblems: int
    solved: bool = False


NormSearch = Callable[[Job, NormQuery, NormBound, Best, Choice, int | None], NormStep]
"""(job, query, the root's bound, incumbent, choice, most subproblems) -> what it adds."""


def by_inputs(
    job: Job, query: NormQuery, root: NormBound, best: Best, choice: Choice, limit: int | None
) -> NormStep:
    """Branch and bound over the inputs."""
    assert root.known is not None
    rows = root.known.row_norm(query.input_norm.dual) * (1 + 1e-12)
    gap = None if query.threshold is not None else max(query.gap or 0.0, EXACT)
    job.note(INPUT_SPLITS, best.witness.value, root.upper, 1, choice.why)
    result = norm_search(
        job.setting,
        query,
        rows,
        best.witness,
        job.clock,
        job.note,
        limit,
        gap,
        job.config.seed,
        job.slot("input splits"),
    )
    if result.witness.value > best.witness.value:
        best.witness = result.witness
    upper = min(root.upper, result.upper)
    stop = result.stop if upper > best.target(query) else None
    stage = INPUT_SPLITS if result.upper <= root.upper else root.stage
    return NormStep(NormBound(upper, stage, stop, root.known), max(0, result.subproblems - 1))


def by_gates(
    job: Job, query: NormQuery, root: NormBound, best: Best, choice: Choice, limit: int | None
) -> NormStep:
    """Quadratic dual and branch and bound over gates, for objectives that it can express."""
    assert root.known is not None
    plan = norm_plan(query, root.known, best.target(query))
    if not plan.objectives:
        return NormStep(root, 0)
    # Entries of open sign, the factor of the l2 norm, or c, add variables to the gates'.
    extra = min(job.region.size, job.config.quadratic.max_signs)
    if not plan.on_rows:
        extra += len(query.rows)
    stop = too_many_gates(job, extra)
    if stop is not None:
        return NormStep(replace(root, stop=stop), 0)
    preactivations = job.setting.alpha_preactivations
    task = GateSearch(
        job.setting,
        plan.rows,
        plan.objectives,
        query.input_norm,
        job.config.quadratic,
        query.output_norm,
    )
    roots = (Waiting(index, preactivations, upper) for index, upper in enumerate(plan.uppers))
    why = choice.why

    def note(upper: float, count: int) -> None:
        upper = min(root.upper, max(upper, plan.rest))
        job.note(gate_stage(count), best.witness.value, upper, count, why)

    outcome = search(
        GateLoop(
            task,
            tuple(roots),
            branching_named(job.config.branching),
            lambda: max(best.target(query), plan.rest),
            lambda point: best.see(job, query, point),
            note,
            job.clock,
            choice.most(limit),
        ),
        job.slot("gate splits"),
    )
    upper = min(root.upper, max(outcome.upper, plan.rest, 0.0))
    stop = outcome.stop if upper > best.target(query) else None
    stage = gate_stage(outcome.subproblems) if upper < root.upper else root.stage
    return NormStep(NormBound(upper, stage, stop, root.known), outcome.subproblems - 1)


def by_program(
    job: Job, query: NormQuery, root: NormBound, best: Best, choice: Choice, limit: int | None
) -> NormStep:
    """Mixed-integer programs, one per row (or entry) that may be the largest."""
    assert root.known is not None
    target = best.target(query)
    plan = norm_plan(query, root.known, target)
    if not plan.objectives or not plan.on_rows:
        return NormStep(root, 0)
    preactivations = best_preactivations(job, choice)
    stop = too_large(job, size_of(job, preactivations, open_signs(query, root.known)))
    if stop is not None:
        return NormStep(replace(root, stop=stop), 0)
    stage = milp_stage(job)

    def watch(upper: float) -> None:
        upper = min(root.upper, max(upper, plan.rest))
        job.note(stage, best.witness.value, upper, 1, choice.why)

    watch(root.upper)
    found = milp_norm(
        job,
        query,
        plan,
        root.known,
        preactivations,
        max(target, plan.rest),
        MilpBudget(seconds_of(job, choice), limit),
        watch,
    )
    for point in found.points:
        best.see(job, query, point)
    upper = min(root.upper, max(float(found.upper.max()), plan.rest, 0.0))
    job.note(stage, best.witness.value, upper, found.nodes, choice.why)
    solved = found.stop is None and upper <= best.witness.value * (1 + SOLVED)
    name = stage if upper < root.upper else root.stage
    bound = NormBound(upper, name, found.stop, root.known)
    return NormStep(bound, found.nodes - 1, query.threshold is None and solved)


def by_late_stages(
    job: Job, query: NormQuery, root: NormBound, best: Best, choice: Choice, limit: int | None
) -> NormStep:
    """The stages of the ladder that cost more than some searches."""

    def bound_it() -> NormBound:
        lower = best.witness.value
        stages = late_stages(job)
        return norm_upper(job.setting, query, stages, lower, job.clock, job.note, root)

    def check(found: NormBound) -> NormBound:
        return recheck_root(job, query, best.witness, found)

    return NormStep(once(job.slot("late root"), NormBound, bound_it, check), 0)


def by_walk(
    job: Job, query: NormQuery, root: NormBound, best: Best, choice: Choice, limit: int | None
) -> NormStep:
    """Nothing about the upper end: a better lower one, from walks over linear regions."""

    def search_it() -> NormWitness:
        return walk_norm(
            job.setting.backward,
            job.region,
            query,
            best.witness,
            job.config.witness,
            job.config.seed,
            job.clock.expired,
        )

    def check(witness: NormWitness) -> NormWitness:
        return recheck_witness(job.setting.backward, job.region, query, witness)

    found = once(job.slot("walk"), NormWitness, search_it, check)
    if found.value > best.witness.value:
        best.witness = found
    job.note("walk", best.witness.value, root.upper, 1, choice.why)
    return NormStep(root, 0)


NORM_SEARCHES: Mapping[str, NormSearch] = {
    "walk": by_walk,
    "late": by_late_stages,
    "inputs": by_inputs,
    "gates": by_gates,
    "milp": by_program,
}


def recheck_root(job: Job, query: NormQuery, witness: NormWitness, found: NormBound) -> NormBound:
    """What a checkpoint holds of the root's bounds; ValueError if it cannot be meant."""
    if not found.upper >= witness.value:  # so that NaN fails it
        raise ValueError(f"the root's bound {found.upper} is below {witness.value}")
    if found.known is not None:
        expected = (len(query.rows), job.region.size)
        if found.known.elements.shape != expected:
            raise ValueError(f"the root's bounds are not of shape {expected}")
    job.note(found.stage, witness.value, found.upper)
    return found


def open_signs(query: NormQuery, known: JacobianBounds) -> int:
    """How many entries of a row have an open sign, at most; only the l1 norm asks for them."""
    if query.input_norm.dual.name != "1":
        return 0
    elements = known.elements
    return int(((elements.lower < 0) & (elements.upper > 0)).sum(1).max())
