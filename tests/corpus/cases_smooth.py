"""tanh, sigmoid and exp: saturated, cancelling, and where their slopes underflow."""

from tests.corpus.case import Case
from tests.corpus.cases_kinks import SQUARE, UNIT
from tests.corpus.net import INPUT, Builder, Net, chain
from tests.corpus.regions import BoxRegion


def one(op: str, slope: float, shift: float = 0.0, out: float = 1.0) -> Net:
    """out op(slope x + shift)."""
    return chain(1, ([[slope]], [shift]), (op,), ([[out]], [0.0]), double=True)


def against_input(op: str, out: float = 1.0) -> Net:
    """out op(x) - x."""
    build = Builder(1, double=True)
    y = build.dense(build.op(op, INPUT), [[out]])
    build.op("Sub", y, INPUT)
    return build.net()


def two(op: str, weight: list[list[float]], bias: list[float], out: list[float]) -> Net:
    return chain(len(weight[0]), (weight, bias), (op,), ([out], [0.0]), double=True)


CASES = (
    Case("tanh-around-zero", "the steepest point is inside, not at an end", one("Tanh", 1.0), UNIT),
    Case(
        "tanh-steep",
        "preactivations of 600 and more, beyond which auto_LiRPA 0.3's relaxations are wrong",
        one("Tanh", 600.0),
        UNIT,
        at_most=(1.0,),
    ),
    Case(
        "tanh-saturated",
        "tanh' at 30: 1 - tanh^2 is 0 in float64, the slope 4e-26 is not",
        one("Tanh", 1.0, 30.0, out=1e20),
        UNIT,
        at_most=(0.0,),
    ),
    Case(
        "tanh-underflows",
        "tanh' at 700: below the least float, and above 0",
        one("Tanh", 1.0, 700.0),
        UNIT,
        at_most=(0.0,),
    ),
    Case(
        "tanh-underflows-with-a-huge-weight",
        "tanh' at 500 is 1e-433; 1e300 of it is nothing for float64, 1e300 tanh itself is not",
        one("Tanh", 1.0, 500.0, out=1e300),
        UNIT,
        at_most=(0.0, 1.0),
    ),
    Case(
        "tanh-below-its-tangent",
        "tanh(x) - x falls everywhere, with slope 0 at one inner point",
        against_input("Tanh"),
        UNIT,
    ),
    Case(
        "tanh-just-above-its-tangent",
        "(1 + 1e-9) tanh(x) - x rises on an interval of 6e-5",
        against_input("Tanh", 1.0 + 1e-9),
        UNIT,
    ),
    Case(
        "tanh-duplicated",
        "tanh(x) - tanh(x) = 0",
        two("Tanh", [[1.0], [1.0]], [0.0, 0.0], [1.0, -1.0]),
        UNIT,
        at_most=(0.5,),
    ),
    Case(
        "sigmoids-add-to-one",
        "sigmoid(x) + sigmoid(-x) = 1",
        two("Sigmoid", [[1.0], [-1.0]], [0.0, 0.0], [1.0, 1.0]),
        UNIT,
        at_most=(0.25,),
    ),
    Case(
        "sigmoid-steep",
        "a step of width 1e-4 inside the region",
        one("Sigmoid", 1e4, -3e3),
        UNIT,
        at_most=(1000.0,),
    ),
    Case(
        "sigmoid-saturated-below",
        "sigmoid' at -700 is 1e-304: a float, and its square is not",
        one("Sigmoid", 1.0, -700.0),
        UNIT,
        at_most=(0.0,),
    ),
    Case(
        "sigmoid-asymmetric-saturation",
        "sigmoid' at 40 from 1 - sigmoid is 0 in float64",
        one("Sigmoid", 1.0, 40.0, out=1e15),
        UNIT,
        at_most=(0.0,),
    ),
    Case(
        "exp-underflows",
        "exp(-800) is 0 in float64: the output rises all the same",
        one("Exp", 1.0, -800.0),
        UNIT,
        at_most=(0.0,),
    ),
    Case(
        "exp-overflows",
        "exp(710 x) passes the largest float; a bound of nan is no bound",
        one("Exp", 720.0, 0.0),
        UNIT,
        at_most=(1e300,),
    ),
    Case("exp-of-one", "the slope is e at the end, an irrational number", one("Exp", 1.0), UNIT),
    Case(
        "tanh-of-two-inputs",
        "opposite neurons whose slopes add up off the axes",
        two("Tanh", [[1.0, 1.0], [1.0, -1.0]], [0.5, 0.25], [1.0, -1.0]),
        SQUARE,
        norms=(("inf", "inf"), ("1", "inf"), ("2", "inf")),
        features=(0, 1),
    ),
    Case(
        "tanh-at-a-point",
        "a region without width, where the slope is irrational",
        one("Tanh", 1.0),
        BoxRegion((0.5,), (0.5,)),
        features=(),
    ),
)
