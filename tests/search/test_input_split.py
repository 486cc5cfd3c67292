"""Branch and bound over inputs: the halves cover, the ends are right, every stop is honest."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from lipverify.bounds.batched import BatchSetting, Boxes, bound_boxes, gate_count
from lipverify.bounds.methods import Setting
from lipverify.config import PreactivationConfig, WitnessConfig
from lipverify.errors import NumericalFailure
from lipverify.norms import NORMS, norm_named
from lipverify.numerics import DTYPE
from lipverify.query import NormQuery, OutputQuery, SlopeQuery
from lipverify.region import AbstractRegion, Box
from lipverify.search import input_split
from lipverify.search.budget import Clock, Note
from lipverify.search.input_split import (
    SearchResult,
    ThresholdResult,
    norm_search,
    output_search,
    slope_search,
)
from lipverify.verdict import Reason
from lipverify.witness import NormWitness, prove_norm, search_norm
from tests.bounds import cases
from tests.oracles import autodiff, boxes, networks, originals
from tests.oracles.networks import LARGER, PIECEWISE, Tiny
from tests.oracles.regions import Regions

TIGHT = 1e-6
KINKY = (
    "kink-pair",
    "duplicated",
    "identically-zero",
    "zero-rows",
    "absolute",
    "no-bias",
    "fan-out",
)
"""Gates that depend on each other wherever they are open: their product set is larger than the
Clarke Jacobian at kinks, so no number of cuts makes the bound exact."""
GENERIC = [tiny for tiny in PIECEWISE if not any(name in str(tiny) for name in KINKY)]


@dataclass
class Seen:
    """Records the progress; may interrupt at a given call."""

    interrupt_at: int = -1
    uppers: list[float] = field(default_factory=list)

    def __call__(
        self, stage: str, lower: float | None, upper: float | None, subproblems: int = 1
    ) -> None:
        assert upper is not None
        self.uppers.append(upper)
        if len(self.uppers) == self.interrupt_at:
            raise KeyboardInterrupt


def silent() -> Note:
    return Note(None, 0, Clock(None))


def setting_of(tiny: Tiny, region: AbstractRegion, memory: float = 4e9) -> Setting:
    return Setting(originals.network(tiny), region, PreactivationConfig(), memory)


def norm_query(
    tiny: Tiny, p: str = "inf", q: str = "inf", at_most: float | None = None
) -> NormQuery:
    rows = torch.eye(tiny.outputs, dtype=DTYPE)
    return NormQuery(rows, norm_named(p), norm_named(q), at_most, None)


def start_of(setting: Setting, query: NormQuery) -> NormWitness:
    """A poor witness, so that the search has to find better ones."""
    return prove_norm(setting.backward, query, setting.region.center)


def find_norm(
    tiny: Tiny,
    region: AbstractRegion,
    query: NormQuery,
    *,
    boxes: int | None = 4000,
    gap: float | None = None,
    note: Callable | None = None,
    clock: Clock | None = None,
    memory: float = 4e9,
    seed: int = 0,
) -> SearchResult:
    setting = setting_of(tiny, region, memory)
    unknown = torch.full((len(query.rows),), torch.inf, dtype=DTYPE)
    start = start_of(setting, query)
    return norm_search(
        setting,
        query,
        unknown,
        start,
        clock or Clock(None),
        note or silent(),  # type: ignore[arg-type]
        boxes,
        gap,
        seed,
    )


def unknown(count: int) -> Tensor:
    return torch.full((count,), torch.inf, dtype=DTYPE)


# The halves of boxes


@pytest.mark.parametrize("inputs", [1, 2, 5])
def test_halves_cover_the_box_and_share_the_face(inputs: int) -> None:
    generator = torch.Generator().manual_seed(inputs)
    lower = torch.randn(40, inputs, generator=generator, dtype=DTYPE)
    parts = Boxes(lower, lower + torch.rand(40, inputs, generator=generator, dtype=DTYPE))
    cut = torch.randint(0, inputs, (40,), generator=generator)
    halves = parts.halves(cut)
    below, above = halves.upper[:40], halves.lower[40:]
    face = below.gather(1, cut.unsqueeze(1))
    assert torch.equal(face, above.gather(1, cut.unsqueeze(1)))
    points = parts.lower + parts.width * torch.rand(
        500, 40, inputs, generator=generator, dtype=DTYPE
    )
    points = torch.minimum(points, parts.upper)
    points[::3] = points[::3].scatter(2, cut.expand(167, 40).unsqueeze(2), face.expand(167, 40, 1))
    first = ((halves.lower[:40] <= points) & (points <= below)).all(2)
    second = ((above <= points) & (points <= halves.upper[40:])).all(2)
    assert bool((first | second).all())
    assert bool((first & second)[::3].all()), "the common face belongs to both"
    inside = (halves.lower >= parts.lower.repeat(2, 1)) & (halves.upper <= parts.upper.repeat(2, 1))
    assert bool(inside.all())


@pytest.mark.parametrize("low", [0.0, -0.0, 1.0, -1.0, 1e-308, 5e-324, -1e300, 0.1])
def test_the_cut_lies_between_the_ends_also_of_neighbouring_floats(low: float) -> None:
    lower = torch.full((4, 1), low, dtype=DTYPE)
    upper = lower.clone()
    for row in range(4):  # 0, 1, 2, 3 floats apart
        for _ in range(row):
            upper[row] = torch.nextafter(upper[row], torch.tensor([torch.inf], dtype=DTYPE))
    parts = Boxes(lower, upper)
    halves = parts.halves(torch.zeros(4, dtype=torch.int64))
    assert torch.equal(halves.upper[:4], halves.lower[4:])
    assert parts.divisible().flatten().tolist() == [False, False, True, True]


def test_boxes_that_hold_a_point_of_a_region_overlap_it() -> None:
    for kind in cases.REGIONS:
        tiny = PIECEWISE[1]
        region = cases.region_of(tiny, kind)
        level = Boxes(region.bounding.lower.unsqueeze(0), region.bounding.upper.unsqueeze(0))
        points = cases.points_of(tiny, kind)
        for depth in range(6):
            here = (level.lower.unsqueeze(1) <= points) & (points <= level.upper.unsqueeze(1))
            holds = here.all(2).any(1)
            assert bool(region.overlaps(level.lower, level.upper)[holds].all()), kind
            level = level.halves(torch.full((len(level),), depth % tiny.inputs))


# Norms


@pytest.mark.parametrize("input_norm", NORMS)
@pytest.mark.parametrize("tiny", PIECEWISE, ids=str)
def test_norms_equal_the_enumeration(tiny: Tiny, input_norm: str) -> None:
    """Both ends on the right sides of it; without special kinks, equal."""
    box = boxes.offset(tiny.inputs)
    truth = Regions(tiny, box).norm(input_norm, "inf")
    result = find_norm(tiny, box, norm_query(tiny, input_norm), boxes=600)
    assert result.upper >= truth * (1 - 1e-12)
    assert result.witness.value <= truth * (1 + 1e-12) + 1e-300
    assert bool(box.contains(result.witness.point))
    if tiny in GENERIC:
        result = find_norm(tiny, box, norm_query(tiny, input_norm))
        assert result.stop is None
        assert result.upper <= truth * (1 + TIGHT) + TIGHT
        assert result.witness.value >= truth * (1 - TIGHT) - TIGHT


@pytest.mark.parametrize("output_norm", ["1", "2"])
@pytest.mark.parametrize("input_norm", NORMS)
@pytest.mark.parametrize("tiny", [GENERIC[0], GENERIC[2]], ids=str)
def test_other_output_norms_are_above_the_enumeration(
    tiny: Tiny, input_norm: str, output_norm: str
) -> None:
    box = boxes.offset(tiny.inputs)
    truth = Regions(tiny, box).norm(input_norm, output_norm)
    result = find_norm(tiny, box, norm_query(tiny, input_norm, output_norm), boxes=2000)
    assert result.upper >= truth * (1 - 1e-12)
    assert result.witness.value <= truth * (1 + 1e-12)
    if output_norm == "1" or input_norm in ("1", "2"):  # no norm of a matrix is loose there
        assert result.upper <= truth * (1 + TIGHT)


@pytest.mark.parametrize("kind", ["l2 ball", "stretched l1 ball", "clipped l2 ball"])
@pytest.mark.parametrize("tiny", [GENERIC[0], PIECEWISE[11], LARGER[2]], ids=str)
def test_regions_that_are_no_boxes(tiny: Tiny, kind: str) -> None:
    region = cases.region_of(tiny, kind)
    result = find_norm(tiny, region, norm_query(tiny, "2"), boxes=400)
    truth = torch.linalg.vector_norm(cases.jacobians_of(tiny, kind), dim=2).max()
    assert result.upper >= float(truth) * (1 - 1e-11)
    assert bool(region.contains(result.witness.point))
    whole = region.bounding
    around = find_norm(tiny, Box(whole.lower, whole.upper), norm_query(tiny, "2"), boxes=400)
    assert result.witness.value <= around.upper * (1 + 1e-12)


@pytest.mark.parametrize("tiny", LARGER, ids=str)
def test_larger_and_smooth_networks_stay_above_what_is_sampled(tiny: Tiny) -> None:
    box = boxes.offset(tiny.inputs, 0.25)
    points = boxes.points(box, 400)
    points = points[autodiff.distance_to_kinks(tiny, points) > 0]
    truth = float(autodiff.jacobians(tiny, points).abs().sum(2).max())
    root = find_norm(tiny, box, norm_query(tiny), boxes=1)
    result = find_norm(tiny, box, norm_query(tiny), boxes=201)
    assert truth * (1 - 1e-11) <= result.upper <= root.upper
    assert result.witness.value <= result.upper


@pytest.mark.parametrize("tiny", [GENERIC[1], LARGER[0], LARGER[2]], ids=str)
def test_more_boxes_never_raise_the_bound(tiny: Tiny) -> None:
    box, seen = boxes.offset(tiny.inputs), Seen()
    whole = find_norm(tiny, box, norm_query(tiny), boxes=301, note=seen)
    assert seen.uppers == sorted(seen.uppers, reverse=True)
    assert seen.uppers[-1] == whole.upper
    ends = [find_norm(tiny, box, norm_query(tiny), boxes=n).upper for n in (1, 3, 15, 63, 301)]
    assert ends == sorted(ends, reverse=True)
    assert ends[0] > ends[-1]


@pytest.mark.parametrize("tiny", [GENERIC[0], GENERIC[1]], ids=str)
def test_thresholds_and_gaps(tiny: Tiny) -> None:
    box = boxes.offset(tiny.inputs)
    truth = Regions(tiny, box).norm("inf", "inf")
    above = find_norm(tiny, box, norm_query(tiny, at_most=truth * 1.001))
    assert above.stop is None and above.upper <= truth * 1.001
    below = find_norm(tiny, box, norm_query(tiny, at_most=truth * 0.999))
    assert below.stop is None and below.witness.value > truth * 0.999
    assert below.upper >= truth * (1 - 1e-12)
    exact = find_norm(tiny, box, norm_query(tiny))
    near = find_norm(tiny, box, norm_query(tiny), gap=0.1)
    assert near.stop is None and near.upper <= near.witness.value * 1.1
    assert near.subproblems <= exact.subproblems


def test_a_bound_of_the_root_is_kept() -> None:
    tiny, query = LARGER[0], norm_query(LARGER[0])
    setting = setting_of(tiny, boxes.offset(tiny.inputs))
    start = start_of(setting, query)
    known = torch.full((tiny.outputs,), start.value * 1.5, dtype=DTYPE)
    none = norm_search(setting, query, known, start, Clock(None), silent(), 0)
    assert none.upper == float(known[0]) and none.subproblems == 0
    some = norm_search(setting, query, known, start, Clock(None), silent(), 3)
    assert some.upper <= none.upper
    enough = norm_search(setting, query, known, start, Clock(None), silent(), None, 0.6)
    assert enough.stop is None and enough.subproblems == 0


def test_the_same_seed_gives_the_same_search() -> None:
    tiny = LARGER[0]
    box = boxes.offset(tiny.inputs)
    first, second = (find_norm(tiny, box, norm_query(tiny), boxes=401, seed=3) for _ in range(2))
    assert first.upper == second.upper and first.subproblems == second.subproblems
    assert first.witness.value == second.witness.value
    assert torch.equal(first.witness.point, second.witness.point)


# Forced stops


@pytest.mark.parametrize("tiny", [PIECEWISE[0], LARGER[2]], ids=str)
def test_a_stop_before_the_first_bound_gives_none(tiny: Tiny) -> None:
    box, query = boxes.offset(tiny.inputs), norm_query(tiny)
    forced = {
        Reason.TIMEOUT: find_norm(tiny, box, query, clock=Clock(0.0)),
        Reason.SUBPROBLEMS: find_norm(tiny, box, query, boxes=0),
        Reason.MEMORY: find_norm(tiny, box, query, memory=10.0),
    }
    for reason, result in forced.items():
        assert result.stop is not None and result.stop.reason is reason
        assert result.upper == torch.inf and result.subproblems == 0
    setting = setting_of(tiny, box)
    slopes = SlopeQuery(torch.eye(tiny.outputs, dtype=DTYPE)[:1], (0,), (1,), 1e9)
    outputs = OutputQuery(torch.eye(tiny.outputs, dtype=DTYPE), 1e9, False)
    for other in (
        slope_search(setting, slopes, unknown(1), Clock(0.0), silent()),
        output_search(setting, outputs, unknown(tiny.outputs), Clock(None), silent(), 0),
    ):
        assert other.stop is not None and bool((other.upper == torch.inf).all())


@pytest.mark.parametrize("at", [1, 2, 4])
def test_an_interrupt_passes_after_what_is_proved_was_shown(at: int) -> None:
    tiny = LARGER[2]
    box, seen = boxes.offset(tiny.inputs), Seen(interrupt_at=at)
    with pytest.raises(KeyboardInterrupt):
        find_norm(tiny, box, norm_query(tiny), note=seen)
    assert len(seen.uppers) == at and seen.uppers[-1] < torch.inf
    truth = cases.jacobians_of(tiny, "offset").abs().sum(2).max()
    assert seen.uppers[-1] >= float(truth)


def test_a_breakdown_within_a_step_keeps_what_is_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = LARGER[2]
    box = boxes.offset(tiny.inputs)
    whole = find_norm(tiny, box, norm_query(tiny), boxes=7)
    calls = [0]

    def broken(*args: object):  # noqa: ANN202
        calls[0] += 1
        if calls[0] == 4:  # the root, 2 boxes, 4 boxes: after these
            raise NumericalFailure("overflow")
        return bound_boxes(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(input_split, "bound_boxes", broken)
    result = find_norm(tiny, box, norm_query(tiny))
    assert result.stop is not None and result.stop.reason is Reason.NUMERICS
    assert result.upper == whole.upper


def test_no_more_boxes_than_allowed() -> None:
    tiny = LARGER[2]
    box = boxes.offset(tiny.inputs)
    for limit in (1, 2, 3, 4, 50, 333):
        result = find_norm(tiny, box, norm_query(tiny), boxes=limit)
        assert limit - 1 <= result.subproblems <= limit
        assert result.stop is not None and result.stop.reason is Reason.SUBPROBLEMS


def test_a_point_needs_one_box() -> None:
    tiny = PIECEWISE[1]
    result = find_norm(tiny, boxes.offset(tiny.inputs, 0.0), norm_query(tiny), boxes=None)
    assert result.stop is None and result.subproblems == 1
    assert result.upper <= result.witness.value * (1 + 1e-9)


def test_fixed_inputs_are_not_cut() -> None:
    """Thirty inputs, of which two move: as fast as with two inputs."""
    tiny = networks.dense((30, 8, 6, 2), 0)
    box = boxes.offset(30, 0.0)
    lower, upper = box.lower.clone(), box.upper.clone()
    lower[[3, 17]] -= 0.75
    upper[[3, 17]] += 0.75
    part = Box(lower, upper)
    result = find_norm(tiny, part, norm_query(tiny))
    assert result.stop is None and result.upper <= result.witness.value * (1 + TIGHT)
    truth = abs(Regions(tiny, part).jacobians).sum(2).max()
    assert result.upper >= truth * (1 - 1e-12)


# Entries of the Jacobian


def find_slopes(
    tiny: Tiny, box: Box, signs: tuple[int, ...], threshold: float, boxes: int | None = 3000
) -> ThresholdResult:
    row = torch.eye(tiny.outputs, dtype=DTYPE)[:1]
    query = SlopeQuery(row, tuple(range(tiny.inputs)), signs, threshold)
    return slope_search(
        setting_of(tiny, box), query, unknown(tiny.inputs), Clock(None), silent(), boxes
    )


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("tiny", GENERIC, ids=str)
def test_slopes_are_decided_as_by_the_enumeration(tiny: Tiny, sign: int) -> None:
    box = boxes.offset(tiny.inputs)
    row = torch.eye(tiny.outputs, dtype=DTYPE)[:1]
    lower, upper = Regions(tiny, box).entries(row)
    worst = (upper if sign > 0 else -lower)[0]
    for threshold in (0.0, float(worst.max()) + 1e-3, float(worst.min()) - 1e-3):
        result = find_slopes(tiny, box, (sign,) * tiny.inputs, threshold)
        assert bool((result.upper >= worst - 1e-11).all())
        for k in range(tiny.inputs):
            point = result.candidates[k]
            if worst[k] > threshold + 1e-9:
                assert point is not None and bool(box.contains(point))
                assert not float(result.upper[k]) <= threshold
                value = sign * autodiff.jacobians(tiny, point.unsqueeze(0))[0, 0, k]
                assert float(value) > threshold
            elif worst[k] < threshold - 1e-9:
                assert point is None and float(result.upper[k]) <= threshold


def test_an_entry_may_be_asked_about_twice() -> None:
    tiny = networks.monotone((3, 5, 4, 2), 0)
    row = torch.eye(2, dtype=DTYPE)[:1]
    query = SlopeQuery(row, (0, 0, 2), (-1, 1, -1), 0.0)
    setting = setting_of(tiny, boxes.centered(3, 1.0))
    result = slope_search(setting, query, unknown(3), Clock(None), silent(), 500)
    assert bool((result.upper[[0, 2]] <= 0).all())
    assert [point is None for point in result.candidates] == [True, False, True]
    assert result.stop is None


@pytest.mark.parametrize("kind", ["tanh", "sigmoid"])
def test_smooth_networks_are_decided(kind: str) -> None:
    tiny = networks.dense((2, 5, 4, 1), 3, kind)
    box = boxes.offset(2, 0.75)
    sampled = autodiff.jacobians(tiny, boxes.points(box, 4000))[:, 0].amax(0)
    above = find_slopes(tiny, box, (1, 1), float(sampled.max()) + 0.05)
    assert above.stop is None and bool((above.upper >= sampled).all())
    below = find_slopes(tiny, box, (1, 1), float(sampled.min()) - 0.05)
    assert below.stop is None and all(point is not None for point in below.candidates)


# Outputs


@pytest.mark.parametrize("tiny", GENERIC, ids=str)
def test_outputs_are_decided_as_by_the_enumeration(tiny: Tiny) -> None:
    box = boxes.offset(tiny.inputs)
    rows = torch.cat([torch.eye(tiny.outputs, dtype=DTYPE), torch.ones(1, tiny.outputs)])
    regions = Regions(tiny, box)
    worst = torch.tensor([regions.maximum(row) for row in rows], dtype=DTYPE)
    setting = setting_of(tiny, box)
    for shift, strict in ((1e-3, False), (-1e-3, False), (1e-3, True), (-1e-3, True)):
        threshold = float(worst.max()) + shift
        query = OutputQuery(rows, threshold, strict)
        result = output_search(setting, query, unknown(len(rows)), Clock(None), silent(), 4000)
        assert result.stop is None
        assert bool((result.upper >= worst - 1e-11).all())
        if shift > 0:
            assert bool((result.upper <= threshold).all())
            assert all(point is None for point in result.candidates)
        else:
            points = [point for point in result.candidates if point is not None]
            assert points and bool(box.contains(points[0]))
            assert float((tiny(points[0].unsqueeze(0)) @ rows.T).max()) > threshold


def test_a_strict_threshold_that_is_attained_is_not_verified() -> None:
    """f = x_0 + x_1 on [-1, 1]^2 reaches 2, which is not < 2."""
    tiny = networks.from_weights([(torch.ones(1, 2, dtype=DTYPE), None)], "sum")
    setting = setting_of(tiny, boxes.centered(2, 1.0))
    query = OutputQuery(torch.ones(1, 1, dtype=DTYPE), 2.0, True)
    result = output_search(setting, query, unknown(1), Clock(None), silent(), 100)
    assert not bool((result.upper < 2.0).any())
    assert result.stop is not None


# A real network


@pytest.mark.shared
def test_acas_xu_within_two_percent(shared) -> None:  # noqa: ANN001
    """Five inputs: far below what gate splits reach there in a minute (1575)."""
    import numpy

    from lipverify.network import load_network

    network = load_network(shared / "reference" / "B4_acas11.onnx")
    ends = numpy.load(shared / "reference" / "B4_acas11_prop3.npz")
    lower, upper = (torch.as_tensor(ends[key]).double() for key in ("lower", "upper"))
    middle = lower / 2 + upper / 2
    setting = Setting(network, Box((lower + middle) / 2, middle), PreactivationConfig())
    norm = norm_named("inf")
    query = NormQuery(torch.eye(5, dtype=DTYPE), norm, norm, None, None)
    start = search_norm(setting.backward, setting.region, query, WitnessConfig(), 0)
    result = norm_search(setting, query, unknown(5), start, Clock(None), silent(), 6000, 0.02)
    assert result.stop is None and result.upper <= 1.02 * result.witness.value


def test_the_root_counts_every_gate() -> None:
    assert gate_count(PIECEWISE[0].backward) == 7
    assert BatchSetting(PIECEWISE[0].backward).pattern_limit > 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(150))
def test_random_networks_never_below_the_enumeration(seed: int) -> None:
    """Sparse weights, missing biases, boxes with fixed inputs and with ends at the kinks."""
    generator = torch.Generator().manual_seed(seed)
    inputs = int(torch.randint(1, 5, (1,), generator=generator))
    widths = torch.randint(1, 5, (1 + seed % 3,), generator=generator).tolist()
    sizes = (inputs, *widths, 2)
    weights = []
    for before, after in zip(sizes, sizes[1:], strict=False):
        weight = torch.randn(after, before, generator=generator, dtype=DTYPE)
        weight = (8 * weight).round() / 8
        keep = torch.rand(after, before, generator=generator) < (0.6 if seed % 2 else 1.0)
        bias = (4 * torch.randn(after, generator=generator, dtype=DTYPE)).round() / 8
        weights.append((weight * keep, None if seed % 5 == 0 else bias))
    tiny = networks.from_weights(weights, f"random-{seed}", "leaky" if seed % 4 == 3 else "relu")
    middle = (4 * torch.randn(inputs, generator=generator, dtype=DTYPE)).round() / 8
    radius = torch.rand(inputs, generator=generator, dtype=DTYPE).mul(8).round() / 8
    box = Box(middle - radius, middle + radius)
    regions = Regions(tiny, box)
    try:
        jacobians = torch.as_tensor(regions.jacobians)
    except ValueError:
        pytest.skip("a kink along the fixed inputs: no enumeration")
    for p in NORMS:
        truth = regions.norm(p, "inf")
        result = find_norm(tiny, box, norm_query(tiny, p), boxes=500)
        assert result.upper >= truth * (1 - 1e-12)
        assert result.witness.value <= truth * (1 + 1e-12) + 1e-300
    found = find_slopes(tiny, box, (1,) * inputs, 0.25, 300)
    assert bool((found.upper >= jacobians[:, 0].amax(0) - 1e-11).all())
    rows = torch.eye(2, dtype=DTYPE)
    query = OutputQuery(rows, 0.5, False)
    outputs = output_search(setting_of(tiny, box), query, unknown(2), Clock(None), silent(), 300)
    for row, upper in zip(rows, outputs.upper, strict=True):
        assert float(upper) >= regions.maximum(row) - 1e-9
