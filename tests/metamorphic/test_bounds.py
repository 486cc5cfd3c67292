"""Stages of bounds under changes of the network: the same numbers, up to rounding."""

from functools import cache

import pytest
import torch
from torch import Tensor

from lipverify.bounds.jacobian import JacobianBounds
from lipverify.bounds.methods import STAGES, Setting
from lipverify.norms import norm_named
from lipverify.numerics import DTYPE
from lipverify.region import AbstractRegion, Ball, Box
from tests.bounds import cases
from tests.metamorphic import changes
from tests.metamorphic.changes import Layers
from tests.oracles import boxes, originals
from tests.oracles.budget import quickly
from tests.oracles.networks import Tiny

SEEDS = quickly(range(4), 2)
SAME = 1e-9
REACHED = 1e-5
"""For slopes found by gradient steps, whose result depends on rounding."""

EXACT_STAGES = [name for name in STAGES if name not in cases.THROUGH_LIRPA]


def bounds(
    tiny: Tiny, region: AbstractRegion, stage: str, rows: Tensor | None = None, norm: str = "inf"
) -> JacobianBounds:
    setting = Setting(originals.network(tiny), region, cases.ALPHA, gates=cases.GATES)
    asked = torch.eye(tiny.outputs, dtype=DTYPE) if rows is None else rows
    return STAGES[stage](setting, asked, norm_named(norm), None)


@cache
def box() -> Box:
    return boxes.offset(3, 0.5)


def check_same(
    mine: JacobianBounds, other: JacobianBounds, factor: float = 1.0, tolerance: float = SAME
) -> None:
    scale = tolerance * (1 + float(other.elements.magnitude.amax()))
    torch.testing.assert_close(
        factor * mine.elements.lower, other.elements.lower, rtol=0, atol=scale
    )
    torch.testing.assert_close(
        factor * mine.elements.upper, other.elements.upper, rtol=0, atol=scale
    )
    assert (mine.row_norms is None) == (other.row_norms is None)
    if mine.row_norms is not None and other.row_norms is not None:
        torch.testing.assert_close(
            factor * mine.row_norms, other.row_norms, rtol=tolerance, atol=10 * scale
        )


def every_change(layers: Layers) -> dict[str, Tiny]:
    """Networks that are the same function, neuron by neuron."""
    return {
        "permuted": changes.built(changes.permuted(layers, 0), "permuted"),
        "permuted later": changes.built(changes.permuted(layers, 1), "permuted later"),
        "dead neuron": changes.built(changes.with_dead_neuron(layers, 0), "dead neuron"),
        "twin": changes.built(changes.with_twin(layers, 0), "twin"),
        "later twin": changes.built(changes.with_twin(layers, 1), "later twin"),
        "times 8": changes.built(changes.rescaled(layers, 0, 8.0), "times 8"),
        "times 1/4": changes.built(changes.rescaled(layers, 1, 0.25), "times 1/4"),
        "identity layers": changes.with_identity_layers(layers, "identity layers"),
    }


@pytest.mark.parametrize("change", every_change(changes.layers_of(0)))
@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_function_has_the_same_bounds(change: str, seed: int) -> None:
    layers = changes.layers_of(seed)
    plain, other = changes.built(layers, "plain"), every_change(layers)[change]
    points = boxes.points(box(), 20)
    torch.testing.assert_close(plain(points), other(points), rtol=0, atol=1e-12)
    for stage in EXACT_STAGES:
        if stage == "norm product" and "twin" in change:
            continue  # two neurons for one change the norms of their layers
        for norm in ("inf", "2"):
            check_same(
                bounds(plain, box(), stage, norm=norm), bounds(other, box(), stage, norm=norm)
            )


@pytest.mark.parametrize("kind", ["relu", "tanh"])
@pytest.mark.parametrize("factor", [4.0, 0.125])
@pytest.mark.parametrize("seed", SEEDS)
def test_scaling_the_output_scales_the_bounds(seed: int, factor: float, kind: str) -> None:
    layers = changes.layers_of(seed)
    plain = changes.built(layers, "plain", kind)
    other = changes.built(changes.scaled_output(layers, factor), "scaled", kind)
    for stage in STAGES:
        check_same(
            bounds(plain, box(), stage),
            bounds(other, box(), stage),
            factor,
            REACHED if stage in cases.THROUGH_LIRPA else SAME,
        )


