"""Candidates become counterexamples only here: re-run on the original network.

Claims are about real arithmetic, so the original's own outputs are not enough: interval arithmetic
at the points has to prove the violation as well (of (2^53 + 1) x - 2^53 x, floats keep nothing).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lipverify import query_output as unsafe
from lipverify.errors import InvertedInterval, NumericalFailure, OutOfDomain
from lipverify.graph import output, output_enclosure
from lipverify.network import Network
from lipverify.numerics import FALSIFY_MARGIN, add_down
from lipverify.operators import Dense
from lipverify.query import NormQuery, OutputQuery, SlopeQuery
from lipverify.region import AbstractRegion
from lipverify.verdict import Counterexample, Reason, Unknown
from lipverify.witness import NormWitness

FLOAT32_NOISE = 16 * 2.0**-24
"""A difference of two float32 outputs below this share of their size says nothing."""

GRID = 33
CLOSER = 20
"""Points on each side of a candidate, each half as far from it as the one before."""
SHRINK_STEPS = 8
QUOTIENT_AGREEMENT = 0.05
"""Largest relative deviation of the original's difference quotient from ours."""
NOISE_SHARE = 0.02
"""Difference quotients are quoted where float32 changes them by no more than this share."""
QUOTED_STEPS = torch.tensor([1e-2, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5], dtype=torch.float64)
LEAST_STEP = 1e-3
"""Below this, relative to the point, outputs in float32 say little about a difference."""


@dataclass(frozen=True)
class Unconfirmed:
    """A violation by our arithmetic that the original network does not show."""

    detail: str

    @property
    def verdict(self) -> Unknown:
        return Unknown(Reason.CANDIDATE, self.detail)


def original_inside(network: Network, region: AbstractRegion, x: Tensor) -> Tensor:
    """A point of the region [n] near x that the original takes as it is."""
    if network.dtype == torch.float64:
        return x if bool(region.contains(x)) else region.project(x)
    return float32_inside(region, x)


def float32_inside(region: AbstractRegion, x: Tensor) -> Tensor:
    """A point of the region [n] near x with float32 entries (the original's precision).

    Where an input's range holds no float32 number, its float64 value stays.
    """
    box = region.bounding
    center = region.center
    for step in range(SHRINK_STEPS):
        rounded = x.float()
        rounded = torch.where(rounded.double() > box.upper, _neighbour(rounded, -1), rounded)
        rounded = torch.where(rounded.double() < box.lower, _neighbour(rounded, 1), rounded)
        point = rounded.double()
        fits = (box.lower <= point) & (point <= box.upper)
        point = torch.where(fits, point, box.lower + (box.upper - box.lower) / 2)
        if bool(region.contains(point)):
            return point
        x = x + (center - x) * 2.0 ** (step - 22)  # balls: a little towards the middle
    return region.project(x)


def _neighbour(x: Tensor, direction: int) -> Tensor:
    return torch.nextafter(x, torch.full_like(x, direction * torch.inf))


def _proved(network: Network, rows: Tensor, offsets: Tensor | None, x: Tensor) -> Tensor:
    """Proved numbers below rows . f(x) + offsets: [r, m], [r], [k, n] -> [k, r]; -inf if none."""
    try:
        found = Dense(rows, offsets).interval(output_enclosure(network.graph, x)).lower
    except (InvertedInterval, NumericalFailure, OutOfDomain):
        return torch.full((x.shape[0], rows.shape[0]), -torch.inf, dtype=x.dtype)
    return found


def confirm_output(
    network: Network, region: AbstractRegion, query: OutputQuery, candidates: Tensor
) -> Counterexample | Unconfirmed | None:
    """A counterexample to rows . f <= threshold among the candidates [k, n]; None: no violation."""
    unconfirmed: Unconfirmed | None = None
    for candidate in candidates:
        x = original_inside(network, region, candidate)
        ours = output(network.graph, x.unsqueeze(0))[0]
        original = network.original(x.unsqueeze(0))[0]
        limit = query.threshold + FALSIFY_MARGIN * (1.0 + float(original.abs().max()))
        proved = _proved(network, query.rows, None, x.unsqueeze(0))[0]
        values = torch.minimum(proved, query.rows @ original)
        worst = int(values.argmax())
        if float(values[worst]) > limit:
            row = query.rows[worst]
            return Counterexample(
                (x,),
                (original,),
                f"{_combination(row)} = {float(row @ original):.6g} at this input "
                f"(claimed {'<' if query.strict else '<='} {query.threshold:g})",
            )
        if unconfirmed is None and float((query.rows @ ours).max()) > limit:
            unconfirmed = Unconfirmed(
                "by our arithmetic an input violates the claim, but the original network's outputs "
                "there do not, or both may be rounding"
            )
    return unconfirmed


