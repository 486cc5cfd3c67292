"""Lipschitz intervals and thresholds against all linear regions."""

from functools import cache

import pytest
import torch

from lipverify.bounds.methods import METHODS
from lipverify.numerics import DTYPE
from lipverify.region import AbstractRegion, Box
from lipverify.verdict import Falsified, Reason, Unknown, Verified
from tests.bounds import cases
from tests.oracles import autodiff, boxes, networks
from tests.oracles import operator_norm as judge
from tests.oracles.budget import quickly
from tests.oracles.networks import LARGER, PIECEWISE, Tiny
from tests.oracles.operator_norm import PAIRS
from tests.oracles.regions import Regions
from tests.search.questions import ask, check_counterexample, check_norm, lipschitz

PLAIN = [name for name, method in METHODS.items() if not method.searches]


@cache
def regions_of(tiny: Tiny) -> Regions:
    return Regions(tiny, boxes.offset(tiny.inputs))


@pytest.mark.parametrize("method", PLAIN)
@pytest.mark.parametrize("tiny", quickly(PIECEWISE, 8), ids=str)
def test_the_interval_holds_the_exact_constant(tiny: Tiny, method: str) -> None:
    regions = regions_of(tiny)
    result = ask(tiny, regions.box, lipschitz(tiny), method=method)
    assert isinstance(result.verdict, Verified), "without a threshold, an interval is an answer"
    check_norm(result, regions.norm("inf", "inf"), None)


@pytest.mark.parametrize(("input_norm", "output_norm"), PAIRS)
@pytest.mark.parametrize("tiny", quickly(PIECEWISE[:12], 4), ids=str)
def test_all_nine_pairs_of_norms(tiny: Tiny, input_norm: str, output_norm: str) -> None:
    regions = regions_of(tiny)
    exact = regions.norm(input_norm, output_norm)
    result = ask(tiny, regions.box, lipschitz(tiny, input_norm, output_norm), method="auto")
    check_norm(result, exact, None)


@pytest.mark.parametrize("share", [0.5, 0.999, 1.001, 1.5])
@pytest.mark.parametrize("method", ["interval", "linear", "auto"])
@pytest.mark.parametrize("tiny", quickly(PIECEWISE[:12], 5), ids=str)
def test_thresholds_are_never_decided_wrongly(tiny: Tiny, method: str, share: float) -> None:
    regions = regions_of(tiny)
    exact = regions.norm("inf", "inf")
    at_most = share * exact
    result = ask(tiny, regions.box, lipschitz(tiny, at_most=at_most), method=method)
    check_norm(result, exact, at_most)
    if isinstance(result.verdict, Falsified):
        check_counterexample(result, regions.box, tiny)


@pytest.mark.parametrize(("input_norm", "output_norm"), PAIRS)
def test_thresholds_for_all_pairs(input_norm: str, output_norm: str) -> None:
    for tiny in (PIECEWISE[0], PIECEWISE[9]):
        regions = regions_of(tiny)
        exact = regions.norm(input_norm, output_norm)
        for share in (0.9, 1.1):
            prop = lipschitz(tiny, input_norm, output_norm, at_most=share * exact)
            check_norm(ask(tiny, regions.box, prop), exact, share * exact)


@pytest.mark.parametrize("kind", ["rows", "one"])
@pytest.mark.parametrize("output_norm", ["1", "2", "inf"])
def test_combined_rows(kind: str, output_norm: str) -> None:
    for tiny in (PIECEWISE[0], PIECEWISE[10]):
        rows = cases.ROWS[2].make(tiny.outputs) if kind == "rows" else None
        rows = rows if rows is not None else torch.tensor([[0.3, -0.7]], dtype=DTYPE)
        regions = regions_of(tiny)
        exact = regions.norm("2", output_norm, rows)
        result = ask(tiny, regions.box, lipschitz(tiny, "2", output_norm, rows=rows))
        check_norm(result, exact, None)


@pytest.mark.parametrize(
    ("tiny", "kind"),
    quickly(cases.every(LARGER[1:7], ("offset", "l2 ball", "clipped l1 ball")), 6),
)
def test_smooth_and_larger_networks_against_samples(tiny: Tiny, kind: str) -> None:
    region = cases.region_of(tiny, kind)
    sampled = max(
        judge.operator_norm(matrix, "inf", "inf")
        for matrix in cases.jacobians_of(tiny, kind).numpy()
    )
    result = ask(tiny, region, lipschitz(tiny))
    assert result.bound is not None
    assert result.bound.upper >= sampled * (1 - 1e-9)
    below = ask(tiny, region, lipschitz(tiny, at_most=0.99 * sampled))
    assert not isinstance(below.verdict, Verified)


@pytest.mark.parametrize("tiny", (*PIECEWISE, *LARGER[:7]), ids=str)
def test_the_witness_attains_the_lower_end(tiny: Tiny) -> None:
    region: AbstractRegion = boxes.offset(tiny.inputs)
    result = ask(tiny, region, lipschitz(tiny), method="interval")
    assert result.bound is not None and result.witness is not None
    point = torch.tensor([result.witness.input], dtype=DTYPE)
    assert bool(region.contains(point).all())
    around = point + 2.0**-24 * torch.randn(60, tiny.inputs, dtype=DTYPE)
    around = around[autodiff.distance_to_kinks(tiny, around) > 0]
    for matrix in autodiff.jacobians(tiny, around).numpy():
        value = judge.operator_norm(matrix, "inf", "inf")
        assert value >= result.bound.lower * (1 - 1e-5) - 1e-9


