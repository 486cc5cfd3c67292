"""Numbers that float arithmetic loses: cancellation, huge and tiny weights, sums, thresholds."""

from fractions import Fraction
from itertools import product
from math import inf, nextafter

from tests.corpus.case import Case
from tests.corpus.cases_kinks import ALL_NORMS, RELU, SQUARE, UNIT, relu_of
from tests.corpus.net import INPUT, Builder, Net, chain
from tests.corpus.regions import BallRegion, BoxRegion

HALF = BoxRegion((0.0,), (1.0,))


def linear(*rows: list[float], bias: list[float] | None = None, double: bool = True) -> Net:
    return chain(len(rows[0]), (list(rows), bias or [0.0] * len(rows)), double=double)


def scaling(op: str, number: float, double: bool = False, constant_first: bool = False) -> Net:
    build = Builder(1, double)
    build.op(op, INPUT, weights=([number],), constant_first=constant_first)
    return build.net()


def preprocessed(mean: float, std: float) -> Net:
    """(x - mean) / std, then relu(z) + relu(-z) / 2."""
    build = Builder(1)
    x = build.op("Sub", INPUT, weights=([mean],))
    x = build.op("Div", x, weights=([std],))
    x = build.relu(build.dense(x, [[1.0], [-1.0]]))
    build.dense(x, [[1.0, 0.5]])
    return build.net()


def residual(weight: list[float], double: bool = True) -> Net:
    """x + sum of weights[k] relu(x + 1) - x."""
    build = Builder(1, double)
    hidden = build.relu(build.dense(INPUT, [[1.0]] * len(weight), [1.0] * len(weight)))
    branch = build.dense(hidden, [weight])
    build.op("Sub", build.op("Add", INPUT, branch), INPUT)
    return build.net()


def past_the_end(center: float, radius: float) -> Net:
    """A kink strictly between center + radius and the next float above it, out of the region."""
    end = Fraction(center) + Fraction(radius)
    rounded = float(end)
    rounded = rounded if Fraction(rounded) >= end else nextafter(rounded, inf)
    for slope, steps in product(range(3, 200, 2), range(-4, 5)):
        bias = slope * rounded
        for _ in range(abs(steps)):
            bias = nextafter(bias, inf if steps > 0 else -inf)
        if end < Fraction(bias) / slope < Fraction(rounded):
            return relu_of([float(slope)], -bias)
    raise AssertionError("no such kink")


def tower(*weights: float, double: bool = True) -> Net:
    """A product of weights through ReLUs that are active on [0, 1]."""
    layers: list[object] = []
    for weight in weights[:-1]:
        layers += [([[weight]], [0.0]), RELU]
    return chain(1, *layers, ([[weights[-1]]], [0.0]), double=double)


