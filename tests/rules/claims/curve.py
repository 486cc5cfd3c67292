"""What every smooth activation claims, against its definition in high precision."""

import math

import torch
from mpmath import mp, mpf
from torch import Tensor

from lipverify.errors import OutOfDomain
from lipverify.interval import Interval
from lipverify.numerics import DTYPE, SMALLEST, UNIT_ROUNDOFF, round_down, round_up
from tests.rules import exact
from tests.rules.cases import part_of
from tests.rules.curves import BITS, CurveInstance

TOLERANCE = mpf(2) ** -200
UNDERFLOW = mpf(2) ** -1030

SPECIAL = (0.0, -3.0, 3.0, math.sqrt(2.0), -math.sqrt(2.0), math.pi, math.pi / 2, 1e-8, -1e-300)


def ends_of(instance: CurveInstance) -> list[float]:
    """Kinks, inflection points, turning points, numbers of all sizes, within the domain."""
    operator = instance.operator
    found = [*SPECIAL, *operator.kinks, *operator.turns]
    for piece in operator.pieces:
        found += [piece.lower, piece.upper]
    found += [sign * 10.0**k for k in (-30, -6, -1, 1, 2, 4, 8, 16, 100, 300) for sign in (1, -1)]
    inside = {min(max(x, instance.least), instance.most) for x in found if math.isfinite(x)}
    near = {math.nextafter(x, way) for x in inside for way in (-math.inf, math.inf)}
    return sorted(x for x in inside | near if instance.least <= x <= instance.most)


def intervals_of(instance: CurveInstance, count: int, random: torch.Generator) -> Interval:
    """Points, hair's breadths, ordinary and wide intervals; ends at special numbers: [count]."""
    special = torch.tensor(ends_of(instance), dtype=DTYPE)
    scale = 10.0 ** (torch.rand(count, generator=random, dtype=DTYPE) * 4 - 2)
    first = scale * torch.randn(count, generator=random, dtype=DTYPE)
    kind = torch.randint(0, 8, (count,), generator=random)
    pick = special[torch.randint(0, len(special), (2, count), generator=random)]
    first = torch.where(kind < 4, first, pick[0]).clamp(instance.least, instance.most)
    width = 10.0 ** (torch.rand(count, generator=random, dtype=DTYPE) * 6 - 4)
    second = torch.where(kind % 4 == 0, first, first + width)
    second = torch.where(kind % 4 == 1, round_up(round_up(first)), second)
    second = torch.where((kind == 6) | (kind == 2), pick[1], second)
    second = second.clamp(instance.least, instance.most)
    return Interval(torch.minimum(first, second), torch.maximum(first, second))


def points_of(instance: CurveInstance, x: Interval, random: torch.Generator) -> Tensor:
    """Ends, special numbers inside, the middle, and random points: [p, k]."""
    wanted = [x.lower, x.upper, x.center]
    operator = instance.operator
    marks = [*operator.kinks, *operator.turns]
    marks += [piece.upper for piece in operator.pieces if math.isfinite(piece.upper)]
    for mark in marks:
        at = torch.full_like(x.lower, mark)
        wanted += [at, round_down(at), round_up(at)]
    for _ in range(4):
        share = torch.rand(x.shape, generator=random, dtype=DTYPE)
        wanted.append((1 - share) * x.lower + share * x.upper)
    return torch.stack([point.clamp(x.lower, x.upper) for point in wanted])


def everything_is_sound(instance: CurveInstance, x: Interval, random: torch.Generator) -> int:
    """Values in the interval, between the lines, and derivatives in the gate, without tolerance."""
    operator, count = instance.operator, 0
    for entry in range(len(x.lower)):
        one = Interval(x.lower[entry : entry + 1], x.upper[entry : entry + 1])
        try:
            values, gate, lines = operator.interval(one), operator.gate(one), operator.relax(one)
        except OutOfDomain:
            _require_overflow(instance, one)
            count += 1
            continue
        ends = [float(end) for end in (values.lower, values.upper, gate.lower, gate.upper)]
        within = operator.gate_within(one)
        inner = float(within.lower), float(within.upper)
        assert ends[2] <= inner[0] and inner[1] <= ends[3]
        below = float(lines.lower_slope), float(lines.lower_intercept)
        above = float(lines.upper_slope), float(lines.upper_intercept)
        for p in sorted(set(points_of(instance, one, random).flatten().tolist())):
            value, slopes = instance.at(p)
            where = f"{instance} at {p!r} of [{float(one.lower)!r}, {float(one.upper)!r}]"
            with mp.workprec(exact.EXACT_BITS):
                slack = abs(value) * TOLERANCE + UNDERFLOW
                assert ends[0] - slack <= value <= ends[1] + slack, f"value: {where}"
                assert exact.line(*below, p) <= value + slack, f"lower line: {where}"
                assert value - slack <= exact.line(*above, p), f"upper line: {where}"
                for slope in slopes:
                    slack = abs(slope) * TOLERANCE + UNDERFLOW
                    assert ends[2] - slack <= slope <= ends[3] + slack, f"gate: {where}"
                for slope in _from_within(slopes, p, one):
                    slack = abs(slope) * TOLERANCE + UNDERFLOW
                    assert inner[0] - slack <= slope <= inner[1] + slack, f"within: {where}"
            count += 3 + len(slopes)
    return count


