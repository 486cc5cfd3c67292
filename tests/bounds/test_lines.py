"""Walks along many lines: against autodiff, against the walk with intervals, against fractions."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor

from lipverify.bounds.line import walk_line
from lipverify.bounds.lines import (
    ExactLine,
    LineSet,
    WalkedLines,
    check_walkable,
    exact_network,
    walk_lines,
)
from lipverify.errors import RegionError, UnsupportedOperator
from lipverify.graph import output
from lipverify.numerics import DTYPE
from tests.oracles import autodiff
from tests.oracles.budget import quickly
from tests.oracles.networks import (
    PIECEWISE,
    SELECTIONS,
    Tiny,
    always_tied,
    conv_net,
    dense,
    duplicated,
    fan_out,
    identically_zero,
    kink_pair,
    monotone,
    residual,
    zero_rows,
)

NETWORKS = [
    *PIECEWISE,
    *SELECTIONS,
    dense((4, 10, 8, 3), 7),
    dense((3, 12, 12, 12, 2), 8, "leaky"),
    residual(5, "leaky"),
    fan_out(3),
    conv_net(0),
    always_tied(),
]
LINES = 6
ROUNDING = 1e-10


def line_set(tiny: Tiny, seed: int) -> LineSet:
    """Lines through random points, through 0 and through points of the grid, where kinks meet."""
    random = torch.Generator().manual_seed(seed)
    size = tiny.graph.input_size
    x = 2 * torch.rand(LINES, size, generator=random, dtype=DTYPE) - 1
    x[1] = 0.0
    x[2] = (4 * x[2]).round() / 4
    low = torch.full((LINES,), -1.5, dtype=DTYPE)
    low[3] = 0.0
    high = torch.full((LINES,), 1.25, dtype=DTYPE)
    high[4] = low[4]
    return LineSet(x, torch.arange(LINES) % size, low, high)


def rows_of(tiny: Tiny) -> Tensor:
    return torch.eye(tiny.graph.output_size, dtype=DTYPE)


def walked(tiny: Tiny, lines: LineSet) -> WalkedLines:
    return walk_lines(tiny.graph, lines, rows_of(tiny))


@pytest.mark.parametrize("tiny", quickly(NETWORKS, 14), ids=lambda tiny: tiny.name)
def test_pieces_cover_lines_and_hold_slopes_and_values(tiny: Tiny) -> None:
    lines = line_set(tiny, 1)
    found = walked(tiny, lines)
    random = torch.Generator().manual_seed(2)
    for line in range(LINES):
        here = found.line == line
        start, end = found.start[here], found.end[here]
        assert float(start[0]) == float(lines.low[line]), "the first piece"
        assert float(end[-1]) == float(lines.high[line]), "the last piece"
        assert bool((start[1:] == end[:-1]).all()), "a hole between two pieces"
        width = float(lines.high[line] - lines.low[line])
        t = lines.low[line] + width * torch.rand(100, generator=random, dtype=DTYPE)
        points = lines.x[line].repeat(len(t), 1)
        points[:, lines.index[line]] = t
        place = torch.searchsorted(end, t).clamp(max=len(end) - 1)
        slopes, middle = found.slopes, found.middle[here][place]
        lower, upper = slopes.lower[here][place], slopes.upper[here][place]
        smooth = autodiff.distance_to_kinks(tiny, points) > 0
        exact = autodiff.jacobians(tiny, points[smooth])[:, :, int(lines.index[line])]
        slack = ROUNDING * (1 + exact.abs())
        assert bool((exact >= lower[smooth] - slack).all())
        assert bool((exact <= upper[smooth] + slack).all())
        values = output(tiny.graph, points)
        step = (t - middle).unsqueeze(1)
        error = found.value_error[here][place] + ROUNDING * (1 + values.abs())
        ends = found.value[here][place] + torch.stack([lower * step, upper * step])
        assert bool((values >= ends.amin(0) - error).all())
        assert bool((values <= ends.amax(0) + error).all())


@pytest.mark.parametrize("tiny", quickly(NETWORKS, 8), ids=lambda tiny: tiny.name)
def test_both_walks_agree(tiny: Tiny) -> None:
    """Two proofs of one derivative: their intervals meet everywhere."""
    lines = line_set(tiny, 3)
    found = walked(tiny, lines)
    for line in range(LINES):
        here = found.line == line
        low, high = float(lines.low[line]), float(lines.high[line])
        index = int(lines.index[line])
        other = walk_line(tiny.graph, lines.x[line], index, low, high, rows_of(tiny))
        for t in np.linspace(low, high, 37):
            mine = int(torch.searchsorted(found.end[here], t).clamp(max=int(here.sum()) - 1))
            theirs = int(torch.searchsorted(other.end, t).clamp(max=len(other.end) - 1))
            a_low, a_high = found.slopes.lower[here][mine], found.slopes.upper[here][mine]
            b_low, b_high = other.slopes.lower[theirs], other.slopes.upper[theirs]
            assert bool((torch.maximum(a_low, b_low) <= torch.minimum(a_high, b_high)).all())


EXACT = (
    dense((3, 8, 8, 1), 4),
    zero_rows(),
    duplicated(),
    identically_zero(),
    kink_pair(),
    residual(5, "leaky"),
    always_tied(),
)


@pytest.mark.parametrize("tiny", EXACT, ids=lambda tiny: tiny.name)
def test_exact_pieces_lie_in_the_walked_ones(tiny: Tiny) -> None:
    lines = line_set(tiny, 5)
    found = walked(tiny, lines)
    network = exact_network(tiny.graph)
    assert network is not None
    row = rows_of(tiny)[0]
    compared = 0
    for line in range(LINES):
        here = (found.line == line).nonzero().flatten().tolist()
        low, high = float(lines.low[line]), float(lines.high[line])
        exact = ExactLine(network, lines.x[line], int(lines.index[line]), row)
        pieces = exact.pieces(low, high)
        assert pieces is not None
        assert pieces[0].start == Fraction(low) and pieces[-1].end == Fraction(high)
        for piece in pieces:
            for place in here:
                start, end = float(found.start[place]), float(found.end[place])
                if min(piece.end, Fraction(end)) > max(piece.start, Fraction(start)):
                    assert float(found.slopes.lower[place, 0]) <= piece.slope
                    assert piece.slope <= float(found.slopes.upper[place, 0])
                    compared += 1
    assert compared >= LINES - 1


def test_exact_values_are_the_networks() -> None:
    tiny = dense((3, 8, 8, 1), 4)
    network = exact_network(tiny.graph)
    assert network is not None
    x = torch.tensor([0.25, -0.5, 0.75], dtype=DTYPE)
    line = ExactLine(network, x, 1, torch.ones(1, dtype=DTYPE))
    for t in (-1.0, -0.3, 0.0, 0.125, 0.9):
        point = x.clone()
        point[1] = t
        expected = float(output(tiny.graph, point.unsqueeze(0))[0, 0])
        assert float(line.value(t)) == pytest.approx(expected, abs=1e-12)


def test_dead_pieces_have_slope_zero_without_rounding() -> None:
    """relu(x) + relu(-x - 1): constant between -1 and 0, whatever comes behind."""
    tiny = dense((1, 4, 4, 1), 0)
    lines = line_set(tiny, 0)
    found = walked(tiny, lines)
    flat = (found.slopes.lower == 0) & (found.slopes.upper == 0)
    network = exact_network(tiny.graph)
    assert network is not None
    for place in flat[:, 0].nonzero().flatten().tolist():
        line = int(found.line[place])
        exact = ExactLine(network, lines.x[line], 0, torch.ones(1, dtype=DTYPE))
        pieces = exact.pieces(float(found.start[place]), float(found.end[place]))
        assert pieces is not None and all(piece.slope == 0 for piece in pieces)


def test_monotone_networks_rise_without_rounding() -> None:
    tiny = monotone((3, 16, 16, 1), 2)
    found = walked(tiny, line_set(tiny, 7))
    wide = ~found.bent
    assert bool((found.slopes.lower[wide] >= 0).all())


def test_batches_do_not_change_pieces() -> None:
    tiny = dense((4, 10, 8, 3), 7)
    lines = line_set(tiny, 9)
    together = walked(tiny, lines)
    for line in range(LINES):
        pick = torch.tensor([line])
        alone = walked(
            tiny, LineSet(lines.x[pick], lines.index[pick], lines.low[pick], lines.high[pick])
        )
        here = together.line == line
        assert len(alone.start) == int(here.sum())
        assert torch.allclose(alone.start, together.start[here], atol=1e-9)


def test_what_cannot_be_walked_is_named() -> None:
    with pytest.raises(UnsupportedOperator, match="not piecewise linear"):
        check_walkable(dense((2, 3, 1), 0, "tanh").graph)


@pytest.mark.parametrize("ends", [(1.0, 0.0), (float("nan"), 1.0), (0.0, float("inf"))])
def test_impossible_lines_are_refused(ends: tuple[float, float]) -> None:
    low, high = (torch.tensor([end], dtype=DTYPE) for end in ends)
    with pytest.raises(RegionError, match="cannot run"):
        LineSet(torch.zeros(1, 2, dtype=DTYPE), torch.tensor([0]), low, high)
