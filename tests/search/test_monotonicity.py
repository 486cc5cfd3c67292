"""Monotonicity against all linear regions, and pairs of inputs re-evaluated."""

from functools import cache

import pytest
import torch

from lipverify.bounds.methods import METHODS
from lipverify.evidence import PropertyResult
from lipverify.region import AbstractRegion
from lipverify.verdict import Falsified, Unknown, Verified
from tests.bounds import cases
from tests.oracles import boxes, networks
from tests.oracles.budget import quickly
from tests.oracles.networks import PIECEWISE, Builder, Tiny, Weights
from tests.oracles.regions import Regions
from tests.search.questions import (
    CLEAR,
    INSIDE,
    ask,
    check_counterexample,
    check_refusal,
    monotonicity,
    refuses,
)

MONOTONE = (
    networks.monotone((3, 4, 4, 1), 0),
    networks.monotone((3, 4, 4, 2), 1, "leaky"),
    networks.monotone((3, 4, 1), 2, "tanh"),
    networks.monotone((2, 4, 3, 1), 3, "sigmoid"),
)


@cache
def entries_of(tiny: Tiny) -> tuple[Regions, torch.Tensor, torch.Tensor]:
    regions = Regions(tiny, boxes.offset(tiny.inputs))
    return regions, *regions.entries()


def all_inputs(tiny: Tiny) -> tuple[int, ...]:
    return tuple(range(tiny.inputs))


def one_negative_path() -> Tiny:
    """Monotone but for one path from input 1, which rules near the corner of the box."""
    make, builder = Weights(4), Builder(3)
    first = make(4, 3).abs() + 0.25
    hidden = builder.activate(builder.dense(builder.INPUT, first, make(4, scale=0.25)), "relu")
    rising = builder.dense(hidden, make(1, 4).abs() + 0.25)
    single = torch.tensor([[0.0, 1.0, 0.0]], dtype=first.dtype)
    ramp = builder.dense(builder.INPUT, single, torch.tensor([-0.5], dtype=first.dtype))
    falling = builder.dense(
        builder.activate(ramp, "relu"), torch.tensor([[40.0]], dtype=first.dtype)
    )
    return builder.finish("one-negative-path", builder.add(rising, falling, signs=(1, -1)))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("tiny", MONOTONE, ids=str)
def test_networks_that_are_monotone_by_construction_are_verified(tiny: Tiny, method: str) -> None:
    for kind in ("centered", "wide", "l2 ball"):
        prop = monotonicity(tiny, all_inputs(tiny))
        result = ask(tiny, cases.region_of(tiny, kind), prop, method=method)
        if refuses(tiny, method, prop):
            check_refusal(result)
            continue
        assert isinstance(result.verdict, Verified)
        assert [feature.verdict.word for feature in result.features] == ["verified"] * tiny.inputs


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("tiny", MONOTONE, ids=str)
def test_the_opposite_direction_is_never_verified(tiny: Tiny, method: str) -> None:
    region = boxes.centered(tiny.inputs, 1.0)
    result = ask(tiny, region, monotonicity(tiny, (), all_inputs(tiny)), method=method)
    assert not isinstance(result.verdict, Verified)
    if isinstance(result.verdict, Falsified):
        check_pair(tiny, region, result)


def check_pair(tiny: Tiny, region: AbstractRegion, result: PropertyResult) -> None:
    """The pair differs in one input alone, and the output moves against the claim."""
    before, after = check_counterexample(result, region, tiny)
    differs = (before != after).nonzero().flatten().tolist()
    assert len(differs) == 1
    feature = next(f for f in result.features if f.verdict is result.verdict)
    assert feature.name == f"x{differs[0]}"
    assert float(after[differs[0]]) > float(before[differs[0]])
    values = tiny(torch.stack([before, after]))[:, 0]
    if feature.direction == "increasing":
        assert float(values[1]) < float(values[0])
    else:
        assert float(values[1]) > float(values[0])


