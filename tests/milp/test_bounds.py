"""Programs against the list of all patterns, for every norm and objective."""

import pytest
import torch

from lipverify.errors import UnsupportedNorm, UnsupportedOperator
from lipverify.graph import row_jacobian
from lipverify.milp import SOLVERS
from lipverify.milp.bounds import (
    SolveSettings,
    milp_entry_bounds,
    milp_norm_upper,
    milp_output_upper,
)
from lipverify.milp.problem import MilpProblem
from lipverify.milp.status import MilpStatus
from lipverify.norms import norm_named
from lipverify.numerics import DTYPE
from tests.bounds import cases
from tests.milp.patterns import Patterns
from tests.milp.problems import DRAWN, box_of, patterns_of, problem_of
from tests.oracles.networks import PIECEWISE, Tiny, conv_net, dense, fan_out, kink_pair

HIGHS = SolveSettings(SOLVERS["highs"])
SLACK = 2e-5
"""What the default gap and the safe slack may add, relative to 1 + the maximum."""
NOISE = 1e-6
"""What the judge may be too large by: it counts cells that are missed by FEASIBLE."""

SMALL = [tiny for tiny in PIECEWISE if tiny.name not in ("fan-out-relu-0",)]


def check(bound: float, value: float, what: str) -> None:
    assert bound >= value - NOISE * (1 + abs(value)), f"{what}: {bound} is below {value}"
    assert bound <= value + SLACK * (1 + abs(value)), f"{what}: {bound} is far above {value}"


@pytest.mark.parametrize("kind", ["centered", "offset"])
@pytest.mark.parametrize("tiny", [*SMALL, *DRAWN], ids=str)
def test_row_norms_are_the_largest_of_all_patterns(tiny: Tiny, kind: str) -> None:
    problem, judge = problem_of(tiny, kind), patterns_of(tiny, kind)
    found = milp_norm_upper(problem, norm_named("inf"), HIGHS)
    for row in range(tiny.outputs):
        check(float(found.upper[row]), judge.norm("1", problem.rows[row]), f"row {row}")
    assert found.complete


@pytest.mark.parametrize("tiny", SMALL, ids=str)
def test_entries_are_the_extremes_of_all_patterns(tiny: Tiny) -> None:
    problem, judge = problem_of(tiny, "offset", loose=True), patterns_of(tiny, "offset")
    asked = [(row, index) for row in range(tiny.outputs) for index in range(tiny.inputs)]
    found = milp_entry_bounds(problem, asked, HIGHS)
    for place, (row, index) in enumerate(asked):
        low, high = judge.entry(problem.rows[row], index)
        check(float(found.upper[place]), high, f"upper end of {row}, {index}")
        check(-float(found.lower[place]), -low, f"lower end of {row}, {index}")


@pytest.mark.parametrize("tiny", SMALL[:6], ids=str)
def test_row_norms_for_the_l1_input_norm(tiny: Tiny) -> None:
    problem, judge = problem_of(tiny, "offset"), patterns_of(tiny, "offset")
    found = milp_norm_upper(problem, norm_named("1"), HIGHS)
    for row in range(tiny.outputs):
        check(float(found.upper[row]), judge.norm("inf", problem.rows[row]), f"row {row}")


@pytest.mark.parametrize("kind", ["centered", "wide"])
@pytest.mark.parametrize("tiny", SMALL, ids=str)
def test_outputs_are_the_maxima_of_all_patterns(tiny: Tiny, kind: str) -> None:
    problem, judge = problem_of(tiny, kind), patterns_of(tiny, kind)
    found = milp_output_upper(problem, HIGHS)
    for row in range(tiny.outputs):
        check(float(found.upper[row]), judge.maximum(problem.rows[row]), f"row {row}")


def test_a_kink_pair_reaches_the_gate_product_set() -> None:
    found = milp_norm_upper(problem_of(kink_pair(), "centered"), norm_named("inf"), HIGHS)
    check(float(found.upper[0]), 2.0, "relu(x) - relu(-x)")


def test_points_attain_the_bound_on_networks_in_general_position() -> None:
    tiny = dense((3, 4, 3, 2), 1)
    problem = problem_of(tiny, "offset")
    found = milp_norm_upper(problem, norm_named("inf"), HIGHS)
    reached = row_jacobian(problem.backward, found.points, problem.rows).abs().sum(-1).amax(0)
    torch.testing.assert_close(reached, found.upper, rtol=1e-5, atol=1e-5)
    assert bool(problem.region.contains(found.points).all())