@pytest.mark.parametrize(("input_norm", "output_norm"), PAIRS)
@pytest.mark.parametrize("tiny", (PIECEWISE[1], PIECEWISE[9], LARGER[0]), ids=str)
def test_a_point_is_bounded_tightly(tiny: Tiny, input_norm: str, output_norm: str) -> None:
    region = boxes.offset(tiny.inputs, 0.0)
    jacobian = autodiff.jacobians(tiny, region.center.unsqueeze(0))[0]
    exact = judge.operator_norm(jacobian.numpy(), input_norm, output_norm)
    result = ask(tiny, region, lipschitz(tiny, input_norm, output_norm))
    check_norm(result, exact, None)
    assert result.bound is not None
    if input_norm == "1" or output_norm == "inf":
        assert result.bound.upper <= result.bound.lower * (1 + 1e-9) + 1e-12


def test_the_kink_pair_is_bounded_over_the_gate_product_set() -> None:
    """f(x) = x: attained is 1; with independent gates at the kink, 2."""
    tiny = networks.kink_pair()
    result = ask(tiny, boxes.centered(1, 1.0), lipschitz(tiny), method="linear")
    assert result.bound is not None
    assert result.bound.lower == pytest.approx(1.0, abs=1e-9)
    assert result.bound.upper >= 1.0
    false = ask(tiny, boxes.centered(1, 1.0), lipschitz(tiny, at_most=0.9))
    assert isinstance(false.verdict, Falsified)


def test_a_gap_ends_the_search_with_an_interval_that_keeps_it() -> None:
    tiny = PIECEWISE[0]
    regions = regions_of(tiny)
    result = ask(tiny, regions.box, lipschitz(tiny, gap=10.0))
    check_norm(result, regions.norm("inf", "inf"), None)
    assert result.bound is not None and result.bound.upper <= 11 * result.bound.lower


@pytest.mark.parametrize("gap", quickly([0.05, 0.5, 2.0], 1))
@pytest.mark.parametrize(("input_norm", "output_norm"), PAIRS)
def test_a_gap_never_costs_the_upper_end(input_norm: str, output_norm: str, gap: float) -> None:
    """What was left out of a search because it is good enough is still part of the maximum."""
    for tiny in (PIECEWISE[0], PIECEWISE[1], PIECEWISE[9]):
        exact = regions_of(tiny).norm(input_norm, output_norm)
        prop = lipschitz(tiny, input_norm, output_norm, gap=gap)
        check_norm(ask(tiny, regions_of(tiny).box, prop), exact, None)


@pytest.mark.parametrize("seed", [31, 55, 165, 206])
def test_the_end_of_an_entry_that_is_not_searched_still_counts(seed: int) -> None:
    """An entry in [-3, 1], bounded by [-3, 5]: searching its upper end must not lose the lower."""
    tiny = networks.dense((2, 5, 4, 1), seed)
    regions = Regions(tiny, boxes.offset(2, 1.0, seed))
    result = ask(tiny, regions.box, lipschitz(tiny, "1", gap=0.02), max_subproblems=40)
    check_norm(result, regions.norm("1", "inf"), None)


@pytest.mark.parametrize("at_most", [float("nan"), -1.0])
def test_thresholds_that_no_norm_meets_are_not_verified(at_most: float) -> None:
    tiny = PIECEWISE[0]
    result = ask(tiny, boxes.offset(2), lipschitz(tiny, at_most=at_most))
    assert not isinstance(result.verdict, Verified)


def test_broken_weights_are_unknown() -> None:
    make = networks.Weights(0)
    weight = make(3, 2)
    weight[0, 0] = float("nan")
    tiny = networks.from_weights([(weight, None), (make(2, 3), None)], "nan")
    for method in METHODS:
        result = ask(tiny, boxes.centered(2, 1.0), lipschitz(tiny, at_most=1e9), method=method)
        assert isinstance(result.verdict, Unknown)
        assert result.verdict.reason is Reason.NUMERICS


@pytest.mark.parametrize("used", [0.0, 1.0])
def test_neurons_with_weights_of_zero_have_no_gate(used: float) -> None:
    """An open neuron that the output does not depend on, alone and beside another one."""
    first = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=DTYPE)
    last = torch.tensor([[0.0, used], [0.0, 0.0]], dtype=DTYPE)
    tiny = networks.from_weights([(first, None), (last, None)], "unused")
    box = Box(-torch.ones(2, dtype=DTYPE), torch.ones(2, dtype=DTYPE))
    result = ask(tiny, box, lipschitz(tiny, "inf", "1"), method="linear")
    check_norm(result, 2 * used, None)
    assert result.bound is not None and result.bound.upper <= 2 * used + 1e-9
