"""Answers under changes of the question: what must stay as it is, stays."""

import pytest
import torch

from lipverify.evidence import PropertyResult
from lipverify.numerics import DTYPE
from lipverify.region import Box
from lipverify.spec.property import Property
from lipverify.verdict import Falsified, Unknown, Verified
from tests.metamorphic import changes
from tests.oracles import boxes, networks
from tests.oracles import operator_norm as judge
from tests.oracles.budget import quickly
from tests.oracles.networks import Tiny
from tests.oracles.operator_norm import PAIRS
from tests.oracles.regions import Regions
from tests.search.questions import ask, lipschitz, monotonicity, robustness

SEEDS = quickly(range(5), 2)
SIZES = (2, 4, 3, 2)
COMPLETE = 1e-5
"""Relative width of an interval that is found to its end."""
ENOUGH = 400


def built(seed: int) -> Tiny:
    return changes.built(changes.layers_of(seed, SIZES), "plain")


def exact(tiny: Tiny, box: Box) -> float:
    return Regions(tiny, box).norm("inf", "inf")


def complete(tiny: Tiny, box: Box, prop: Property) -> PropertyResult:
    """Searched to the end."""
    return ask(tiny, box, prop, max_subproblems=ENOUGH)


def upper(result: PropertyResult) -> float:
    assert result.bound is not None
    return result.bound.upper


@pytest.mark.parametrize("seed", SEEDS)
def test_a_smaller_region_stays_verified(seed: int) -> None:
    tiny, box = built(seed), boxes.offset(2, 0.75, seed)
    whole = complete(tiny, box, lipschitz(tiny))
    at_most = upper(whole) * (1 + COMPLETE)
    assert isinstance(complete(tiny, box, lipschitz(tiny, at_most=at_most)).verdict, Verified)
    for share in (0.75, 0.25, 0.0):
        radius = (box.upper - box.lower) / 2 * share
        part = Box(box.center - radius, box.center + radius)
        verdict = complete(tiny, part, lipschitz(tiny, at_most=at_most)).verdict
        assert isinstance(verdict, Verified)
        assert upper(complete(tiny, part, lipschitz(tiny))) <= at_most


@pytest.mark.parametrize("method", ["interval", "mean-split", "recurjac", "linear", "auto"])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_higher_threshold_stays_verified_and_a_lower_one_falsified(
    seed: int, method: str
) -> None:
    tiny, box = built(seed), boxes.offset(2, 0.75, seed)
    reference = exact(tiny, box)
    order = {"falsified": 0, "unknown": 1, "verified": 2}
    words = []
    for share in (0.3, 0.7, 0.98, 1.02, 1.5, 4.0, 100.0):
        result = ask(tiny, box, lipschitz(tiny, at_most=share * reference), method=method)
        words.append(order[result.verdict.word])
    assert words == sorted(words)
    assert words[-1] == 2 and words[0] == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_more_work_never_takes_a_verdict_back(seed: int) -> None:
    tiny, box = built(seed), boxes.offset(2, 0.75, seed)
    reference = exact(tiny, box)
    row = torch.tensor([-1.0, 1.0], dtype=DTYPE)
    margin = -Regions(tiny, box).maximum(row)
    claims = [lipschitz(tiny, at_most=share * reference) for share in (0.9, 0.99, 1.01, 1.1)]
    claims += [robustness(0, margin + change) for change in (-0.3, 0.3)]
    for claim in claims:
        decided: str | None = None
        for limit in (1, 2, 4, 16, 64, ENOUGH):
            word = ask(tiny, box, claim, max_subproblems=limit).verdict.word
            assert decided is None or word == decided
            decided = None if word == "unknown" else word


