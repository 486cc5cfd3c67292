"""Enclosures of smooth functions against mpmath; lines, ranges and gates against samples."""

from fractions import Fraction

import mpmath
import numpy as np
import pytest

import lipverify.checker.activations as activations
from lipverify.checker.activations import ACTIVATIONS, SLOPE, Enclosure, Span, at, exp, log1p
from lipverify.checker.errors import Rejected


def logistic(z: mpmath.mpf) -> mpmath.mpf:
    return 1 / (1 + mpmath.exp(-z))


PIECES = {
    "exp": (activations.exponential, mpmath.exp),
    "sigmoid": (activations.sigmoid, logistic),
    "tanh": (activations.tanh, mpmath.tanh),
    "softplus": (activations.softplus, lambda z: mpmath.log1p(mpmath.exp(z))),
    "softsign": (activations.softsign, lambda z: z / (1 + abs(z))),
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


@pytest.mark.parametrize("name", PIECES)
@pytest.mark.parametrize("bits", [64, 128, 300])
def test_enclosures(name: str, bits: int) -> None:
    """Values, and slopes (by a difference quotient that sees far more digits)."""
    piece, exact = PIECES[name]
    generator = np.random.default_rng(3)
    for x in [*POINTS, *generator.normal(0, 3, 40), *generator.normal(0, 60, 20)]:
        x = min(x, 100.0) if name == "exp" else x
        with mpmath.workprec(8 * bits + 400):
            fixed = int(mpmath.floor(mpmath.mpf(float(x)) * 2**bits))
            point, step = mpmath.mpf(fixed) / 2**bits, mpmath.mpf(2) ** (-2 * bits)
            value, slope = at(piece, fixed, bits)
            assert value.lower <= exact(point) * 2**bits <= value.upper
            rise = (exact(point + step) - exact(point - step)) / (2 * step) * 2**SLOPE
            assert slope.lower <= rise + 1e-9 and rise - 1e-9 <= slope.upper
            size = max(1, int(exact(point))) if name == "exp" else 1
            assert value.upper - value.lower <= 3 * size and slope.upper - slope.lower <= 3 * size


@pytest.mark.parametrize("bits", [6, 9])
def test_coarse_enclosures(bits: int) -> None:
    """The slack of Taylor's sum is what makes them enclosures; guard bits make them narrow."""
    for fixed in range(-400, 400, 3):
        with mpmath.workprec(200):
            found = exp(Enclosure(fixed, fixed, bits))
            assert found.lower <= mpmath.exp(mpmath.mpf(fixed) / 2**bits) * 2**bits <= found.upper
            wide = exp(Enclosure(fixed, fixed + 5, bits))
            assert (
                wide.lower <= found.lower
                and wide.upper >= exp(Enclosure(*[fixed + 5] * 2, bits)).upper
            )
    for fixed in range(0, 1 + (1 << 120), (1 << 120) // 50):
        with mpmath.workprec(400):
            found = log1p(Enclosure(fixed, fixed + 3, 120))
            assert found.lower <= mpmath.log1p(mpmath.mpf(fixed) / 2**120) * 2**120
            assert mpmath.log1p(mpmath.mpf(fixed + 3) / 2**120) * 2**120 <= found.upper
            assert found.upper - found.lower < 1000


def test_operations_of_enclosures() -> None:
    generator = np.random.default_rng(5)
    for _ in range(300):
        low, high = (np.sort(generator.integers(-60, 60, 2)).tolist() for _ in range(2))
        a, b = Enclosure(*low, 4), Enclosure(*high, 4)
        positive = Enclosure(abs(low[0]) + 1, abs(low[0]) + 1 + low[1] - low[0], 4)
        number = Fraction(int(generator.integers(-50, 50)), 7)
        for x in (Fraction(low[0], 16), Fraction(low[1], 16)):
            for y in (Fraction(high[0], 16), Fraction(high[1], 16)):
                for found, value in ((a + b, x + y), (a * b, x * y), (a - b, x - y)):
                    assert found.lower <= value * 16 <= found.upper
            for found, value in (
                (number * a, number * x),
                (number - a, number - x),
                (a + number, x + number),
            ):
                assert found.lower <= value * 16 <= found.upper
        for end in (positive.lower, positive.upper):
            found = number / positive
            assert found.lower <= number / Fraction(end, 16) * 16 <= found.upper


def test_exponentials_that_are_too_large() -> None:
    with pytest.raises(Rejected, match="too large"):
        at(activations.exponential, 10**9 << 64, 64)
    assert at(activations.exponential, -(10**9) << 64, 64)[0] == (0, 1)


def elu(z: mpmath.mpf, alpha: float = 1.0, scale: float = 1.0, rate: float = 1.0) -> mpmath.mpf:
    return scale * (z if z > 0 else mpmath.mpf(alpha) * mpmath.expm1(rate * z))


SMALL = float(np.float32(0.01))
FUNCTIONS = {
    "relu": (ACTIVATIONS["Relu"](), lambda z: max(z, 0)),
    "abs": (ACTIVATIONS["Abs"](), abs),
    "leaky": (ACTIVATIONS["LeakyRelu"](), lambda z: max(z, 0) + min(z, 0) * mpmath.mpf(SMALL)),
    "steep": (ACTIVATIONS["LeakyRelu"](alpha=1.75), lambda z: max(z, 0) + min(z, 0) * 1.75),
    "tanh": (ACTIVATIONS["Tanh"](), mpmath.tanh),
    "sigmoid": (ACTIVATIONS["Sigmoid"](), logistic),
    "softplus": (ACTIVATIONS["Softplus"](), PIECES["softplus"][1]),
    "softsign": (ACTIVATIONS["Softsign"](), PIECES["softsign"][1]),
    "exp": (ACTIVATIONS["Exp"](), mpmath.exp),
    "elu": (ACTIVATIONS["Elu"](), elu),
    "elu down": (ACTIVATIONS["Elu"](alpha=-0.5), lambda z: elu(z, -0.5)),
    "selu": (ACTIVATIONS["Selu"](alpha=1.5, gamma=1.25), lambda z: elu(z, 1.5, 1.25)),
    "celu": (ACTIVATIONS["Celu"](alpha=3.0), lambda z: elu(z, 3.0, 1.0, 1 / mpmath.mpf(3))),
    "hard swish": (ACTIVATIONS["HardSwish"](), lambda z: z * min(max(z + 3, 0), 6) / 6),
}


@pytest.mark.parametrize("name", ["relu", "abs", "leaky"])
def test_gates_a_unit_beside_the_kink(name: str) -> None:
    function, _ = FUNCTIONS[name]
    below, above = (function.gate(Span(*ends), 96) for ends in ((-9, 0), (0, 9)))
    assert below.lower == below.upper < above.lower == above.upper
    for ends in ((-1, 9), (-9, 1), (-1, 1)):
        assert function.gate(Span(*ends), 96) == (below.lower, above.upper)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_points_and_nothing(name: str) -> None:
    """At a point, a range of almost no width; an empty interval, behind which all is proved, is no
    error."""
    function, exact = FUNCTIONS[name]
    for point in (-4, -3, -1, 0, 2, 3, 5):
        z = Span(point << 96, point << 96)
        ends, gate = function.range(z, 96), function.gate(z, 96)
        with mpmath.workprec(300):
            assert ends.lower <= exact(mpmath.mpf(point)) * 2**96 <= ends.upper
        assert ends.upper - ends.lower <= 300
        assert point in function.kinks or gate.upper - gate.lower <= 300
        assert not function.open(z, 96)
    function.line(Span(1 << 96, 0), 96, True)
    function.gate(Span(5 << 96, -(5 << 96)), 96)


@pytest.mark.parametrize("bits", [4, 7, 96])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_lines_ranges_and_gates(name: str, bits: int) -> None:
    function, exact = FUNCTIONS[name]
    generator = np.random.default_rng(4)
    intervals = [
        (-1.0, 1.0),
        (0.0, 1.0),
        (-2.0, 0.0),
        (0.0, 0.0),
        (-1e-9, 3.0),
        (-30.0, 40.0),
        (1.25, 1.25),
        (-3.0, 3.0),
        (-3.5, -3.0),
        (-3.0, -3.0),
        (-4.0, 5.0),
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
            points += [mpmath.mpf(x) for x in (0, -3, 3) if z.lower <= x * unit <= z.upper]
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


SMOOTH = ["tanh", "sigmoid", "softplus", "softsign", "exp", "elu", "selu", "celu", "hard swish"]


@pytest.mark.parametrize("name", SMOOTH)
def test_lines_are_tight(name: str) -> None:
    """Any slope's intercept is attained, to 1e-9; the chosen ones are near the best."""
    (function, exact), bits = FUNCTIONS[name], 96
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
