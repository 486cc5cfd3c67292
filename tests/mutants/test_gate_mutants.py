"""Planted bugs in gates that see their preactivations: the sweep's checks catch each."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from pytest import MonkeyPatch
from torch import Tensor

from lipverify.interval import Interval
from lipverify.operators import LeakyReLU, Relaxation, ReLU, Tanh, gate_planes, s_shaped, two_slopes
from lipverify.operators.gate_planes import Planes
from tests.mutants.planted import Claim, Mutant, assert_caught, replaced
from tests.mutants.test_activation_mutants import activations
from tests.rules import cases
from tests.rules.claims import activation as activation_claims
from tests.rules.claims import gate_planes as claims
from tests.rules.instances import ACTIVATION_INSTANCES

original_lines = two_slopes.gate_lines
original_above = gate_planes._above
original_mixed = gate_planes._mixed


def falling_step() -> None:
    instance = next(i for i in ACTIVATION_INSTANCES if getattr(i.operator, "slope", None) == 2.0)
    random = cases.generator(0)
    x = claims.crossing_intervals(30, random)
    activation_claims.gate_lines_hold_derivatives(instance, x, random)


def planes(*kinds: type) -> Claim:
    def sweep() -> None:
        for instance in ACTIVATION_INSTANCES:
            if isinstance(instance.operator, kinds):
                random = cases.generator(0)
                z, g = claims.mixed_case(8, random)
                claims.planes_are_sound(instance, z, g, random)

    return sweep


def hull() -> None:
    random = cases.generator(0)
    z = Interval(-torch.ones(30, dtype=torch.float64), 2 * torch.ones(30, dtype=torch.float64))
    claims.planes_reach_the_hull(z, claims.ordinary_intervals(30, random), random)


def lines_of_a_rising_step(x: Interval, negative: float, positive: float) -> Relaxation:
    found = original_lines(x, negative, positive)
    if positive >= negative:
        return found
    return Relaxation(
        found.upper_slope, found.upper_intercept, found.lower_slope, found.lower_intercept
    )


def steep_lines(x: Interval, negative: float, positive: float) -> Relaxation:
    found = original_lines(x, negative, positive)
    return replace(
        found, upper_slope=found.upper_slope * 1.01, lower_slope=found.lower_slope * 1.01
    )


def without_bend(patch: MonkeyPatch) -> None:
    patch.setattr(s_shaped, "PIECES", 2)
    patch.setattr(
        Tanh,
        "gate_lines",
        lambda operator, x: s_shaped.gate_lines(x, operator.derivative, operator.gate(x), 0.0),
    )


def one_line(slope: object, low: object, high: object, *rest: object) -> Planes:
    return original_above(slope, high, high, *rest)


def unrounded(*operands: object) -> Planes:
    found = original_above(*operands)
    return replace(found, intercept=found.intercept * (1 - 2.0**-44))


def mixture_without_the_chord(of: Planes, weights: Tensor) -> Planes:
    found = original_mixed(of, weights)
    share = (1 - weights.sum(0)).clamp(min=0.0)
    return replace(found, intercept=found.intercept - share * of.intercept[0])


def chords_alone(*operands: object) -> Planes:
    found = original_above(*operands)
    first: Callable[[Tensor], Tensor] = lambda values: values[:1].expand(values.shape)  # noqa: E731
    return Planes(first(found.z_slope), first(found.g_slope), first(found.intercept))


MUTANTS = [
    Mutant(
        "the lines of a falling step are those of a rising one",
        replaced(two_slopes, "gate_lines", lines_of_a_rising_step),
        falling_step,
    ),
    Mutant(
        "the lines of a step are too steep",
        replaced(two_slopes, "gate_lines", steep_lines),
        activations(activation_claims.gate_lines_hold_derivatives, ReLU),
    ),
    Mutant(
        "lines are compared with a derivative at nodes only",
        without_bend,
        activations(activation_claims.gate_lines_hold_derivatives, Tanh),
    ),
    Mutant(
        "the line above the slope serves whatever the adjoint's sign",
        replaced(gate_planes, "_above", one_line),
        planes(ReLU, Tanh),
    ),
    Mutant(
        "planes are not rounded outward",
        replaced(gate_planes, "_above", unrounded),
        planes(LeakyReLU, Tanh),
    ),
    Mutant(
        "the chord's share of a mixture is left out",
        replaced(gate_planes, "_mixed", mixture_without_the_chord),
        planes(ReLU),
    ),
    Mutant("no plane sees the preactivation", replaced(gate_planes, "_above", chords_alone), hull),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.story)
def test_mutant_is_caught(mutant: Mutant, monkeypatch: MonkeyPatch) -> None:
    assert_caught(mutant, monkeypatch)
