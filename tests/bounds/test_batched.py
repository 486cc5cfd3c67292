"""Bounds on many boxes at once: never below the truth, and the same as box by box."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import pytest
import torch
from torch import Tensor

from lipverify.bounds.batched import (
    AbstractObjective,
    BatchSetting,
    Boxes,
    Entries,
    MatrixNorm,
    Outputs,
    Pairs,
    Reduced,
    RowNorms,
    bound_boxes,
    pattern_rows,
    reduce_network,
    row_bounds,
)
from lipverify.bounds.jacobian import JacobianBounds, JacobianProblem, interval
from lipverify.bounds.linear import linear
from lipverify.bounds.preactivation import ForwardProblem, crown, interval_values
from lipverify.bounds.propagation import NativeEngine
from lipverify.errors import NumericalFailure, RegionError
from lipverify.interval import Interval
from lipverify.norms import NORMS, norm_named
from lipverify.numerics import DTYPE
from lipverify.operators.gate import relax_chords
from lipverify.region import Box
from tests.bounds import cases
from tests.bounds.test_breakdown import all_huge, with_weight
from tests.oracles import autodiff, boxes, networks
from tests.oracles.networks import LARGER, PIECEWISE, Tiny
from tests.oracles.operator_norm import operator_norm

ALL = (*PIECEWISE, *LARGER)
KINDS = ("centered", "offset", "slice", "stretched l1 ball", "clipped l2 ball")
AGREE = 1e-9


def pieces(region: Box | Interval, levels: int = 3) -> Boxes:
    """The root and its halves, and theirs, cut in turn: [2^(levels + 1) - 1, n]."""
    level = Boxes(region.lower.unsqueeze(0), region.upper.unsqueeze(0))
    found = [level]
    for depth in range(levels):
        level = level.halves(torch.full((len(level),), depth % level.lower.shape[1]))
        found.append(level)
    return Boxes(torch.cat([b.lower for b in found]), torch.cat([b.upper for b in found]))


def setting_of(tiny: Tiny, kind: str) -> BatchSetting:
    region = cases.region_of(tiny, kind)
    return BatchSetting(tiny.backward, None if isinstance(region, Box) else region)


def boxes_of(tiny: Tiny, kind: str) -> Boxes:
    """Parts of the region's box, without those that miss the region."""
    region = cases.region_of(tiny, kind)
    parts = pieces(region.bounding)
    return parts.pick(region.overlaps(parts.lower, parts.upper))


def reduced_of(tiny: Tiny, kind: str) -> Reduced:
    return reduce_network(tiny.graph, boxes_of(tiny, kind), setting_of(tiny, kind).region)


@dataclass(frozen=True, eq=False)
class Inside:
    """The points [k, n] of the region in one box, and those of them with a derivative."""

    box: int
    points: Tensor
    smooth: Tensor


def inside(tiny: Tiny, kind: str, parts: Boxes) -> Iterator[Inside]:
    points = cases.points_of(tiny, kind)
    smooth = autodiff.distance_to_kinks(tiny, points) > 0
    for box in range(len(parts)):
        here = ((parts.lower[box] <= points) & (points <= parts.upper[box])).all(1)
        if bool((here & smooth).any()):
            yield Inside(box, points[here], points[here & smooth])


def all_pairs(rows: Tensor, parts: Boxes) -> Pairs:
    every = torch.ones(len(parts), len(rows), dtype=torch.bool)
    return Pairs(rows, *every.nonzero(as_tuple=True))


def upper_ends(setting: BatchSetting, objective: AbstractObjective, parts: Boxes) -> Tensor:
    unknown = torch.full((len(parts), objective.size), torch.inf, dtype=DTYPE)
    nothing = torch.full((objective.size,), -torch.inf, dtype=DTYPE)
    expected = torch.zeros(len(parts), dtype=torch.int64)
    return bound_boxes(setting, objective, parts, unknown, nothing, expected).upper


