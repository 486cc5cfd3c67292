"""Walks along a line against autodiff, against all linear regions, and against hand-made cases."""

import math

import pytest
import torch
from torch import Tensor

from lipverify.bounds.line import LineAnswer, LinePieces, decide_line, walk_line
from lipverify.bounds.line_enclosure import Line, enclose
from lipverify.errors import RegionError, UnsupportedOperator
from lipverify.numerics import DTYPE
from lipverify.region import Box
from tests.oracles import autodiff, boxes
from tests.oracles.networks import (
    PIECEWISE,
    Tiny,
    absolute,
    conv_net,
    dense,
    fan_out,
    from_weights,
    kink_pair,
    monotone,
    residual,
)
from tests.oracles.regions import Regions

NETWORKS = (
    *PIECEWISE,
    dense((4, 10, 8, 3), 7),
    dense((3, 12, 12, 12, 2), 8, "leaky"),
    residual(5, "leaky"),
    fan_out(3),
    conv_net(0),
)
THIN = 1e-6
"""Zones are shorter than this, and everything longer is one linear piece."""
ROUNDING = 1e-11


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=DTYPE)


def check_cover(pieces: LinePieces, low: float, high: float) -> None:
    assert float(pieces.start[0]) == low and float(pieces.end[-1]) == high
    assert bool((pieces.start[1:] == pieces.end[:-1]).all()), "a hole between two pieces"
    assert bool((pieces.start <= pieces.end).all())


def check_samples(
    tiny: Tiny, pieces: LinePieces, x: Tensor, index: int, low: float, high: float
) -> None:
    t = low + (high - low) * torch.rand(300, dtype=DTYPE)
    points = x.repeat(len(t), 1)
    points[:, index] = t
    smooth = autodiff.distance_to_kinks(tiny, points) > 0
    slopes = autodiff.jacobians(tiny, points[smooth])[:, :, index]
    place = torch.searchsorted(pieces.end, t[smooth])
    slack = ROUNDING * (1 + slopes.abs())
    assert bool((slopes >= pieces.slopes.lower[place] - slack).all())
    assert bool((slopes <= pieces.slopes.upper[place] + slack).all())


def check_exact(pieces: LinePieces) -> None:
    """All but thin zones have one slope."""
    length = pieces.end - pieces.start
    wide = length > THIN
    scale = 1 + pieces.slopes.magnitude.amax()
    assert float(pieces.slopes.width[wide].amax()) <= ROUNDING * scale, "a piece was not cut"
    assert float(length[~wide].sum()) <= THIN * float(length.sum())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("tiny", NETWORKS, ids=str)
def test_every_sampled_slope_is_in_its_piece(tiny: Tiny, seed: int) -> None:
    box = boxes.offset(tiny.inputs, 2.0, seed)
    x = boxes.points(box, 10, seed)[-1]
    for index in range(min(tiny.inputs, 4)):
        low, high = float(box.lower[index]), float(box.upper[index])
        pieces = walk_line(tiny.graph, x, index, low, high)
        check_cover(pieces, low, high)
        check_samples(tiny, pieces, x, index, low, high)
        check_exact(pieces)


@pytest.mark.parametrize("tiny", PIECEWISE, ids=str)
def test_the_slopes_are_those_of_all_regions_of_the_line(tiny: Tiny) -> None:
    x = boxes.points(boxes.offset(tiny.inputs, 1.0), 5)[-1]
    for index in range(tiny.inputs):
        lower, upper = x.clone(), x.clone()
        lower[index], upper[index] = -4.0, 4.0
        regions = Regions(tiny, Box(lower, upper))
        known = torch.as_tensor(regions.jacobians)[:, :, index]
        pieces = walk_line(tiny.graph, x, index, -4.0, 4.0)
        wide = pieces.end - pieces.start > THIN
        for row in range(tiny.outputs):
            slopes = pieces.slopes.center[wide, row]
            apart = (slopes.unsqueeze(1) - known[:, row].unsqueeze(0)).abs()
            assert float(apart.amin(1).max()) <= 1e-9, "a piece that no region has"
            assert float(apart.amin(0).max()) <= 1e-9, "a region that no piece has"


def test_rows_are_combinations_of_outputs() -> None:
    tiny = dense((3, 4, 3, 2), 1)
    x = boxes.offset(3).center
    rows = tensor(1.0, -1.0).reshape(1, 2)
    pieces = walk_line(tiny.graph, x, 1, -3.0, 3.0, rows)
    assert pieces.slopes.shape == (len(pieces.start), 1)
    t = torch.linspace(-2.99, 2.97, 50, dtype=DTYPE)
    points = x.repeat(50, 1)
    points[:, 1] = t
    slopes = (rows @ autodiff.jacobians(tiny, points))[:, 0, 1]
    place = torch.searchsorted(pieces.end, t)
    assert bool((slopes >= pieces.slopes.lower[place, 0] - ROUNDING).all())
    assert bool((slopes <= pieces.slopes.upper[place, 0] + ROUNDING).all())


