"""Elementwise bounds of the Jacobian, and of all adjoints, by every stage on every region."""

import pytest
import torch

from lipverify.bounds.jacobian import JacobianBounds, JacobianProblem, interval
from lipverify.bounds.linear import linear
from lipverify.bounds.mean_split import mean_split
from lipverify.bounds.methods import STAGES
from lipverify.graph import jacobian_enclosure
from lipverify.interval import Interval
from lipverify.norms import norm_named
from lipverify.numerics import DTYPE
from lipverify.operators.gate import relax_chords, relax_constant
from tests.bounds import cases
from tests.oracles import autodiff, networks
from tests.oracles.budget import quickly
from tests.oracles.networks import LARGER, PIECEWISE, Tiny

NATIVE = [name for name in STAGES if name not in cases.THROUGH_LIRPA]


def bounded(tiny: Tiny, kind: str, stage: str, rows: torch.Tensor, norm: str) -> JacobianBounds:
    return STAGES[stage](cases.setting_of(tiny, kind), rows, norm_named(norm), None)


@pytest.mark.parametrize(
    ("tiny", "kind"), quickly(cases.every((*PIECEWISE, *LARGER), cases.REGIONS), 100)
)
def test_elements_contain_every_jacobian(tiny: Tiny, kind: str) -> None:
    truth = cases.jacobians_of(tiny, kind)
    rows = torch.eye(tiny.outputs, dtype=DTYPE)
    for stage in NATIVE:
        cases.check_contains(bounded(tiny, kind, stage, rows, "inf").elements, truth, stage)


@pytest.mark.parametrize(
    ("tiny", "kind"),
    quickly(cases.every((*PIECEWISE, *LARGER), ("offset", "l2 ball")), 24)
    + cases.every((PIECEWISE[1], PIECEWISE[11], LARGER[7]), ("wide", "point", "clipped l1 ball")),
)
def test_elements_through_auto_lirpa_contain_every_jacobian(tiny: Tiny, kind: str) -> None:
    rows = torch.eye(tiny.outputs, dtype=DTYPE)
    for stage in cases.THROUGH_LIRPA:
        elements = bounded(tiny, kind, stage, rows, "2").elements
        cases.check_contains(elements, cases.jacobians_of(tiny, kind), stage)


@pytest.mark.parametrize("choice", cases.ROWS[1:], ids=lambda choice: choice.name)
@pytest.mark.parametrize(("tiny", "kind"), cases.every((*PIECEWISE, *LARGER), ("offset", "wide")))
def test_combined_rows_are_bounded(tiny: Tiny, kind: str, choice: cases.RowChoice) -> None:
    rows = choice.make(tiny.outputs)
    truth = rows @ cases.jacobians_of(tiny, kind)
    for stage in NATIVE:
        cases.check_contains(bounded(tiny, kind, stage, rows, "2").elements, truth, stage)


@pytest.mark.parametrize(
    ("tiny", "kind"), cases.every((*PIECEWISE, *LARGER), ("centered", "offset", "l1 ball"))
)
def test_adjoints_contain_those_of_torch(tiny: Tiny, kind: str) -> None:
    """The adjoint that each gate multiplies, for every row, at points with a derivative."""
    points = cases.points_of(tiny, kind)
    points = points[autodiff.distance_to_kinks(tiny, points) > 0]
    rows = cases.ROWS[2].make(tiny.outputs)
    truth = [autodiff.adjoints(tiny, points, row) for row in rows]
    setting = cases.setting_of(tiny, kind)
    names = {node.name: setting.backward.adjoint(node.name) for node in tiny.graph.activations}
    for stage in NATIVE:
        adjoints = bounded(tiny, kind, stage, rows, "inf").adjoints
        assert adjoints is not None
        for gate in setting.backward.gates:
            forward = next(name for name, node in names.items() if node == gate.inputs[1])
            for index, true in enumerate(truth):
                bounds = adjoints[gate.name]
                row = Interval(bounds.lower[index], bounds.upper[index])
                cases.check_contains(row, true[forward], f"{stage}: {gate.name}")


