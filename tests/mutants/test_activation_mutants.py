"""Planted bugs in activations and gates: the sweep's checks catch each."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from pytest import MonkeyPatch
from torch import Tensor

from lipverify import numerics
from lipverify.interval import Interval
from lipverify.operators import (
    Activation,
    LeakyReLU,
    Relaxation,
    ReLU,
    Sigmoid,
    Tanh,
    gate,
    s_shaped,
    two_slopes,
)
from tests.mutants.planted import Claim, Mutant, assert_caught, replaced
from tests.rules import cases
from tests.rules.claims import activation as activation_claims
from tests.rules.claims import gate as gate_claims
from tests.rules.instances import ACTIVATION_INSTANCES


def activations(claim: Callable, kind: type[Activation], draws: bool = True) -> Claim:
    """The claim, for instances of that kind, on awkward intervals and on random ones.

    `draws`: the claim takes a generator.
    """

    def sweep() -> None:
        for instance in ACTIVATION_INSTANCES:
            slope = getattr(instance.operator, "slope", None)
            if isinstance(instance.operator, kind) and slope in (None, 0.01, -0.3):
                for x in (
                    cases.awkward_intervals(),
                    cases.random_intervals(200, cases.generator(0)),
                ):
                    claim(instance, x, *([cases.generator(0)] if draws else []))

    return sweep


def gates(claim: Callable, *name: str) -> Claim:
    """The claim (about the rule of that name), for slopes and adjoints of every kind."""

    def sweep() -> None:
        slope, g = gate_claims.random_case(300, cases.generator(0))
        claim(*name, slope, g, cases.generator(0))
        g = cases.awkward_intervals()
        slope = gate_claims.slopes(len(g.lower), cases.generator(0))
        claim(*name, slope, g, cases.generator(0))

    return sweep


def swapped_gate(x: Interval, negative: float, positive: float) -> Interval:
    return original_gate(x, positive, negative)


def active_at_zero(x: Interval, negative: float, positive: float) -> Interval:
    result = original_gate(x, negative, positive)
    return Interval(torch.where(x.lower >= 0, positive, result.lower), result.upper)


def float32_slopes(x: Interval, negative: float, positive: float, choice: object) -> Relaxation:
    found = original_relax(x, negative, positive, choice)
    return replace(found, upper_slope=found.upper_slope.float().double())


def sign_blind_product(slope: Interval, g: Interval) -> Interval:
    ends = slope.lower * g.lower, slope.upper * g.upper
    return Interval(torch.minimum(*ends), torch.maximum(*ends))


def with_error(rule: Callable[..., Relaxation], **change: Callable) -> Callable[..., Relaxation]:
    """The rule, with some fields of its result computed from the right result."""

    def mutated(*operands: object) -> Relaxation:
        right = rule(*operands)
        return replace(right, **{name: wrong(right) for name, wrong in change.items()})

    return mutated


def line_with_wrong_sign(*operands: object) -> tuple[Tensor, Tensor]:
    slope, intercept = original_line_above(*operands)
    return slope, -intercept


def chord_everywhere(lower: Tensor, upper: Tensor, f: Callable, derivative: Callable):
    slope = s_shaped._chord_slope(lower, upper, f, derivative)
    return slope, f(lower) - slope * lower + 1e-14


def noisy_chord(lower: Tensor, upper: Tensor, f: Callable, derivative: Callable) -> Tensor:
    return (f(upper) - f(lower)) / (upper - lower).clamp(min=numerics.SMALLEST)


original_gate = two_slopes.gate
original_relax = two_slopes.relax
original_line_above = s_shaped._line_above

MUTANTS = [
    Mutant(
        "a non-monotone rule registered as monotone (immrax eq)",
        replaced(LeakyReLU, "interval", Activation.interval),
        activations(activation_claims.interval_is_sound, LeakyReLU),
    ),
    Mutant(
        "tanh is not rounded outward",
        replaced(Tanh, "round_value", lambda operator, y, up: y),
        activations(activation_claims.interval_is_sound, Tanh),
    ),
    Mutant(
        "the derivative of tanh as 1 - tanh^2, which cancels",
        replaced(Tanh, "derivative", lambda operator, x: 1 - torch.tanh(x) ** 2),
        activations(activation_claims.gate_holds_derivatives, Tanh),
    ),
    Mutant(
        "lower and upper gates are swapped",
        replaced(two_slopes, "gate", swapped_gate),
        activations(activation_claims.gate_holds_derivatives, LeakyReLU),
    ),
    Mutant(
        "a kink at the lower end counts as active",
        replaced(two_slopes, "gate", active_at_zero),
        activations(activation_claims.gate_is_whole_at_kinks, LeakyReLU, draws=False),
    ),
    Mutant(
        "the chord's intercept has the wrong sign",
        replaced(
            two_slopes,
            "relax",
            with_error(original_relax, upper_intercept=lambda right: -right.upper_intercept),
        ),
        activations(activation_claims.relaxation_is_sound, LeakyReLU),
    ),
    Mutant(
        "the tangent's intercept has the wrong sign",
        replaced(s_shaped, "_line_above", line_with_wrong_sign),
        activations(activation_claims.relaxation_is_sound, Tanh),
    ),
    Mutant(
        "the chord of a sigmoid counts as a bound on both sides of 0",
        replaced(s_shaped, "_line_above", chord_everywhere),
        activations(activation_claims.relaxation_is_sound, Sigmoid),
    ),
    Mutant(
        "chord slopes on short intervals are rounding noise",
        replaced(s_shaped, "_chord_slope", noisy_chord),
        activations(activation_claims.slopes_are_in_the_gate, Tanh, draws=False),
    ),
    Mutant(
        "slopes are rounded to float32",
        replaced(two_slopes, "relax", float32_slopes),
        activations(activation_claims.relaxation_is_sound, LeakyReLU),
    ),
    Mutant(
        "widths overflow in a chord",
        replaced(two_slopes, "upper_share", lambda lower, upper: upper / (upper - lower)),
        activations(activation_claims.relaxation_is_sound, ReLU),
    ),
    Mutant(
        "widths overflow in a gate's chord",
        replaced(gate, "upper_share", lambda lower, upper: upper / (upper - lower)),
        gates(gate_claims.relaxation_is_sound, "relax_chords"),
    ),
    Mutant(
        "a gate's product looks at two corners only",
        replaced(gate, "product", sign_blind_product),
        gates(gate_claims.product_is_sound),
    ),
    Mutant(
        "a gate's product is not rounded",
        lambda patch: (
            patch.setattr(gate, "round_down", lambda value: value),
            patch.setattr(gate, "round_up", lambda value: value),
        ),
        gates(gate_claims.product_is_sound),
    ),
    Mutant(
        "lower and upper chord of a gate are swapped",
        replaced(
            gate,
            "relax_chords",
            with_error(
                gate.relax_chords,
                lower_slope=lambda right: right.upper_slope,
                upper_slope=lambda right: right.lower_slope,
            ),
        ),
        gates(gate_claims.relaxation_is_sound, "relax_chords"),
    ),
    Mutant(
        "a gate's chord has an intercept of the wrong sign",
        replaced(
            gate,
            "relax_chords",
            with_error(gate.relax_chords, upper_intercept=lambda right: -right.upper_intercept),
        ),
        gates(gate_claims.relaxation_is_sound, "relax_chords"),
    ),
    Mutant(
        "RecurJac's constants without their lower side",
        replaced(
            gate,
            "relax_constant",
            with_error(
                gate.relax_constant, lower_intercept=lambda right: right.lower_intercept * 0
            ),
        ),
        gates(gate_claims.relaxation_is_sound, "relax_constant"),
    ),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.story)
def test_mutant_is_caught(mutant: Mutant, monkeypatch: MonkeyPatch) -> None:
    assert_caught(mutant, monkeypatch)
