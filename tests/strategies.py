"""Hypothesis strategies, always able to hit kinks, ends, zero width, and both ends of float64."""

import torch
from hypothesis import strategies
from hypothesis.strategies import SearchStrategy
from torch import Tensor

from lipverify.interval import Interval
from lipverify.numerics import DTYPE
from tests.rules import cases

seeds: SearchStrategy[int] = strategies.integers(0, 2**31 - 1)

generators: SearchStrategy[torch.Generator] = seeds.map(cases.generator)

finite: SearchStrategy[float] = strategies.one_of(
    strategies.sampled_from([sign * value for value in cases.AWKWARD for sign in (1.0, -1.0)]),
    strategies.floats(-10.0, 10.0),
    strategies.floats(allow_nan=False, allow_infinity=False),
)
"""Signed zeros, subnormals, numbers up to the largest float64."""

unit: SearchStrategy[float] = strategies.one_of(
    strategies.sampled_from([0.0, 1.0, 0.5]), strategies.floats(0.0, 1.0)
)


def tensor(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=DTYPE)


@strategies.composite
def intervals(draw: strategies.DrawFn, random: int = 24) -> Interval:
    """A few drawn intervals (points and ones that end at 0 too), and `random` ones: [k]."""
    pairs = draw(
        strategies.lists(
            strategies.one_of(
                strategies.tuples(finite, finite),
                finite.map(lambda end: (end, end)),
                finite.map(lambda end: (end, 0.0)),
            ),
            min_size=1,
            max_size=6,
        )
    )
    drawn = cases.interval_of(tensor([list(pair) for pair in pairs]).T)
    if not random:
        return drawn
    bulk = cases.random_intervals(random, draw(generators))
    return Interval(torch.cat([drawn.lower, bulk.lower]), torch.cat([drawn.upper, bulk.upper]))


@strategies.composite
def tensors(draw: strategies.DrawFn, *shape: int, scale: float = 1.0) -> Tensor:
    """Random entries; sometimes some are zero, or all are small integers: [*shape]."""
    random = draw(generators)
    values = scale * torch.randn(*shape, generator=random, dtype=DTYPE)
    kind = draw(strategies.integers(0, 3))
    if kind == 0:
        return (2 * values).round()
    if kind == 1:
        return torch.where(torch.rand(*shape, generator=random) < 0.3, 0.0, values)
    return values
