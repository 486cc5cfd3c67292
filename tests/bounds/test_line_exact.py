"""Walks along a line against all pieces of the line in exact arithmetic, for activations with
several kinks (Clip, Hardtanh, ReLU6), with weights (PRelu), and that fall (Abs).

The judge knows no operator of ours: it reads the weights of a torch module, and cuts the line at
every kink of every neuron, in Fractions.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from lipverify.api import load_network
from lipverify.bounds.line import LineAnswer, decide_line, walk_line
from lipverify.graph import ForwardGraph
from lipverify.numerics import DTYPE
from tests.oracles.budget import quickly

ROUNDING = 1e-11
Affine = tuple[Fraction, Fraction]
"""Value a + b t."""


class Abs(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.abs()


class Clip(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(-0.25, 0.5)


class Upper(nn.Module):
    """Cut off on one side."""

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(max=0.375)


@dataclass(frozen=True)
class Bends:
    """Slopes left of, between and right of `kinks`, and the value at the first kink."""

    kinks: tuple[Fraction, ...]
    slopes: tuple[Fraction, ...]
    value: Fraction

    def at(self, z: Affine, side: Fraction) -> Affine:
        """Of a preactivation whose value is on one piece; `side` is a value inside of it."""
        place = sum(side > kink for kink in self.kinks)
        value, last = self.value, self.kinks[0]
        for kink, slope in zip(self.kinks[1 : place or 1], self.slopes[1:], strict=False):
            value, last = value + slope * (kink - last), kink
        slope = self.slopes[place]
        return value + slope * (z[0] - last), slope * z[1]


def bends(kinks: list[float], slopes: list[float], value: float) -> Bends:
    return Bends(tuple(map(Fraction, kinks)), tuple(map(Fraction, slopes)), Fraction(value))


def prelu(size: int) -> nn.Module:
    layer = nn.PReLU(size)
    with torch.no_grad():
        layer.weight.copy_(torch.linspace(-0.5, 1.25, size))
    return layer


KINDS: dict[str, tuple[Callable[[int], nn.Module], Callable[[nn.Module, int], Bends]]] = {
    "hardtanh": (lambda n: nn.Hardtanh(), lambda m, i: bends([-1, 1], [0, 1, 0], -1)),
    "relu6": (lambda n: nn.ReLU6(), lambda m, i: bends([0, 6], [0, 1, 0], 0)),
    "clip": (lambda n: Clip(), lambda m, i: bends([-0.25, 0.5], [0, 1, 0], -0.25)),
    "upper": (lambda n: Upper(), lambda m, i: bends([0.375], [1, 0], 0.375)),
    "abs": (lambda n: Abs(), lambda m, i: bends([0], [-1, 1], 0)),
    "prelu": (prelu, lambda m, i: bends([0], [m.weight.tolist()[i], 1], 0)),
}


@dataclass(frozen=True, eq=False)
class Walked:
    """A module, the bends of every neuron by layer, and a line through a point."""

    kind: str
    layers: tuple[nn.Linear, ...]
    bends: tuple[tuple[Bends, ...], ...]
    module: nn.Module
    point: Tensor

    def pieces(self, index: int, low: float, high: float) -> Iterator[tuple]:
        """(start, end, slopes of all outputs) between any two kinks of neurons on the line."""
        start = [(Fraction(value), Fraction(0)) for value in self.point.tolist()]
        start[index] = (Fraction(0), Fraction(1))
        yield from self._cut(0, start, Fraction(low), Fraction(high))

    def _cut(self, depth: int, x: list[Affine], low: Fraction, high: Fraction) -> Iterator[tuple]:
        layer = self.layers[depth]
        rows, shifts = layer.weight.tolist(), layer.bias.tolist()
        z = [
            (
                sum((Fraction(w) * one[0] for w, one in zip(row, x, strict=True)), Fraction(shift)),
                sum((Fraction(w) * one[1] for w, one in zip(row, x, strict=True)), Fraction(0)),
            )
            for row, shift in zip(rows, shifts, strict=True)
        ]
        if depth == len(self.bends):
            yield low, high, [one[1] for one in z]
            return
        cuts = {low, high}
        for (value, slope), bend in zip(z, self.bends[depth], strict=True):
            cuts |= {(kink - value) / slope for kink in bend.kinks if slope}
        inner = sorted(cut for cut in cuts if low <= cut <= high)
        for start, end in pairwise(inner):
            middle = (start + end) / 2
            y = [
                bend.at(one, one[0] + one[1] * middle)
                for one, bend in zip(z, self.bends[depth], strict=True)
            ]
            yield from self._cut(depth + 1, y, start, end)


@cache
def walked(kind: str, seed: int) -> Walked:
    """Weights are multiples of 1/8, so that kinks of several neurons coincide now and then."""
    make, bend = KINDS[kind]
    random = torch.Generator().manual_seed(seed)
    sizes = (3, 5, 4, 2)
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layer = nn.Linear(before, after)
        with torch.no_grad():
            for part, scale in ((layer.weight, 1.5), (layer.bias, 0.5)):
                part.copy_((8 * scale * torch.randn(part.shape, generator=random)).round() / 8)
        layers += [layer, make(after)]
    module = nn.Sequential(*layers[:-1]).to(DTYPE).eval()
    linear = tuple(layer for layer in module if isinstance(layer, nn.Linear))
    found = tuple(
        tuple(bend(activation, index) for index in range(layer.out_features))
        for layer, activation in zip(linear, list(module)[1::2], strict=False)
    )
    point = (8 * torch.randn(3, generator=random)).round().to(DTYPE) / 8
    return Walked(kind, linear, found, module, point)


@cache
def graph_of(kind: str, seed: int) -> ForwardGraph:
    case = walked(kind, seed)
    return load_network(case.module, case.point.unsqueeze(0)).graph


LOW, HIGH = -3.0, 3.0


@pytest.mark.parametrize("seed", quickly(range(12), 2))
@pytest.mark.parametrize("kind", KINDS)
def test_the_judge_is_the_module(kind: str, seed: int) -> None:
    """Its slopes are autodiff's in the middle of its pieces, which cover the line."""
    case = walked(kind, seed)
    pieces = list(case.pieces(0, LOW, HIGH))
    assert pieces[0][0] == LOW and pieces[-1][1] == HIGH
    assert all(one[1] == other[0] for one, other in pairwise(pieces))
    points = case.point.repeat(len(pieces), 1)
    points[:, 0] = torch.tensor([float((start + end) / 2) for start, end, _ in pieces])
    wide = torch.tensor([end - start > 1e-6 for start, end, _ in pieces])
    points.requires_grad_(True)
    y = case.module(points)
    for row in range(2):
        slopes = torch.autograd.grad(y[:, row].sum(), points, retain_graph=True)[0][:, 0]
        expected = torch.tensor([float(one[2][row]) for one in pieces], dtype=DTYPE)
        torch.testing.assert_close(slopes[wide], expected[wide], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("seed", quickly(range(12), 2))
@pytest.mark.parametrize("kind", KINDS)
def test_walks_give_the_exact_slopes(kind: str, seed: int) -> None:
    case = walked(kind, seed)
    graph = graph_of(kind, seed)
    for index in range(3):
        exact = list(case.pieces(index, LOW, HIGH))
        found = walk_line(graph, case.point, index, LOW, HIGH)
        assert float(found.start[0]) == LOW and float(found.end[-1]) == HIGH
        assert torch.equal(found.start[1:], found.end[:-1]), "a hole between two pieces"
        for start, end, slopes in exact:
            meets = (found.start < float(end)) & (found.end > float(start))
            for row, slope in enumerate(slopes):
                lower, upper = found.slopes.lower[meets, row], found.slopes.upper[meets, row]
                assert all(Fraction(value) <= slope for value in lower.tolist()), "unsound"
                assert all(Fraction(value) >= slope for value in upper.tolist()), "unsound"
        long = found.end - found.start > 1e-6
        scale = 1 + float(found.slopes.magnitude.amax())
        assert float(found.slopes.width[long].amax()) <= ROUNDING * scale, "a piece was not cut"


@pytest.mark.parametrize("seed", quickly(range(12), 2))
@pytest.mark.parametrize("kind", KINDS)
def test_monotonicity_is_decided_as_the_pieces_say(kind: str, seed: int) -> None:
    """Slope d with sign d <= threshold everywhere, for thresholds on both sides of the worst."""
    case = walked(kind, seed)
    graph = graph_of(kind, seed)
    for index in range(3):
        exact = list(case.pieces(index, LOW, HIGH))
        rows = torch.eye(2, dtype=DTYPE)
        found = walk_line(graph, case.point, index, LOW, HIGH, rows)
        for row in range(2):
            for sign in (1, -1):
                worst = max(sign * piece[2][row] for piece in exact)
                above = decide_line(found, sign, float(worst) + 1e-6, row)
                below = decide_line(found, sign, float(worst) - 1e-6, row)
                if above.answer is LineAnswer.OPEN:
                    # Kinks of several neurons at one place, which float arithmetic cannot part.
                    assert above.piece is not None and above.piece[1] - above.piece[0] < 1e-9
                else:
                    assert above.answer is LineAnswer.HOLDS
                assert below.answer is LineAnswer.VIOLATED and below.piece is not None
                assert any(
                    sign * slopes[row] > worst - Fraction(1, 10**6)
                    and start <= Fraction(below.piece[0]) <= Fraction(below.piece[1]) <= end
                    for start, end, slopes in exact
                ), "the violating piece is none of the line's"
