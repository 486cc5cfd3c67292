"""Saturated activations stay sound; NaN and overflow end in a named error, never in a bound."""

from collections.abc import Callable

import pytest
import torch

from lipverify.bounds.methods import STAGES, Setting
from lipverify.errors import InvertedInterval, NumericalFailure, OutOfDomain
from lipverify.norms import norm_named
from lipverify.numerics import DTYPE
from lipverify.region import AbstractRegion
from tests.bounds import cases
from tests.bounds.test_preactivations import check_nested, check_values, lirpa_crown
from tests.oracles import autodiff, boxes, networks, originals
from tests.oracles.budget import quickly
from tests.oracles.networks import Tiny

BROKEN = (NumericalFailure, OutOfDomain, InvertedInterval)
SATURATED = [networks.saturated(kind, seed) for kind in ("tanh", "sigmoid") for seed in range(3)]
KINDS = ("centered", "offset", "wide", "l2 ball")


@pytest.mark.parametrize(("tiny", "kind"), cases.every(SATURATED, KINDS))
def test_saturated_preactivations_stay_sound(tiny: Tiny, kind: str) -> None:
    """auto_LiRPA 0.3's own relaxations of tanh and sigmoid are wrong beyond 500."""
    setting = cases.setting_of(tiny, kind)
    assert max(float(b.magnitude.amax()) for b in setting.crown_preactivations.values()) > 500
    check_values(tiny, kind, setting.crown_preactivations)
    check_values(tiny, kind, lirpa_crown(tiny, kind))
    check_nested(setting.crown_preactivations, setting.interval_preactivations)
    truth = cases.jacobians_of(tiny, kind)
    rows = torch.eye(tiny.outputs, dtype=DTYPE)
    for stage, bound in STAGES.items():
        cases.check_contains(bound(setting, rows, norm_named("inf"), None).elements, truth, stage)


@pytest.mark.parametrize("kind", ["tanh", "sigmoid"])
def test_a_saturated_layer_between_moderate_ones_is_not_taken_for_constant(kind: str) -> None:
    """Where a steep neuron passes 0, its huge slope has to be in the bounds."""
    tiny = networks.saturated(kind)
    setting = cases.setting_of(tiny, "centered")
    dense = tiny.graph[tiny.graph.activations[0].inputs[0]].operator
    assert isinstance(dense, networks.Dense)
    crossing = -dense.bias[0] / dense.weight[0, 0]
    point = torch.tensor([[float(crossing), 0.0]], dtype=DTYPE)
    assert bool(setting.region.contains(point[0]))
    steep = autodiff.jacobians(tiny, point)
    assert float(steep.abs().amax()) > 50
    rows = torch.eye(tiny.outputs, dtype=DTYPE)
    for stage, bound in STAGES.items():
        cases.check_contains(bound(setting, rows, norm_named("inf"), None).elements, steep, stage)


def with_weight(value: float, layer: int, kind: str = "relu") -> Tiny:
    """A network one of whose weights is `value`."""
    make = networks.Weights(0)
    sizes = ((3, 2), (3, 3), (2, 3))
    weights = [(make(*size), make(size[0])) for size in sizes]
    weights[layer][0][0, 0] = value
    return networks.from_weights(weights, f"weight-{value}-{layer}-{kind}", kind)


SMALL = (0.0, -0.0, 5e-324, -5e-324, 1e-310, -2.2e-308, 1e-45)
"""Zeros of both signs, denormal numbers, the smallest normal one, float32's denormal."""


def with_small_weights(kind: str, seed: int) -> Tiny:
    """Half of the weights and biases of every layer are such numbers; for seed 0, all of them."""
    make, random = networks.Weights(seed), torch.Generator().manual_seed(seed)
    small = torch.tensor(SMALL, dtype=DTYPE)
    weights = []
    for size in ((4, 2), (4, 4), (2, 4)):
        layer = []
        for values in (make(*size), make(size[0])):
            drawn = small[torch.randint(len(SMALL), values.shape, generator=random)]
            where = torch.rand(values.shape, generator=random, dtype=DTYPE) < (
                0.5 + 0.5 * (seed == 0)
            )
            layer.append(torch.where(where, drawn, values))
        weights.append((layer[0], layer[1]))
    return networks.from_weights(weights, f"small-{kind}-{seed}", kind)