@pytest.mark.parametrize(("tiny", "kind"), cases.every(ALL, KINDS))
def test_preactivations_contain_every_value(tiny: Tiny, kind: str) -> None:
    reduced = reduced_of(tiny, kind)
    for found in inside(tiny, kind, reduced.boxes):
        values = tiny.values(found.points)
        for name, bounds in reduced.preactivations.items():
            here = Interval(bounds.lower[found.box], bounds.upper[found.box])
            cases.check_contains(here, values[name], name)


@pytest.mark.parametrize(("tiny", "kind"), cases.every(ALL, KINDS))
def test_rows_contain_every_jacobian(tiny: Tiny, kind: str) -> None:
    reduced = reduced_of(tiny, kind)
    rows = cases.ROWS[2].make(tiny.outputs)
    bounds = row_bounds(tiny.backward, reduced, all_pairs(rows, reduced.boxes))
    elements = bounds.elements.reshape(len(reduced.boxes), len(rows), -1)
    norms = {dual: bounds.norms(norm).reshape(-1, len(rows)) for dual, norm in NORMS.items()}
    for found in inside(tiny, kind, reduced.boxes):
        truth = rows @ autodiff.jacobians(tiny, found.smooth)
        here = Interval(elements.lower[found.box], elements.upper[found.box])
        cases.check_contains(here, truth, "elements")
        for dual, upper in norms.items():
            cases.check_above(upper[found.box], NORMS[dual].of(truth), f"norm {dual}")


@pytest.mark.parametrize(("tiny", "kind"), cases.every(ALL, ("offset", "clipped l2 ball")))
def test_objectives_are_above_what_is_attained(tiny: Tiny, kind: str) -> None:
    """Norms, signed entries and outputs, with patterns of gates, by an independent judge."""
    setting, parts = setting_of(tiny, kind), boxes_of(tiny, kind)
    rows = cases.ROWS[2].make(tiny.outputs)
    index = torch.arange(tiny.inputs).repeat(2)
    signs = torch.cat([torch.ones(tiny.inputs), -torch.ones(tiny.inputs)]).to(DTYPE)
    norms = upper_ends(setting, RowNorms(tiny.backward, rows, norm_named("1")), parts)
    entries = upper_ends(setting, Entries(tiny.backward, rows[:1], index, signs), parts)
    outputs = upper_ends(setting, Outputs(tiny.graph, rows), parts)
    for found in inside(tiny, kind, parts):
        truth = rows @ autodiff.jacobians(tiny, found.smooth)
        cases.check_above(norms[found.box], truth.abs().sum(-1), "norms")
        cases.check_above(entries[found.box], truth[:, 0, index] * signs, "entries")
        cases.check_above(outputs[found.box], tiny(found.points) @ rows.T, "outputs")


@pytest.mark.parametrize("output_norm", NORMS)
@pytest.mark.parametrize("input_norm", NORMS)
@pytest.mark.parametrize("tiny", (PIECEWISE[1], PIECEWISE[11], LARGER[3]), ids=str)
def test_matrix_norms_are_above_the_truth(tiny: Tiny, input_norm: str, output_norm: str) -> None:
    parts, eye = boxes_of(tiny, "offset"), torch.eye(tiny.outputs, dtype=DTYPE)
    norms = norm_named(input_norm), norm_named(output_norm)
    objective = MatrixNorm(tiny.backward, eye, *norms)
    upper = upper_ends(setting_of(tiny, "offset"), objective, parts)
    for found in inside(tiny, "offset", parts):
        jacobians = autodiff.jacobians(tiny, found.smooth[:20]).numpy()
        largest = max(operator_norm(matrix, input_norm, output_norm) for matrix in jacobians)
        cases.check_above(upper[found.box], torch.tensor([largest], dtype=DTYPE), "operator norm")