@pytest.mark.parametrize("kind", ["relu", "leaky", "tanh", "sigmoid"])
@pytest.mark.parametrize("seed", SEEDS)
def test_negating_the_output_swaps_lower_and_upper(seed: int, kind: str) -> None:
    layers = changes.layers_of(seed)
    plain = changes.built(layers, "plain", kind)
    other = changes.built(changes.scaled_output(layers, -1.0), "negated", kind)
    for stage in EXACT_STAGES:
        mine, theirs = bounds(plain, box(), stage), bounds(other, box(), stage)
        torch.testing.assert_close(-mine.elements.lower, theirs.elements.upper, rtol=0, atol=SAME)
        torch.testing.assert_close(-mine.elements.upper, theirs.elements.lower, rtol=0, atol=SAME)


@pytest.mark.parametrize("kind", ["relu", "sigmoid"])
@pytest.mark.parametrize("seed", SEEDS)
def test_translating_input_and_bias_together(seed: int, kind: str) -> None:
    layers = changes.layers_of(seed)
    shift = torch.tensor([3.0, -0.5, 10.125], dtype=DTYPE)
    plain = changes.built(layers, "plain", kind)
    other = changes.built(changes.translated(layers, shift), "translated", kind)
    moved = Box(box().lower + shift, box().upper + shift)
    for stage in EXACT_STAGES:
        check_same(bounds(plain, box(), stage), bounds(other, moved, stage))


@pytest.mark.parametrize("seed", SEEDS)
def test_rows_are_linear_in_the_asked_combination(seed: int) -> None:
    """Asking for 2 c gives twice the bounds of c; for -c, the mirrored ones."""
    tiny = changes.built(changes.layers_of(seed), "plain")
    row = torch.tensor([[1.0, -0.5]], dtype=DTYPE)
    for stage in EXACT_STAGES:
        once = bounds(tiny, box(), stage, row)
        check_same(once, bounds(tiny, box(), stage, 2 * row), 2.0)
        mirrored = bounds(tiny, box(), stage, -row).elements
        torch.testing.assert_close(-once.elements.lower, mirrored.upper, rtol=0, atol=SAME)


@pytest.mark.parametrize("kind", ["relu", "tanh"])
@pytest.mark.parametrize("seed", SEEDS)
def test_interval_arithmetic_is_isotone(seed: int, kind: str) -> None:
    """Shrinking the region never widens; the other stages are asked for soundness only."""
    tiny = changes.built(changes.layers_of(seed), "plain", kind)
    outer = bounds(tiny, box(), "interval").elements
    for share in (0.9, 0.5, 0.0):
        middle = box().center
        inner_box = Box(
            middle + share * (box().lower - middle), middle + share * (box().upper - middle)
        )
        inner = bounds(tiny, inner_box, "interval").elements
        assert cases.inside(inner, outer)


@pytest.mark.parametrize("stage", EXACT_STAGES)
@pytest.mark.parametrize("seed", SEEDS)
def test_smaller_balls_stay_within_reach_of_larger_ones(seed: int, stage: str) -> None:
    """l1 ball in l2 ball in linf ball of one radius: bounds of the outer hold on the inner."""
    tiny = changes.built(changes.layers_of(seed), "plain")
    radius = torch.full_like(box().center, 0.5)
    nested: list[AbstractRegion] = [
        Ball(box().center, radius, norm_named("1")),
        Ball(box().center, radius, norm_named("2")),
        box(),
    ]
    found = [bounds(tiny, region, stage).elements for region in nested]
    generator = torch.Generator().manual_seed(seed)
    for inner in range(3):
        points = nested[inner].sample(60, generator)
        jacobians = cases.autodiff.jacobians(tiny, points)
        for outer in range(inner, 3):
            cases.check_contains(found[outer], jacobians, stage)
    if stage == "interval":  # it sees the bounding box alone
        for one in found[:2]:
            torch.testing.assert_close(one.upper, found[2].upper, rtol=0, atol=SAME)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_part_of_the_box_is_bounded_by_the_whole_after_intersection(
    seed: int, stage: str
) -> None:
    """Both halves of a split box, each met with the parent's bounds, cover the parent's truth."""
    tiny = changes.built(changes.layers_of(seed), "plain")
    whole = bounds(tiny, box(), stage)
    truth = cases.autodiff.jacobians(tiny, boxes.points(box(), 200))
    halves = [bounds(tiny, half, stage).intersect(whole) for half in box().halves(1)]
    for half in halves:
        assert cases.inside(half.elements, whole.elements)
    cases.check_contains(halves[0].elements.hull(halves[1].elements), truth, stage)