def _from_within(slopes: list[mpf], p: float, x: Interval) -> list[mpf]:
    """Of the derivatives at p, from the right and at kinks from the left, those from inside x."""
    low, high = float(x.lower), float(x.upper)
    if len(slopes) == 1 or low == high:
        return slopes
    return slopes[:1] * (p < high) + slopes[1:] * (low < p)


def _require_overflow(instance: CurveInstance, x: Interval) -> None:
    """A refusal inside the domain is one of numbers that float64 cannot hold."""
    largest = torch.finfo(DTYPE).max
    biggest = mpf(0)
    for end in (float(x.lower), float(x.upper)):
        if instance.operator.name == "Pow" and end == 0 and instance.operator.exponent < 1:
            return
        value, slopes = instance.at(end)
        biggest = max([biggest, abs(value), *(abs(slope) * max(1, abs(end)) for slope in slopes)])
    crosses = instance.least > 0 or float(x.lower) > 0 or float(x.upper) < 0
    assert biggest > largest / 1e9 or not crosses, f"{instance} refuses {x} for no reason"


def is_tight(instance: CurveInstance, x: Interval, random: torch.Generator) -> int:
    """Ranges are no wider than dense samples tell, lines no higher than needed in the middle."""
    operator = instance.operator
    ordinary = (x.magnitude <= 50.0) & (x.width > 1e-6)
    if operator.defined:
        ordinary &= x.lower >= 0.1
    x = Interval(x.lower[ordinary], x.upper[ordinary])
    shares = torch.linspace(0, 1, 801, dtype=DTYPE).unsqueeze(1)
    points = x.lower + shares * (x.upper - x.lower)
    values, slopes = operator.evaluate(points), operator.derivative(points)
    for found, result, what in (
        (values, operator.interval(x), "values"),
        (slopes, operator.gate(x), "derivatives"),
    ):
        # Between samples it does not go farther than from one to the next, about.
        allowed = 2 * found.diff(dim=0).abs().amax(0) + 1e-12 * (1 + found.abs().amax(0))
        for kink in operator.kinks:  # a kink at an end has its other derivative there too
            touched = (x.lower == kink) | (x.upper == kink)
            allowed = torch.where(touched, torch.inf, allowed)
        assert bool((result.upper - found.amax(0) <= allowed).all()), f"{instance}: {what} above"
        assert bool((found.amin(0) - result.lower <= allowed).all()), f"{instance}: {what} below"
    lines, middle = operator.relax(x), x.center
    half = len(points) // 2
    left, right = points[: half + 1 : 10], points[half::10]
    for sign, slope, intercept in (
        (1, lines.upper_slope, lines.upper_intercept),
        (-1, lines.lower_slope, lines.lower_intercept),
    ):
        best = sign * operator.evaluate(middle)
        for i in range(len(left) - 1):
            for j in range(1, len(right)):
                run = right[j] - left[i]
                share = (middle - left[i]) / run
                ends = sign * operator.evaluate(left[i]), sign * operator.evaluate(right[j])
                best = torch.maximum(best, ends[0] * (1 - share) + ends[1] * share)
        height = sign * (slope * middle + intercept)
        spread = values.amax(0) - values.amin(0)
        loose = ~(height - best <= 0.02 * spread + 1e-9)
        assert not bool(loose.any()), f"{instance}: loose line: {x.lower[loose]} {x.upper[loose]}"
    return 6 * len(x.lower)


def parts_are_inside(instance: CurveInstance, x: Interval, random: torch.Generator) -> int:
    """A part of an interval has a part of the range and of the gate, up to rounding."""
    usable = x.magnitude <= 500.0
    if instance.operator.defined:
        usable &= x.lower >= 1e-3
    x = Interval(x.lower[usable], x.upper[usable])
    part = part_of(x, random)
    for rule in (instance.operator.interval, instance.operator.gate):
        inner, outer = rule(part), rule(x)
        slack = 64 * UNIT_ROUNDOFF * (outer.magnitude + 1.0) + SMALLEST
        assert bool((outer.lower - slack <= inner.lower).all()), f"{instance}: below"
        assert bool((inner.upper <= outer.upper + slack).all()), f"{instance}: above"
    return 4 * len(x.lower)


def pieces_are_as_claimed(instance: CurveInstance, count: int) -> int:
    """The second derivative has the sign that a piece claims, up to 1e-12 from its ends."""
    checked = 0
    for piece in instance.operator.pieces:
        low = max(piece.lower, instance.least, -FARTHEST)
        high = min(piece.upper, instance.most, FARTHEST)
        shares = [k / count for k in range(count + 1)]
        inside = [low + share * (high - low) for share in shares]
        for end, way in ((piece.lower, 1), (piece.upper, -1)):
            if math.isfinite(end):
                inside += [end + way * max(abs(end), 1.0) * 10.0**-k for k in range(12)]
        for p in inside:
            if not low < p < high:
                continue
            with mp.workprec(BITS):
                bend = instance.bend(mpf(p))
                assert bend * piece.curvature >= 0, f"{instance}: f''({p!r}) = {bend}"
                assert bend == 0 or piece.curvature != 0, f"{instance}: not linear at {p!r}"
            checked += 1
    return checked


FARTHEST = 60.0
"""Pieces are looked at up to here; beyond, the second derivative keeps its sign."""