@pytest.mark.parametrize(("tiny", "kind"), cases.every(ALL, ("offset", "wide")))
def test_at_least_as_tight_as_box_by_box(tiny: Tiny, kind: str) -> None:
    """The same relaxations as the code for one box; composing fixed parts can only tighten."""
    rows = torch.eye(tiny.outputs, dtype=DTYPE)
    parts = boxes_of(tiny, kind).pick(torch.tensor([0, 2, 5, 12]))
    reduced = reduce_network(tiny.graph, parts)
    bounds = row_bounds(tiny.backward, reduced, all_pairs(rows, parts))
    elements = bounds.elements.reshape(len(parts), len(rows), -1)
    norms = bounds.norms(norm_named("1")).reshape(len(parts), -1)
    for box in range(len(parts)):
        single = one_by_one(tiny, Box(parts.lower[box], parts.upper[box]), rows)
        scale = AGREE * (1.0 + single.elements.magnitude.amax())
        assert bool((elements.lower[box] >= single.elements.lower - scale).all())
        assert bool((elements.upper[box] <= single.elements.upper + scale).all())
        assert bool((norms[box] <= single.row_norm(norm_named("1")) + scale).all())


@pytest.mark.parametrize(
    "tiny",
    [networks.dense((3, 6, 2), seed, kind) for seed in range(3) for kind in ("relu", "tanh")]
    + [networks.dense((3, 5, 4, 2), seed, bias=False) for seed in range(4)],
    ids=str,
)
def test_equal_to_box_by_box_where_the_order_cannot_matter(tiny: Tiny) -> None:
    """One layer of gates, or all gates open: no fixed part to compose, so nothing is tighter."""
    parts = pieces(boxes.centered(tiny.inputs, 1.0), 3 if len(tiny.graph.activations) == 1 else 0)
    rows = torch.eye(tiny.outputs, dtype=DTYPE)
    bounds = row_bounds(tiny.backward, reduce_network(tiny.graph, parts), all_pairs(rows, parts))
    elements = bounds.elements.reshape(len(parts), len(rows), -1)
    norms = bounds.norms(norm_named("1")).reshape(len(parts), -1)
    for box in range(len(parts)):
        single = one_by_one(tiny, Box(parts.lower[box], parts.upper[box]), rows)
        for mine, theirs in (
            (elements.lower[box], single.elements.lower),
            (elements.upper[box], single.elements.upper),
            (norms[box], single.row_norm(norm_named("1"))),
        ):
            torch.testing.assert_close(mine, theirs, rtol=AGREE, atol=AGREE)


def one_by_one(tiny: Tiny, box: Box, rows: Tensor) -> JacobianBounds:
    """CROWN and the linear method of the code for one region."""
    problem = ForwardProblem(tiny.graph, box)
    engine = NativeEngine(tiny.backward, box, relax_chords)
    preactivations = crown(problem, engine, interval_values(problem))
    jacobian = JacobianProblem(tiny.backward, rows, preactivations)
    return linear(jacobian, engine, relax_chords, norm_named("inf"), interval(jacobian))


@pytest.mark.parametrize("tiny", ALL, ids=str)
def test_a_box_does_not_depend_on_its_neighbours(tiny: Tiny) -> None:
    parts = pieces(boxes.offset(tiny.inputs))
    objective = RowNorms(tiny.backward, torch.eye(tiny.outputs, dtype=DTYPE), norm_named("1"))
    setting = BatchSetting(tiny.backward)
    together = upper_ends(setting, objective, parts)
    for box in range(len(parts)):
        alone = upper_ends(setting, objective, parts.pick(torch.tensor([box])))
        torch.testing.assert_close(alone[0], together[box], rtol=1e-10, atol=1e-12)


def test_chunks_give_the_same_bounds_in_the_same_order() -> None:
    tiny = LARGER[0]
    parts = pieces(boxes.offset(tiny.inputs), 5)
    rows = torch.eye(tiny.outputs, dtype=DTYPE)
    objective = RowNorms(tiny.backward, rows, norm_named("1"))
    unknown = torch.full((len(parts), len(rows)), torch.inf, dtype=DTYPE)
    nothing = torch.full((len(rows),), -torch.inf, dtype=DTYPE)
    expected = torch.randint(0, 18, (len(parts),), generator=torch.Generator().manual_seed(0))
    whole = bound_boxes(BatchSetting(tiny.backward), objective, parts, unknown, nothing, expected)
    tight = BatchSetting(tiny.backward, memory=1.0)  # one box at a time
    single = bound_boxes(tight, objective, parts, unknown, nothing, expected)
    torch.testing.assert_close(whole.upper, single.upper, rtol=1e-10, atol=1e-12)
    assert torch.equal(whole.open_count, single.open_count)


