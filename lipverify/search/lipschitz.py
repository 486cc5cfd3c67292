"""The Lipschitz constant: an attained lower end, a proved upper end, and a verdict."""

from lipverify import confirm
from lipverify.evidence import Bound, Witness
from lipverify.query import NormQuery
from lipverify.search.job import TOO_LOOSE, Decision, Job
from lipverify.search.ladder import norm_upper
from lipverify.verdict import Falsified, Reason, Unknown, Verdict, Verified
from lipverify.witness import NormWitness, search_norm


def decide_lipschitz(job: Job, query: NormQuery) -> Decision:
    """An interval; with a threshold, whether the constant is at most that."""
    witness = search_norm(
        job.setting.backward,
        job.region,
        query,
        job.config.witness,
        job.config.seed,
        job.clock.expired,
    )
    job.note("witness", witness.value, None)
    found = norm_upper(job.setting, query, job.method, witness.value, job.clock, job.note)
    verdict: Verdict = (found.stop or TOO_LOOSE).verdict
    if query.threshold is None:
        if found.upper < float("inf"):
            verdict = Verified()
    elif found.upper <= query.threshold:
        verdict = Verified()
    elif witness.value > query.threshold:
        verdict = _falsified(job, query, witness)
    return Decision(
        verdict,
        found.stage,
        Bound(witness.value, found.upper),
        Witness(tuple(witness.point.tolist()), witness.output),
    )


def _falsified(job: Job, query: NormQuery, witness: NormWitness) -> Verdict:
    counterexample = confirm.confirm_norm(job.network, job.region, query, witness)
    if counterexample is None:
        return Unknown(
            Reason.CANDIDATE,
            f"the derivative's norm is {witness.value:.6g} at a point by our arithmetic, but the "
            "original network does not move like that there",
        )
    return Falsified(counterexample)
