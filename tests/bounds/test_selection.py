"""Networks that choose between branches (maxima, minima, sorting), by every stage and search."""

import pytest
import torch

from lipverify.bounds.jacobian import interval
from lipverify.bounds.line import walk_line
from lipverify.bounds.methods import STAGES
from lipverify.graph import jacobian, output
from lipverify.norms import norm_named
from lipverify.numerics import DTYPE
from lipverify.operators.gate import relax_chords
from tests.bounds import cases
from tests.bounds.test_elements import (
    test_adjoints_contain_those_of_torch as check_adjoints,
)
from tests.bounds.test_elements import (
    test_elements_contain_every_jacobian as check_elements,
)
from tests.bounds.test_elements import (
    test_elements_through_auto_lirpa_contain_every_jacobian as check_lirpa,
)
from tests.bounds.test_engines import check_linear
from tests.bounds.test_engines import test_preactivations_agree as check_preactivations
from tests.bounds.test_norms import NATIVE, check_pairs
from tests.graph.test_backward import check_adjoints as check_backward
from tests.graph.test_backward import smooth_points
from tests.oracles import autodiff, boxes
from tests.oracles.budget import quickly
from tests.oracles.networks import SELECTIONS, Builder, Tiny
from tests.search.questions import ask, check_norm, lipschitz
from tests.search.test_complete import check_interval

each = pytest.mark.parametrize("tiny", SELECTIONS, ids=str)


@each
def test_graph_and_jacobian_are_those_of_torch(tiny: Tiny) -> None:
    x = smooth_points(tiny)
    torch.testing.assert_close(output(tiny.graph, x), tiny(x), rtol=0, atol=1e-10)
    if tiny is not SELECTIONS[-1]:  # whose gate has no derivative anywhere
        assert len(x) >= 100
        ours = jacobian(tiny.backward, x)
        torch.testing.assert_close(ours, autodiff.jacobians(tiny, x), rtol=0, atol=1e-10)
        check_backward(tiny, tiny.backward)


@pytest.mark.parametrize(("tiny", "kind"), quickly(cases.every(SELECTIONS, cases.REGIONS), 20))
def test_elements(tiny: Tiny, kind: str) -> None:
    check_elements(tiny, kind)


@pytest.mark.parametrize(("tiny", "kind"), cases.every(SELECTIONS[:5], ("offset", "l1 ball")))
def test_adjoints(tiny: Tiny, kind: str) -> None:
    check_adjoints(tiny, kind)


@pytest.mark.parametrize(("tiny", "kind"), quickly(cases.every(SELECTIONS, ("offset", "point")), 6))
def test_engines(tiny: Tiny, kind: str) -> None:
    check_lirpa(tiny, kind)
    check_linear(tiny, kind, relax_chords, "2")
    check_preactivations(tiny, kind)


@pytest.mark.parametrize("tiny", quickly(SELECTIONS, 4), ids=str)
def test_norms(tiny: Tiny) -> None:
    check_pairs(tiny, "offset", NATIVE, torch.eye(tiny.outputs, dtype=DTYPE))


@pytest.mark.parametrize(
    ("tiny", "input_norm"), quickly(cases.every(SELECTIONS[:5], ("inf", "2", "1")), 5)
)
def test_the_search_is_exact(tiny: Tiny, input_norm: str) -> None:
    """Equal to the enumeration of all linear regions; without biases, all ties meet in one box."""
    check_interval(tiny, boxes.centered(tiny.inputs, 1.0), input_norm)


@pytest.mark.slow
@pytest.mark.parametrize(("tiny", "input_norm"), cases.every(SELECTIONS[:5], ("inf", "2", "1")))
def test_the_search_is_exact_elsewhere(tiny: Tiny, input_norm: str) -> None:
    check_interval(tiny, boxes.offset(tiny.inputs, 0.75), input_norm)


@pytest.mark.parametrize(
    ("tiny", "method"), quickly(cases.every(SELECTIONS, ("milp", "quadratic", "input-split")), 7)
)
def test_every_search_is_sound(tiny: Tiny, method: str) -> None:
    box = boxes.offset(tiny.inputs, 0.75)
    truth = cases.Regions(tiny, box).norm("inf", "inf")
    found = ask(tiny, box, lipschitz(tiny), method=method)
    check_norm(found, truth, None)


@each
def test_the_walk_along_a_line_is_exact(tiny: Tiny) -> None:
    x = torch.full((tiny.inputs,), 0.25, dtype=DTYPE)
    pieces = walk_line(tiny.graph, x, 0, -1.0, 1.0)
    middle = (pieces.start + pieces.end) / 2
    points = x.repeat(len(middle), 1)
    points[:, 0] = middle
    inner = (autodiff.distance_to_kinks(tiny, points) > 0) & (pieces.end - pieces.start > 1e-9)
    truth = autodiff.jacobians(tiny, points[inner])[:, :, 0]
    slopes = pieces.slopes.reshape(len(middle), -1)
    assert bool((slopes.lower[inner] <= truth + 1e-12).all())
    assert bool((truth <= slopes.upper[inner] + 1e-12).all())


def test_rows_of_a_pool_lie_in_the_simplex() -> None:
    """Four entries of open order: every derivative in [0, 1], and their sum is 1."""
    builder = Builder(4)
    x = builder.INPUT
    pairs = builder.larger(builder.select(x, [0, 1]), builder.select(x, [2, 3]))
    tiny = builder.finish(
        "four", builder.larger(builder.select(pairs, [0]), builder.select(pairs, [1]))
    )
    setting = cases.setting_of(tiny, "centered")
    row = torch.ones(1, 1, dtype=DTYPE)
    for stage in ("interval", "mean-split", "linear (CROWN)"):
        bounds = STAGES[stage](setting, row, norm_named("inf"), None)
        assert float(bounds.elements.lower.amin()) == pytest.approx(0.0, abs=1e-12)
        assert float(bounds.elements.upper.amax()) == pytest.approx(1.0, abs=1e-12)
    norms = STAGES["linear (CROWN)"](setting, row, norm_named("inf"), None).row_norm(
        norm_named("1")
    )
    assert float(norms) == pytest.approx(1.0, abs=1e-9)


def test_rows_of_a_sorted_pair_lie_between_their_adjoints() -> None:
    """d g + (1 - d) h is between g and h, not in g +- (g - h)."""
    builder = Builder(2)
    a, b = (builder.select(builder.INPUT, [i]) for i in range(2))
    most, least = builder.ordered(a, b)
    weight = torch.tensor([[3.0, 2.0]], dtype=DTYPE)
    tiny = builder.finish("pair", builder.dense(builder.concat(most, least), weight))
    setting = cases.setting_of(tiny, "centered")
    problem = setting.problem(torch.ones(1, 1, dtype=DTYPE), setting.interval_preactivations)
    elements = interval(problem).elements
    assert elements.lower.flatten().tolist() == pytest.approx([2.0, 2.0], abs=1e-12)
    assert elements.upper.flatten().tolist() == pytest.approx([3.0, 3.0], abs=1e-12)