@pytest.mark.parametrize("method", METHODS)
def test_one_negative_path_is_not_verified(method: str) -> None:
    tiny = one_negative_path()
    region = boxes.centered(3, 1.0)
    result = ask(tiny, region, monotonicity(tiny, (0, 1, 2)), method=method)
    assert isinstance(result.verdict, Falsified)
    check_pair(tiny, region, result)
    words = [feature.verdict.word for feature in result.features]
    assert words == ["verified", "falsified", "verified"]
    # Where the path is asleep, the network is monotone again.
    lower, upper = region.lower.clone(), region.upper.clone()
    upper[1] = 0.5
    asleep = ask(tiny, type(region)(lower, upper - 0.01), monotonicity(tiny, (0, 1, 2)))
    assert isinstance(asleep.verdict, Verified)


@pytest.mark.parametrize("method", ["interval", "mean-split", "recurjac", "linear", "auto"])
@pytest.mark.parametrize("tiny", quickly(PIECEWISE[:12], 6), ids=str)
def test_verdicts_and_bounds_agree_with_all_linear_regions(tiny: Tiny, method: str) -> None:
    regions, low, high = entries_of(tiny)
    for increasing in (True, False):
        asked = (all_inputs(tiny), ()) if increasing else ((), all_inputs(tiny))
        result = ask(tiny, regions.box, monotonicity(tiny, *asked), method=method)
        for index, feature in enumerate(result.features):
            least, most = float(low[0, index]), float(high[0, index])
            scale = 1 + max(abs(least), abs(most))
            assert feature.bound.lower <= least + INSIDE * scale
            assert feature.bound.upper >= most - INSIDE * scale
            holds = least >= 0 if increasing else most <= 0
            clearly_fails = least < -CLEAR if increasing else most > CLEAR
            if clearly_fails:
                assert not isinstance(feature.verdict, Verified)
            if holds:
                assert not isinstance(feature.verdict, Falsified)
        if isinstance(result.verdict, Falsified):
            check_pair(tiny, regions.box, result)


@pytest.mark.parametrize("share", [0.9, 1.1])
@pytest.mark.parametrize("tiny", PIECEWISE[:6], ids=str)
def test_margins_shift_the_threshold(tiny: Tiny, share: float) -> None:
    """derivative >= margin: true below the smallest derivative, false above it."""
    regions, low, _ = entries_of(tiny)
    least = float(low[0, 0])
    margin = least - (share - 1) * (1 + abs(least))
    result = ask(tiny, regions.box, monotonicity(tiny, (0,), margin=margin))
    if margin > least:
        assert not isinstance(result.verdict, Verified)
    else:
        assert not isinstance(result.verdict, Falsified)


@pytest.mark.parametrize("kind", cases.BALLS)
def test_counterexample_pairs_stay_within_balls(kind: str) -> None:
    """Both points of a pair lie in the region, although only one input moves."""
    falsified = 0
    for tiny in (PIECEWISE[0], PIECEWISE[1], MONOTONE[0]):
        region = cases.region_of(tiny, kind)
        result = ask(tiny, region, monotonicity(tiny, (), all_inputs(tiny)))
        if isinstance(result.verdict, Falsified):
            check_pair(tiny, region, result)
            falsified += 1
    assert falsified, "no pair was found at all"


def test_a_fixed_input_moves_nowhere() -> None:
    """On a slice, no pair differs in the fixed input; its derivative is still asked about."""
    tiny = MONOTONE[0]
    region = cases.region_of(tiny, "slice")
    assert isinstance(ask(tiny, region, monotonicity(tiny, (0,))).verdict, Verified)
    assert isinstance(ask(tiny, region, monotonicity(tiny, (), (0,))).verdict, Unknown)


def test_no_feature_is_no_proof() -> None:
    tiny = MONOTONE[0]
    result = ask(tiny, boxes.centered(3, 1.0), monotonicity(tiny))
    assert not isinstance(result.verdict, Verified)
