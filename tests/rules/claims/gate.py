"""What gates claim: y = d g for every d and g of their intervals, and its relaxations."""

import torch
from mpmath import mpf
from torch import Tensor

from lipverify.errors import OutOfDomain
from lipverify.interval import Interval
from lipverify.numerics import DTYPE
from lipverify.operators import Gate, Relaxation, gate
from tests.rules import exact
from tests.rules.cases import LARGEST, interval_of, points_of, random_intervals
from tests.rules.instances import ActivationInstance


def slopes(count: int, random: torch.Generator) -> Interval:
    """Slope intervals of every kind: fixed, [0, 1], a few floats wide, negative, large: [count]."""
    ends = torch.rand(2, count, generator=random, dtype=DTYPE)
    signed = 3 * torch.randn(2, count, generator=random, dtype=DTYPE)
    tiny = ends[0] * (1 + 1e-10 * torch.rand(count, generator=random, dtype=DTYPE))
    neighbour = torch.nextafter(ends[0], torch.ones_like(ends[0]))
    whole = torch.stack([torch.zeros(count, dtype=DTYPE), torch.ones(count, dtype=DTYPE)])
    sizes = 10.0 ** torch.randint(-300, 100, (count,), generator=random).to(DTYPE)
    choices = torch.stack(
        [
            whole,
            ends,
            torch.stack([ends[0], ends[0]]),
            torch.stack([ends[0], tiny]),
            torch.stack([ends[0], neighbour]),
            signed,
            signed * sizes,
            torch.stack([signed[0], torch.zeros_like(signed[0])]),
        ]
    )
    kind = torch.randint(0, len(choices), (count,), generator=random)
    return interval_of(choices[kind, :, torch.arange(count)].T)


def _pairs(slope: Interval, g: Interval, random: torch.Generator) -> list[tuple[Tensor, Tensor]]:
    """Every slope at an end, in the middle or at random, with every such g, and g = 0."""
    d_points = points_of(slope, (), random)[[0, 1, 2, 3]]
    g_points = points_of(g, (0.0,), random)[[0, 1, 2, 3, 6]]
    return [(d, value) for d in d_points for value in g_points]


def product_is_sound(slope: Interval, g: Interval, random: torch.Generator) -> int:
    """product(slope, g) holds d g exactly, for all d and g."""
    result = gate.product(slope, g)
    lower, upper = result.lower.tolist(), result.upper.tolist()
    for d, value in _pairs(slope, g, random):
        for a, b, low, high in zip(d.tolist(), value.tolist(), lower, upper, strict=True):
            y = exact.product(a, b)
            assert mpf(low) <= y <= mpf(high), f"product: {a!r} * {b!r} outside {low!r}, {high!r}"
    return 20 * g.lower.numel()


def product_is_tight(slope: Interval, g: Interval) -> int:
    """Both ends are attained up to one rounding; gates of 0 and 1 do not round at all."""
    result = gate.product(slope, g)
    ends = [a * b for a in (slope.lower, slope.upper) for b in (g.lower, g.upper)]
    least, most = torch.stack(ends).amin(0), torch.stack(ends).amax(0)
    below = torch.nextafter(least, torch.full_like(least, -torch.inf))
    above = torch.nextafter(most, torch.full_like(most, torch.inf))
    assert bool((result.lower >= below).all() and (result.upper <= above).all()), "product: wide"
    binary = ((slope.lower == 0) | (slope.lower == 1)) & ((slope.upper == 0) | (slope.upper == 1))
    assert bool((result.lower == least)[binary].all()), "product: a gate of 0 or 1 is rounded"
    assert bool((result.upper == most)[binary].all()), "product: a gate of 0 or 1 is rounded"
    return 4 * g.lower.numel()


def relaxation_is_sound(name: str, slope: Interval, g: Interval, random: torch.Generator) -> int:
    """lower line <= d g <= upper line for all d, at every g: exactly, without tolerance."""
    relaxation: Relaxation = getattr(gate, name)(slope, g)
    lines = [
        values.expand(g.shape).tolist()
        for values in (
            relaxation.lower_slope,
            relaxation.lower_intercept,
            relaxation.upper_slope,
            relaxation.upper_intercept,
        )
    ]
    for d, value in _pairs(slope, g, random):
        for a, b, below, under, above, over in zip(d.tolist(), value.tolist(), *lines, strict=True):
            y = exact.product(a, b)
            assert exact.line(below, under, b) <= y, f"{name}: lower line at d={a!r}, g={b!r}"
            assert y <= exact.line(above, over, b), f"{name}: upper line at d={a!r}, g={b!r}"
    return 40 * g.lower.numel()


def chords_touch(slope: Interval, g: Interval) -> int:
    """The chords meet max and min of alpha g and beta g at both ends of g, up to rounding."""
    relaxation = gate.relax_chords(slope, g)
    scale = 1e-14 * (slope.magnitude * g.magnitude) + 1e-300
    for value in (g.lower, g.upper):
        most = torch.maximum(slope.lower * value, slope.upper * value)
        least = torch.minimum(slope.lower * value, slope.upper * value)
        over = relaxation.upper_slope * value + relaxation.upper_intercept - most
        under = least - relaxation.lower_slope * value - relaxation.lower_intercept
        usable = scale < LARGEST / 1e20
        assert bool((over <= scale)[usable].all()), "relax_chords: the upper chord touches not"
        assert bool((under <= scale)[usable].all()), "relax_chords: the lower chord touches not"
    return 4 * g.lower.numel()


def interval_is_sound(
    instance: ActivationInstance, z: Interval, g: Interval, random: torch.Generator
) -> int:
    """Gate.interval holds activation'(z) g for every one-sided derivative at every z."""
    operator = Gate(instance.operator)
    result = operator.interval(z, g)
    assert operator.output_shape(tuple(z.shape), tuple(g.shape)) == tuple(result.shape)
    lower, upper = result.lower.tolist(), result.upper.tolist()
    z_points = points_of(z, instance.operator.kinks, random)[:6]
    g_points = points_of(g, (), random)[[0, 1, 3]]
    count = 0
    for z_row in z_points.tolist():
        for g_row in g_points.tolist():
            for p, b, low, high in zip(z_row, g_row, lower, upper, strict=True):
                for slope in instance.judge.one_sided(p):
                    ends = (exact.scaled(slope.low, b), exact.scaled(slope.high, b))
                    assert mpf(low) <= max(ends), f"{instance}: f'({p!r}) * {b!r} < {low!r}"
                    assert min(ends) <= mpf(high), f"{instance}: f'({p!r}) * {b!r} > {high!r}"
                    count += 1
    return count


def refuses_infinite_adjoints() -> int:
    """An infinite g has no product with a slope that may be 0, and no relaxation."""
    slope = Interval(torch.zeros(1, dtype=DTYPE), torch.ones(1, dtype=DTYPE))
    g = Interval(torch.full((1,), -torch.inf, dtype=DTYPE), torch.ones(1, dtype=DTYPE))
    for rule in (gate.product, gate.relax_chords, gate.relax_constant):
        try:
            rule(slope, g)
        except OutOfDomain:
            continue
        raise AssertionError(f"{rule.__name__}: bounds from an infinite operand")
    return 3


def random_case(count: int, random: torch.Generator) -> tuple[Interval, Interval]:
    """Slopes and adjoints, [count] each."""
    return slopes(count, random), random_intervals(count, random)
