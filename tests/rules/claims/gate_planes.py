"""What the planes over preactivation and adjoint claim: d g lies between them, and how near."""

from collections.abc import Callable

import torch
from mpmath import mp, mpf
from scipy.optimize import linprog
from torch import Tensor

from lipverify.errors import NumericalFailure
from lipverify.interval import Interval
from lipverify.numerics import DTYPE
from lipverify.operators import ReLU, gate
from lipverify.operators.gate_planes import PLANES, GatePlanes, Planes, gate_planes, mixed
from tests.rules import exact
from tests.rules.cases import LARGEST, points_of, random_intervals
from tests.rules.instances import ActivationInstance

HUGE = 1e300
"""Adjoints beyond it overflow in products with slopes, and are refused."""


def ordinary_intervals(count: int, random: torch.Generator) -> Interval:
    """Ends of size 1, either sign: [count]."""
    ends = 2 * torch.randn(2, count, generator=random, dtype=DTYPE)
    return Interval(ends.amin(0), ends.amax(0))


def crossing_intervals(count: int, random: torch.Generator) -> Interval:
    """Around 0, with ends of very different sizes now and then: [count]."""
    ends = torch.rand(2, count, generator=random, dtype=DTYPE) + 1e-3
    far = torch.rand(2, count, generator=random, dtype=DTYPE) < 0.2
    sizes = 10.0 ** torch.randint(-9, 9, (2, count), generator=random).to(DTYPE)
    ends = torch.where(far, ends * sizes, ends)
    return Interval(-ends[0], ends[1])


def weights(count: int, random: torch.Generator) -> Tensor:
    """Mixtures of every kind, [2, PLANES - 1, count]: single planes, the chord, inner ones."""
    shape = (2, PLANES, count)
    share = -torch.rand(shape, generator=random, dtype=DTYPE).log()
    share = share * (torch.rand(shape, generator=random) < 0.6) + 1e-300
    return (share / share.sum(1, keepdim=True))[:, 1:]


def planes_of(instance: ActivationInstance, z: Interval, g: Interval) -> GatePlanes:
    operator = instance.operator
    return gate_planes(operator.gate(z), operator.gate_lines(z), z, g)


def _value(plane: tuple[float, float, float], z: float, g: float) -> mpf:
    with mp.workprec(exact.EXACT_BITS):
        return mpf(plane[0]) * mpf(z) + mpf(plane[1]) * mpf(g) + mpf(plane[2])


def _rows(planes: Planes) -> list[tuple[float, float, float]]:
    fields = (planes.z_slope, planes.g_slope, planes.intercept)
    return list(zip(*(values.tolist() for values in fields), strict=True))


def refuses_overflow(instance: ActivationInstance) -> int:
    """A chord beyond the largest float64 is no number to mix with."""
    z = Interval(torch.tensor([-1.0], dtype=DTYPE), torch.tensor([1.0], dtype=DTYPE))
    g = Interval(torch.tensor([-LARGEST], dtype=DTYPE), torch.tensor([LARGEST], dtype=DTYPE))
    try:
        planes_of(instance, z, g)
    except NumericalFailure:
        return 1
    raise AssertionError(f"{instance}: planes that overflow")


def planes_are_sound(
    instance: ActivationInstance, z: Interval, g: Interval, random: torch.Generator
) -> int:
    """Each plane, and a mixture: on its side of d g for all z, d and g, without tolerance."""
    planes = planes_of(instance, z, g)
    fields = (planes.below, planes.above)
    alone = [
        GatePlanes(*(Planes(p.z_slope[k], p.g_slope[k], p.intercept[k]) for p in fields))
        for k in range(PLANES)
    ]
    mixture = mixed(planes, weights(len(g.lower), random))
    tables = [(k, _rows(one.below), _rows(one.above)) for k, one in enumerate([*alone, mixture])]
    z_points = points_of(z, instance.operator.kinks, random)[[0, 1, 2, 3, 6, 7]].T.tolist()
    g_points = points_of(g, (0.0,), random)[[0, 1, 3, 6]].T.tolist()
    count = 0
    for entry, (zs, gs) in enumerate(zip(z_points, g_points, strict=True)):
        corners = [
            (p, b, exact.scaled(end, b))
            for p in zs
            for slope in instance.judge.one_sided(p)
            for end in (slope.low, slope.high)
            for b in gs
        ]
        for k, below, above in tables:
            for p, b, y in corners:
                what = f"{instance}: plane {k} at z={p!r}, g={b!r}"
                slack = abs(y) * exact.FUNCTION_ERROR * 4  # of the judge's derivative
                assert _value(below[entry], p, b) <= y + slack, what
                assert y - slack <= _value(above[entry], p, b), what
                count += 2
    return count


def planes_reach_the_hull(z: Interval, g: Interval, random: torch.Generator) -> int:
    """Of a ReLU: at every (z, g), the least plane is the concave hull of y over the box.

    The hull by a linear program over the eight points (z, g, y) at which it is attained.
    """
    instance = ActivationInstance(ReLU(), exact.TwoSlopes(0.0, 1.0))
    planes = planes_of(instance, z, g)
    share = torch.rand(2, len(g.lower), generator=random, dtype=DTYPE)
    at_z = z.lower + share[0] * z.width
    at_g = g.lower + share[1] * g.width
    for side, sign in ((planes.above, 1.0), (planes.below, -1.0)):
        values = side.z_slope * at_z + side.g_slope * at_g + side.intercept
        least = (sign * values).amin(0).tolist()
        for entry, found in enumerate(least):
            ends = [float(end[entry]) for end in (z.lower, z.upper, g.lower, g.upper)]
            place = (float(at_z[entry]), float(at_g[entry]))
            hull = sign * _hull(ends, place, sign)
            scale = 1e-9 * (1.0 + abs(ends[2]) + abs(ends[3]))
            assert abs(found - hull) <= scale, f"{ends} at {place}: {found} is not {hull}"
    return 2 * len(g.lower)


