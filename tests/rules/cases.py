"""Operands for the sweeps: tables of awkward numbers, and random ones from a generator."""

from itertools import combinations_with_replacement

import torch
from torch import Tensor

from lipverify.interval import Interval
from lipverify.numerics import DTYPE, round_down, round_up

LARGEST = torch.finfo(DTYPE).max
SMALLEST_SUBNORMAL = 5e-324

AWKWARD = (
    0.0,
    SMALLEST_SUBNORMAL,
    3 * SMALLEST_SUBNORMAL,
    1e-310,
    2.0**-1022,
    1e-300,
    1e-160,
    1e-17,
    1e-8,
    0.1,
    1.0,
    3.0,
    20.0,
    45.0,
    501.0,
    709.9,
    745.2,
    1e10,
    1e155,
    1e300,
    LARGEST,
)
"""Zero, subnormals, both ends of the range, and where exp, tanh and sigmoid change their nature."""


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbers(count: int, random: torch.Generator) -> Tensor:
    """Numbers of very different sizes, both signs; some zeros of both signs: [count]."""
    normal = torch.randn(count, generator=random, dtype=DTYPE)
    exponent = torch.randint(-320, 308, (count,), generator=random).to(DTYPE)
    wild = normal.sign() * 10.0**exponent
    kind = torch.randint(0, 8, (count,), generator=random)
    scaled = torch.where(kind < 4, 3 * normal, torch.where(kind < 6, 40 * normal, wild))
    return torch.where(kind == 7, normal.sign() * 0.0, scaled)


def interval_of(ends: Tensor) -> Interval:
    """The interval between the two rows of [2, k], in either order."""
    return Interval(ends.amin(0), ends.amax(0))


def awkward_intervals() -> Interval:
    """Every pair of awkward numbers, with every combination of signs: zero widths included."""
    signed = sorted({sign * value for value in AWKWARD for sign in (-1.0, 1.0)})
    pairs = torch.tensor(list(combinations_with_replacement(signed, 2)), dtype=DTYPE)
    zeros = torch.tensor([[-0.0, 0.0], [0.0, -0.0], [-0.0, -0.0]], dtype=DTYPE)
    return interval_of(torch.cat([pairs, zeros]).T)


def random_intervals(count: int, random: torch.Generator) -> Interval:
    """Wide ones, points, ones of a few floats, ones that end at 0: [count]."""
    first, second = numbers(count, random), numbers(count, random)
    kind = torch.randint(0, 8, (count,), generator=random)
    second = torch.where(kind == 0, first, second)
    second = torch.where(kind == 1, round_up(round_up(first)), second)
    second = torch.where(kind == 2, torch.zeros_like(second), second)
    near = first + 1e-9 * first.abs() * torch.rand(count, generator=random, dtype=DTYPE)
    second = torch.where(kind == 3, near, second)
    second = second.clamp(-LARGEST, LARGEST)
    return interval_of(torch.stack([first, second]))


def points_of(x: Interval, kinks: tuple[float, ...], random: torch.Generator) -> Tensor:
    """Both ends, the kinks and their neighbours, the middle, and random points: [p, *shape]."""
    wanted = [x.lower, x.upper, x.center]
    for kink in kinks:
        at = torch.full_like(x.lower, kink)
        wanted += [at, round_down(at), round_up(at)]
    for _ in range(4):
        share = torch.rand(x.shape, generator=random, dtype=DTYPE)
        wanted.append((1 - share) * x.lower + share * x.upper)
    small = 10.0 ** (-20 * torch.rand(x.shape, generator=random, dtype=DTYPE))
    reach = torch.minimum(x.width, torch.tensor(LARGEST))
    wanted += [x.lower + small * reach, x.upper - small * reach]
    return torch.stack([point.clamp(x.lower, x.upper) for point in wanted])


def part_of(x: Interval, random: torch.Generator) -> Interval:
    """An interval inside x; sometimes x itself, sometimes one of its ends."""
    shares = torch.rand(2, *x.shape, generator=random, dtype=DTYPE)
    shares = torch.where(shares < 0.2, 0.0, torch.where(shares > 0.8, 1.0, shares))
    ends = (1 - shares) * x.lower + shares * x.upper
    ends = torch.where(shares == 0.0, x.lower, torch.where(shares == 1.0, x.upper, ends))
    return interval_of(ends.clamp(x.lower, x.upper))
