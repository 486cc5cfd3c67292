"""Bounds of preactivations and outputs: above and below every value, nested, attained at points."""

import pytest
import torch
from torch import Tensor

from lipverify.bounds.lirpa.engine import LirpaEngine
from lipverify.bounds.preactivation import Preactivations, crown, forward_upper
from lipverify.interval import Interval
from lipverify.numerics import DTYPE
from lipverify.operators.gate import relax_chords
from tests.bounds import cases
from tests.oracles.budget import quickly
from tests.oracles.networks import LARGER, PIECEWISE, Tiny


def lirpa_crown(tiny: Tiny, kind: str) -> Preactivations:
    setting = cases.setting_of(tiny, kind)
    engine = LirpaEngine(setting.backward, setting.region, relax_chords)
    return crown(setting.forward_problem, engine, setting.interval_preactivations)


def check_values(tiny: Tiny, kind: str, bounds: Preactivations) -> None:
    values = tiny.values(cases.points_of(tiny, kind))
    for node in tiny.graph.activations:
        name = node.inputs[0]
        inside = Interval(bounds[name].lower[0], bounds[name].upper[0])
        cases.check_contains(inside, values[name], name)


def check_nested(inner: Preactivations, outer: Preactivations) -> None:
    for name, bounds in inner.items():
        assert cases.inside(bounds, outer[name]), f"{name} is looser after intersection"


@pytest.mark.parametrize(("tiny", "kind"), cases.every((*PIECEWISE, *LARGER), cases.REGIONS))
def test_interval_and_crown_contain_all_values(tiny: Tiny, kind: str) -> None:
    setting = cases.setting_of(tiny, kind)
    check_values(tiny, kind, setting.interval_preactivations)
    check_values(tiny, kind, setting.crown_preactivations)
    check_nested(setting.crown_preactivations, setting.interval_preactivations)


ALPHA_CASES = quickly(
    cases.every((*PIECEWISE, *LARGER), ("centered", "clipped l2 ball"))
    + cases.every((PIECEWISE[1], PIECEWISE[10], LARGER[0]), cases.REGIONS),
    42,
)


@pytest.mark.parametrize(("tiny", "kind"), ALPHA_CASES)
def test_auto_lirpa_contains_all_values(tiny: Tiny, kind: str) -> None:
    setting = cases.setting_of(tiny, kind)
    plain = lirpa_crown(tiny, kind)
    check_values(tiny, kind, plain)
    check_values(tiny, kind, setting.alpha_preactivations)
    check_nested(setting.alpha_preactivations, setting.crown_preactivations)


def test_alpha_crown_does_gain_something() -> None:
    """Or the tests above would say nothing about optimised slopes."""
    gained = 0
    for tiny in (PIECEWISE[1], LARGER[0]):
        setting = cases.setting_of(tiny, "centered")
        for name, bounds in setting.alpha_preactivations.items():
            before = setting.crown_preactivations[name]
            gained += int((bounds.width < before.width * (1 - 1e-6)).sum())
    assert gained >= 3


def check_outputs(tiny: Tiny, kind: str, upper: Tensor, rows: Tensor) -> None:
    sampled = (tiny(cases.points_of(tiny, kind)) @ rows.T).amax(0)
    cases.check_above(upper, sampled, "output")
    regions = cases.regions_of(tiny, kind)
    if regions is not None:
        exact = torch.tensor([regions.maximum(row) for row in rows], dtype=DTYPE)
        cases.check_above(upper, exact, "output")


@pytest.mark.parametrize(
    ("tiny", "kind"),
    quickly(
        cases.every((*PIECEWISE, LARGER[0], LARGER[6], LARGER[7]), ("offset", "wide", "l1 ball")),
        18,
    ),
)
@pytest.mark.parametrize("engine", ["native", "auto_LiRPA", "alpha"])
def test_output_bounds_are_above_the_exact_maximum(tiny: Tiny, kind: str, engine: str) -> None:
    setting = cases.setting_of(tiny, kind)
    rows = cases.ROWS[2].make(tiny.outputs)
    objective = rows.reshape(len(rows), 1, *tiny.graph.output_shape)
    made = {
        "native": lambda: setting.native_engine(relax_chords),
        "auto_LiRPA": lambda: LirpaEngine(setting.backward, setting.region, relax_chords),
        "alpha": lambda: setting.alpha_engine,
    }[engine]()
    upper = forward_upper(
        setting.forward_problem, made, tiny.graph.output, objective, setting.crown_preactivations
    )
    check_outputs(tiny, kind, upper, rows)


def test_crown_is_exact_where_nothing_is_unstable() -> None:
    """On a point, bounds of preactivations are the value, up to rounding."""
    for tiny in (*PIECEWISE, *LARGER):
        for name, bounds in cases.setting_of(tiny, "point").crown_preactivations.items():
            reach = 1.0 + float(bounds.magnitude.amax())
            assert float(bounds.width.amax()) <= 1e-11 * reach, (tiny, name)


def test_memory_limits_change_nothing() -> None:
    from lipverify.bounds.preactivation import ForwardProblem, interval_values

    for tiny in (PIECEWISE[1], LARGER[7]):
        setting = cases.setting_of(tiny, "offset")
        narrow = ForwardProblem(tiny.graph, setting.region, memory=1.0)
        engine = setting.native_engine(relax_chords)
        bounds = crown(narrow, engine, interval_values(narrow))
        for name, expected in setting.crown_preactivations.items():
            torch.testing.assert_close(bounds[name].lower, expected.lower, rtol=0, atol=1e-12)
            torch.testing.assert_close(bounds[name].upper, expected.upper, rtol=0, atol=1e-12)
