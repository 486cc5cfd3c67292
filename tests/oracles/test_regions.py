"""The judge, judged: by the Jacobians at many points, by hand, and on degenerate networks."""

from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from lipverify.numerics import DTYPE
from tests.oracles import autodiff, boxes, networks
from tests.oracles.networks import PIECEWISE, Tiny
from tests.oracles.operator_norm import ORDER, PAIRS, operator_norm
from tests.oracles.regions import MARGIN, Regions

CLOSE = 1e-12
NEAR = 1e-7
"""Points nearer to a kink than this may lie in regions that are too thin to be listed."""


@cache
def listed(tiny: Tiny, kind: str) -> Regions:
    box = {
        "centered": boxes.centered(tiny.inputs, 1.0),
        "offset": boxes.offset(tiny.inputs),
        "wide": boxes.centered(tiny.inputs, 8.0),
    }[kind]
    return Regions(tiny, box)


def check_samples(regions: Regions, count: int) -> None:
    """Every sampled Jacobian is one of those listed, so no maximum lies above the judge's."""
    tiny = regions.tiny
    known = torch.as_tensor(regions.jacobians).flatten(1)
    for seed in range(max(1, count // 50_000)):
        x = boxes.points(regions.box, min(count, 50_000), seed)
        x = x[autodiff.distance_to_kinks(tiny, x) > NEAR]
        found = autodiff.jacobians(tiny, x).flatten(1)
        distance = torch.cdist(found, known, p=torch.inf).amin(1)
        if len(x):
            assert float(distance.max()) <= CLOSE, "a sampled Jacobian is not listed"


def check_points(regions: Regions) -> None:
    """At each region's inner point, torch's derivative and value are the listed ones."""
    tiny = regions.tiny
    here = autodiff.jacobians(tiny, regions.points)
    listed_there = torch.as_tensor(regions.jacobians)
    offsets = torch.stack([torch.as_tensor(region.offset) for region in regions.all])
    affine = (listed_there @ regions.points.unsqueeze(-1)).squeeze(-1) + offsets
    torch.testing.assert_close(tiny(regions.points), affine, rtol=0, atol=1e-10)
    torch.testing.assert_close(here, listed_there, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", ["centered", "offset", "wide"])
@pytest.mark.parametrize("tiny", PIECEWISE, ids=str)
def test_regions_are_complete_and_attained(tiny: Tiny, kind: str) -> None:
    regions = listed(tiny, kind)
    check_samples(regions, 5_000)
    check_points(regions)


@pytest.mark.slow
@pytest.mark.parametrize("tiny", PIECEWISE, ids=str)
def test_regions_against_200_000_samples(tiny: Tiny) -> None:
    check_samples(listed(tiny, "centered"), 200_000)


def test_an_identically_zero_preactivation_hides_no_region() -> None:
    tiny = networks.identically_zero(4)
    regions = listed(tiny, "centered")
    assert any(None in region.pattern for region in regions.all), "the case tests nothing"
    # The half on which the first two neurons are active, and the one on which they are not.
    assert {region.pattern[0] for region in regions.all} == {True, False}
    assert {region.pattern[0] for region in regions.all if None in region.pattern} >= {True}


def test_an_oracle_that_keeps_zero_rows_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The field's own bug: rows that are identically zero demand a margin of 0 > 0."""

    def demanding(self: Regions, preactivation: np.ndarray, unit: int, part: object) -> object:
        if unit == preactivation.shape[1]:
            yield part
            return
        row, constant = self._scaled(preactivation[:, unit])
        for active in (True, False):
            child = self._cut(part, row, constant, active)
            if not row.any() and not (constant if active else -constant) > MARGIN:
                child = None
            if child is not None:
                yield from demanding(self, preactivation, unit + 1, child)

    monkeypatch.setattr(Regions, "_patterns", demanding)
    broken = Regions(networks.identically_zero(4), boxes.centered(2, 1.0))
    with pytest.raises(AssertionError):
        check_samples(broken, 5_000)


def test_the_kink_pair_has_two_regions_and_one_jacobian() -> None:
    regions = listed(networks.kink_pair(), "centered")
    assert len(regions.all) == 2
    assert regions.jacobians.tolist() == [[[1.0]], [[1.0]]]
    assert regions.norm("inf", "inf") == 1.0


def test_absolute_value_by_hand() -> None:
    """|x_0| + |x_1| + |x_2|: eight orthants; l1 norms are 3 from linf, sqrt(3) from l2."""
    regions = listed(networks.absolute(), "centered")
    assert len(regions.all) == 8
    assert regions.norm("inf", "1") == 3.0
    assert regions.norm("2", "inf") == pytest.approx(3**0.5, abs=CLOSE)
    assert regions.norm("1", "2") == 1.0
    low, high = regions.entries()
    assert low.tolist() == [[-1.0, -1.0, -1.0]] and high.tolist() == [[1.0, 1.0, 1.0]]
    assert regions.maximum(torch.tensor([1.0], dtype=DTYPE)) == pytest.approx(3.0, abs=CLOSE)
    assert regions.maximum(torch.tensor([-1.0], dtype=DTYPE)) == pytest.approx(0.0, abs=CLOSE)


def test_width_one_has_at_most_one_region_per_sign() -> None:
    tiny = next(tiny for tiny in PIECEWISE if tiny.name == "width-one")
    assert 1 <= len(listed(tiny, "wide").all) <= 4


def test_a_point_has_one_region() -> None:
    tiny = PIECEWISE[0]
    point = boxes.offset(tiny.inputs, radius=0.0)
    regions = Regions(tiny, point)
    expected = autodiff.jacobians(tiny, point.center.unsqueeze(0))
    torch.testing.assert_close(torch.as_tensor(regions.jacobians), expected, rtol=0, atol=CLOSE)


def test_fixed_inputs_leave_a_slice_of_the_regions() -> None:
    tiny = PIECEWISE[1]
    box = boxes.centered(tiny.inputs, 1.0)
    lower, upper = box.lower.clone(), box.upper.clone()
    lower[1] = upper[1] = 0.375
    slice_ = Regions(tiny, type(box)(lower, upper))
    check_samples(slice_, 5_000)
    check_points(slice_)
    assert slice_.norm("inf", "inf") <= listed(tiny, "centered").norm("inf", "inf") + CLOSE


def test_a_kink_along_a_fixed_input_is_refused() -> None:
    box = boxes.centered(3, 1.0)
    lower, upper = box.lower.clone(), box.upper.clone()
    lower[1] = upper[1] = 0.0
    with pytest.raises(ValueError, match="kink along the fixed inputs"):
        _ = Regions(networks.absolute(), type(box)(lower, upper)).all


def test_halfspaces_cut_regions_away() -> None:
    """|x| on x_0 + x_1 + x_2 >= 2.5 within the unit box: one orthant is left."""
    ones = np.ones((1, 3))
    regions = Regions(networks.absolute(), boxes.centered(3, 1.0), ones, np.array([-2.5]))
    assert regions.jacobians.tolist() == [[[1.0, 1.0, 1.0]]]


@pytest.mark.parametrize("tiny", PIECEWISE[:9], ids=str)
def test_maximum_is_attained_and_above_all_samples(tiny: Tiny) -> None:
    regions = listed(tiny, "centered")
    values = tiny(boxes.points(regions.box, 20_000))
    for output in range(tiny.outputs):
        for sign in (1.0, -1.0):
            row = torch.zeros(tiny.outputs, dtype=DTYPE)
            row[output] = sign
            sampled, most = float((values @ row).max()), regions.maximum(row)
            assert sampled <= most + 1e-9
            # Between samples, the output rises by at most the norm times their spacing.
            assert most - sampled <= 0.2 * regions.norm("inf", "inf") + 1e-9


@pytest.mark.parametrize(("input_norm", "output_norm"), PAIRS)
def test_operator_norm_is_above_all_directions_and_attained(
    input_norm: str, output_norm: str
) -> None:
    random = np.random.default_rng(0)
    for _ in range(10):
        matrix = random.normal(size=(3, 4))
        value = operator_norm(matrix, input_norm, output_norm)
        best = _ascent(matrix, input_norm, output_norm, random)
        assert best <= value * (1 + CLOSE)
        assert best >= value * (1 - 1e-6), "the norm is not attained"


def _ascent(matrix: np.ndarray, p: str, q: str, random: np.random.Generator) -> float:
    """The best ||J v||_q over many v with ||v||_p = 1, improved by alternating maximisers."""
    directions = np.vstack([random.normal(size=(400, matrix.shape[1])), np.eye(matrix.shape[1])])
    best = 0.0
    for _ in range(30):
        lengths = np.linalg.norm(directions, ord=ORDER[p], axis=1, keepdims=True)
        images = directions / lengths @ matrix.T
        best = max(best, float(np.linalg.norm(images, ord=ORDER[q], axis=1).max()))
        directions = _maximiser(
            _maximiser(images, {"1": "inf", "2": "2", "inf": "1"}[q]) @ matrix, p
        )
    return best


def _maximiser(a: np.ndarray, norm: str) -> np.ndarray:
    if norm == "inf":
        return np.where(a >= 0, 1.0, -1.0)
    if norm == "2":
        return a / np.maximum(np.linalg.norm(a, axis=1, keepdims=True), 1e-300)
    index = np.abs(a).argmax(1)
    unit = np.zeros_like(a)
    unit[np.arange(len(a)), index] = np.where(a[np.arange(len(a)), index] >= 0, 1.0, -1.0)
    return unit


def test_margin_is_below_every_listed_region() -> None:
    """Inner points are inside by more than the margin, so signs there are not rounding noise."""
    for tiny in PIECEWISE:
        for region in listed(tiny, "centered").all:
            inside: Tensor = torch.as_tensor(region.rows) @ _scaled(tiny, region.point)
            assert float((inside + torch.as_tensor(region.constants)).amin(0)) > MARGIN / 2


def _scaled(tiny: Tiny, point: Tensor) -> Tensor:
    box = listed(tiny, "centered").box
    return (point - (box.lower / 2 + box.upper / 2)) / (box.upper / 2 - box.lower / 2)