FIXABLE = [tiny for tiny in ALL if tiny.piecewise and "identically-zero" not in str(tiny)]
"""Not the network with a preactivation that is 0 by cancellation: its gate stays open."""


@pytest.mark.parametrize("tiny", FIXABLE, ids=str)
def test_exact_where_no_gate_is_open(tiny: Tiny) -> None:
    """The Jacobian is constant there, and known up to rounding."""
    points = cases.points_of(tiny, "offset")
    points = points[autodiff.distance_to_kinks(tiny, points) > 1e-4][:20]
    assert len(points)
    parts = Boxes(points - 2.0**-40, points + 2.0**-40)
    rows = cases.ROWS[2].make(tiny.outputs)
    truth = rows @ autodiff.jacobians(tiny, points)
    reduced = reduce_network(tiny.graph, parts)
    assert bool((reduced.open_count == 0).all())
    for dual, norm in NORMS.items():
        objective = RowNorms(tiny.backward, rows, norm)
        upper = upper_ends(BatchSetting(tiny.backward), objective, parts)
        true = norm.of(truth)
        cases.check_above(upper, true, dual)
        assert bool((upper <= true * (1 + AGREE) + AGREE).all())


@pytest.mark.parametrize("seed", range(6))
def test_patterns_are_all_products_of_open_gates(seed: int) -> None:
    """The largest norm of W3 D2 W2 D1 W1 over every choice of the gates that are open."""
    tiny = networks.dense((3, 4, 4, 2), seed, "leaky" if seed % 2 else "relu")
    slopes = (0.25 if seed % 2 else 0.0, 1.0)
    box = boxes.offset(3, 0.4, seed)
    parts = Boxes(box.lower.unsqueeze(0), box.upper.unsqueeze(0))
    reduced = reduce_network(tiny.graph, parts)
    ends = []
    for node in tiny.graph.activations:
        bounds = reduced.preactivations[node.inputs[0]]
        for low, high in zip(bounds.lower[0].tolist(), bounds.upper[0].tolist(), strict=True):
            ends.append(slopes[1:] if low > 0 else slopes[:1] if high < 0 else slopes)
    weights = [node.operator.weight for node in tiny.graph if node.name.startswith("dense")]
    norms = []
    for gates in product(*ends):
        first, second = torch.tensor(gates[:4], dtype=DTYPE), torch.tensor(gates[4:], dtype=DTYPE)
        norms.append((weights[2] * second @ (weights[1] * first @ weights[0])).abs().sum(1))
    largest = torch.stack(norms).amax(0)
    rows = torch.eye(2, dtype=DTYPE)
    pairs = all_pairs(rows, parts)
    (group,) = pattern_rows(reduced, pairs)
    assert group.count == int(reduced.open_count[0])
    torch.testing.assert_close(group.jacobians.abs().sum(2).amax(1), largest)
    objective = RowNorms(tiny.backward, rows, norm_named("1"))
    upper = upper_ends(BatchSetting(tiny.backward), objective, parts)[0]
    assert bool((upper >= largest * (1 - 1e-12)).all())
    assert bool((upper <= largest * (1 + AGREE) + AGREE).all())


@pytest.mark.parametrize("kind", ["relu", "leaky"])
def test_an_input_that_is_fixed_at_a_kink_keeps_both_sides(kind: str) -> None:
    """y = s(2 x_0) + s(x_1) with x_0 = 0: z is 0 on the whole box, its derivative is not."""
    first = torch.tensor([[2.0, 0.0], [0.0, 1.0]], dtype=DTYPE)
    weights = [(first, None), (torch.ones(1, 2, dtype=DTYPE), None)]
    tiny = networks.from_weights(weights, f"fixed-{kind}", kind)
    low = 0.0 if kind == "relu" else 0.25
    index, signs = torch.tensor([0, 0, 1, 1]), torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=DTYPE)
    objective = Entries(tiny.backward, torch.ones(1, 1, dtype=DTYPE), index, signs)
    for width in (0.0, 1.0):
        parts = Boxes(
            torch.tensor([[0.0, 0.5 - width]], dtype=DTYPE),
            torch.tensor([[0.0, 0.5 + width]], dtype=DTYPE),
        )
        upper = upper_ends(BatchSetting(tiny.backward), objective, parts)[0]
        smallest = low if width else 1.0
        expected = torch.tensor([2.0, -2 * low, 1.0, -smallest], dtype=DTYPE)
        assert bool((upper >= expected).all())
        torch.testing.assert_close(upper, expected, rtol=1e-9, atol=1e-9)