@pytest.mark.parametrize("kind", ["relu", "tanh"])
@pytest.mark.parametrize("seed", quickly(range(4), 2))
def test_signed_zeros_and_denormal_weights_stay_sound(kind: str, seed: int) -> None:
    tiny = with_small_weights(kind, seed)
    for region in (boxes.centered(2, 1.0), boxes.centered(2, 0.0), cases.ball(2, "2")):
        setting = Setting(originals.network(tiny), region, cases.ALPHA, gates=cases.GATES)
        points = boxes.points(region.bounding, 40)
        truth = autodiff.jacobians(tiny, points[region.contains(points)])
        rows = torch.eye(tiny.outputs, dtype=DTYPE)
        for stage, bound in STAGES.items():
            found = bound(setting, rows, norm_named("inf"), None).elements
            cases.check_contains(found, truth, stage)


def all_huge() -> Tiny:
    """Finite weights whose products overflow."""
    weight = torch.full((2, 2), 1e160, dtype=DTYPE)
    return networks.from_weights([(weight, None)] * 3, "huge", "relu")


def cancelling() -> Tiny:
    """inf - inf on the way: y = (big - big) relu(big x)."""
    first = torch.full((2, 2), 1e200, dtype=DTYPE)
    second = torch.tensor([[1e200, -1e200]], dtype=DTYPE)
    return networks.from_weights([(first, None), (second, None)], "cancelling", "relu")


UNUSABLE: dict[str, Callable[[], Tiny]] = {
    **{
        f"{value} in layer {layer}, {kind}": lambda v=value, k=layer, a=kind: with_weight(v, k, a)
        for value in (float("nan"), float("inf"), -float("inf"))
        for layer in range(3)
        for kind in ("relu", "tanh")
    },
    "overflow": all_huge,
    "inf - inf": cancelling,
}


@pytest.mark.parametrize("case", UNUSABLE)
@pytest.mark.parametrize("stage", STAGES)
def test_nan_and_overflow_are_errors(case: str, stage: str) -> None:
    tiny = UNUSABLE[case]()
    regions: tuple[AbstractRegion, ...] = (boxes.centered(2, 1.0), cases.ball(2, "2"))
    for region in regions:
        setting = Setting(originals.network(tiny), region, cases.ALPHA, gates=cases.GATES)
        with pytest.raises(BROKEN):
            STAGES[stage](setting, torch.eye(tiny.outputs, dtype=DTYPE), norm_named("inf"), None)


@pytest.mark.parametrize("stage", STAGES)
def test_a_nan_bias_is_an_error(stage: str) -> None:
    """auto_LiRPA 0.3 takes a NaN bias for 0."""
    make = networks.Weights(0)
    bias = make(3)
    bias[1] = float("nan")
    tiny = networks.from_weights(
        [(make(3, 2), bias), (make(3, 3), make(3)), (make(2, 3), None)], "x"
    )
    setting = Setting(
        originals.network(tiny), boxes.centered(2, 1.0), cases.ALPHA, gates=cases.GATES
    )
    with pytest.raises(BROKEN):
        STAGES[stage](setting, torch.eye(2, dtype=DTYPE), norm_named("inf"), None)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("scale", [1e-160, 1e-300, 1e100])
def test_tiny_and_large_weights_stay_sound(stage: str, scale: float) -> None:
    """Products of weights that vanish in float64, and ones near its largest number."""
    make = networks.Weights(1)
    weights = [(scale * make(3, 2), None), (make(3, 3), None), (make(2, 3), None)]
    tiny = networks.from_weights(weights, f"scaled-{scale}", "leaky")
    region = boxes.offset(2)
    setting = Setting(originals.network(tiny), region, cases.ALPHA, gates=cases.GATES)
    rows = torch.eye(2, dtype=DTYPE)
    elements = STAGES[stage](setting, rows, norm_named("inf"), None).elements
    truth = autodiff.jacobians(tiny, boxes.points(region, 200))
    slack = cases.ROUNDING * truth.abs().amax()
    assert bool((truth >= elements.lower - slack).all() and (truth <= elements.upper + slack).all())