def confirm_unsafe(
    network: Network, query: unsafe.OutputQuery, candidate: Tensor
) -> Counterexample | Unconfirmed | None:
    """The candidate [n], moved to the original's precision, as an input with unsafe outputs.

    Some clause has to hold by our arithmetic and by the original network's, each row by more than
    the margin; None: no clause holds by ours.
    """
    x = original_inside(network, query.region, candidate)
    ours = output(network.graph, x.unsqueeze(0))[0]
    original = network.original(x.unsqueeze(0))[0]
    inside = 0.0
    for clause in query.unsafe:
        mine, its = -clause.values(ours.unsqueeze(0))[0], -clause.values(original.unsqueeze(0))[0]
        proved = _proved(network, -clause.coefficients, -clause.offsets, x.unsqueeze(0))[0]
        scale = clause.coefficients.abs() @ original.abs() + clause.offsets.abs()
        limit = FALSIFY_MARGIN * (1.0 + scale)
        # Written so that NaN is no violation.
        if bool((torch.minimum(proved, its) > limit).all()):
            return Counterexample((x,), (original,), _unsafe_statement(clause, its))
        inside = max(inside, float(mine.min())) if len(clause) else inside
    if inside > 0.0:
        return Unconfirmed(
            f"by our arithmetic an input has unsafe outputs, by {inside:.3g}, but the original "
            "network does not show it beyond the tolerance, or both may be rounding"
        )
    return None


def _unsafe_statement(clause: unsafe.Clause, depths: Tensor) -> str:
    """The row that holds by the least, in words."""
    if not len(clause):
        return "every output is unsafe"
    worst = int(depths.argmin())
    relation = "<" if bool(clause.is_strict[worst]) else "<="
    left = _combination(clause.coefficients[worst]) or "0"
    offset = float(clause.offsets[worst])
    limit, value = 0.0 - offset, 0.0 - float(depths[worst]) - offset
    return f"{left} = {value:.6g} at this input (unsafe where {relation} {limit:g})"