@pytest.mark.parametrize("seed", SEEDS)
def test_more_work_never_loosens_the_interval(seed: int) -> None:
    tiny, box = built(seed), boxes.offset(2, 0.75, seed)
    uppers = [
        upper(ask(tiny, box, lipschitz(tiny), max_subproblems=limit)) for limit in (1, 3, 10, 60)
    ]
    for before, after in zip(uppers, uppers[1:], strict=False):
        assert after <= before * (1 + 1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_function_has_the_same_constant(seed: int) -> None:
    layers = changes.layers_of(seed, SIZES)
    box = boxes.offset(2, 0.75, seed)
    reference = upper(complete(built(seed), box, lipschitz(built(seed))))
    for other in (
        changes.built(changes.permuted(layers, 0), "permuted"),
        changes.built(changes.with_dead_neuron(layers, 1), "dead"),
        changes.built(changes.with_twin(layers, 0), "twin"),
        changes.built(changes.rescaled(layers, 0, 16.0), "rescaled"),
        changes.with_identity_layers(layers, "identity"),
    ):
        found = complete(other, box, lipschitz(other))
        assert upper(found) == pytest.approx(reference, rel=COMPLETE), other


@pytest.mark.parametrize("seed", SEEDS)
def test_scaling_and_negating_the_output(seed: int) -> None:
    layers = changes.layers_of(seed, SIZES)
    box = boxes.offset(2, 0.75, seed)
    reference = complete(built(seed), box, lipschitz(built(seed)))
    for factor in (8.0, 0.25, -1.0):
        other = changes.built(changes.scaled_output(layers, factor), "scaled")
        found = complete(other, box, lipschitz(other))
        assert upper(found) == pytest.approx(abs(factor) * upper(reference), rel=COMPLETE)


@pytest.mark.parametrize("seed", SEEDS)
def test_negating_the_output_turns_monotonicity_around(seed: int) -> None:
    layers = changes.layers_of(seed, SIZES)
    box = boxes.offset(2, 0.25, seed)
    plain, other = built(seed), changes.built(changes.scaled_output(layers, -1.0), "negated")
    rising = complete(plain, box, monotonicity(plain, (0, 1)))
    falling = complete(other, box, monotonicity(other, (), (0, 1)))
    for mine, theirs in zip(rising.features, falling.features, strict=True):
        assert mine.verdict.word == theirs.verdict.word


@pytest.mark.parametrize("seed", SEEDS)
def test_swapping_outputs_swaps_labels(seed: int) -> None:
    layers = changes.layers_of(seed, SIZES)
    weight, bias = layers[-1]
    swapped = changes.built([*layers[:-1], (weight.flip(0), bias.flip(0))], "swapped")
    box = boxes.offset(2, 0.25, seed)
    for label in (0, 1):
        mine = complete(built(seed), box, robustness(label)).verdict
        theirs = complete(swapped, box, robustness(1 - label)).verdict
        assert mine.word == theirs.word


@pytest.mark.parametrize(("input_norm", "output_norm"), PAIRS)
def test_an_affine_network_has_the_norm_of_its_matrix(input_norm: str, output_norm: str) -> None:
    for seed in range(3):
        tiny = networks.affine(seed)
        matrix = torch.autograd.functional.jacobian(
            lambda x, tiny=tiny: tiny(x.unsqueeze(0))[0], torch.zeros(3, dtype=DTYPE)
        )
        assert isinstance(matrix, torch.Tensor)
        value = judge.operator_norm(matrix.numpy(), input_norm, output_norm)
        result = ask(tiny, boxes.centered(3, 5.0), lipschitz(tiny, input_norm, output_norm))
        assert result.bound is not None
        assert result.bound.lower <= value * (1 + 1e-12) and value <= upper(result) * (1 + 1e-12)
        if (input_norm, output_norm) not in (("2", "1"), ("inf", "2")):
            assert upper(result) <= value * (1 + 1e-9)
        row = torch.tensor([[0.5, -1.0, 0.25]], dtype=DTYPE)
        single = ask(
            tiny, boxes.centered(3, 5.0), lipschitz(tiny, input_norm, output_norm, rows=row)
        )
        dual = judge.operator_norm((row @ matrix).numpy(), input_norm, output_norm)
        assert single.bound is not None
        assert single.bound.lower == pytest.approx(dual, rel=1e-9)
        assert single.bound.upper == pytest.approx(dual, rel=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_one_negative_path_takes_monotonicity_away(seed: int) -> None:
    sizes = (3, 4, 3, 1)
    rising = networks.monotone(sizes, seed)
    box = boxes.centered(3, 1.0)
    asked = (0, 1, 2)
    assert isinstance(ask(rising, box, monotonicity(rising, asked)).verdict, Verified)
    make = networks.Weights(seed)
    layers = [
        (make(m, n).abs() + 1 / 64, make(m, scale=0.5))
        for n, m in zip(sizes, sizes[1:], strict=False)
    ]
    layers[0][0][:, 1] -= 20.0
    changed = changes.built(layers, "one negative column")
    least = Regions(changed, box).entries()[0][0, 1]
    verdict = ask(changed, box, monotonicity(changed, asked)).verdict
    if float(least) < -1e-6:
        assert isinstance(verdict, Falsified | Unknown)
