"""Robustness against the exact margin over all linear regions."""

from functools import cache

import pytest
import torch

from lipverify.bounds.methods import METHODS
from lipverify.evidence import PropertyResult
from lipverify.numerics import DTYPE
from lipverify.query_output import Clause
from lipverify.region import AbstractRegion
from lipverify.verdict import Falsified, Reason, Unknown, Verified
from tests.bounds import cases
from tests.oracles import boxes, networks
from tests.oracles.budget import quickly
from tests.oracles.networks import LARGER, PIECEWISE, Tiny
from tests.oracles.regions import Regions
from tests.search.exact_depth import exact_depth
from tests.search.questions import (
    CLEAR,
    INSIDE,
    ask,
    check_counterexample,
    check_refusal,
    refuses,
    robustness,
)
from tests.search.unsafe import STEP, question

CLASSIFIERS = [tiny for tiny in PIECEWISE if tiny.outputs > 1]


@cache
def margin_of(tiny: Tiny, label: int, radius: float) -> float:
    """The smallest f_label - f_j over the box, exactly."""
    regions = Regions(tiny, boxes.offset(tiny.inputs, radius))
    worst = []
    for other in range(tiny.outputs):
        if other != label:
            row = torch.zeros(tiny.outputs, dtype=DTYPE)
            row[other], row[label] = 1.0, -1.0
            worst.append(-regions.maximum(row))
    return min(worst)


def check_violation(
    tiny: Tiny, region: AbstractRegion, result: PropertyResult, label: int, margin: float
) -> None:
    inputs = check_counterexample(result, region, tiny)
    outputs = tiny(inputs)[0]
    others = [float(outputs[j]) for j in range(tiny.outputs) if j != label]
    assert float(outputs[label]) - max(others) < margin


def check(
    tiny: Tiny,
    region: AbstractRegion,
    result: PropertyResult,
    label: int,
    margin: float,
    exact: float,
) -> None:
    assert result.bound is not None
    assert result.bound.lower <= exact + INSIDE * (1 + abs(exact)), "the proved margin is too large"
    assert result.bound.upper >= exact - INSIDE * (1 + abs(exact)), "the attained margin is too low"
    if exact < margin - CLEAR:
        assert not isinstance(result.verdict, Verified)
    if exact > margin + CLEAR:
        assert not isinstance(result.verdict, Falsified)
    if isinstance(result.verdict, Falsified):
        check_violation(tiny, region, result, label, margin)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("tiny", quickly(CLASSIFIERS, 5), ids=str)
def test_verdicts_agree_with_the_exact_margin(tiny: Tiny, method: str) -> None:
    for radius in (0.0625, 0.75):
        region = boxes.offset(tiny.inputs, radius)
        for label in range(tiny.outputs):
            exact = margin_of(tiny, label, radius)
            for margin in (0.0, exact - 0.05, exact + 0.05):
                result = ask(tiny, region, robustness(label, margin), method=method)
                check(tiny, region, result, label, margin, exact)


@pytest.mark.parametrize("tiny", (*CLASSIFIERS, *LARGER), ids=str)
def test_the_label_predicted_at_the_centre(tiny: Tiny) -> None:
    region = boxes.offset(tiny.inputs, 2.0**-10)
    label = int(tiny(region.center.unsqueeze(0))[0].argmax())
    predicted, named = (ask(tiny, region, robustness(k)) for k in (None, label))
    assert predicted.verdict.word == named.verdict.word
    others = [k for k in range(tiny.outputs) if k != label]
    for other in others:
        assert not isinstance(ask(tiny, region, robustness(other)).verdict, Verified)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("tiny", LARGER, ids=str)
def test_every_kind_of_network_can_be_verified_on_a_small_box(tiny: Tiny, method: str) -> None:
    """Every method's forward bounds work on every activation: none ends in a breakdown."""
    region = boxes.offset(tiny.inputs, 2.0**-12)
    values = tiny(region.center.unsqueeze(0))[0]
    gap = values.topk(2).values
    assert float(gap[0] - gap[1]) > 0.01, "the case tests nothing"
    prop = robustness(int(values.argmax()))
    result = ask(tiny, region, prop, method=method)
    if refuses(tiny, method, prop):
        check_refusal(result)
        return
    assert isinstance(result.verdict, Verified), (result.method, result.verdict)


@pytest.mark.parametrize("kind", cases.BALLS)
def test_balls_against_samples(kind: str) -> None:
    for tiny in (PIECEWISE[0], LARGER[0], LARGER[2]):
        region = cases.region_of(tiny, kind)
        values = tiny(cases.points_of(tiny, kind))
        for label in range(tiny.outputs):
            others = [j for j in range(tiny.outputs) if j != label]
            sampled = float((values[:, [label]] - values[:, others]).min())
            result = ask(tiny, region, robustness(label, sampled + 0.01))
            assert not isinstance(result.verdict, Verified)
            if isinstance(result.verdict, Falsified):
                check_violation(tiny, region, result, label, sampled + 0.01)


def test_a_tie_is_not_robust() -> None:
    """Two equal outputs: f_0 - f_1 = 0 everywhere, which is not > 0."""
    make = networks.Weights(0)
    last = make(2, 3)
    last[1] = last[0]
    tiny = networks.from_weights([(make(3, 2), make(3)), (last, None)], "tie")
    for method in METHODS:
        for label in (0, 1, None):
            result = ask(tiny, boxes.centered(2, 1.0), robustness(label), method=method)
            assert not isinstance(result.verdict, Verified)


def test_broken_weights_are_unknown() -> None:
    make = networks.Weights(0)
    weight = make(3, 2)
    weight[0, 0] = float("inf")
    tiny = networks.from_weights([(weight, None), (make(2, 3), None)], "inf")
    for method in METHODS:
        result = ask(tiny, boxes.centered(2, 1.0), robustness(0, -1e9), method=method)
        assert isinstance(result.verdict, Unknown)
        assert result.verdict.reason is Reason.NUMERICS


@pytest.mark.parametrize("seed", quickly(range(40), 4))
def test_margins_at_and_next_to_the_exact_value(seed: int) -> None:
    """f_0 - f_j >= margin, with margins 2^-44 apart around the exact smallest difference."""
    asked = question(seed + seed // 9)  # those with more than one output
    rows = torch.zeros(asked.tiny.outputs - 1, asked.tiny.outputs, dtype=DTYPE)
    rows[:, 0] = 1.0
    rows[torch.arange(len(rows)), torch.arange(1, asked.tiny.outputs)] = -1.0
    clauses = tuple(Clause(row.unsqueeze(0), torch.zeros(1, dtype=DTYPE)) for row in rows)
    exact = -exact_depth(asked.tiny, asked.regions, clauses).depth
    below = exact // STEP * STEP  # the exact value itself, where it is on the grid
    for margin, kind in ((below, Verified), (below + STEP, Unknown)):
        asking = robustness(0, float(margin))
        verdict = ask(asked.tiny, asked.box, asking, max_subproblems=3000).verdict
        # Margin 0 asks for more than 0.
        assert isinstance(verdict, kind if margin or exact else Unknown), (seed, margin, exact)
        assert not isinstance(verdict, Unknown) or verdict.reason is Reason.CANDIDATE
