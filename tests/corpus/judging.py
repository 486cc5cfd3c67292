"""Holds a verifier's answer against a claim of the corpus; and counterexamples, exactly."""

from fractions import Fraction

from lipverify.evidence import PropertyResult
from lipverify.verdict import Counterexample, Falsified, Verdict, Verified
from tests.corpus.case import Case, Claim
from tests.corpus.regions import exact

BALL_SLACK = Fraction(1, 10**11)
"""Relative: points of balls are said to be inside up to so much, for lack of floats on the edge."""


def wrong(case: Case, claim: Claim, result: PropertyResult) -> list[str]:
    """What is wrong with the answer, in words; unknown never is."""
    found = []
    if isinstance(result.verdict, Verified) and claim.truth is False:
        found.append(f"a false claim is verified by {result.method}")
    for verdict in (result.verdict, *(feature.verdict for feature in result.features)):
        found += _falsified(case, claim, verdict)
    match claim.kind:
        case "lipschitz":
            found += _interval(claim, result)
            found += _witness(case, claim, result)
        case "monotonicity":
            found += _slopes(claim, result)
    return found


def _falsified(case: Case, claim: Claim, verdict: Verdict) -> list[str]:
    if not isinstance(verdict, Falsified):
        return []
    found = ["a true claim is falsified"] if claim.truth is True else []
    counterexample = verdict.counterexample
    points = [exact(point.tolist()) for point in counterexample.inputs]
    found += [
        f"the counterexample {[float(v) for v in point]} is outside of the region"
        for point in points
        if not _inside(case, point)
    ]
    return found + ([] if _violates(case, claim, counterexample) else ["nothing is violated there"])


def _inside(case: Case, point: tuple[Fraction, ...]) -> bool:
    """Boxes exactly; balls up to the slack that the solver states."""
    region = case.region
    if region.holds(point):
        return True
    if not hasattr(region, "center") or region.norm == "inf":
        return False
    shrunk = tuple(
        c + (x - c) * (1 - BALL_SLACK) for c, x in zip(exact(region.center), point, strict=True)
    )
    return region.holds(shrunk)


def _violates(case: Case, claim: Claim, found: Counterexample) -> bool:
    entry = claim.entry
    points = [exact(point.tolist()) for point in found.inputs]
    match claim.kind:
        case "lipschitz":
            norm = case.judge.norm_at(points[0], entry["input_norm"], entry["output_norm"])
            return norm.high > Fraction(entry["at_most"])
        case "monotonicity":
            before, after = points
            (index,) = entry.get("increasing") or entry["decreasing"]
            sign = 1 if "increasing" in entry else -1
            others = [i for i in range(len(before)) if i != index and before[i] != after[i]]
            step = after[index] - before[index]
            rise = [case.judge.outputs_at(point)[0] for point in points]
            least = min(sign * (rise[1].low - rise[0].high), sign * (rise[1].high - rise[0].low))
            return not others and step > 0 and least < Fraction(entry["margin"]) * step
        case "robustness":
            values = case.judge.outputs_at(points[0])
            label, margin = values[entry["label"]], Fraction(entry["margin"])
            gaps = [label.low - v.high for j, v in enumerate(values) if j != entry["label"]]
            return min(gaps) < margin or (margin == 0 and min(gaps) <= 0)
    raise AssertionError(claim.kind)


def _interval(claim: Claim, result: PropertyResult) -> list[str]:
    bound, found = result.bound, []
    if bound is None:
        return found
    if not bound.lower <= bound.upper:
        found.append(f"the interval [{bound.lower!r}, {bound.upper!r}] is none")
    elif bound.upper < float("inf") and Fraction(bound.upper) < claim.exact.low:
        found.append(f"the upper end {bound.upper!r} is below the constant")
    if bound.lower == float("inf") or Fraction(bound.lower) > claim.exact.high:
        found.append(f"the lower end {bound.lower!r} is above the constant")
    return found


def _witness(case: Case, claim: Claim, result: PropertyResult) -> list[str]:
    """The lower end is attained at the witness."""
    if result.witness is None or result.bound is None or not result.bound.lower > 0:
        return []
    point = exact(result.witness.input)
    norm = case.judge.norm_at(point, claim.entry["input_norm"], claim.entry["output_norm"])
    found = [] if _inside(case, point) else ["the witness is outside of the region"]
    if norm.high < Fraction(result.bound.lower):
        found.append("the witness does not attain the lower end")
    return found


def _slopes(claim: Claim, result: PropertyResult) -> list[str]:
    """Each feature's interval holds the least slope (its negative, where decreasing is claimed)."""
    found = []
    for feature in result.features:
        lower, upper = feature.bound.lower, feature.bound.upper
        exact_ = claim.exact
        if feature.direction == "decreasing":
            lower, upper = -upper, -lower
        if not lower <= upper:
            found.append(f"the slope's interval [{lower!r}, {upper!r}] is none")
        elif abs(lower) < float("inf") and Fraction(lower) > exact_.high:
            found.append(f"the slope's end {lower!r} is past the least slope")
        elif abs(upper) < float("inf") and Fraction(upper) < exact_.low:
            found.append(f"no slope reaches {upper!r}")
    return found
