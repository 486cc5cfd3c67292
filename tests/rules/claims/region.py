"""What regions of inputs claim. Points come from here, not from the region's own sampling."""

from fractions import Fraction

import torch
from torch import Tensor

from lipverify.norms import NORMS
from lipverify.numerics import DTYPE
from lipverify.region import AbstractRegion, Ball, BallInBox, Box, ball_region
from tests.rules import exact

TOLERANCE = 1e-11
"""`contains` and `support` of balls are not rounded; relative to the numbers involved."""


def regions(size: int, random: torch.Generator) -> dict[str, AbstractRegion]:
    """Every kind of region, around one random centre: [name -> region]."""
    scale = 10.0 ** float(torch.randint(-3, 4, (), generator=random))
    center = scale * torch.randn(size, generator=random, dtype=DTYPE)
    common = torch.full((size,), 0.7 * scale, dtype=DTYPE)
    several = scale * torch.rand(size, generator=random, dtype=DTYPE)
    several[torch.rand(size, generator=random) < 0.3] = 0.0
    clip = (center - 0.4 * common, center + 0.5 * common * torch.rand(size, generator=random))
    away = torch.zeros(size, dtype=DTYPE)
    away[0] = 0.5 * 0.7 * scale
    clip_away = (center + away, center + away + common)
    found: dict[str, AbstractRegion] = {"box": Box(center - several, center + several)}
    for norm in NORMS.values():
        found[f"ball-{norm.name}"] = ball_region(center, common, norm)
        found[f"radii-{norm.name}"] = ball_region(center, several, norm)
        found[f"point-{norm.name}"] = ball_region(center, torch.zeros((), dtype=DTYPE), norm)
        found[f"clip-{norm.name}"] = ball_region(center, common, norm, clip)
        found[f"clip-radii-{norm.name}"] = ball_region(center, several, norm, clip)
        found[f"clip-away-{norm.name}"] = ball_region(center, common, norm, clip_away)
    return found


def inner_points(region: AbstractRegion, count: int, random: torch.Generator) -> Tensor:
    """Points of the region by its definition: corners, faces and inner ones: [at most count, n]."""
    if isinstance(region, Box):
        share = torch.rand(count, region.size, generator=random, dtype=DTYPE)
        share = torch.where(torch.arange(count).unsqueeze(1) % 2 == 0, share.round(), share)
        return region.project(region.lower + share * (region.upper - region.lower))
    if isinstance(region, Ball):
        direction = torch.randn(count, region.size, generator=random, dtype=DTYPE)
        sparse = torch.rand(count, region.size, generator=random) < 0.5
        direction = torch.where(sparse, 0.0, direction)
        length = region.norm.of(direction).clamp(min=1e-9).unsqueeze(-1)
        share = torch.rand(count, 1, generator=random, dtype=DTYPE)
        share = torch.where(share < 0.5, 1.0 - 1e-13, share)
        return region.middle + share * direction / length * region.radius
    assert isinstance(region, BallInBox)
    # Segments from the point of the box nearest to the centre lead to the rest of the region.
    points = inner_points(region.ball, count, random)
    clipped = region.box.project(points)
    kept = torch.cat([points, clipped, region.center.unsqueeze(0)])
    distance = (kept - region.ball.middle).abs()
    scaled = torch.where(region.ball.radius > 0, distance / region.ball.radius, 0.0)
    fixed = (region.ball.radius > 0) | (distance == 0)
    inside = (region.ball.norm.of(scaled) <= 1.0) & fixed.all(-1)
    return kept[inside & region.box.contains(kept)]


def slopes(region: AbstractRegion, count: int, random: torch.Generator) -> Tensor:
    """Directions, unit vectors of both signs and zero: [count + 2 n + 1, n]."""
    units = torch.eye(region.size, dtype=DTYPE)
    wild = torch.randn(count, region.size, generator=random, dtype=DTYPE)
    return torch.cat([wild, units, -units, torch.zeros(1, region.size, dtype=DTYPE)])


def scale_of(region: AbstractRegion) -> float:
    return float(region.bounding.magnitude.amax()) + 1e-300


def support_is_above(name: str, region: AbstractRegion, random: torch.Generator) -> int:
    """support(a) >= a.x for every point x, exactly but for the rounding of the support itself."""
    points = torch.cat([inner_points(region, 24, random), region.sample(9, random)])
    directions = slopes(region, 4, random)
    support = region.support(directions)
    exact_points = exact.rows(points)
    for slope, bound in zip(directions, support.tolist(), strict=True):
        weights = exact.fractions(slope)
        slack = Fraction(TOLERANCE * scale_of(region) * float(slope.abs().sum()))
        for point in exact_points:
            assert exact.dot(weights, point) <= Fraction(bound) + slack, f"{name}: support too low"
    return len(directions) * len(exact_points)