CASES = (
    Case(
        "float32-loses-one",
        "2^24 + 1 - 2^24 = 1 is 0 in float32, and its slope with it",
        chain(1, ([[1.0]] * 3, [1.0] * 3), RELU, ([[2.0**24, 1.0, -(2.0**24)]], [0.0])),
        HALF,
        at_most=(0.0, 0.5),
    ),
    Case(
        "float64-loses-one",
        "2^53 + 1 - 2^53 = 1 is 0 in float64",
        chain(
            1, ([[1.0]] * 3, [1.0] * 3), RELU, ([[2.0**53, 1.0, -(2.0**53)]], [0.0]), double=True
        ),
        HALF,
        at_most=(0.0, 0.5),
    ),
    Case(
        "float64-loses-all-digits",
        "1e300 + 1 - 1e300 = 1",
        chain(1, ([[1.0]] * 3, [1.0] * 3), RELU, ([[1e300, 1.0, -1e300]], [0.0]), double=True),
        HALF,
        at_most=(0.0, 0.5),
    ),
    Case(
        "cancellation-behind-an-open-gate",
        "the slope 2^53 + 1 - 2^53 = 1 on the active side only",
        chain(
            1, ([[1.0]] * 3, [0.0] * 3), RELU, ([[2.0**53, 1.0, -(2.0**53)]], [0.0]), double=True
        ),
        UNIT,
        at_most=(0.0, 0.5),
    ),
    Case(
        "cancellation-decides-a-neuron",
        "2^53 (x + 1) + 1 - 2^53 (x + 1) = 1: a neuron that is active, but rounds to its kink",
        chain(
            1,
            ([[1.0]] * 2, [1.0] * 2),
            RELU,
            ([[2.0**53, -(2.0**53)], [2.0**53, -(2.0**53)]], [1.0, -1.0]),
            RELU,
            ([[1.0, -1.0]], [0.0]),
            double=True,
        ),
        HALF,
    ),
    Case(
        "residual-cancels",
        "x + g(x) - x: only g is left",
        residual([0.5, -0.25]),
        HALF,
        at_most=(0.25,),
    ),
    Case(
        "residual-loses-g",
        "x + 2^-60 g(x) - x: in float64 nothing is left of g",
        residual([2.0**-60]),
        HALF,
        at_most=(0.0,),
    ),
    Case(
        "ten-tenths",
        "ten times the float 0.1 are more than 1; float64 adds them up to less than 1",
        linear([0.1] * 10),
        BoxRegion((-1.0,) * 10, (1.0,) * 10),
        at_most=(1.0, 1 - 2.0**-53),
    ),
    Case(
        "one-minus-ten-tenths",
        "the slope 1 - 10 * 0.1 is -5.6e-17; float64 finds it positive",
        chain(
            1,
            ([[1.0]] * 11, [1.0] * 11),
            RELU,
            ([[1.0] + [-0.1] * 10], [0.0]),
            double=True,
        ),
        HALF,
    ),
    Case(
        "tenths-of-float32",
        "the stored float32 0.1 is not the decimal one",
        linear([0.1, 0.2, -0.3], double=False),
        BoxRegion((-1.0,) * 3, (1.0,) * 3),
        norms=(("inf", "inf"), ("1", "inf"), ("2", "inf")),
        at_most=(0.6, 0.3),
    ),
    Case(
        "root-of-two",
        "an irrational constant: no float is at most and at least it",
        linear([1.0, 1.0]),
        SQUARE,
        norms=(("2", "inf"), ("2", "2"), ("2", "1")),
    ),
    Case(
        "singular-values-beside-each-other",
        "singular values 1 and 1 + 1e-15, of a matrix with orthogonal rows but for a rounding",
        linear([1.0, 2.0**-52], [-(2.0**-52), 1.0 + 2.0**-50]),
        SQUARE,
        norms=ALL_NORMS,
        label=1,
    ),
    Case(
        "squares-underflow",
        "weights of 1e-200 have a norm, their squares are 0",
        linear([3e-200, 4e-200]),
        SQUARE,
        norms=(("2", "inf"), ("inf", "inf"), ("2", "2")),
        at_most=(0.0,),
    ),
    Case(
        "squares-overflow",
        "weights of 1e200 have a norm, their squares do not",
        linear([3e200, 4e200]),
        SQUARE,
        norms=(("2", "inf"), ("inf", "inf"), ("2", "2")),
    ),
    Case(
        "product-underflows",
        "slope 2^-600 2^-600: zero for float64, not for the claim that it is at most zero",
        tower(2.0**-600, 2.0**-600),
        HALF,
        at_most=(0.0,),
    ),
    Case(
        "product-underflows-and-comes-back",
        "2^-600 2^-600 2^1000 2^200 = 1",
        tower(2.0**-600, 2.0**-600, 2.0**1000, 2.0**200),
        HALF,
        at_most=(0.0, 0.5),
    ),
    Case(
        "product-overflows-and-comes-back",
        "1e200 1e200 1e-200 1e-200 is about 1",
        tower(1e200, 1e200, 1e-200, 1e-200),
        HALF,
        at_most=(0.5, 2.0),
    ),
    Case(
        "denormal-weight",
        "the least float as a weight, brought back by 2^1000",
        tower(2.0**-1074, 2.0**1000),
        HALF,
        at_most=(0.0,),
    ),
    Case(
        "denormal-float32-weight",
        "float32 weights of 2^-149: flushed to zero on some machines",
        tower(2.0**-149, 2.0**120, double=False),
        HALF,
        at_most=(0.0,),
    ),
    Case(
        "infinity-minus-infinity",
        "1e300 relu(1e300 x) twice, with both signs: inf - inf in float64, 0 in truth",
        chain(
            1,
            ([[1e300]] * 2, [0.0] * 2),
            RELU,
            ([[1e300, -1e300]], [0.0]),
            double=True,
        ),
        UNIT,
        at_most=(0.0, 1.0),
    ),
    Case(
        "zero-times-infinity",
        "a dead neuron behind 1e200 1e200: 0 * inf",
        chain(
            1,
            ([[1e200], [-1.0], [1.0]], [0.0, -2.0, 2.0]),
            RELU,
            ([[0.0, 1e200, 1.0]], [0.0]),
            RELU,
            ([[1e200]], [0.0]),
            double=True,
        ),
        HALF,
    ),
    Case(
        "huge-region",
        "inputs up to 1e300: preactivations overflow, slopes do not",
        relu_of([1e10], 0.0),
        BoxRegion((-1e300,), (1e300,)),
        at_most=(1e9,),
    ),
    Case(
        "huge-region-cancels",
        "relu(1e10 x) - relu(1e10 x) over inputs of 1e300: inf - inf",
        chain(1, ([[1e10]] * 2, [0.0] * 2), RELU, ([[1.0, -1.0]], [0.0]), double=True),
        BoxRegion((-1e300,), (1e300,)),
        at_most=(1.0,),
    ),
    Case(
        "far-away",
        "around 2^53, where floats are 2 apart and the kink is between them",
        relu_of([1.0], -(2.0**53 + 2)),
        BoxRegion((2.0**53,), (2.0**53 + 4,)),
        at_most=(0.5,),
    ),
    Case(
        "stable-by-1e-12",
        "min(x - y + 2) is 1e-12 above the kink",
        relu_of([-1.0, 1.0], -2.0 - 1e-12, out=1e6),
        SQUARE,
        at_most=(0.0, 1.0),
        features=(0, 1),
    ),
    Case(
        "open-by-1e-12",
        "min(x - y + 2) is 1e-12 below the kink: a corner of slope 1e6",
        relu_of([-1.0, 1.0], -2.0 + 1e-12, out=1e6),
        SQUARE,
        at_most=(0.0, 1.0),
        features=(0, 1),
    ),
    Case(
        "open-by-half-an-ulp-after-a-sum",
        "x + 2^-53 y - 1 reaches 2^-53 in a corner, where float64 adds up to 0",
        relu_of([1.0, 2.0**-53], -1.0, out=1e3),
        BoxRegion((0.0, 0.0), (1.0, 1.0)),
        at_most=(0.0, 1.0),
    ),
    Case(
        "ball-s-real-end",
        "center + radius is no float: the kink is past the real end, before the rounded one",
        past_the_end(0.1, 0.2),
        BallRegion((0.1,), 0.2, "inf"),
        at_most=(0.5,),
    ),
    Case(
        "tiny-standard-deviation",
        "preprocessing (x - 0.5) / 1e-30: a huge slope, and a kink in the middle",
        preprocessed(0.5, 1e-30),
        HALF,
    ),
    Case(
        "huge-standard-deviation",
        "preprocessing (x - 0.5) / 1e30",
        preprocessed(0.5, 1e30),
        HALF,
        at_most=(0.0,),
    ),
    Case(
        "a-third",
        "x / 3 has the slope 1/3, which is above the float 1/3",
        scaling("Div", 3.0, double=True),
        UNIT,
        at_most=(1 / 3,),
    ),
    Case(
        "times-minus-zero",
        "x * -0.0: no direction is strict",
        scaling("Mul", -0.0),
        UNIT,
        at_most=(0.0,),
    ),
    Case(
        "constant-minus",
        "1 - x falls",
        scaling("Sub", 1.0, constant_first=True),
        UNIT,
    ),
    Case(
        "margin-of-an-ulp",
        "outputs 1 and 1 - 2^-53, whatever the input",
        linear([0.0], [0.0], bias=[1.0, 1 - 2.0**-53]),
        UNIT,
        label=0,
    ),
    Case(
        "margin-behind-huge-outputs",
        "2^53 x + 1 against 2^53 x: a margin of 1 that float64 loses",
        chain(
            1,
            ([[1.0]] * 2, [1.0, 1.0]),
            RELU,
            ([[2.0**53, 0.0], [0.0, 2.0**53]], [1.0, 0.0]),
            double=True,
        ),
        HALF,
        label=0,
    ),
    Case(
        "outputs-are-equal",
        "both classes have the same value: the class is not robust, and nothing breaks it",
        linear([1.0], [1.0]),
        UNIT,
        label=0,
    ),
    Case(
        "margin-gone-in-a-corner",
        "1 - (x + y) / 2 is 0 at one corner",
        linear([0.0, 0.0], [0.5, 0.5], bias=[1.0, 0.0]),
        BoxRegion((0.0, 0.0), (1.0, 1.0)),
        label=0,
        norms=ALL_NORMS,
        features=(0, 1),
    ),
    Case(
        "margin-below-zero-in-a-corner",
        "ten times the float 0.1 beats 1 at one corner by 5.6e-17",
        linear([0.0] * 10, [0.1] * 10, bias=[1.0, 0.0]),
        BoxRegion((0.0,) * 10, (1.0,) * 10),
        label=0,
    ),
    Case(
        "decrease-in-a-sliver",
        "a slope of -1e-9 on 1e-9 of the region: the output falls by 1e-18",
        chain(
            1,
            ([[1.0]] * 3, [1.0, -0.5, -0.5 - 1e-9]),
            RELU,
            ([[1.0, -1.0 - 1e-9, 1.0 + 1e-9]], [0.0]),
            double=True,
        ),
        HALF,
    ),
    Case(
        "flat-by-cancellation",
        "relu(x) - relu(x - 1/2) is flat from 1/2 on: derivative 0, increasing still",
        chain(1, ([[1.0]] * 2, [0.0, -0.5]), RELU, ([[1.0, -1.0]], [0.0])),
        HALF,
    ),
)