def test_a_derivative_without_a_path_is_exactly_zero() -> None:
    """y = relu(x_0 - 1) - relu(-1 - x_1), both gates open: 0 is reached, and not passed."""
    first = torch.tensor([[1.0, 0.0], [0.0, -1.0]], dtype=DTYPE)
    bias = torch.tensor([-1.0, -1.0], dtype=DTYPE)
    last = torch.tensor([[0.1, -0.3]], dtype=DTYPE)
    tiny = networks.from_weights([(first, bias), (last, None)], "flat", "relu")
    index, signs = torch.tensor([0, 1]), torch.tensor([-1.0, -1.0], dtype=DTYPE)
    objective = Entries(tiny.backward, torch.ones(1, 1, dtype=DTYPE), index, signs)
    parts = pieces(boxes.centered(2, 2.0))
    unknown = torch.full((len(parts), 2), torch.inf, dtype=DTYPE)
    expected = torch.zeros(len(parts), dtype=torch.int64)
    setting = BatchSetting(tiny.backward)
    zero = torch.zeros(2, dtype=DTYPE)
    upper = bound_boxes(setting, objective, parts, unknown, zero, expected).upper
    assert bool((upper <= 0.0).all()) and bool((upper == 0.0).any())


def test_previous_bounds_are_kept_and_good_ones_left_alone() -> None:
    tiny = LARGER[0]
    parts = pieces(boxes.offset(tiny.inputs), 2)
    rows = torch.eye(tiny.outputs, dtype=DTYPE)
    objective = RowNorms(tiny.backward, rows, norm_named("1"))
    free = upper_ends(BatchSetting(tiny.backward), objective, parts)
    previous = free.clone()
    previous[::2] *= 0.5
    previous[1::2] *= 2.0
    enough = torch.full((len(rows),), float(free.median()), dtype=DTYPE)
    expected = torch.zeros(len(parts), dtype=torch.int64)
    found = bound_boxes(
        BatchSetting(tiny.backward), objective, parts, previous, enough, expected
    ).upper
    assert bool((found <= previous).all())
    left = previous <= enough
    assert torch.equal(found[left], previous[left])
    assert bool((found[~left] <= free[~left] * (1 + AGREE)).all())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("layer", range(3))
def test_unusable_weights_end_in_a_named_error(value: float, layer: int) -> None:
    tiny = with_weight(value, layer)
    objective = RowNorms(tiny.backward, torch.eye(2, dtype=DTYPE), norm_named("1"))
    with pytest.raises(NumericalFailure):
        upper_ends(BatchSetting(tiny.backward), objective, pieces(boxes.centered(2, 1.0)))


def test_overflow_ends_in_a_named_error() -> None:
    tiny = all_huge()
    objective = RowNorms(tiny.backward, torch.eye(2, dtype=DTYPE), norm_named("1"))
    with pytest.raises(NumericalFailure):
        upper_ends(BatchSetting(tiny.backward), objective, pieces(boxes.centered(2, 1.0)))


def test_boxes_refuse_what_cannot_be_meant() -> None:
    zero = torch.zeros(1, 2, dtype=DTYPE)
    for lower, upper in [
        (zero + 1, zero),
        (zero, zero + torch.nan),
        (zero, zero + torch.inf),
        (zero[0], zero[0]),
        (zero, torch.zeros(1, 3, dtype=DTYPE)),
    ]:
        with pytest.raises(RegionError):
            Boxes(lower, upper)
