"""Every claim of the operator that chooses between branches, on operands that belong together."""

import pytest
import torch
from hypothesis import given
from torch import Tensor

from lipverify.interval import Interval
from lipverify.numerics import DTYPE
from lipverify.operators import Add, Choice
from tests import strategies
from tests.conftest import Checks
from tests.rules.cases import numbers, part_of

SIZE = 6
SHAPE = (2, SIZE)


def interval_of(random: torch.Generator) -> Interval:
    """Wide and thin ones, points, ties with 0, awkward and huge numbers."""
    ends = torch.stack([numbers(2 * SIZE, random).reshape(SHAPE) for _ in range(2)])
    ends = ends.clamp(-1e300, 1e300)
    kind = torch.randint(0, 4, SHAPE, generator=random)
    plain = torch.randn(2, *SHAPE, generator=random, dtype=DTYPE)
    ends = torch.where(kind == 0, ends, plain)
    ends[1] = torch.where(kind == 1, ends[0], ends[1])
    ends = torch.where(kind == 2, ends.round(), ends)
    return Interval(ends.amin(0) + 0.0, ends.amax(0) + 0.0)


def drawn(x: Interval, random: torch.Generator) -> Tensor:
    """A point of the interval, often one of its ends, or as near to 0 as it gets."""
    share = torch.rand(SHAPE, generator=random, dtype=DTYPE)
    inner = (x.lower * (1 - share) + x.upper * share).clamp(x.lower, x.upper)
    kind = torch.randint(0, 4, SHAPE, generator=random)
    near = torch.zeros_like(inner).clamp(x.lower, x.upper)
    inner = torch.where(kind == 0, near, inner)
    return torch.where(kind == 1, x.lower, torch.where(kind == 2, x.upper, inner))


def branches(random: torch.Generator) -> tuple[Interval, Interval]:
    """Some of them tied."""
    p, q = interval_of(random), interval_of(random)
    tied = torch.rand(SHAPE, generator=random) < 0.2
    lower = torch.where(tied, p.lower, q.lower)
    return p, Interval(lower, torch.where(tied, p.upper, q.upper))


@pytest.mark.parametrize("kind", ["max", "min"])
@given(random=strategies.generators)
def test_extremes_are_exact(kind: str, random: torch.Generator, checks: Checks) -> None:
    """The range of the maximum is that of its ends, without rounding; and isotone."""
    p, q = branches(random)
    operator = Choice(kind, 1 if kind == "max" else -1)  # type: ignore[arg-type]
    pick = torch.maximum if kind == "max" else torch.minimum
    anything = Interval(
        torch.full(SHAPE, -1e308, dtype=DTYPE), torch.full(SHAPE, 1e308, dtype=DTYPE)
    )
    found = operator.interval(p, q, anything)
    assert torch.equal(found.lower, pick(p.lower, q.lower))
    assert torch.equal(found.upper, pick(p.upper, q.upper))
    for _ in range(4):
        x, y = drawn(p, random), drawn(q, random)
        value = operator.evaluate(x, y, torch.zeros_like(x))
        assert torch.equal(value, pick(x, y))
        assert bool(((found.lower <= value) & (value <= found.upper)).all())
    inner = operator.interval(part_of(p, random), part_of(q, random), anything)
    assert bool((found.lower <= inner.lower).all() and (inner.upper <= found.upper).all())
    checks.count(4 * p.lower.numel())


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("kind", ["between", "rest"])
@given(random=strategies.generators)
def test_mixtures_are_enclosed(
    kind: str, sign: int, random: torch.Generator, checks: Checks
) -> None:
    """(1 - d) q + d p for every d, by the gate's range and by that of the sum."""
    p, q = branches(random)
    if kind == "rest":
        p = Interval(torch.zeros_like(p.lower), torch.zeros_like(p.lower))
        sign = -1
    ends = torch.randint(0, 3, (2, SIZE), generator=random).to(DTYPE) / 2
    share = Interval(ends.amin(0, keepdim=True), ends.amax(0, keepdim=True))
    operator = Choice(kind, sign)  # type: ignore[arg-type]
    # r = sign d (p - q), so that q + sign r is the mixture.
    size = torch.maximum(p.magnitude, q.magnitude)
    r = Interval(-2.0 * size, 2.0 * size)
    operands = (q, r) if kind == "rest" else (p, q, r)
    found = operator.mixed(share, *operands)
    loose = operator.interval(*operands)
    for _ in range(4):
        d = torch.rand(SHAPE, generator=random, dtype=DTYPE)
        d = (share.lower * (1 - d) + share.upper * d).clamp(share.lower, share.upper)
        d = torch.where(d < 0.3, share.lower, torch.where(d > 0.7, share.upper, d))
        x, y = drawn(p, random), drawn(q, random)
        value = (1 - d) * y + d * x
        slack = 4 * torch.finfo(DTYPE).eps * torch.maximum(x.abs(), y.abs())
        for bounds in (found, loose):
            assert bool((bounds.lower <= value + slack).all())
            assert bool((value - slack <= bounds.upper).all())
    known = (share.lower == share.upper) & (share.lower.round() == share.lower)
    chosen = Interval(
        torch.where(share.lower == 1, p.lower, q.lower),
        torch.where(share.lower == 1, p.upper, q.upper),
    )
    assert torch.equal(torch.where(known, found.lower, 0.0), torch.where(known, chosen.lower, 0.0))
    assert torch.equal(torch.where(known, found.upper, 0.0), torch.where(known, chosen.upper, 0.0))
    checks.count(8 * p.lower.numel())


@pytest.mark.parametrize(
    ("kind", "sign", "signs"),
    [
        ("max", 1, (0, 1, 1)),
        ("min", -1, (0, 1, -1)),
        ("between", 1, (0, 1, 1)),
        ("between", -1, (0, 1, -1)),
        ("rest", 1, (1, 1)),
        ("rest", -1, (1, -1)),
    ],
)
def test_linear_part_is_that_of_the_sum(kind: str, sign: int, signs: tuple[int, ...]) -> None:
    operator = Choice(kind, sign)  # type: ignore[arg-type]
    x = torch.randn(2, 3, dtype=DTYPE)
    assert operator.signs == signs and operator.arity == len(signs) <= operator.terms
    assert operator.output_shape(*[(3,)] * operator.arity) == (3,)
    for operand, expected in enumerate(signs):
        assert torch.equal(operator.linear(x, operand), expected * x)
        assert torch.equal(operator.transpose(x, operand), expected * x)
        assert torch.equal(operator.absolute.linear(x, operand), abs(expected) * x)
        parts = operator.sign_parts()
        assert torch.equal(parts[0].linear(x, operand), (expected > 0) * x)
        assert torch.equal(parts[1].linear(x, operand), (expected < 0) * x)
    values = [torch.randn(2, 3, dtype=DTYPE) for _ in signs]
    if kind in ("between", "rest"):
        assert torch.equal(operator.evaluate(*values), Add(signs).evaluate(*values))


def test_the_sum_is_the_choice() -> None:
    """b + relu(a - b) and a - relu(a - b), at ties and around."""
    a = torch.tensor([[1.0, 2.0, -3.0, 0.0, 5.0]], dtype=DTYPE)
    b = torch.tensor([[1.0, 3.0, -4.0, -0.0, 5.0]], dtype=DTYPE)
    r = torch.relu(a - b)
    assert torch.equal(Choice("max", 1).evaluate(a, b, r), b + r)
    assert torch.equal(Choice("min", -1).evaluate(b, a, r), a - r)