def _hull(ends: list[float], place: tuple[float, float], sign: float) -> float:
    """The largest (sign 1) or least (-1) y of a mixture of points of the graph at `place`."""
    low, high, first, last = ends
    points = [
        (z, b, y) for b in (first, last) for z, y in ((low, 0.0), (0.0, 0.0), (0.0, b), (high, b))
    ]
    matrix = [[p[0] for p in points], [p[1] for p in points], [1.0] * len(points)]
    solved = linprog([-sign * p[2] for p in points], A_eq=matrix, b_eq=[*place, 1.0])
    assert solved.status == 0
    return -sign * float(solved.fun)


def design_family_is_mixed(z: Interval, g: Interval, random: torch.Generator) -> int:
    """DESIGN 4.2's planes in b and s are mixtures of the five: for a ReLU whose g changes sign."""
    instance = ActivationInstance(ReLU(), exact.TwoSlopes(0.0, 1.0))
    planes = planes_of(instance, z, g)
    b, s = torch.rand(2, len(g.lower), generator=random, dtype=DTYPE)
    chord = g.upper / g.width
    t = b * g.lower + (1 - b) * g.upper
    a = torch.where(t >= 0, s * t / -z.lower, s * t / z.upper)
    c = torch.where(t >= 0, (1 - b) * g.upper, -b * g.lower)
    by_alpha = b <= chord  # the rest of the weight is the chord's
    rest = torch.where(by_alpha, 1 - b / chord, (b - chord) / (1 - chord))
    zero = torch.zeros_like(rest)
    flat, steep = rest * (1 - s), rest * s
    share = torch.stack(
        [
            torch.where(by_alpha, flat, zero),
            torch.where(by_alpha, steep, zero),
            torch.where(by_alpha, zero, flat),
            torch.where(by_alpha, zero, steep),
        ]
    )
    found = mixed(planes, torch.stack([torch.zeros_like(share), share])).above
    pairs: list[tuple[Callable[[Planes], Tensor], Tensor]] = [
        (lambda plane: plane.z_slope, a),
        (lambda plane: plane.g_slope, b),
        (lambda plane: plane.intercept, c),
    ]
    for field, wanted in pairs:
        torch.testing.assert_close(field(found), wanted, rtol=1e-11, atol=1e-11)
    return 3 * len(b)


def fixed_gates_are_exact(g: Interval) -> int:
    """A gate that is one number is y = d g on every plane, but for the rounding slack."""
    d = torch.linspace(-2.0, 2.0, len(g.lower), dtype=DTYPE)
    slope, z = Interval(d, d), Interval(-torch.ones_like(d), torch.ones_like(d))
    planes = gate_planes(slope, ReLU().gate_lines(z), z, g)
    for side in (planes.below, planes.above):
        assert not bool(side.z_slope.any())
        assert torch.equal(side.g_slope, d.expand(PLANES, -1))
        assert bool((side.intercept.abs() <= 1e-13 * (1 + g.magnitude)).all())
    return 3 * PLANES * len(d)


def first_plane_is_the_chord(slope: Interval, z: Interval, g: Interval) -> int:
    """Up to the slack that mixtures need; and that is what weights of zero give."""
    lines = ReLU().gate_lines(z)
    planes, chord = gate_planes(slope, lines, z, g), gate.relax_chords(slope, g)
    none = torch.zeros(2, PLANES - 1, len(g.lower), dtype=DTYPE)
    for found in (mixed(planes, none), planes):
        below, above = (
            (side.g_slope.reshape(-1, len(g.lower))[0], side.intercept.reshape(-1, len(g.lower))[0])
            for side in (found.below, found.above)
        )
        assert torch.equal(below[0], chord.lower_slope.expand(g.shape))
        assert torch.equal(above[0], chord.upper_slope.expand(g.shape))
        scale = 1e-13 * (1 + slope.magnitude) * (1 + g.magnitude)
        assert bool(((chord.lower_intercept - below[1]).abs() <= scale).all())
        assert bool(((above[1] - chord.upper_intercept).abs() <= scale).all())
    return 8 * len(g.lower)


def _adjoints(count: int, random: torch.Generator) -> Interval:
    return within(random_intervals(count, random), HUGE)


def within(x: Interval, most: float) -> Interval:
    """Ends beyond +-most moved there."""
    return Interval(x.lower.clamp(-most, most), x.upper.clamp(-most, most))


def mixed_case(count: int, random: torch.Generator) -> tuple[Interval, Interval]:
    """Preactivations and adjoints of every kind, ordinary ones half of the time: [count] each."""
    half = count // 2
    kinds = [
        (crossing_intervals(half, random), ordinary_intervals(half, random)),
        (random_intervals(count - half, random), _adjoints(count - half, random)),
    ]
    joined = []
    for part in zip(*kinds, strict=True):
        joined.append(
            Interval(torch.cat([p.lower for p in part]), torch.cat([p.upper for p in part]))
        )
    return joined[0], joined[1]
