"""Planted bugs in intervals, norms, rounding and regions: the sweep's checks catch each."""

from collections.abc import Callable

import pytest
import torch
from pytest import MonkeyPatch

from lipverify import numerics
from lipverify.errors import InvertedInterval
from lipverify.interval import Interval
from lipverify.norms import AbstractNorm, operator_norm
from lipverify.norms.l1 import L1
from lipverify.norms.l2 import L2
from lipverify.norms.linf import LInf
from lipverify.numerics import DTYPE
from lipverify.region import Ball, Box
from tests.mutants.planted import Claim, Mutant, assert_caught, replaced
from tests.rules import cases
from tests.rules.claims import interval as interval_claims
from tests.rules.claims import norm as norm_claims
from tests.rules.claims import operator_norm as operator_norm_claims
from tests.rules.claims import region as region_claims

SEEDS = range(6)


def norms(claim: Callable, norm: AbstractNorm) -> Claim:
    return lambda: claim(norm, norm_claims.vectors(60, 4, cases.generator(0)))


def matrices(scale: float = 1.0) -> Claim:
    """Both bounds of the operator norm, for every pair of norms."""

    def sweep() -> None:
        for seed in SEEDS:
            jacobian = operator_norm_claims.matrices(3, 3, cases.generator(seed))
            jacobian = Interval(scale * jacobian.lower, scale * jacobian.upper)
            for p, q in operator_norm_claims.PAIRS:
                operator_norm_claims.bounds_hold(jacobian, p, q, cases.generator(seed))

    return sweep


def regions(claim: Callable, kind: type) -> Claim:
    """The claim, for every region of that kind."""

    def sweep() -> None:
        for seed in SEEDS:
            for name, region in region_claims.regions(3, cases.generator(seed)).items():
                if isinstance(region, kind):
                    claim(name, region, cases.generator(seed))

    return sweep


def passes_nan(x: Interval) -> None:
    if bool((x.lower > x.upper).any()):
        raise InvertedInterval("lower > upper")


def nan_is_refused() -> None:
    interval_claims.refuses(torch.full((1,), torch.nan, dtype=DTYPE), torch.ones(1, dtype=DTYPE))


def halves_with_a_gap(self: Box, index: int, at: float | None = None) -> tuple[Box, Box]:
    below, above = original_halves(self, index, at)
    lower = above.lower.clone()
    lower[index] += 1e-9
    return below, Box(torch.minimum(lower, above.upper), above.upper)


original_halves = Box.halves

MUTANTS = [
    Mutant(
        "NaN passes the interval check (bound_propagation)",
        replaced(Interval, "__post_init__", passes_nan),
        nan_is_refused,
    ),
    Mutant(
        "dual exponent: the dual of l2 is l1",
        replaced(L2, "dual", property(lambda norm: L1())),
        norms(norm_claims.hoelder_is_attained, L2()),
    ),
    Mutant(
        "dual exponent: l1 is its own dual",
        replaced(L1, "dual", property(lambda norm: norm)),
        norms(norm_claims.hoelder_is_attained, L1()),
    ),
    Mutant(
        "the maximiser of the infinity norm forgets signs",
        replaced(LInf, "maximiser", lambda norm, a: torch.ones_like(a)),
        norms(norm_claims.hoelder_is_attained, LInf()),
    ),
    Mutant(
        "squares of small entries vanish in the l2 norm",
        replaced(L2, "of", lambda norm, x: (x * x).sum(-1).sqrt()),
        matrices(1e-200),
    ),
    Mutant(
        "operator norms of the centre alone, above",
        replaced(Interval, "magnitude", property(lambda x: x.center.abs())),
        matrices(),
    ),
    Mutant(
        "operator norms of the centre alone, below",
        replaced(Interval, "radius", property(lambda x: torch.zeros_like(x.lower))),
        matrices(),
    ),
    Mutant(
        "norms of rows are not rounded up",
        replaced(operator_norm, "_round_up", lambda value, operations: float(value)),
        matrices(),
    ),
    Mutant(
        "sums are not rounded up",
        replaced(numerics, "add_up", lambda a, b: a + b),
        lambda: interval_claims.rounding_is_outward(
            cases.numbers(100, cases.generator(1)), cases.numbers(100, cases.generator(2))
        ),
    ),
    Mutant(
        "the support of a ball uses its own norm",
        replaced(
            Ball,
            "support",
            lambda ball, slope: slope @ ball.middle + ball.norm.of(slope * ball.radius),
        ),
        regions(region_claims.support_is_attained, Ball),
    ),
    Mutant(
        "the support of a box is that of its centre",
        replaced(Box, "support", lambda box, slope: slope @ box.center),
        regions(region_claims.support_is_above, Box),
    ),
    Mutant(
        "a ball holds its bounding box",
        replaced(Ball, "contains", lambda ball, x: ball.bounding.contains(x).all(-1)),
        regions(region_claims.outside_is_refused, Ball),
    ),
    Mutant(
        "children of a box leave a gap of 1e-9 (Local-Lipschitz)",
        replaced(Box, "halves", halves_with_a_gap),
        lambda: region_claims.halves_cover(
            Box(-torch.ones(2, dtype=DTYPE), torch.ones(2, dtype=DTYPE)), cases.generator(0)
        ),
    ),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.story)
def test_mutant_is_caught(mutant: Mutant, monkeypatch: MonkeyPatch) -> None:
    assert_caught(mutant, monkeypatch)
