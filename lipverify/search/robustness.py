"""Robustness: attack first, then bounds of all margins at once."""

from dataclasses import replace

from lipverify import confirm
from lipverify.evidence import Bound
from lipverify.graph import output
from lipverify.query import OutputQuery, output_query
from lipverify.search.job import TOO_LOOSE, Decision, Job
from lipverify.search.ladder import output_upper, satisfied
from lipverify.spec.property import Robustness
from lipverify.verdict import Counterexample, Falsified, Unknown, Verdict, Verified
from lipverify.witness import search_output


def decide_robustness(job: Job, prop: Robustness) -> Decision:
    """The bound is of the smallest margin: proved from below, attained from above."""
    query = output_query(prop, _label(job, prop), job.network.graph.output_size)
    candidates = search_output(
        job.network.graph,
        job.region,
        query,
        job.config.witness,
        job.config.seed,
        job.clock.expired,
    )
    attained = -float((output(job.network.graph, candidates) @ query.rows.T).max())
    found = confirm.confirm_output(job.network, job.region, query, candidates)
    if isinstance(found, Counterexample):
        bound = Bound(-float("inf"), attained)
        return Decision(Falsified(found), "attack", bound)
    decision = _prove(job, query, attained)
    if found is not None and isinstance(decision.verdict, Unknown):
        return replace(decision, verdict=found.verdict)
    return decision


def _label(job: Job, prop: Robustness) -> int:
    if prop.label is not None:
        return prop.label
    return int(job.network.original(job.region.center.unsqueeze(0))[0].argmax())


def _prove(job: Job, query: OutputQuery, attained: float) -> Decision:
    found = output_upper(job.setting, query, job.method, job.clock, job.note)
    verdict: Verdict = (found.stop or TOO_LOOSE).verdict
    if satisfied(found.upper, query):
        verdict = Verified()
    return Decision(verdict, found.stage, Bound(-float(found.upper.max()), attained))