@pytest.mark.parametrize("tiny", (*PIECEWISE, *LARGER), ids=str)
def test_bounds_on_a_point_are_the_jacobian(tiny: Tiny) -> None:
    """Where no gate is open, every method is exact up to rounding."""
    kind = "point"
    point = cases.region_of(tiny, kind).center
    rows = torch.eye(tiny.outputs, dtype=DTYPE)
    exact = jacobian_enclosure(cases.setting_of(tiny, kind).backward, point, rows)
    if float(exact.width.amax()) > 1e-10:
        pytest.skip("the point is a kink")
    for stage in NATIVE:
        elements = bounded(tiny, kind, stage, rows, "inf").elements
        reach = 1.0 + float(exact.magnitude.amax())
        assert float((elements.lower - exact.upper).amax()) <= 0
        assert float((exact.lower - elements.upper).amax()) <= 0
        assert float(elements.width.amax()) <= 1e-9 * reach, stage


@pytest.mark.parametrize("tiny", (PIECEWISE[4], PIECEWISE[14], PIECEWISE[13]), ids=str)
def test_a_box_that_is_one_kink_has_all_its_gates_open(tiny: Tiny) -> None:
    """Zero width at 0: the bounds hold the Jacobians of all regions around."""
    center = torch.zeros(tiny.inputs, dtype=DTYPE)
    around = 2.0**-20 * torch.randn(200, tiny.inputs, dtype=DTYPE)
    truth = autodiff.jacobians(tiny, around[autodiff.distance_to_kinks(tiny, around) > 0])
    setting = cases.Setting(
        cases.originals.network(tiny), cases.Box(center, center.clone()), cases.ALPHA
    )
    rows = torch.eye(tiny.outputs, dtype=DTYPE)
    for stage in NATIVE:
        elements = STAGES[stage](setting, rows, norm_named("inf"), None).elements
        cases.check_contains(elements, truth, stage)


def test_an_affine_network_is_bounded_exactly() -> None:
    tiny = networks.affine(0)
    truth = autodiff.jacobians(tiny, torch.zeros(1, tiny.inputs, dtype=DTYPE))
    for kind in ("wide", "l2 ball"):
        for stage in STAGES:
            rows = torch.eye(tiny.outputs, dtype=DTYPE)
            elements = bounded(tiny, kind, stage, rows, "inf").elements
            cases.check_contains(elements, truth, stage)
            assert float(elements.width.amax()) <= 1e-10


@pytest.mark.parametrize("tiny", (PIECEWISE[0], PIECEWISE[10], LARGER[6]), ids=str)
def test_stages_keep_what_is_known(tiny: Tiny) -> None:
    """Every stage returns the common part of its own bounds and the ones it was given."""
    setting, norm = cases.setting_of(tiny, "offset"), norm_named("inf")
    rows = torch.eye(tiny.outputs, dtype=DTYPE)
    known: JacobianBounds | None = None
    for stage in STAGES.values():
        new = stage(setting, rows, norm, known)
        if known is not None:
            assert cases.inside(new.elements, known.elements)
            if known.row_norms is not None:
                assert new.row_norms is not None
                assert bool((new.row_norms <= known.row_norms).all())
        known = new


@pytest.mark.parametrize("tiny", (PIECEWISE[1], PIECEWISE[10], LARGER[0], LARGER[4]), ids=str)
def test_memory_limits_change_nothing(tiny: Tiny) -> None:
    """Chunks of one: sums in another order, so equal but for rounding."""
    setting, norm = cases.setting_of(tiny, "offset"), norm_named("inf")
    rows = torch.eye(tiny.outputs, dtype=DTYPE)
    results = []
    for memory in (4e9, 1.0):
        problem = JacobianProblem(setting.backward, rows, setting.crown_preactivations, memory)
        start = interval(problem).intersect(mean_split(problem))
        engine = setting.native_engine(relax_chords)
        results.append(linear(problem, engine, relax_chords, norm, start))
    for name in ("lower", "upper"):
        values = [getattr(result.elements, name) for result in results]
        torch.testing.assert_close(values[0], values[1], rtol=0, atol=1e-11)
    torch.testing.assert_close(results[0].row_norms, results[1].row_norms, rtol=0, atol=1e-11)


def test_chords_are_never_looser_than_constants() -> None:
    """Shi et al. 2022, section 3.2: their relaxation lies within RecurJac's, gate by gate."""
    for tiny in (*PIECEWISE[:4], LARGER[0]):
        setting, norm = cases.setting_of(tiny, "offset"), norm_named("inf")
        rows = torch.eye(tiny.outputs, dtype=DTYPE)
        problem = setting.problem(rows, setting.crown_preactivations)
        start = interval(problem)
        widths = []
        for relax in (relax_chords, relax_constant):
            found = linear(problem, setting.native_engine(relax), relax, norm, start)
            widths.append(found.elements.width)
        assert float((widths[0] - widths[1]).amax()) <= 1e-10, tiny
