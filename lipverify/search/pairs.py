"""Pairs of inputs that show a derivative of the wrong sign, confirmed on the original network."""

from torch import Tensor

from lipverify import confirm
from lipverify.bounds.line import LinePieces, walk_line
from lipverify.confirm import Unconfirmed
from lipverify.errors import UnsupportedOperator
from lipverify.query import SlopeQuery
from lipverify.search.job import Job
from lipverify.search.ladder import BREAKDOWNS
from lipverify.verdict import Counterexample

WALKED = 3
"""Points whose lines are walked, where grids on the lines through them did not help."""

Violation = Counterexample | Unconfirmed | None


def violating_pair(job: Job, query: SlopeQuery, which: int, points: Tensor) -> Violation:
    """A pair on the lines through the points [k, n], the most promising first."""
    name = job.features[query.indices[which]]
    found = confirm.confirm_slope(job.network, job.region, query, which, points, name)
    if isinstance(found, Counterexample):
        return found
    for point in points[:WALKED]:
        walked = _walked(job, query, which, point)
        if isinstance(walked, Counterexample):
            return walked
        found = found or walked
    return found


def _walked(job: Job, query: SlopeQuery, which: int, point: Tensor) -> Violation:
    """The best pair on the line through the point, where the line can be walked."""
    index = query.indices[which]
    low, high = job.region.span(point, index)
    if not low < high:
        return None
    try:
        pieces = walk_line(job.network.graph, point, index, low, high, query.row)
    except (UnsupportedOperator, *BREAKDOWNS):
        return None
    return pair_on_line(job, query, which, point, pieces)


def pair_on_line(
    job: Job, query: SlopeQuery, which: int, point: Tensor, pieces: LinePieces
) -> Violation:
    """The two points of a walked line whose difference exceeds the claim the most."""
    index, sign = query.indices[which], query.signs[which]
    length = pieces.end - pieces.start
    excess = (sign * pieces.slopes.center[:, 0] - query.threshold) * length
    first, last = _largest_stretch(excess.tolist())
    if first > last:
        return None
    pair = point.repeat(2, 1)
    pair[0, index], pair[1, index] = pieces.start[first], pieces.end[last]
    name = job.features[index]
    return confirm.confirm_pair(job.network, job.region, query, which, pair, name)


def _largest_stretch(values: list[float]) -> tuple[int, int]:
    """First and last place of the stretch with the largest positive sum; (0, -1): none."""
    best, total, place, found = 0.0, 0.0, 0, (0, -1)
    for index, value in enumerate(values):
        if total <= 0:
            total, place = 0.0, index
        total += value
        if total > best:
            best, found = total, (place, index)
    return found
