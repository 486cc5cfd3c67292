"""Our own substitution and auto_LiRPA's give the same numbers."""

import pytest
import torch

from lipverify.bounds.jacobian import interval
from lipverify.bounds.linear import linear
from lipverify.bounds.lirpa.engine import LirpaEngine
from lipverify.bounds.mean_split import mean_split
from lipverify.bounds.preactivation import crown
from lipverify.bounds.propagation import GateRelaxation
from lipverify.norms import norm_named
from lipverify.operators.gate import relax_chords, relax_constant
from tests.bounds import cases
from tests.graph.test_backward import ODD
from tests.oracles.networks import LARGER, PIECEWISE, Tiny

AGREE = 1e-9
RELAXATIONS = {"chords": relax_chords, "constants": relax_constant}
CASES = cases.every((*PIECEWISE, *LARGER), ("offset", "l2 ball")) + cases.every(
    (PIECEWISE[1], LARGER[6], LARGER[7]), ("wide", "point", "thin", "slice", "clipped l1 ball")
)


def close(mine: torch.Tensor, theirs: torch.Tensor) -> None:
    scale = 1.0 + float(mine.abs().amax())
    torch.testing.assert_close(mine, theirs, rtol=0, atol=AGREE * scale)


@pytest.mark.parametrize(("tiny", "kind"), CASES)
def test_preactivations_agree(tiny: Tiny, kind: str) -> None:
    setting = cases.setting_of(tiny, kind)
    engine = LirpaEngine(setting.backward, setting.region, relax_chords)
    theirs = crown(setting.forward_problem, engine, setting.interval_preactivations)
    for name, mine in setting.crown_preactivations.items():
        close(mine.lower, theirs[name].lower)
        close(mine.upper, theirs[name].upper)


def check_linear(tiny: Tiny, kind: str, relax: GateRelaxation, norm: str) -> None:
    setting = cases.setting_of(tiny, kind)
    rows = cases.ROWS[2].make(tiny.outputs)
    problem = setting.problem(rows, setting.crown_preactivations)
    start = interval(problem).intersect(mean_split(problem))
    engines = (
        setting.native_engine(relax),
        LirpaEngine(setting.backward, setting.region, relax),
    )
    mine, theirs = (linear(problem, engine, relax, norm_named(norm), start) for engine in engines)
    close(mine.elements.lower, theirs.elements.lower)
    close(mine.elements.upper, theirs.elements.upper)
    assert (mine.row_norms is None) == (theirs.row_norms is None) == (norm == "1")
    if mine.row_norms is not None and theirs.row_norms is not None:
        # Square roots of l2 norms: differences near 0 grow.
        close(mine.row_norms**2, theirs.row_norms**2)
    assert mine.adjoints is not None and theirs.adjoints is not None
    for name, bounds in mine.adjoints.items():
        close(bounds.lower, theirs.adjoints[name].lower)
        close(bounds.upper, theirs.adjoints[name].upper)


@pytest.mark.parametrize(("tiny", "kind"), CASES)
def test_elements_and_row_norms_agree(tiny: Tiny, kind: str) -> None:
    check_linear(tiny, kind, relax_chords, "inf")


@pytest.mark.parametrize("relax", RELAXATIONS)
@pytest.mark.parametrize("norm", ["1", "2"])
@pytest.mark.parametrize("tiny", (PIECEWISE[1], PIECEWISE[2], LARGER[3], LARGER[7]), ids=str)
def test_other_norms_and_relaxations_agree(tiny: Tiny, norm: str, relax: str) -> None:
    check_linear(tiny, "centered", RELAXATIONS[relax], norm)


@pytest.mark.parametrize("tiny", ODD, ids=str)
def test_odd_graphs_agree(tiny: Tiny) -> None:
    """No dense layer at one end, no activation at all: the seed and the input are nodes as well."""
    check_linear(tiny, "offset", relax_chords, "inf")
    test_preactivations_agree(tiny, "offset")


def test_one_engine_serves_many_questions() -> None:
    """A BoundedModule keeps state between calls: earlier questions must not colour later ones."""
    tiny = PIECEWISE[1]
    setting = cases.setting_of(tiny, "offset")
    used = LirpaEngine(setting.backward, setting.region, relax_chords, iterations=3)
    fresh = LirpaEngine(setting.backward, setting.region, relax_chords, iterations=3)
    start = setting.crown_preactivations
    for _ in range(2):
        crown(setting.forward_problem, used, start)
    rows = cases.ROWS[0].make(tiny.outputs)
    problem = setting.problem(rows, start)
    known = interval(problem)
    found = [
        linear(problem, engine, relax_chords, norm_named("inf"), known) for engine in (used, fresh)
    ]
    close(found[0].elements.lower, found[1].elements.lower)
    assert found[0].row_norms is not None and found[1].row_norms is not None
    close(found[0].row_norms, found[1].row_norms)
    again, first = (crown(setting.forward_problem, engine, start) for engine in (used, fresh))
    for name, bounds in first.items():
        close(again[name].lower, bounds.lower)
        close(again[name].upper, bounds.upper)
