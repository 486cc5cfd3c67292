"""Enclosures of smooth functions against mpmath; lines, ranges and gates against samples."""

from fractions import Fraction

import mpmath
import numpy as np
import pytest

import lipverify.checker.activations as activations
from lipverify.checker.activations import (
    ABS,
    RELU,
    SIGMOID,
    SLOPE,
    TANH,
    Activation,
    Span,
    clip,
    exp_span,
    leaky,
    sigmoid_span,
    tanh_span,
)

FUNCTIONS = {
    "exp": (exp_span, mpmath.exp),
    "sigmoid": (sigmoid_span, lambda z: 1 / (1 + mpmath.exp(-z))),
    "tanh": (tanh_span, mpmath.tanh),
}
POINTS = [
    0.0,
    1e-30,
    -1e-30,
    0.5,
    -0.5,
    -0.4999,
    1.0,
    -1.0,
    3.75,
    -17.3,
    40.0,
    -88.8,
    -89.0,
    500.0,
    -1e6,
]


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("bits", [64, 128, 300])
def test_enclosures(name: str, bits: int) -> None:
    span, exact = FUNCTIONS[name]
    generator = np.random.default_rng(3)
    for x in [*POINTS, *generator.normal(0, 3, 40), *generator.normal(0, 60, 20)]:
        if name == "exp":
            x = -abs(x)
        with mpmath.workprec(4 * bits + 200):
            fixed = int(mpmath.floor(mpmath.mpf(float(x)) * 2**bits))
            value = exact(mpmath.mpf(fixed) / 2**bits) * 2**bits
            found = span(fixed, bits)
            assert found.lower <= value <= found.upper
            assert found.upper - found.lower <= 3


ACTIVATIONS: dict[str, Activation] = {
    "relu": RELU,
    "abs": ABS,
    "leaky": leaky(float(np.float32(0.01))),
    "steep": leaky(1.75),
    "clip": clip(-0.5, 1.25),  # type: ignore[arg-type]
    "clip above": clip(None, 1.25),  # type: ignore[arg-type]
    "tanh": TANH,
    "sigmoid": SIGMOID,
}
EXACT = {
    "relu": lambda z: max(z, 0),
    "abs": abs,
    "leaky": lambda z: max(z, 0) + min(z, 0) * mpmath.mpf(float(np.float32(0.01))),
    "steep": lambda z: max(z, 0) + min(z, 0) * 1.75,
    "clip": lambda z: min(max(z, -0.5), 1.25),
    "clip above": lambda z: min(z, 1.25),
    "tanh": mpmath.tanh,
    "sigmoid": lambda z: 1 / (1 + mpmath.exp(-z)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_enclosures_without_guard_bits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slack of Taylor's sum is what makes them enclosures; guard bits make them narrow."""
    monkeypatch.setattr(activations, "GUARD", 0)
    span, exact = FUNCTIONS[name]
    for fixed in range(-400, 1, 3) if name == "exp" else range(-400, 400, 7):
        with mpmath.workprec(200):
            value = exact(mpmath.mpf(fixed) / 2**6) * 2**6
            found = span(fixed, 6)
            assert found.lower <= value <= found.upper


@pytest.mark.parametrize("name", ["relu", "abs", "leaky"])
def test_gates_a_unit_beside_the_kink(name: str) -> None:
    function = ACTIVATIONS[name]
    below, above = (function.gate(Span(*ends), 96) for ends in ((-9, 0), (0, 9)))
    assert below.lower == below.upper < above.lower == above.upper
    for ends in ((-1, 9), (-9, 1), (-1, 1)):
        assert function.gate(Span(*ends), 96) == (below.lower, above.upper)


@pytest.mark.parametrize("bits", [4, 7, 96])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_lines_ranges_and_gates(name: str, bits: int) -> None:
    function, exact = ACTIVATIONS[name], EXACT[name]
    generator = np.random.default_rng(4)
    intervals = [
        (-1.0, 1.0),
        (0.0, 1.0),
        (-2.0, 0.0),
        (0.0, 0.0),
        (-1e-9, 3.0),
        (-30.0, 40.0),
        (1.25, 1.25),
    ]
    intervals += [tuple(sorted(pair)) for pair in generator.normal(0, 2, (25, 2))]
    for low, high in intervals:
        z = Span(int(low * 2**bits), int(high * 2**bits))
        slopes = [function.chosen(z, bits, above) for above in (True, False)]
        slopes += [
            int(slope * 2**SLOPE)
            for slope in (*generator.normal(0.4, 0.5, 4), 0.0, 1.0, 0.25, 1e-12)
        ]
        ends, gate = function.range(z, bits), function.gate(z, bits)
        intercepts = [
            (s, function.intercept(s, z, bits, True), function.intercept(s, z, bits, False))
            for s in slopes
        ]
        with mpmath.workprec(400):
            unit, step = mpmath.mpf(2) ** bits, mpmath.mpf(2) ** SLOPE
            points = [mpmath.mpf(z.lower + (z.upper - z.lower) * k // 12) / unit for k in range(13)]
            points += [mpmath.mpf(x) for x in (0, -0.5, 1.25) if z.lower <= x * unit <= z.upper]
            for x in points:
                value = exact(x)
                assert ends.lower <= value * unit <= ends.upper
                for slope, above, below in intercepts:
                    line = slope * x / step
                    assert below <= (value - line) * unit <= above
            points[:13] = sorted(points[:13])
            for a, b in zip(points[:12], points[1:13], strict=True):
                if b > a:
                    slope = (exact(b) - exact(a)) / (b - a) * step
                    assert gate.lower - 1 <= slope <= gate.upper + 1


@pytest.mark.parametrize("name", ["tanh", "sigmoid"])
def test_lines_are_tight(name: str) -> None:
    """Any slope's intercept is attained, to 1e-9; the chosen ones are near the best."""
    function, exact, bits = ACTIVATIONS[name], EXACT[name], 96
    for low, high in ((-2.0, 1.0), (-1.0, 3.0), (0.5, 2.0), (-3.0, -1.0), (-0.3, 0.2)):
        z = Span(int(low * 2**bits), int(high * 2**bits))
        x = np.linspace(low, high, 200001)
        values = np.array([float(exact(float(a))) for a in x[::100]])
        for above in (True, False):
            line = function.line(z, bits, above)
            gap = line.slope / 2**SLOPE * x[::100] + line.intercept / 2**bits - values
            least = gap.min() if above else -gap.max()
            assert -1e-12 <= least <= 1e-5
        assert Fraction(z.upper - z.lower, 2**bits) > 0
