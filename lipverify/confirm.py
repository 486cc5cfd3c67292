"""Candidates become counterexamples only here: re-run on the original network."""

import torch
from torch import Tensor

from lipverify.graph import output
from lipverify.network import Network
from lipverify.numerics import FALSIFY_MARGIN
from lipverify.query import NormQuery, OutputQuery, SlopeQuery
from lipverify.region import AbstractRegion
from lipverify.verdict import Counterexample
from lipverify.witness import NormWitness

FLOAT32_NOISE = 16 * 2.0**-24
"""A difference of two float32 outputs below this share of their size says nothing."""

GRID = 33
SHRINK_STEPS = 8
QUOTIENT_AGREEMENT = 0.05
"""Largest relative deviation of the original's difference quotient from ours."""


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


def confirm_output(
    network: Network, region: AbstractRegion, query: OutputQuery, candidates: Tensor
) -> Counterexample | None:
    """A counterexample to rows . f <= threshold among the candidates [k, n], or None."""
    for candidate in candidates:
        x = float32_inside(region, candidate)
        ours = output(network.graph, x.unsqueeze(0))[0]
        original = network.original(x.unsqueeze(0))[0]
        scale = 1.0 + float(original.abs().max())
        values = torch.minimum(query.rows @ ours, query.rows @ original)
        worst = int(values.argmax())
        if float(values[worst]) > query.threshold + FALSIFY_MARGIN * scale:
            row = query.rows[worst]
            return Counterexample(
                (x,),
                (original,),
                f"{_combination(row)} = {float(row @ original):.6g} at this input "
                f"(claimed {'<' if query.strict else '<='} {query.threshold:g})",
            )
    return None


def confirm_slope(
    network: Network,
    region: AbstractRegion,
    query: SlopeQuery,
    which: int,
    candidates: Tensor,
    feature: str,
) -> Counterexample | None:
    """A pair that differs in one input and whose outputs move the wrong way, or None.

    Looks along the line through each candidate [k, n] for the two points whose difference exceeds
    the claim the most.
    """
    index, sign = query.indices[which], query.signs[which]
    row = query.row[0]
    best: tuple[float, Tensor] | None = None
    for candidate in candidates:
        low, high = region.span(candidate, index)
        if not low < high:
            continue
        line = candidate.repeat(GRID, 1)
        line[:, index] = torch.linspace(low, high, GRID, dtype=line.dtype)
        line = torch.stack([float32_inside(region, point) for point in line])
        line[:, [i for i in range(line.shape[1]) if i != index]] = line[
            0, [i for i in range(line.shape[1]) if i != index]
        ]
        values = output(network.graph, line) @ row
        steps = line[:, index].unsqueeze(0) - line[:, index].unsqueeze(1)  # [before, after]
        rise = sign * (values.unsqueeze(0) - values.unsqueeze(1)) - query.threshold * steps
        rise = torch.where(steps > 0, rise, -torch.inf)
        worst = int(rise.argmax())
        excess = float(rise.flatten()[worst])
        if best is None or excess > best[0]:
            best = (excess, line[[worst // GRID, worst % GRID]])
    if best is None:
        return None
    excess, pair = best
    original = network.original(pair)
    values = original @ row
    step = float(pair[1, index] - pair[0, index])
    change = float(values[1] - values[0])
    noise = FLOAT32_NOISE * (1.0 + float(original.abs().max()))
    if not (excess > noise and sign * change > query.threshold * step + noise):
        return None
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
    ahead = region.project(x + witness.direction * _step(region))
    if bool((ahead == x).all()):
        ahead = region.project(x - witness.direction * _step(region))
    pair = torch.stack([x, ahead])
    exact = pair.float().double()
    length = float(query.input_norm.of(exact[1] - exact[0]))
    original = network.original(exact)
    ours = output(network.graph, exact)
    noise = FLOAT32_NOISE * (1.0 + float(original.abs().max()))
    apart = (original[1] - original[0]) - (ours[1] - ours[0])
    allowed = noise + QUOTIENT_AGREEMENT * float((ours[1] - ours[0]).abs().max())
    if not float(apart.abs().max()) <= allowed:
        return None
    quotient = 0.0
    if length > 0:
        change = query.rows @ (original[1] - original[0])
        quotient = float(query.output_norm.of(change)) / length
    return Counterexample(
        (x,),
        (network.original(x.unsqueeze(0))[0],),
        f"the norm of the derivative is at least {witness.value:.6g} at this input "
        f"(claimed <= {query.threshold:g}; difference quotient of the original {quotient:.6g})",
    )


def _step(region: AbstractRegion) -> float:
    width = region.bounding.width
    moving = width[width > 0]
    return float(moving.min()) / 8 if moving.numel() else 1e-3


def _combination(row: Tensor) -> str:
    parts = [
        f"{'+' if value > 0 else '-'} {'' if abs(value) == 1 else f'{abs(value):g} '}y{index}"
        for index, value in enumerate(row.tolist())
        if value
    ]
    return " ".join(parts).removeprefix("+ ")
