"""Regions of every kind around, and what is true of a network on them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from math import prod

import pytest
import torch
from _pytest.mark.structures import ParameterSet
from torch import Tensor

from lipverify.bounds.methods import Setting
from lipverify.config import GateConfig, PreactivationConfig
from lipverify.interval import Interval
from lipverify.norms import norm_named
from lipverify.numerics import DTYPE
from lipverify.region import AbstractRegion, Ball, BallInBox, Box
from tests.oracles import autodiff, boxes, originals
from tests.oracles.networks import Tiny
from tests.oracles.regions import Regions

ROUNDING = 1e-11
"""Relative: what torch's own float64 results may be off by; bounds are about real arithmetic."""

ALPHA = PreactivationConfig(alpha_iterations=5)
GATES = GateConfig(iterations=4)


def ball(inputs: int, norm: str, radius: float = 1.0) -> Ball:
    center = boxes.offset(inputs).center
    return Ball(center, torch.full_like(center, radius), norm_named(norm))


def stretched_ball(inputs: int, norm: str) -> Ball:
    """One radius per input, that of the last one 0 (if there are several)."""
    center = boxes.offset(inputs).center
    radius = torch.linspace(1.5, 0.5, inputs, dtype=DTYPE)
    if inputs > 1:
        radius[-1] = 0.0
    return Ball(center, radius, norm_named(norm))


def clipped(inputs: int, norm: str) -> BallInBox:
    """A ball whose centre lies outside the box on one side, and which is cut on others."""
    inner = ball(inputs, norm, 1.5)
    lower, upper = inner.center - 0.75, inner.center + 2.0
    lower[0] += 1.0
    return BallInBox(inner, Box(lower, upper))


def sliced(inputs: int) -> Box:
    box = boxes.offset(inputs)
    lower, upper = box.lower.clone(), box.upper.clone()
    lower[0] = upper[0] = box.center[0] + 1.0 / 32
    return Box(lower, upper)


BOXES: dict[str, Callable[[int], Box]] = {
    "centered": lambda n: boxes.centered(n, 1.0),
    "offset": lambda n: boxes.offset(n),
    "wide": lambda n: boxes.centered(n, 50.0),
    "thin": lambda n: boxes.offset(n, 2.0**-20),
    "point": lambda n: boxes.offset(n, 0.0),
    "slice": sliced,
}
BALLS: dict[str, Callable[[int], AbstractRegion]] = {
    "l2 ball": lambda n: ball(n, "2"),
    "l1 ball": lambda n: ball(n, "1"),
    "stretched l2 ball": lambda n: stretched_ball(n, "2"),
    "stretched l1 ball": lambda n: stretched_ball(n, "1"),
    "clipped l2 ball": lambda n: clipped(n, "2"),
    "clipped l1 ball": lambda n: clipped(n, "1"),
}
REGIONS = {**BOXES, **BALLS}


THROUGH_LIRPA = ("linear (alpha-CROWN)", "linear (optimised gates)")
"""Stages that run auto_LiRPA: slower, and optimised, so the same only up to that."""


@cache
def region_of(tiny: Tiny, kind: str) -> AbstractRegion:
    return REGIONS[kind](tiny.inputs)


@cache
def setting_of(tiny: Tiny, kind: str) -> Setting:
    """Shared between tests, so that preactivations are bounded once."""
    return Setting(originals.network(tiny), region_of(tiny, kind), ALPHA, gates=GATES)


@cache
def regions_of(tiny: Tiny, kind: str) -> Regions | None:
    """All linear regions, for boxes and tiny piecewise linear networks."""
    region = region_of(tiny, kind)
    small = sum(prod(step.shape) for step in tiny.steps if step.activation) <= 12
    if isinstance(region, Box) and tiny.piecewise and small:
        return Regions(tiny, region)
    return None


@cache
def points_of(tiny: Tiny, kind: str, count: int = 400) -> Tensor:
    """Points of the region [k, n]: vertices, the centre, extreme and inner ones."""
    region = region_of(tiny, kind)
    if isinstance(region, Box):
        return boxes.points(region, count)
    # A sampler written here, since the region's own is not to judge itself.
    box = region.bounding
    inside = boxes.points(Box(box.lower, box.upper), 4 * count)
    center = region.center
    drawn = torch.cat([inside, center + (inside - center) / tiny.inputs])
    found = drawn[region.contains(drawn)][:count]
    drawn = inside[: count // 2]
    for share in (0.999999, 0.5):  # radial: the sphere itself, in every direction
        low = torch.zeros(len(drawn), 1, dtype=DTYPE)
        high = torch.ones_like(low)
        for _ in range(40):
            middle = (low + high) / 2
            is_in = region.contains(center + middle * (drawn - center)).unsqueeze(1)
            low, high = torch.where(is_in, middle, low), torch.where(is_in, high, middle)
        found = torch.cat([found, center + share * low * (drawn - center)])
    return torch.cat([found, center.unsqueeze(0)])


@cache
def jacobians_of(tiny: Tiny, kind: str) -> Tensor:
    """Jacobians on the region, [k, m, n]: sampled ones, and those of all linear regions."""
    points = points_of(tiny, kind)
    smooth = points[autodiff.distance_to_kinks(tiny, points) > 0]
    found = [autodiff.jacobians(tiny, smooth)]
    regions = regions_of(tiny, kind)
    if regions is not None:
        found.append(torch.as_tensor(regions.jacobians))
    result = torch.cat(found)
    assert len(result), "nothing to judge by"
    return result


def check_contains(interval: Interval, values: Tensor, what: str) -> None:
    """Every one of values [k, *shape] lies in the interval [*shape], up to rounding of values."""
    scale = ROUNDING * (1.0 + values.abs().amax())
    below = float((interval.lower - values).amax())
    above = float((values - interval.upper).amax())
    assert below <= scale, f"{what}: a value lies {below:.3g} below its bound"
    assert above <= scale, f"{what}: a value lies {above:.3g} above its bound"


def check_above(bound: float | Tensor, value: float | Tensor, what: str) -> None:
    bound, value = torch.as_tensor(bound), torch.as_tensor(value)
    excess = float((value - bound).amax())
    scale = ROUNDING * (1.0 + float(value.abs().amax()))
    assert excess <= scale, f"{what}: a value lies {excess:.3g} above its bound"


def inside(inner: Interval, outer: Interval) -> bool:
    return bool((inner.lower >= outer.lower).all() and (inner.upper <= outer.upper).all())


def every(tinies: Iterable[Tiny], kinds: Iterable[str]) -> list[ParameterSet]:
    """All pairs of a network and a kind of region."""
    chosen = tuple(kinds)
    return [pytest.param(tiny, kind, id=f"{tiny}-{kind}") for tiny in tinies for kind in chosen]


@dataclass(frozen=True)
class RowChoice:
    """Which rows of the Jacobian are asked for."""

    name: str
    make: Callable[[int], Tensor]


ROWS = (
    RowChoice("all outputs", lambda m: torch.eye(m, dtype=DTYPE)),
    RowChoice("one output", lambda m: torch.eye(m, dtype=DTYPE)[-1:]),
    RowChoice(
        "weighted",
        lambda m: torch.tensor([[1.0, -1.0, 0.5], [0.25, 2.0, -3.0], [0.0, 0.0, 0.0]])[
            :, torch.arange(m) % 3
        ].to(DTYPE),
    ),
)