def support_is_attained(name: str, region: AbstractRegion, random: torch.Generator) -> int:
    """A box and a ball reach their support at that direction's vertex; a cut ball's is bounded."""
    directions = slopes(region, 6, random)
    support = region.support(directions)
    reached = (directions * region.vertices(directions)).sum(-1)
    slack = 1e-9 * scale_of(region) * directions.abs().sum(-1)
    assert bool((reached <= support + slack).all()), f"{name}: a vertex beyond the support"
    if isinstance(region, BallInBox):
        parts = torch.minimum(region.ball.support(directions), region.box.support(directions))
        assert bool((support <= parts + slack).all()), f"{name}: support above that of a part"
    else:
        assert bool((support <= reached + slack).all()), f"{name}: support not attained"
    return 2 * len(directions)


def points_lie_inside(name: str, region: AbstractRegion, random: torch.Generator) -> int:
    """Centre, vertices, samples and projections are points of the region and of its box."""
    wild = scale_of(region) * 3 * torch.randn(12, region.size, generator=random, dtype=DTYPE)
    points = torch.cat(
        [
            region.center.unsqueeze(0),
            region.vertices(slopes(region, 4, random)),
            region.sample(12, random),
            region.project(wild),
            region.project(torch.stack([region.bounding.lower, region.bounding.upper])),
            inner_points(region, 12, random),
        ]
    )
    assert bool(region.contains(points).all()), f"{name}: a point of the region is refused"
    box = region.bounding
    assert bool(box.contains(points).all()), f"{name}: a point outside the bounding box"
    return 2 * len(points)


def outside_is_refused(name: str, region: AbstractRegion, random: torch.Generator) -> int:
    """Points a little beyond the support in some direction are not contained."""
    directions = torch.randn(8, region.size, generator=random, dtype=DTYPE)
    center = region.center
    reach = region.support(directions) - directions @ center
    length = (directions**2).sum(-1)
    margin = 1e-6 * scale_of(region) * directions.abs().sum(-1)
    beyond = center + ((reach + margin) / length).unsqueeze(-1) * directions
    assert not bool(region.contains(beyond).any()), f"{name}: contains a point beyond its support"
    return len(directions)


def bounding_is_smallest(name: str, region: AbstractRegion) -> int:
    """Each end of the bounding box is reached, except where a clip cuts a ball from outside."""
    if isinstance(region, BallInBox):
        return 1
    units = torch.eye(region.size, dtype=DTYPE)
    slack = 1e-9 * scale_of(region)
    box = region.bounding
    highest, lowest = region.vertices(units).diagonal(), region.vertices(-units).diagonal()
    assert bool((box.upper - highest <= slack).all()), f"{name}: the box is too large above"
    assert bool((lowest - box.lower <= slack).all()), f"{name}: the box is too large below"
    return 2 * region.size


def span_is_the_segment(name: str, region: AbstractRegion, random: torch.Generator) -> int:
    """Both ends of the span are inside, points between are, and points farther out are not."""
    points = inner_points(region, 2, random)
    margin = 1e-6 * scale_of(region)
    count = 0
    for point in points:
        for index in range(region.size):
            low, high = region.span(point, index)
            assert low <= float(point[index]) <= high, f"{name}: the point is not in its span"
            for value, wanted in (
                (low, True),
                (high, True),
                ((low + high) / 2, True),
                (low - margin, False),
                (high + margin, False),
            ):
                moved = point.clone()
                moved[index] = value
                inside = bool(region.contains(moved))
                assert inside == wanted, f"{name}: input {index} at {value} of {low}..{high}"
                count += 1
    return count


def projection_is_nearest(name: str, region: AbstractRegion, random: torch.Generator) -> int:
    """No point of a box, or of a ball with one radius, is nearer than the projection."""
    away = torch.randn(6, region.size, generator=random, dtype=DTYPE)
    x = region.center + scale_of(region) * away
    found = region.project(x)
    distance = torch.linalg.vector_norm(x - found, dim=-1)
    slack = 1e-9 * scale_of(region)
    for point in inner_points(region, 24, random):
        for candidate in (point, 0.01 * point + 0.99 * found):
            there = torch.linalg.vector_norm(x - candidate, dim=-1)
            assert bool((distance <= there + slack).all()), f"{name}: a nearer point exists"
    return 48 * len(x)


def halves_cover(box: Box, random: torch.Generator) -> int:
    """The halves share their face, and each point of the box is in one of them."""
    for index in range(box.size):
        below, above = box.halves(index)
        assert torch.equal(below.upper[index], above.lower[index]), "a gap between the halves"
        points = inner_points(box, 16, random)
        on_face = points.clone()
        on_face[:, index] = below.upper[index]
        everything = torch.cat([points, on_face])
        assert bool((below.contains(everything) | above.contains(everything)).all()), "a hole"
        assert bool((below.contains(on_face) & above.contains(on_face)).all()), "the face"
    return 64 * box.size
