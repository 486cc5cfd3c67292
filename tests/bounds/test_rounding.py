"""Bounds hold in real arithmetic: judged in rational numbers, without any tolerance."""

import math
from collections.abc import Sequence
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from lipverify.bounds.methods import STAGES, Setting
from lipverify.bounds.preactivation import forward_upper
from lipverify.interval import Interval
from lipverify.norms import norm_named, operator_norm
from lipverify.numerics import DTYPE
from lipverify.operators.gate import relax_chords
from lipverify.region import AbstractRegion, Ball, BallInBox, Box
from tests.bounds import cases
from tests.oracles import boxes, networks, originals

Vector = list[Fraction]
Matrix = list[Vector]
Layers = Sequence[tuple[Tensor, Tensor]]

SEEDS = range(4)


def exact(values: Tensor) -> list:
    if values.ndim == 0:
        return Fraction(float(values))  # type: ignore[return-value]
    return [exact(value) for value in values]


def times(matrix: Matrix, vector: Vector) -> Vector:
    return [sum((a * b for a, b in zip(row, vector, strict=True)), Fraction(0)) for row in matrix]


def multiplied(left: Matrix, right: Matrix) -> Matrix:
    columns = list(zip(*right, strict=True))
    return [times([list(column) for column in columns], row) for row in left]


def run(layers: Layers, point: Tensor) -> tuple[list[Vector], Matrix]:
    """Every layer's preactivations (the last ones are the outputs) and the Jacobian, exactly."""
    value: Vector = exact(point)
    jacobian: Matrix = exact(torch.eye(len(point), dtype=DTYPE))
    found = []
    for layer, (weight, bias) in enumerate(layers):
        if layer:
            active = [entry > 0 for entry in value]
            assert all(entry != 0 for entry in value), "a kink: no derivative"
            value = [entry if on else Fraction(0) for entry, on in zip(value, active, strict=True)]
            jacobian = [
                row if on else [Fraction(0)] * len(row)
                for row, on in zip(jacobian, active, strict=True)
            ]
        rows: Matrix = exact(weight)
        shift: Vector = exact(bias)
        value = [a + b for a, b in zip(times(rows, value), shift, strict=True)]
        jacobian = multiplied(rows, jacobian)
        found.append(value)
    return found, jacobian


def off_the_grid(seed: int, sizes: tuple[int, ...] = (3, 5, 4, 3)) -> Layers:
    """Weights with all 53 bits, of very different sizes."""
    random = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        values = torch.randn(*shape, generator=random, dtype=DTYPE)
        return values * 10.0 ** torch.randint(-3, 3, shape, generator=random).to(DTYPE)

    return [(draw(m, n), draw(m)) for n, m in zip(sizes, sizes[1:], strict=False)]


def regions(seed: int) -> dict[str, AbstractRegion]:
    random = torch.Generator().manual_seed(100 + seed)
    center = torch.randn(3, generator=random, dtype=DTYPE)
    radius = torch.full_like(center, 0.1)
    far = center.clone()
    far[0] += 1e7
    reach = torch.full_like(center, _above(Fraction(float(far[0])) - Fraction(float(center[0]))))
    l1, l2 = norm_named("1"), norm_named("2")
    return {
        "point": Box(center, center),
        "narrow": Box(center - 1e-9, center + 1e-9),
        "box": Box(center - radius, center + radius),
        "l1 ball of radius 0": Ball(center, torch.zeros_like(center), l1),
        "l2 ball": Ball(center, radius, l2),
        # Huge balls that touch the box at one point: their own rounding is that of 1e7.
        "far l1 ball": BallInBox(Ball(far, reach, l1), Box(center, center)),
        "far l2 ball": BallInBox(Ball(far, reach, l2), Box(center, center + 1e-9)),
    }


def _above(value: Fraction) -> float:
    """The smallest float at or above a rational number."""
    near = float(value)
    return near if Fraction(near) >= value else math.nextafter(near, math.inf)


def points(region: AbstractRegion) -> Tensor:
    """Points that are in the region beyond doubt."""
    box = region.bounding
    if isinstance(region, Ball):
        return region.center.unsqueeze(0)
    if isinstance(region, BallInBox):
        return region.box.lower.unsqueeze(0)
    return boxes.points(Box(box.lower, box.upper), 4)


def setting_of(layers: Layers, region: AbstractRegion) -> Setting:
    tiny = networks.from_weights(list(layers), "off the grid")
    return Setting(originals.network(tiny), region, cases.ALPHA, gates=cases.GATES)


def check(bounds: Interval, values: list, what: str) -> None:
    lower, upper = bounds.lower.flatten().tolist(), bounds.upper.flatten().tolist()
    flat = [x for row in values for x in row] if isinstance(values[0], list) else values
    for low, value, high in zip(lower, flat, upper, strict=True):
        assert Fraction(low) <= value <= Fraction(high), f"{what}: {low} {float(value)} {high}"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", regions(0))