def confirm_slope(
    network: Network,
    region: AbstractRegion,
    query: SlopeQuery,
    which: int,
    candidates: Tensor,
    feature: str,
) -> Counterexample | Unconfirmed | None:
    """A pair that differs in one input and whose outputs move the wrong way; None: not found.

    Looks along the line through each candidate [k, n] for the two points whose difference exceeds
    the claim the most.
    """
    index, sign = query.indices[which], query.signs[which]
    row = query.row[0]
    best: tuple[float, Tensor] | None = None
    for candidate in candidates:
        base = float32_inside(region, candidate)
        low, high = region.span(base, index)
        if not low < high:
            continue
        places = _places(float(candidate[index]), low, high)
        line = base.repeat(len(places), 1)
        line[:, index] = places
        inside = region.contains(line)
        values = output(network.graph, line) @ row
        steps = line[:, index].unsqueeze(0) - line[:, index].unsqueeze(1)  # [before, after]
        rise = sign * (values.unsqueeze(0) - values.unsqueeze(1)) - query.threshold * steps
        usable = (steps > 0) & inside.unsqueeze(0) & inside.unsqueeze(1)
        rise = torch.where(usable, rise, -torch.inf)
        worst = int(rise.argmax())
        excess = float(rise.flatten()[worst])
        if best is None or excess > best[0]:
            best = (excess, line[[worst // len(places), worst % len(places)]])
    if best is None:
        return None
    return _confirmed(network, query, which, best[0], best[1], feature)


def _places(middle: float, low: float, high: float) -> Tensor:
    """Evenly over [low, high], and closer and closer to `middle` from both sides.

    All in float32, and in the interval if it holds float32 numbers.
    """
    shares = 0.5 ** torch.arange(1, CLOSER + 1, dtype=torch.float64)
    around = torch.cat([middle - (middle - low) * shares, middle + (high - middle) * shares])
    even = torch.linspace(low, high, GRID, dtype=torch.float64)
    rounded = torch.cat([even, around]).clamp(low, high).float()
    rounded = torch.where(rounded.double() > high, _neighbour(rounded, -1), rounded)
    return torch.where(rounded.double() < low, _neighbour(rounded, 1), rounded).double()


def confirm_pair(
    network: Network,
    region: AbstractRegion,
    query: SlopeQuery,
    which: int,
    pair: Tensor,
    feature: str,
) -> Counterexample | Unconfirmed | None:
    """The pair [2, n], which differs in the asked input alone, if it moves the wrong way."""
    index, sign = query.indices[which], query.signs[which]
    rounded = torch.stack([float32_inside(region, point) for point in pair])
    others = [i for i in range(pair.shape[1]) if i != index]
    rounded[1, others] = rounded[0, others]
    if not bool(region.contains(rounded).all()):
        return None
    step = float(rounded[1, index] - rounded[0, index])
    values = output(network.graph, rounded) @ query.row[0]
    excess = sign * float(values[1] - values[0]) - query.threshold * step
    return _confirmed(network, query, which, excess, rounded, feature) if step > 0 else None


def _confirmed(
    network: Network, query: SlopeQuery, which: int, excess: float, pair: Tensor, feature: str
) -> Counterexample | Unconfirmed | None:
    """A pair of float32 points of the region that violates by `excess` in our arithmetic."""
    index, sign, row = query.indices[which], query.signs[which], query.row[0]
    original = network.original(pair)
    values = original @ row
    step = float(pair[1, index] - pair[0, index])
    change = float(values[1] - values[0])
    noise = FLOAT32_NOISE * (1.0 + float(original.abs().max()))
    least = FALSIFY_MARGIN * (1.0 + float(original.abs().max()))
    if not excess > least:
        return None
    # sign (after - before), from below; a product's rounding is far less than `least`.
    ends = _proved(network, torch.stack([-sign * row, sign * row]), None, pair)
    proved = float(add_down(ends[0, 0], ends[1, 1])) - query.threshold * step
    if not proved > least:
        return Unconfirmed(
            f"by our arithmetic a pair of inputs violates the claim by {excess:.3g}, which may be "
            "rounding"
        )
    if not (excess > noise and sign * change > query.threshold * step + noise):
        return Unconfirmed(
            f"by our arithmetic a pair of inputs violates the claim by {excess:.3g}, but the "
            "original network's outputs there do not show it beyond their rounding"
        )
    word = "rises" if change > 0 else "falls"
    return Counterexample(
        (pair[0], pair[1]),
        (original[0], original[1]),
        f"{feature}: {float(pair[0, index]):.6g} -> {float(pair[1, index]):.6g}, "
        f"the output {word} from {float(values[0]):.6g} to {float(values[1]):.6g}",
    )


def confirm_norm(
    network: Network, region: AbstractRegion, query: NormQuery, witness: NormWitness
) -> Counterexample | None:
    """The witness as a counterexample to norm <= threshold: its value is proved to exceed it.

    The original network has to show the same difference quotient along the witness' direction as
    our graph does; otherwise the two are not one function, and None is returned.
    """
    assert query.threshold is not None
    if not witness.value > query.threshold:
        return None
    x = witness.point
    ahead = _beside(region, x, witness.direction)
    pair = torch.stack([x, ahead])
    exact = pair.float().double()
    original = network.original(exact)
    ours = output(network.graph, exact)
    noise = FLOAT32_NOISE * (1.0 + float(original.abs().max()))
    apart = (original[1] - original[0]) - (ours[1] - ours[0])
    allowed = noise + QUOTIENT_AGREEMENT * float((ours[1] - ours[0]).abs().max())
    if not float(apart.abs().max()) <= allowed:
        return None
    quotient = _quotient(network, query, witness)
    return Counterexample(
        (x,),
        (network.original(x.unsqueeze(0))[0],),
        f"the norm of the derivative is at least {witness.value:.6g} at this input "
        f"(claimed <= {query.threshold:g}; difference quotient of the original {quotient:.6g})",
    )


def _quotient(network: Network, query: NormQuery, witness: NormWitness) -> float:
    """The largest difference quotient that the original shows on short steps from the witness.

    Of the witness' piece of the network, that is; steps may leave the region, the witness does not.
    Those on which float32 would count are left out; 0 if all are.
    """
    x, direction = witness.point, witness.direction
    steps = (1.0 + float(x.abs().max())) * QUOTED_STEPS.repeat_interleave(2).unsqueeze(1)
    signs = torch.tensor([1.0, -1.0], dtype=x.dtype).repeat(len(QUOTED_STEPS)).unsqueeze(1)
    points = torch.cat([x.unsqueeze(0), x + signs * steps * direction]).float().double()
    values = network.original(points)
    noise = FLOAT32_NOISE * (1.0 + float(values[0].abs().max()))
    lengths = query.input_norm.of(points[1:] - points[0])
    changes = query.output_norm.of((values[1:] - values[0]) @ query.rows.T)
    clear = torch.isfinite(changes) & (lengths > 0) & (noise <= NOISE_SHARE * changes)
    return float((changes[clear] / lengths[clear]).max()) if bool(clear.any()) else 0.0


def _beside(region: AbstractRegion, x: Tensor, direction: Tensor) -> Tensor:
    """A point in that direction from x, or against it: in the region, if that is wide enough.

    On narrower ones (a point, say) float32 would see no difference; whether original and graph are
    one function can be seen outside as well.
    """
    width = region.bounding.width
    moving = width[width > 0]
    step = float(moving.min()) / 8 if moving.numel() else 0.0
    least = LEAST_STEP * (1.0 + float(x.abs().max()))
    if step >= least:
        for ahead in (region.project(x + step * direction), region.project(x - step * direction)):
            if float((ahead - x).abs().max()) >= least:
                return ahead
    return x + least * direction


def _combination(row: Tensor) -> str:
    parts = [
        f"{'+' if value > 0 else '-'} {'' if abs(value) == 1 else f'{abs(value):g} '}y{index}"
        for index, value in enumerate(row.tolist())
        if value
    ]
    return " ".join(parts).removeprefix("+ ")
