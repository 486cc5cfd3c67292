"""The Lipschitz constant: an attained lower end, a proved upper end, and a verdict."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lipverify import confirm
from lipverify.bounds.jacobian import JacobianBounds
from lipverify.bounds.preactivation import open_entries
from lipverify.errors import NumericalFailure
from lipverify.evidence import Bound, Witness
from lipverify.interval import Interval
from lipverify.norms import operator_norm
from lipverify.operators import Activation
from lipverify.query import NormQuery
from lipverify.search.branching import branching_named
from lipverify.search.gate_loop import GateLoop, Waiting, search
from lipverify.search.gate_split import GateSearch, Objective
from lipverify.search.input_split import norm_search
from lipverify.search.job import TOO_LOOSE, Decision, Job
from lipverify.search.ladder import NormBound, norm_upper, sign_rows
from lipverify.search.recheck import recheck_witness
from lipverify.search.slot import once
from lipverify.verdict import Falsified, Reason, Unknown, Verdict, Verified
from lipverify.witness import NormWitness, prove_norm, search_norm

EXACT = 1e-7
"""Relative gap at which an interval counts as one number, where none is asked for."""

SIGN_ROWS = 5

INPUTS, GATES = 8, 40
"""Inputs are split where at most so many move and more than so many gates are open."""


def decide_lipschitz(job: Job, query: NormQuery) -> Decision:
    """An interval; with a threshold, whether the constant is at most that."""
    best = _Best(_witness(job, query))
    job.note("witness", best.witness.value, None)
    found = _root(job, query, best.witness)
    subproblems = 1
    if job.method.branch and found.known is not None and found.upper > best.target(query):
        split = _split_inputs if _few_inputs(job) else _branch
        found, subproblems = split(job, query, found, best)
    if not best.witness.value <= found.upper:
        # Both ends are proved; if they cross, one proof is wrong and none may be reported.
        raise NumericalFailure(
            f"proved ends contradict each other: {best.witness.value!r} > {found.upper!r}"
        )
    return Decision(
        _verdict(job, query, found, best.witness),
        found.stage,
        Bound(best.witness.value, found.upper),
        Witness(tuple(best.witness.point.tolist()), best.witness.output),
        subproblems,
    )


def _witness(job: Job, query: NormQuery) -> NormWitness:
    def search_it() -> NormWitness:
        return search_norm(
            job.setting.backward,
            job.region,
            query,
            job.config.witness,
            job.config.seed,
            job.clock.expired,
        )

    def check(witness: NormWitness) -> NormWitness:
        return recheck_witness(job.setting.backward, job.region, query, witness)

    return once(job.slot("witness"), NormWitness, search_it, check)


def _root(job: Job, query: NormQuery, witness: NormWitness) -> NormBound:
    def bound_it() -> NormBound:
        return norm_upper(job.setting, query, job.method, witness.value, job.clock, job.note)

    def check(found: NormBound) -> NormBound:
        if not found.upper >= witness.value:  # so that NaN fails it
            raise ValueError(f"the root's bound {found.upper} is below {witness.value}")
        if found.known is not None:
            expected = (len(query.rows), job.region.size)
            if found.known.elements.shape != expected:
                raise ValueError(f"the root's bounds are not of shape {expected}")
        job.note(found.stage, witness.value, found.upper)
        return found

    return once(job.slot("root"), NormBound, bound_it, check)


def _few_inputs(job: Job) -> bool:
    """Whether splitting inputs beats splitting gates: few of the one, many of the other."""
    moving = int((job.region.bounding.width > 0).sum())
    if moving > INPUTS:
        return False
    gates = sum(
        open_entries(node.operator, job.setting.crown_preactivations[node.inputs[0]]).numel()
        for node in job.network.graph.activations
        if isinstance(node.operator, Activation)
    )
    return gates > GATES


def _split_inputs(
    job: Job, query: NormQuery, root: NormBound, best: "_Best"
) -> tuple[NormBound, int]:
    assert root.known is not None
    rows = root.known.row_norm(query.input_norm.dual) * (1 + 1e-12)
    gap = None if query.threshold is not None else max(query.gap or 0.0, EXACT)
    result = norm_search(
        job.setting,
        query,
        rows,
        best.witness,
        job.clock,
        job.note,
        job.config.max_subproblems,
        gap,
        job.config.seed,
        job.slot("input splits"),
    )
    if result.witness.value > best.witness.value:
        best.witness = result.witness
    upper = min(root.upper, result.upper)
    stop = result.stop if upper > best.target(query) else None
    return NormBound(upper, "input splitting", stop, root.known), result.subproblems


@dataclass(eq=False)
class _Best:
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


def _branch(job: Job, query: NormQuery, root: NormBound, best: _Best) -> tuple[NormBound, int]:
    """Quadratic dual and branch and bound over gates, for objectives that it can express."""
    assert root.known is not None
    plan = _plan(query, root.known, best.target(query))
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

    def visit(point: Tensor) -> bool:
        witness = prove_norm(job.setting.backward, query, point)
        if not witness.value > best.witness.value:
            return False
        best.witness = witness
        return True

    def note(upper: float, count: int) -> None:
        upper = min(root.upper, max(upper, plan.rest))
        job.note("branch and bound", best.witness.value, upper, count)

    outcome = search(
        GateLoop(
            task,
            tuple(roots),
            branching_named(job.config.branching),
            lambda: max(best.target(query), plan.rest),
            visit,
            note,
            job.clock,
            job.config.max_subproblems,
        ),
        job.slot("gate splits"),
    )
    upper = min(root.upper, max(outcome.upper, plan.rest, 0.0))
    stop = outcome.stop if upper > best.target(query) else None
    stage = "quadratic" if outcome.subproblems <= 1 else "branch and bound"
    stage = stage if upper < root.upper else root.stage
    return NormBound(upper, stage, stop, root.known), outcome.subproblems


@dataclass(frozen=True, eq=False)
class _Plan:
    """Objectives with their root uppers; `rest` is proved for all that is left out."""

    rows: Tensor
    objectives: tuple[Objective, ...]
    uppers: tuple[float, ...]
    rest: float


def _plan(query: NormQuery, known: JacobianBounds, target: float) -> _Plan:
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
            return _Plan(rows, (Objective(None),), (float("inf"),), 0.0)
        rows = signed
        uppers = torch.full((len(rows),), float("inf"), dtype=rows.dtype)
    else:
        return _Plan(rows, (Objective(None),), (float("inf"),), 0.0)
    wanted = (uppers > target).nonzero().flatten().tolist()
    rest = uppers[uppers <= target]
    return _Plan(
        rows,
        tuple(Objective(row) for row in wanted),
        tuple(float(uppers[row]) for row in wanted),
        float(rest.max()) if rest.numel() else 0.0,
    )


def _entries(rows: Tensor, known: JacobianBounds, target: float) -> _Plan:
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
    return _Plan(rows, tuple(objectives), tuple(uppers), rest)


def _columns(query: NormQuery, known: JacobianBounds, target: float) -> _Plan:
    """The largest output norm of a column: one objective per input."""
    columns = Interval(known.elements.lower.T.unsqueeze(-1), known.elements.upper.T.unsqueeze(-1))
    uppers = operator_norm.uppers(columns, query.input_norm, query.output_norm)
    objectives, wanted = [], (uppers > target).nonzero().flatten().tolist()
    for column in wanted:
        direction = torch.zeros(len(uppers), dtype=torch.float64)
        direction[column] = 1.0
        objectives.append(Objective(None, direction))
    rest = uppers[uppers <= target]
    return _Plan(
        query.rows,
        tuple(objectives),
        tuple(float(uppers[column]) for column in wanted),
        float(rest.max()) if rest.numel() else 0.0,
    )


def _verdict(job: Job, query: NormQuery, found: NormBound, witness: NormWitness) -> Verdict:
    if query.threshold is None:
        if found.upper < float("inf"):
            return Verified()
    elif found.upper <= query.threshold:
        return Verified()
    elif witness.value > query.threshold:
        return _falsified(job, query, witness)
    return (found.stop or TOO_LOOSE).verdict


def _falsified(job: Job, query: NormQuery, witness: NormWitness) -> Verdict:
    counterexample = confirm.confirm_norm(job.network, job.region, query, witness)
    if counterexample is None:
        return Unknown(
            Reason.CANDIDATE,
            f"the derivative's norm is {witness.value:.6g} at a point by our arithmetic, but the "
            "original network does not move like that there",
        )
    return Falsified(counterexample)