def test_elements_and_norms_hold_exactly(kind: str, seed: int) -> None:
    layers, region = off_the_grid(seed), regions(seed)[kind]
    setting = setting_of(layers, region)
    truth = [run(layers, point)[1] for point in points(region)]
    rows = torch.eye(3, dtype=DTYPE)
    for stage, bound in STAGES.items():
        for name in ("inf", "2", "1"):
            norm = norm_named(name)
            bounds = bound(setting, rows, norm, None)
            for jacobian in truth:
                check(bounds.elements, jacobian, stage)
                check_norms(bounds.elements, jacobian)
                squares = [sum((x * x for x in row), Fraction(0)) for row in jacobian]
                sums = [sum((abs(x) for x in row), Fraction(0)) for row in jacobian]
                for row in range(3):
                    single = operator_norm.from_rows(
                        bounds.row_norm(norm.dual)[row : row + 1], norm_named("inf")
                    )
                    if name == "inf":
                        assert Fraction(single) >= sums[row]
                    if name == "2":
                        assert Fraction(single) ** 2 >= squares[row]


def check_norms(elements: Interval, jacobian: Matrix) -> None:
    """The pairs of norms whose value is a rational number."""
    l1, linf = norm_named("1"), norm_named("inf")
    columns = list(zip(*jacobian, strict=True))
    rows = max(sum((abs(x) for x in row), Fraction(0)) for row in jacobian)
    sums = max(sum((abs(x) for x in column), Fraction(0)) for column in columns)
    entry = max(abs(x) for row in jacobian for x in row)
    assert Fraction(operator_norm.upper(elements, linf, linf)) >= rows
    assert Fraction(operator_norm.upper(elements, l1, l1)) >= sums
    assert Fraction(operator_norm.upper(elements, l1, linf)) >= entry
    l2 = norm_named("2")
    longest = max(sum((x * x for x in row), Fraction(0)) for row in jacobian)
    assert Fraction(operator_norm.upper(elements, l2, linf)) ** 2 >= longest


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", regions(0))
def test_preactivations_and_outputs_hold_exactly(kind: str, seed: int) -> None:
    layers, region = off_the_grid(seed), regions(seed)[kind]
    setting = setting_of(layers, region)
    graph = setting.network.graph
    truth = [run(layers, point)[0] for point in points(region)]
    names = [node.inputs[0] for node in graph.activations]
    for bounds in (
        setting.interval_preactivations,
        setting.crown_preactivations,
        setting.alpha_preactivations,
    ):
        for values in truth:
            for name, layer in zip(names, values[:-1], strict=True):
                check(bounds[name], layer, name)
    objective = torch.eye(3, dtype=DTYPE).unsqueeze(1)
    for engine in (setting.native_engine(relax_chords), setting.alpha_engine):
        upper = forward_upper(
            setting.forward_problem, engine, graph.output, objective, setting.crown_preactivations
        )
        for values in truth:
            for bound, value in zip(upper.tolist(), values[-1], strict=True):
                assert Fraction(bound) >= value


@pytest.mark.parametrize("seed", SEEDS)
def test_first_layer_bounds_are_attained_and_not_passed_at_vertices(seed: int) -> None:
    """A linear layer's bounds are its values at two vertices: outward by rounding, and no more."""
    layers, region = off_the_grid(seed), regions(seed)["box"]
    assert isinstance(region, Box)
    setting = setting_of(layers, region)
    weight, bias = layers[0]
    bounds = setting.crown_preactivations[setting.network.graph.activations[0].inputs[0]]
    for row in range(weight.shape[0]):
        slopes: Vector = exact(weight[row])
        ends: Matrix = [exact(region.lower), exact(region.upper)]
        high = exact(bias[row]) + sum(
            max(s * a, s * b) for s, a, b in zip(slopes, *ends, strict=True)
        )
        low = exact(bias[row]) + sum(
            min(s * a, s * b) for s, a, b in zip(slopes, *ends, strict=True)
        )
        assert Fraction(float(bounds.lower[0, row])) <= low
        assert high <= Fraction(float(bounds.upper[0, row]))
        reach = float(weight[row].abs() @ region.bounding.magnitude + bias[row].abs())
        assert float(bounds.upper[0, row]) - float(high) <= 1e-13 * reach


@pytest.mark.parametrize("seed", range(12))
def test_a_ball_far_larger_than_the_box_it_is_cut_to_holds_exactly(seed: int) -> None:
    """The ball's own numbers are of size 1e7: their rounding is not that of the box's."""
    region = regions(seed)["far l1 ball"]
    assert isinstance(region, BallInBox)
    layers = off_the_grid(seed, (3, 8))
    weight = layers[0][0] / layers[0][0].abs() * torch.rand(8, 3, dtype=DTYPE)
    layers = [(weight, torch.zeros(8, dtype=DTYPE))]
    setting = setting_of(layers, region)
    objective = torch.eye(8, dtype=DTYPE).unsqueeze(1)
    upper = forward_upper(
        setting.forward_problem,
        setting.native_engine(relax_chords),
        setting.network.graph.output,
        objective,
        {},
    )
    value = run(layers, region.box.lower)[0][-1]
    assert all(Fraction(u) >= v for u, v in zip(upper.tolist(), value, strict=True))