def ramp() -> Tiny:
    """relu(x) - relu(x - 1): slopes 0, 1, 0."""
    weight, bias = torch.ones(2, 1, dtype=DTYPE), tensor(0.0, -1.0)
    return from_weights([(weight, bias), (tensor(1.0, -1.0).reshape(1, 2), None)], "ramp")


def test_a_ramp_is_monotone_exactly() -> None:
    pieces = walk_line(ramp().graph, tensor(0.0), 0, -2.0, 3.0)
    assert pieces.start.tolist() == [-2.0, 0.0, 1.0]
    assert pieces.end.tolist() == [0.0, 1.0, 3.0]
    assert pieces.slopes.lower.flatten().tolist() == [0.0, 1.0, 0.0]
    assert pieces.slopes.upper.flatten().tolist() == [0.0, 1.0, 0.0]
    assert decide_line(pieces, -1, 0.0).answer is LineAnswer.HOLDS
    assert decide_line(pieces, 1, 1.0).answer is LineAnswer.HOLDS
    falling = decide_line(pieces, 1, 0.0)
    assert falling.answer is LineAnswer.VIOLATED and falling.piece == (0.0, 1.0)


def test_kinks_at_the_ends_do_not_count() -> None:
    pieces = walk_line(ramp().graph, tensor(0.0), 0, 0.0, 1.0)
    assert decide_line(pieces, -1, -1.0).answer is LineAnswer.HOLDS
    assert pieces.slopes.lower.flatten().tolist() == [1.0]


def test_kinks_that_coincide_cancel_where_arithmetic_is_exact() -> None:
    pieces = walk_line(kink_pair().graph, tensor(0.0), 0, -1.0, 1.0)
    assert decide_line(pieces, -1, -1.0).answer is LineAnswer.HOLDS
    assert decide_line(pieces, 1, 1.0).answer is LineAnswer.HOLDS
    pieces = walk_line(absolute().graph, tensor(0.0, 0.0, 0.0), 1, -1.0, 1.0)
    assert pieces.slopes.center.flatten().tolist() == [-1.0, 1.0]


def test_many_kinks_at_one_place() -> None:
    """Twenty neurons with one zero that is no float: more than the zone tries one by one."""
    count = 20
    weight = torch.full((count, 1), 3.0, dtype=DTYPE)
    bias = torch.full((count,), -1.0, dtype=DTYPE)
    tiny = from_weights(
        [(weight, bias), (torch.full((1, count), 0.25, dtype=DTYPE), None)], "twenty"
    )
    pieces = walk_line(tiny.graph, tensor(0.0), 0, -1.0, 2.0)
    check_cover(pieces, -1.0, 2.0)
    check_exact(pieces)
    assert decide_line(pieces, -1, 0.0).answer is LineAnswer.HOLDS
    assert decide_line(pieces, 1, 0.75 * count + ROUNDING).answer is LineAnswer.HOLDS


def test_neurons_that_are_zero_all_along() -> None:
    """x_1 = 0 makes a preactivation 0 all along; its gate stays open, and does not matter."""
    weight = tensor(0.0, 1.0, 1.0, 0.0).reshape(2, 2)
    tiny = from_weights([(weight, None), (tensor(5.0, 2.0).reshape(1, 2), None)], "flat")
    pieces = walk_line(tiny.graph, tensor(0.0, 0.0), 0, 0.5, 1.5)
    assert pieces.slopes.lower.flatten().tolist() == pieces.slopes.upper.flatten().tolist() == [2.0]


def test_dead_networks_are_flat_exactly() -> None:
    weight, bias = 0.1 * torch.randn(12, 3, dtype=DTYPE), torch.full((12,), -9.0, dtype=DTYPE)
    last = torch.randn(2, 12, dtype=DTYPE)
    dead = from_weights([(weight, bias), (last, None)], "dead")
    pieces = walk_line(dead.graph, torch.zeros(3, dtype=DTYPE), 1, -1.0, 1.0)
    assert decide_line(pieces, 1, 0.0).answer is LineAnswer.HOLDS
    assert decide_line(pieces, -1, 0.0).answer is LineAnswer.HOLDS


def test_inputs_that_are_not_read_are_flat_exactly() -> None:
    first, last = torch.randn(4, 2, dtype=DTYPE), torch.randn(1, 4, dtype=DTYPE)
    first[:, 1] = 0.0
    tiny = from_weights([(first, torch.randn(4, dtype=DTYPE)), (last, None)], "one", "leaky")
    pieces = walk_line(tiny.graph, torch.zeros(2, dtype=DTYPE), 1, -1.0, 1.0)
    assert float(pieces.slopes.magnitude.max()) == 0.0


