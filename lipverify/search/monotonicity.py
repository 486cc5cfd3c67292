"""Monotonicity, feature by feature: proved derivative bounds, or a pair of inputs."""

from dataclasses import replace

import torch

from lipverify import confirm
from lipverify.bounds.methods import Method
from lipverify.confirm import Unconfirmed
from lipverify.evidence import Bound, FeatureResult
from lipverify.norms import norm_named
from lipverify.query import SlopeQuery
from lipverify.search.branching import branching_named
from lipverify.search.gate_loop import GateLoop, Waiting, search
from lipverify.search.gate_split import GateSearch, Objective
from lipverify.search.job import TOO_LOOSE, Decision, Job, timeout
from lipverify.search.ladder import SlopeBounds, slope_bounds
from lipverify.verdict import Counterexample, Falsified, Reason, Unknown, Verdict, Verified
from lipverify.witness import search_slope


def decide_monotonicity(job: Job, query: SlopeQuery) -> Decision:
    """Cheap bounds first, then the search for a violating pair, then the method's other stages."""
    if not query.indices:
        return Decision(Unknown(Reason.BOUND, "no feature was asked about"), "none")
    first = replace(job.method, stages=job.method.stages[:1])
    found = _bounds(job, query, first)
    pairs: dict[int, Counterexample] = {}
    unconfirmed: dict[int, Unconfirmed] = {}
    for which in _undecided(query, found):
        pair = None if job.clock.expired() else _violation(job, query, which)
        if isinstance(pair, Counterexample):
            pairs[which] = pair
        elif pair is not None:
            unconfirmed[which] = pair
    rest = [which for which in _undecided(query, found) if which not in pairs]
    if rest and len(job.method.stages) > 1:
        found = _bounds(job, query, job.method)
    subproblems, stage = 1, found.stage
    if job.method.branch:
        rest = [which for which in _undecided(query, found) if which not in pairs]
        for which in rest:
            found, count = _branch(job, query, which, found)
            subproblems += count - 1
            stage = "branch and bound" if count > 1 else stage
    features = tuple(
        _feature(job, query, which, found, pairs.get(which) or unconfirmed.get(which))
        for which in range(len(query.indices))
    )
    return Decision(_together(features), stage, subproblems=subproblems, features=features)


def _branch(job: Job, query: SlopeQuery, which: int, found: SlopeBounds) -> tuple[SlopeBounds, int]:
    """The bounds with derivative `which` bounded by search on the side that is asked about."""
    if job.clock.expired():
        return replace(found, stop=timeout(job.clock)), 1
    index, sign = query.indices[which], float(query.signs[which])
    direction = torch.zeros(job.region.size, dtype=torch.float64)
    direction[index] = sign
    task = GateSearch(
        job.setting, query.row, (Objective(0, direction),), norm_named("1"), job.config.quadratic
    )
    root = Waiting(0, job.setting.alpha_preactivations, _worst(query, which, found))

    def note(upper: float, count: int) -> None:
        lower, upper = (
            (float(found.lower[which]), upper) if sign > 0 else (-upper, float(found.upper[which]))
        )
        job.note(f"branch and bound: {job.features[index]}", lower, upper, count)

    outcome = search(
        GateLoop(
            task,
            (root,),
            branching_named(job.config.branching),
            lambda: query.threshold,
            lambda point: False,
            note,
            job.clock,
            job.config.max_subproblems,
        ),
        job.slot(f"gate splits {which}"),
    )
    lower, upper = found.lower.clone(), found.upper.clone()
    best = torch.tensor(outcome.upper, dtype=torch.float64)
    if sign > 0:
        upper[which] = torch.minimum(upper[which], torch.maximum(best, lower[which]))
    else:
        lower[which] = torch.maximum(lower[which], torch.minimum(-best, upper[which]))
    return SlopeBounds(lower, upper, found.stage, outcome.stop or found.stop), outcome.subproblems


def _bounds(job: Job, query: SlopeQuery, method: Method) -> SlopeBounds:
    return slope_bounds(job.setting, query, method, job.clock, job.note)


def _worst(query: SlopeQuery, which: int, found: SlopeBounds) -> float:
    """The proved upper end of sign d, which has to be at most the threshold."""
    if query.signs[which] > 0:
        return float(found.upper[which])
    return -float(found.lower[which])


def _undecided(query: SlopeQuery, found: SlopeBounds) -> list[int]:
    return [
        which
        for which in range(len(query.indices))
        if not _worst(query, which, found) <= query.threshold
    ]


def _violation(job: Job, query: SlopeQuery, which: int) -> Counterexample | Unconfirmed | None:
    index, sign = query.indices[which], query.signs[which]
    points = search_slope(
        job.setting.backward,
        job.region,
        query.row,
        index,
        sign,
        job.config.witness,
        job.config.seed,
    )
    return confirm.confirm_slope(job.network, job.region, query, which, points, job.features[index])


def _feature(
    job: Job,
    query: SlopeQuery,
    which: int,
    found: SlopeBounds,
    pair: Counterexample | Unconfirmed | None,
) -> FeatureResult:
    verdict: Verdict = (found.stop or TOO_LOOSE).verdict
    if _worst(query, which, found) <= query.threshold:
        verdict = Verified()
    elif isinstance(pair, Counterexample):
        verdict = Falsified(pair)
    elif pair is not None:
        verdict = pair.verdict
    direction = "decreasing" if query.signs[which] > 0 else "increasing"
    bound = Bound(float(found.lower[which]), float(found.upper[which]))
    return FeatureResult(job.features[query.indices[which]], direction, verdict, bound)


def _together(features: tuple[FeatureResult, ...]) -> Verdict:
    """Verified if all are; falsified if one is; unknown otherwise."""
    for feature in features:
        if isinstance(feature.verdict, Falsified):
            return feature.verdict
    for feature in features:
        if isinstance(feature.verdict, Unknown):
            reason, detail = feature.verdict.reason, feature.verdict.detail
            return Unknown(reason, f"{feature.name}: {detail}")
    return Verified()
