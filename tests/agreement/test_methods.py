"""All methods on the same question: none contradicts another, nor what was sampled."""

from functools import cache

import pytest
import torch

from lipverify.bounds.methods import METHODS, STAGES
from lipverify.evidence import PropertyResult
from lipverify.norms import norm_named
from lipverify.numerics import DTYPE
from lipverify.spec.property import Property
from lipverify.verdict import Falsified, Verified
from tests.bounds import cases
from tests.oracles import autodiff, boxes
from tests.oracles import operator_norm as judge
from tests.oracles.budget import quickly
from tests.oracles.networks import LARGER, PIECEWISE, Tiny
from tests.oracles.regions import Regions
from tests.search.questions import ask, lipschitz, monotonicity, refuses, robustness

ROUNDING = 1e-9
NETWORKS = (
    PIECEWISE[0],
    PIECEWISE[2],
    PIECEWISE[9],
    PIECEWISE[11],
    LARGER[1],
    LARGER[4],
    LARGER[6],
)


def check_consistent(results: dict[str, PropertyResult]) -> None:
    """No verified next to falsified, no lower end above an upper end."""
    words = {result.verdict.word for result in results.values()}
    assert not {"verified", "falsified"} <= words, f"methods contradict each other: {words}"
    bounds = [result.bound for result in results.values() if result.bound is not None]
    if bounds:
        most, least = max(b.lower for b in bounds), min(b.upper for b in bounds)
        assert most <= least + ROUNDING * (1 + abs(least)), "proved ends contradict each other"


def asked(tiny: Tiny, prop: Property) -> dict[str, PropertyResult]:
    box = boxes.offset(tiny.inputs)
    return {
        method: ask(tiny, box, prop, method=method)
        for method in METHODS
        if not refuses(tiny, method, prop)
    }


@cache
def sampled_norm(tiny: Tiny, input_norm: str, output_norm: str) -> float:
    jacobians = autodiff.jacobians(tiny, boxes.points(boxes.offset(tiny.inputs), 300))
    return max(judge.operator_norm(matrix, input_norm, output_norm) for matrix in jacobians.numpy())


@pytest.mark.parametrize(("input_norm", "output_norm"), [("inf", "inf"), ("2", "2"), ("1", "1")])
@pytest.mark.parametrize("tiny", quickly(NETWORKS, 3), ids=str)
def test_lipschitz_intervals_overlap(tiny: Tiny, input_norm: str, output_norm: str) -> None:
    results = asked(tiny, lipschitz(tiny, input_norm, output_norm))
    check_consistent(results)
    sampled = sampled_norm(tiny, input_norm, output_norm)
    for method, result in results.items():
        assert result.bound is not None
        assert result.bound.upper >= sampled * (1 - ROUNDING), method


@pytest.mark.parametrize("share", quickly([0.95, 0.5, 1.05, 2.0], 2))
@pytest.mark.parametrize("tiny", quickly(NETWORKS, 3), ids=str)
def test_lipschitz_verdicts_agree(tiny: Tiny, share: float) -> None:
    at_most = share * sampled_norm(tiny, "inf", "inf")
    results = asked(tiny, lipschitz(tiny, at_most=at_most))
    check_consistent(results)
    if share < 1:
        assert not any(isinstance(result.verdict, Verified) for result in results.values())


@pytest.mark.parametrize("tiny", quickly(NETWORKS, 3), ids=str)
def test_monotonicity_verdicts_agree(tiny: Tiny) -> None:
    everything = tuple(range(tiny.inputs))
    for prop in (monotonicity(tiny, everything), monotonicity(tiny, (), everything)):
        results = asked(tiny, prop)
        check_consistent(results)
        for index in everything:
            features = [result.features[index] for result in results.values()]
            words = {feature.verdict.word for feature in features}
            assert not {"verified", "falsified"} <= words
            least = min(feature.bound.upper for feature in features)
            most = max(feature.bound.lower for feature in features)
            assert most <= least + ROUNDING * (1 + abs(least))


@pytest.mark.parametrize("tiny", quickly([t for t in NETWORKS if t.outputs > 1], 3), ids=str)
def test_robustness_verdicts_agree(tiny: Tiny) -> None:
    values = tiny(boxes.points(boxes.offset(tiny.inputs), 300))
    attained = float((values[:, 0] - values[:, 1:].amax(1)).min())
    for change in (-1.0, -0.1, 0.1):
        results = asked(tiny, robustness(0, attained + change))
        check_consistent(results)
        if change > 0:
            assert not any(isinstance(result.verdict, Verified) for result in results.values())


@pytest.mark.parametrize("tiny", quickly(NETWORKS, 3), ids=str)
def test_auto_is_never_looser_than_its_own_stages(tiny: Tiny) -> None:
    results = asked(tiny, lipschitz(tiny))
    best = results["auto"].bound
    assert best is not None
    for method in ("interval", "mean-split", "linear"):
        bound = results[method].bound
        assert bound is not None
        assert best.upper <= bound.upper * (1 + ROUNDING), method


@pytest.mark.parametrize("tiny", quickly(NETWORKS, 3), ids=str)
def test_optimised_gates_are_never_looser_than_the_papers(tiny: Tiny) -> None:
    prop = lipschitz(tiny)
    bounds = [
        ask(tiny, boxes.offset(tiny.inputs), prop, method=method).bound
        for method in ("linear-chords", "linear")
    ]
    chords, optimised = (bound.upper for bound in bounds if bound is not None)
    assert optimised <= chords * (1 + ROUNDING)
    assert METHODS["linear-chords"].stages == METHODS["linear"].stages[:1]


@pytest.mark.parametrize("tiny", PIECEWISE[:12], ids=str)
def test_stages_are_ordered_around_the_oracle(tiny: Tiny) -> None:
    """Row norms: linear bounds within mean-split within nothing less than the truth."""
    regions = Regions(tiny, boxes.offset(tiny.inputs))
    setting = cases.setting_of(tiny, "offset")
    exact = torch.as_tensor(regions.jacobians).abs().sum(-1).amax(0)
    rows = torch.eye(tiny.outputs, dtype=DTYPE)
    norm = norm_named("inf")
    found = {name: STAGES[name](setting, rows, norm, None).row_norm(norm.dual) for name in STAGES}
    for name, norms in found.items():
        cases.check_above(norms, exact, name)
    slack = ROUNDING * (1 + exact)
    assert bool((found["linear (CROWN)"] <= found["mean-split"] + slack).all())
    assert bool((found["linear (CROWN)"] <= found["recurjac"] + slack).all())


def test_falsified_does_occur_beside_unknown() -> None:
    """Or the comparisons above would compare nothing."""
    tiny = PIECEWISE[0]
    at_most = 0.5 * sampled_norm(tiny, "inf", "inf")
    results = asked(tiny, lipschitz(tiny, at_most=at_most))
    assert all(isinstance(result.verdict, Falsified) for result in results.values())
