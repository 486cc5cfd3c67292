"""The Lipschitz constant: an attained lower end, a proved upper end, and a verdict."""

from dataclasses import replace

from lipverify import confirm
from lipverify.errors import NumericalFailure
from lipverify.evidence import Bound, Witness
from lipverify.query import NormQuery
from lipverify.search.budget import points_clock
from lipverify.search.choices import norm_choices
from lipverify.search.exact import not_offered
from lipverify.search.job import TOO_LOOSE, Decision, Job, timeout
from lipverify.search.ladder import NormBound, norm_upper
from lipverify.search.norm_searches import NORM_SEARCHES, Best, open_signs, recheck_root
from lipverify.search.objectives import norm_plan
from lipverify.search.recheck import recheck_witness
from lipverify.search.slot import once
from lipverify.verdict import Falsified, Reason, Unknown, Verdict, Verified
from lipverify.witness import NormWitness, search_norm

LAST_DIGITS = 10.0
"""At least so many seconds for what a solver's tolerances left open."""


def decide_lipschitz(job: Job, query: NormQuery) -> Decision:
    """An interval; with a threshold, whether the constant is at most that."""
    if job.method.searches == ("milp",):
        refused = not_offered(job, query)
        if refused is not None:
            return Decision(refused.verdict, "none", subproblems=0)
    best = Best(_witness(job, query))
    job.note("witness", best.witness.value, None)
    found = _root(job, query, best.witness)
    found, subproblems = _search(job, query, found, best)
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


def _search(job: Job, query: NormQuery, found: NormBound, best: Best) -> tuple[NormBound, int]:
    """The searches that fit, one after the other, until the target is reached."""
    subproblems = 1
    if found.known is None or found.upper <= best.target(query):
        return found, subproblems
    signs = open_signs(query, found.known)
    on_rows = norm_plan(query, found.known, best.target(query)).on_rows
    for choice in norm_choices(job, query, signs, on_rows):
        if job.clock.expired():
            return replace(found, stop=timeout(job.clock)), subproblems
        most = job.config.max_subproblems
        limit = None if most is None else max(1, most - subproblems + 1)
        started = job.clock.seconds
        step = NORM_SEARCHES[choice.search](job, query, found, best, choice, limit)
        found, subproblems = step.bound, subproblems + step.subproblems
        if found.upper <= best.target(query):
            break
        if step.solved:  # the last digits are worth as much time again
            spent = job.clock.seconds - started
            job = replace(job, clock=job.clock.limited(max(LAST_DIGITS, spent)))
    return found, subproblems


def _witness(job: Job, query: NormQuery) -> NormWitness:
    def search_it() -> NormWitness:
        return search_norm(
            job.setting.backward,
            job.region,
            query,
            job.config.witness,
            job.config.seed,
            points_clock(job.clock).expired,
        )

    def check(witness: NormWitness) -> NormWitness:
        return recheck_witness(job.setting.backward, job.region, query, witness)

    return once(job.slot("witness"), NormWitness, search_it, check)


def _root(job: Job, query: NormQuery, witness: NormWitness) -> NormBound:
    def bound_it() -> NormBound:
        stages = job.method.stages
        return norm_upper(job.setting, query, stages, witness.value, job.clock, job.note)

    def check(found: NormBound) -> NormBound:
        return recheck_root(job, query, witness, found)

    return once(job.slot("root"), NormBound, bound_it, check)


def _verdict(job: Job, query: NormQuery, found: NormBound, witness: NormWitness) -> Verdict:
    if query.threshold is None:
        if found.upper < float("inf"):
            return Verified()
    elif found.upper <= query.threshold:
        return Verified()
    elif witness.value > query.threshold:
        verdict = _falsified(job, query, witness)
        # Outside of an operator's domain: what the point lacks is no wonder, and why comes first.
        broken = found.stop is not None and found.stop.reason is Reason.NUMERICS
        if not (isinstance(verdict, Unknown) and broken):
            return verdict
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
