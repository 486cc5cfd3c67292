"""Linear bounds that do only what matters, and stop in time: less is proved, never wrongly."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from lipverify.bounds.effort import EVERYTHING, Effort
from lipverify.bounds.jacobian import JacobianBounds, interval
from lipverify.bounds.linear import linear
from lipverify.bounds.mean_split import mean_split
from lipverify.bounds.methods import Setting
from lipverify.norms import norm_named
from lipverify.numerics import DTYPE
from lipverify.operators.gate import relax_chords
from tests.bounds import cases
from tests.oracles.networks import LARGER, PIECEWISE, Tiny

NETWORKS = (*LARGER[:4], PIECEWISE[10])


def found(
    setting: Setting, effort: Effort, norm: str = "inf"
) -> tuple[JacobianBounds, JacobianBounds]:
    """What is known, and the linear bounds."""
    rows = torch.eye(setting.network.graph.output_size, dtype=DTYPE)
    problem = setting.problem(rows, setting.crown_preactivations)
    known = interval(problem).intersect(mean_split(problem))
    engine = setting.native_engine(relax_chords)
    return known, linear(problem, engine, relax_chords, norm_named(norm), known, effort)


@pytest.mark.parametrize("norm", ["inf", "2", "1"])
@pytest.mark.parametrize("tiny", NETWORKS, ids=str)
def test_entries_that_do_not_matter(tiny: Tiny, norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The norms are the same without them; what is given is proved (the full bounds lie within)."""
    setting = cases.setting_of(tiny, "offset")
    dual = norm_named(norm).dual
    _, full = found(setting, EVERYTHING, norm)
    monkeypatch.setattr("lipverify.bounds.linear.FEW", 1)
    known, some = found(setting, Effort(norms_only=True), norm)
    torch.testing.assert_close(some.row_norm(dual), full.row_norm(dual), rtol=0, atol=1e-10)
    slack = 1e-11
    assert bool((some.elements.lower <= full.elements.lower + slack).all())
    assert bool((some.elements.upper >= full.elements.upper - slack).all())
    assert cases.inside(some.elements, known.elements)


@pytest.mark.parametrize("tiny", NETWORKS, ids=str)
def test_rows_that_are_low_enough_are_left(tiny: Tiny) -> None:
    setting = cases.setting_of(tiny, "offset")
    dual = norm_named("1")
    known, full = found(setting, EVERYTHING)
    norms = known.row_norm(dual)
    known, some = found(setting, Effort(enough=float(norms.median())))
    low = norms <= norms.median()
    assert torch.equal(some.elements.lower[low], known.elements.lower[low])
    torch.testing.assert_close(some.row_norm(dual)[~low], full.row_norm(dual)[~low])
    same, nothing = found(setting, Effort(enough=float(norms.max())))
    assert torch.equal(same.elements.upper, nothing.elements.upper)


def after(calls: int) -> Callable[[], bool]:
    left = [calls]

    def stop() -> bool:
        left[0] -= 1
        return left[0] < 0

    return stop


@pytest.mark.parametrize("calls", [0, 1, 3, 7])
@pytest.mark.parametrize("tiny", NETWORKS, ids=str)
def test_what_was_done_before_a_stop_is_kept(
    tiny: Tiny, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later bounds rest on wider adjoints then, so they are wider; all hold the full ones'."""
    setting = cases.setting_of(tiny, "offset")
    monkeypatch.setattr("lipverify.bounds.linear.FEW", 1)
    dual = norm_named("1")
    _, full = found(setting, EVERYTHING)
    known, some = found(setting, Effort(after(calls)))
    assert cases.inside(some.elements, known.elements)
    slack = 1e-11
    assert bool((some.elements.lower <= full.elements.lower + slack).all())
    assert bool((some.elements.upper >= full.elements.upper - slack).all())
    assert bool((some.row_norm(dual) >= full.row_norm(dual) - slack).all())
    if calls == 0:
        assert torch.equal(some.elements.lower, known.elements.lower)


@pytest.mark.parametrize("tiny", NETWORKS, ids=str)
def test_preactivations_in_chunks(tiny: Tiny) -> None:
    """With no memory at all they are bounded one by one; alpha-CROWN finds other slopes then."""
    whole = cases.setting_of(tiny, "offset")
    parts = replace(whole, memory=1.0)
    for name, one in parts.crown_preactivations.items():
        other = whole.crown_preactivations[name]
        torch.testing.assert_close(one.lower, other.lower, rtol=0, atol=1e-10)
        torch.testing.assert_close(one.upper, other.upper, rtol=0, atol=1e-10)
    for name, one in parts.alpha_preactivations.items():
        assert cases.inside(one, parts.crown_preactivations[name])