def test_splits_are_closed_halves() -> None:
    """Both halves of a neuron: each bounds its own cells, and their maximum is the whole."""
    tiny = dense((2, 4, 3, 2), 0)
    node = tiny.graph.activations[0].inputs[0]
    whole = milp_norm_upper(problem_of(tiny, "offset"), norm_named("inf"), HIGHS).upper
    halves = []
    for side in (-1, 1):
        problem = problem_of(tiny, "offset", ((node, 0, side),))
        judge = Patterns(tiny, box_of(tiny, "offset"), problem.splits)
        upper = milp_norm_upper(problem, norm_named("inf"), HIGHS).upper
        for row in range(tiny.outputs):
            expected = judge.norm("1", problem.rows[row]) if judge.cells else None
            if expected is not None:
                check(float(upper[row]), expected, f"side {side}, row {row}")
        halves.append(upper)
    torch.testing.assert_close(torch.stack(halves).amax(0), whole, rtol=1e-5, atol=1e-5)


def test_no_time_leaves_what_was_known() -> None:
    problem = problem_of(dense((2, 4, 3, 2), 0), "wide")
    settings = SolveSettings(SOLVERS["highs"], time=0.0)
    found = milp_norm_upper(problem, norm_named("inf"), settings)
    assert not found.complete
    known = problem.jacobian.elements.magnitude.sum(-1)
    assert bool((found.upper >= known).all())
    assert torch.isposinf(milp_output_upper(problem, settings).upper).all()


def test_rows_below_the_floor_are_left_alone() -> None:
    problem = problem_of(dense((2, 4, 3, 2), 0), "wide")
    exact = milp_norm_upper(problem, norm_named("inf"), HIGHS).upper
    floor = float(exact.min()) / 2 + float(exact.max()) / 2
    settings = SolveSettings(SOLVERS["highs"], floor=floor)
    found = milp_norm_upper(problem, norm_named("inf"), settings)
    assert bool((found.upper >= exact - 1e-9).all())
    assert float(found.upper.min()) <= floor
    assert MilpStatus.CUTOFF in found.statuses
    torch.testing.assert_close(found.upper.max(), exact.max(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("kind", ["l2 ball", "l1 ball", "clipped l2 ball"])
def test_bounds_hold_on_regions_that_are_no_boxes(kind: str) -> None:
    tiny = dense((3, 4, 3, 2), 1)
    setting = cases.setting_of(tiny, kind)
    rows = torch.eye(2, dtype=DTYPE)
    problem = MilpProblem(setting.backward, setting.region, rows, setting.crown_preactivations)
    assert not problem.is_box
    bound = milp_norm_upper(problem, norm_named("inf"), HIGHS).upper
    cases.check_above(bound, cases.jacobians_of(tiny, kind).abs().sum(-1), "row norms")
    values = tiny(cases.points_of(tiny, kind))
    cases.check_above(milp_output_upper(problem, HIGHS).upper, values, "outputs")


@pytest.mark.parametrize("tiny", [dense((4, 10, 8, 3), 7), conv_net(0), fan_out(0)], ids=str)
def test_larger_networks_against_samples(tiny: Tiny) -> None:
    """Whatever stops the solver, its bound is above every sampled value."""
    problem = problem_of(tiny, "offset")
    settings = SolveSettings(SOLVERS["highs"], time=1.5)
    bound = milp_norm_upper(problem, norm_named("inf"), settings).upper
    cases.check_above(bound, cases.jacobians_of(tiny, "offset").abs().sum(-1), "row norms")
    values = tiny(cases.points_of(tiny, "offset"))
    cases.check_above(milp_output_upper(problem, settings).upper, values, "outputs")


def test_what_is_not_piecewise_linear_or_not_linear_is_refused() -> None:
    smooth = problem_of(dense((2, 3, 2), 0, "tanh"), "offset")
    with pytest.raises(UnsupportedOperator, match="Tanh"):
        milp_norm_upper(smooth, norm_named("inf"), HIGHS)
    with pytest.raises(UnsupportedNorm):
        milp_norm_upper(problem_of(dense((2, 3, 2), 0), "offset"), norm_named("2"), HIGHS)