@pytest.mark.parametrize("kind", ["relu", "leaky"])
@pytest.mark.parametrize("seed", range(3))
def test_monotone_by_construction(seed: int, kind: str) -> None:
    tiny = monotone((3, 8, 8, 1), seed, kind)
    x = boxes.offset(3, 1.0, seed).center
    for index in range(3):
        pieces = walk_line(tiny.graph, x, index, -3.0, 3.0)
        assert decide_line(pieces, -1, 0.0).answer is LineAnswer.HOLDS
        assert decide_line(pieces, 1, 0.0).answer is not LineAnswer.HOLDS


def test_what_no_piece_decides_stays_open() -> None:
    """A threshold within the rounding of the slope 1/3 x 3.1."""
    third = 1.0 / 3.0
    first, second = tensor(third).reshape(1, 1), tensor(3.1).reshape(1, 1)
    tiny = from_weights([(first, None), (second, None)], "third")
    pieces = walk_line(tiny.graph, tensor(0.0), 0, 1.0, 2.0)
    middle = float(pieces.slopes.center[0, 0])
    assert decide_line(pieces, 1, middle).answer is LineAnswer.OPEN
    assert decide_line(pieces, 1, middle * (1 - 1e-12)).answer is LineAnswer.VIOLATED
    assert decide_line(pieces, 1, middle * (1 + 1e-12)).answer is LineAnswer.HOLDS
    assert decide_line(pieces, 1, math.nan).answer is LineAnswer.OPEN


def test_a_line_of_one_point() -> None:
    pieces = walk_line(ramp().graph, tensor(0.0), 0, 0.0, 0.0)
    assert pieces.start.tolist() == pieces.end.tolist() == [0.0]
    assert float(pieces.slopes.lower[0, 0]) == 0.0 and float(pieces.slopes.upper[0, 0]) == 1.0
    assert decide_line(pieces, 1, 0.5).answer is LineAnswer.OPEN


@pytest.mark.parametrize("low, high", [(1.0, 0.0), (math.nan, 0.0), (0.0, math.inf)])
def test_ends_that_cannot_be_meant(low: float, high: float) -> None:
    with pytest.raises(RegionError):
        walk_line(ramp().graph, tensor(0.0), 0, low, high)


def test_smooth_networks_are_refused() -> None:
    with pytest.raises(UnsupportedOperator, match="Tanh"):
        walk_line(dense((2, 3, 2), 0, "tanh").graph, tensor(0.0, 0.0), 0, 0.0, 1.0)


@pytest.mark.parametrize("gap", [1e-3, 1e-9, 2.0**-52])
def test_a_zero_just_inside_leaves_the_gate_open(gap: float) -> None:
    """x - (1 - gap) and its negative on [0, 1]: closed only where the zero is at the end."""
    weight = tensor(1.0, -1.0).reshape(2, 1)
    for zero, is_open in ((1.0 - gap, True), (gap, True), (1.0, False), (0.0, False)):
        bias = tensor(-zero, zero)
        tiny = from_weights([(weight, bias), (torch.ones(1, 2, dtype=DTYPE), None)], "pair")
        line = Line(tiny.graph, tensor(0.0), 0, torch.ones(1, 1, dtype=DTYPE))
        (neurons,) = enclose(line, tensor(0.0), tensor(1.0)).values()
        assert neurons.open.tolist() == [[is_open, is_open]]


def test_a_wide_network() -> None:
    tiny = dense((100, 256, 256, 10), 0)
    x = boxes.points(boxes.centered(100, 1.0), 1)[-1]
    pieces = walk_line(tiny.graph, x, 7, -1.0, 1.0)
    check_cover(pieces, -1.0, 1.0)
    check_exact(pieces)
    check_samples(tiny, pieces, x, 7, -1.0, 1.0)
    assert len(pieces.start) > 50


@pytest.mark.parametrize("scale", [2.0**-300, 2.0**-20, 2.0**40, 2.0**300])
def test_scaling_the_input_scales_the_breakpoints(scale: float) -> None:
    weight = torch.full((2, 1), 1.0 / scale, dtype=DTYPE)
    scaled = from_weights(
        [(weight, tensor(0.0, -1.0)), (tensor(1.0, -1.0).reshape(1, 2), None)], "scaled"
    )
    pieces = walk_line(scaled.graph, tensor(0.0), 0, -2.0 * scale, 3.0 * scale)
    check_cover(pieces, -2.0 * scale, 3.0 * scale)
    slopes = pieces.slopes.center.flatten()
    assert decide_line(pieces, -1, 0.0).answer is LineAnswer.HOLDS
    assert float(slopes.max()) == pytest.approx(1.0 / scale)
