"""Monotonicity, feature by feature: proved derivative bounds, or a pair of inputs."""

from dataclasses import replace

from lipverify.evidence import Bound, FeatureResult
from lipverify.query import SlopeQuery
from lipverify.search.choices import sign_choices
from lipverify.search.exact import not_offered
from lipverify.search.job import TOO_LOOSE, Decision, Job, timeout
from lipverify.search.ladder import SlopeBounds, slope_bounds
from lipverify.search.pairs import Violation, violating_pair
from lipverify.search.slope_searches import SLOPE_SEARCHES, Slope, by_line, moving_input
from lipverify.verdict import Counterexample, Falsified, Reason, Unknown, Verdict, Verified
from lipverify.witness import search_slope


def decide_monotonicity(job: Job, query: SlopeQuery) -> Decision:
    """Cheap bounds first, then the search for a violating pair, then the method's other stages."""
    if not query.indices:
        return Decision(Unknown(Reason.BOUND, "no feature was asked about"), "none")
    if job.method.searches == ("milp",):
        refused = not_offered(job)
        if refused is not None:
            return Decision(refused.verdict, "none", subproblems=0)
    first, rest = job.method.stages[:1], job.method.stages[1:]
    root = slope_bounds(job.setting, query, first, job.clock, job.note)
    slopes = _slopes(job, query, root)
    slopes = [slope if slope.decided else _attack(job, slope) for slope in slopes]
    if rest and not all(slope.decided for slope in slopes):
        root = slope_bounds(job.setting, query, rest, job.clock, job.note, root)
        tighter = _slopes(job, query, root)
        slopes = [old.met(new) for old, new in zip(slopes, tighter, strict=True)]
    subproblems = 1
    for place, slope in enumerate(slopes):
        slopes[place], count = _search(job, slope, subproblems)
        subproblems += count
    features = tuple(_feature(slope) for slope in slopes)
    return Decision(_together(features), _stage(slopes), subproblems=subproblems, features=features)


def _slopes(job: Job, query: SlopeQuery, root: SlopeBounds) -> list[Slope]:
    return [
        Slope(
            query,
            which,
            job.features[index],
            float(root.lower[which]),
            float(root.upper[which]),
            root.stage,
            root.stop,
            None,
            root.known,
        )
        for which, index in enumerate(query.indices)
    ]


def _attack(job: Job, slope: Slope) -> Slope:
    """With a violating pair, if the walk on the only line or a quick search finds one."""
    if job.clock.expired():
        return slope
    if "line" in job.method.searches and moving_input(job) == slope.index:
        slope = by_line(job, slope)
        if slope.decided:
            return slope
    slope = slope.seen(_sampled(job, slope))
    job.note(f"attack: {slope.name}", slope.lower, slope.upper)
    return slope


def _sampled(job: Job, slope: Slope) -> Violation:
    points = search_slope(
        job.setting.backward,
        job.region,
        slope.query.row,
        slope.index,
        slope.sign,
        job.config.witness,
        job.config.seed,
    )
    return violating_pair(job, slope.query, slope.which, points)


def _search(job: Job, slope: Slope, before: int) -> tuple[Slope, int]:
    """The searches that fit, one after the other, until the sign is decided."""
    subproblems = 0
    for choice in () if slope.decided else sign_choices(job):
        most = job.config.max_subproblems
        if job.clock.expired():
            return replace(slope, stop=timeout(job.clock)), subproblems
        limit = None if most is None else max(1, most - before - subproblems + 1)
        slope, count = SLOPE_SEARCHES[choice.search](job, slope, choice, limit)
        subproblems += max(0, count - 1)
        if slope.decided:
            break
    return slope, subproblems


def _feature(slope: Slope) -> FeatureResult:
    verdict: Verdict = (slope.stop or TOO_LOOSE).verdict
    if slope.proved:
        verdict = Verified()
    elif isinstance(slope.violation, Counterexample):
        verdict = Falsified(slope.violation)
    elif slope.violation is not None:
        verdict = slope.violation.verdict
    direction = "decreasing" if slope.sign > 0 else "increasing"
    return FeatureResult(slope.name, direction, verdict, Bound(slope.lower, slope.upper))


def _stage(slopes: list[Slope]) -> str:
    """What proved the worst of them, or most of it."""
    open_ = [slope for slope in slopes if not slope.proved] or slopes
    return max(open_, key=lambda slope: slope.worst - slope.query.threshold).stage


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
