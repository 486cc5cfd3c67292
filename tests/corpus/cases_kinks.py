"""Values at kinks, ties, slivers, and gates whose products are more than the Clarke Jacobian."""

from math import nextafter

from tests.corpus.case import Case
from tests.corpus.net import INPUT, Builder, Net, chain
from tests.corpus.regions import BallRegion, BoxRegion

RELU = ("Relu",)
UNIT = BoxRegion((-1.0,), (1.0,))
SQUARE = BoxRegion((-1.0, -1.0), (1.0, 1.0))
ALL_NORMS = tuple((p, q) for p in ("inf", "1", "2") for q in ("inf", "1", "2"))
LEAST = 2.0**-1074


def relu_of(weight: list[float], bias: float, out: float = 1.0, double: bool = True) -> Net:
    """out relu(weight . x + bias)."""
    return chain(len(weight), ([weight], [bias]), RELU, ([[out]], [0.0]), double=double)


def spike(at: float, width: float) -> Net:
    """A hat of height 1 around `at`: slopes 1/width and -1/width, 0 elsewhere."""
    steep = 1.0 / width
    hidden = ([[steep]] * 3, [1 - steep * at, -steep * at, -1 - steep * at])
    return chain(1, hidden, RELU, ([[1.0, -2.0, 1.0]], [0.0]), double=True)


def maximum_of(weight: list[list[float]]) -> Net:
    """MaxPool over the rows of weight x."""
    build = Builder(len(weight[0]))
    y = build.dense(INPUT, weight)
    y = build.op("Reshape", y, weights=(_shape(1, 1, len(weight)),))
    y = build.op("MaxPool", y, kernel_shape=[len(weight)], strides=[len(weight)])
    build.op("Reshape", y, weights=(_shape(1, 1),))
    return build.net()


def of_two(op: str, first: list[float], second: list[float]) -> Net:
    build = Builder(len(first))
    build.op(op, build.dense(INPUT, [first]), build.dense(INPUT, [second]))
    return build.net()


def clipped(low: float, high: float, slope: float = 1.0) -> Net:
    build = Builder(1)
    build.op("Clip", build.dense(INPUT, [[slope]]), weights=(_number(low), _number(high)))
    return build.net()


def _shape(*sizes: int):  # noqa: ANN202
    import numpy as np

    return np.array(sizes, dtype=np.int64)


def _number(value: float):  # noqa: ANN202
    import numpy as np

    return np.array(value, dtype=np.float32)


IDENTITY = chain(1, ([[1.0], [-1.0]], [0.0, 0.0]), RELU, ([[1.0, -1.0]], [0.0]))
NOTHING = chain(1, ([[1.0], [-1.0], [1.0]], [0.0, 0.0, 9.0]), RELU, ([[1.0, -1.0, -1.0]], [9.0]))
"""relu(x) - relu(-x) - x, x written as relu(x + 9) - 9."""
SAWTOOTH = chain(
    1,
    *[
        layer
        for k in range(4)
        for layer in (
            ([[2.0], [4.0]] if k == 0 else [[2.0, -2.0], [4.0, -4.0]], [0.0, -2.0]),
            RELU,
        )
    ],
    ([[1.0, -1.0]], [0.0]),
)

CASES = (
    Case(
        "identity-of-two-relus",
        "relu(x) - relu(-x) = x: the product of gate sets reaches 2, no derivative is over 1",
        IDENTITY,
        UNIT,
    ),
    Case(
        "identity-at-its-kink",
        "the region is the kink itself: nothing may be attained there that no point near it has",
        IDENTITY,
        BoxRegion((0.0,), (0.0,)),
    ),
    Case(
        "zero-with-open-gates",
        "relu(x) - relu(-x) - x = 0: three gates open, the constant is 0",
        NOTHING,
        UNIT,
    ),
    Case(
        "corner-touches-kink",
        "relu(x + y) on [-1, 0]^2 is 0: only a corner sees the kink, so slope 1 is not attained",
        relu_of([1.0, 1.0], 0.0),
        BoxRegion((-1.0, -1.0), (0.0, 0.0)),
        norms=ALL_NORMS,
        features=(0, 1),
        at_most=(0.0, 0.25),
    ),
    Case(
        "edge-touches-kink",
        "relu(x) on [-1, 0]: one end is the kink",
        relu_of([1.0], 0.0),
        BoxRegion((-1.0,), (0.0,)),
        at_most=(0.0, 0.25),
    ),
    Case(
        "edge-is-past-kink-by-least-float",
        "the active piece is the interval [0, 2^-1074]: a tolerance calls the neuron inactive",
        relu_of([1.0], 0.0),
        BoxRegion((-1.0,), (LEAST,)),
        at_most=(0.25,),
    ),
    Case(
        "edge-is-past-kink-by-an-ulp",
        "the active piece is one unit in the last place wide",
        relu_of([1.0], -1.0),
        BoxRegion((0.0,), (nextafter(1.0, 2.0),)),
        at_most=(0.25,),
    ),
    Case(
        "region-of-one-ulp",
        "no float lies inside the region, and the kink is at its lower end",
        chain(1, ([[1.0], [-1.0]], [-1.0, 1.0]), RELU, ([[1.0, 3.0]], [0.0]), double=True),
        BoxRegion((1.0,), (nextafter(1.0, 2.0),)),
        at_most=(2.0,),
    ),
    Case(
        "kink-between-floats-of-the-region",
        "3 x - b changes sign strictly between the two floats of the region",
        chain(
            1,
            ([[3.0], [-3.0]], [-nextafter(3.0, 4.0), nextafter(3.0, 4.0)]),
            RELU,
            ([[1.0, 2.0]], [0.0]),
            double=True,
        ),
        BoxRegion((1.0,), (nextafter(1.0, 2.0),)),
        at_most=(4.0,),
    ),
    Case(
        "sliver-of-1e-9",
        "the steep piece has 1e-9 of the region",
        relu_of([1.0], -1.0 + 1e-9, out=1000.0),
        BoxRegion((0.0,), (1.0,)),
        at_most=(1.0,),
    ),
    Case(
        "spike-on-the-first-split",
        "a hat of width 1e-9 around the region's middle: halves with a gap of 1e-9 miss it",
        spike(0.0, 2.0**-30),
        UNIT,
        at_most=(1.0,),
    ),
    Case(
        "spike-beside-all-splits",
        "a hat of width 1e-9 around 1/3: no grid and no bisection has it as a point",
        spike(1 / 3, 2.0**-30),
        UNIT,
        at_most=(1.0,),
    ),
    Case(
        "spike-at-a-corner",
        "a hat of width 1e-12 at the end of the region",
        spike(1.0, 2.0**-40),
        UNIT,
        at_most=(1.0,),
    ),
    Case(
        "absolute-value",
        "the slopes are -1 and 1, their mean is 0",
        chain(1, ([[1.0]], [0.0]), ("Abs",)),
        UNIT,
    ),
    Case(
        "absolute-values-cancel",
        "|x| - |-x| = 0 with both gates open",
        chain(1, ([[1.0], [-1.0]], [0.0, 0.0]), ("Abs",), ([[1.0, -1.0]], [0.0])),
        UNIT,
    ),
    Case(
        "antiparallel-neurons",
        "relu(z) + relu(-z - 1e-9): both open, never both active",
        chain(2, ([[1.0, 2.0], [-1.0, -2.0]], [0.0, -1e-9]), RELU, ([[1.0, 1.0]], [0.0])),
        SQUARE,
        norms=ALL_NORMS,
        features=(0, 1),
    ),
    Case(
        "antiparallel-with-gap-between",
        "relu(z) - relu(-z): halves z >= 1e-9 and z <= -1e-9 leave out what is between",
        chain(
            1,
            ([[1.0], [1.0], [1.0]], [1e-9, 0.0, -1e-9]),
            RELU,
            ([[1.0, 3.0, -4.0]], [0.0]),
            double=True,
        ),
        UNIT,
        at_most=(1.0, 3.9),
    ),
    Case(
        "duplicated-neurons",
        "one neuron in four parts: their gates are one gate",
        chain(2, ([[1.0, -1.0]] * 4, [0.0] * 4), RELU, ([[0.5, 0.5, -0.5, -0.25]], [0.0])),
        SQUARE,
        norms=ALL_NORMS,
    ),
    Case(
        "dead-by-composition",
        "relu(-relu(x)) = 0: the inner value is at the kink on half of the region",
        chain(1, ([[1.0]], [0.0]), RELU, ([[-1.0]], [0.0]), RELU, ([[1e6]], [0.0])),
        UNIT,
        at_most=(0.0, 1.0),
    ),
    Case(
        "preactivation-identically-zero",
        "relu(1000 (relu(x) - relu(-x) - x)) = 0: a kink on the whole region",
        chain(
            1,
            ([[1.0], [-1.0], [1.0]], [0.0, 0.0, 9.0]),
            RELU,
            ([[1e3, -1e3, -1e3]], [9e3]),
            RELU,
            ([[1e3]], [0.0]),
        ),
        UNIT,
        at_most=(0.0, 1.0),
    ),
    Case(
        "all-biases-zero",
        "all kinks meet in one point, which is a corner of the region",
        chain(
            2,
            ([[1.0, -1.0], [1.0, 1.0], [-2.0, 1.0], [0.0, 1.0]], [0.0] * 4),
            RELU,
            ([[1.0, -2.0, 3.0, 1.0], [1.0, 1.0, -1.0, -1.0]], [0.0, 0.0]),
        ),
        BoxRegion((0.0, 0.0), (1.0, 1.0)),
        norms=ALL_NORMS,
        features=(0, 1),
        label=1,
    ),
    Case(
        "sawtooth",
        "16 pieces of slope 16: relaxations multiply, products of norms reach 4^4 and more",
        SAWTOOTH,
        BoxRegion((0.0,), (1.0,)),
        at_most=(15.0, 17.0),
    ),
    Case(
        "leaky-steep-below",
        "LeakyRelu of slope 2: the larger slope is on the negative side",
        chain(1, ([[1.0]], [0.0]), ("LeakyRelu", {"alpha": 2.0}), ([[1.0]], [0.0])),
        UNIT,
    ),
    Case(
        "leaky-negative",
        "LeakyRelu of slope -3: neither monotone nor between 0 and 1",
        chain(1, ([[1.0]], [0.0]), ("LeakyRelu", {"alpha": -3.0}), ([[1.0]], [0.0])),
        UNIT,
    ),
    Case(
        "leaky-of-slope-one",
        "LeakyRelu of slope 1 is linear: a gate of zero width at an open preactivation",
        chain(1, ([[1.0]], [0.0]), ("LeakyRelu", {"alpha": 1.0}), ([[3.0]], [0.0])),
        UNIT,
    ),
    Case(
        "leaky-identity",
        "leaky(x) - leaky(-x) = (1 + slope) x, with a slope (0.1) that float32 rounds",
        chain(
            1,
            ([[1.0], [-1.0]], [0.0, 0.0]),
            ("LeakyRelu", {"alpha": 0.1}),
            ([[1.0, -1.0]], [0.0]),
        ),
        UNIT,
        at_most=(1.1,),
    ),
    Case(
        "max-pool-ties-everywhere",
        "the largest of x, x, -x, x: ties on half of the region",
        maximum_of([[1.0], [1.0], [-1.0], [1.0]]),
        UNIT,
    ),
    Case(
        "max-pool-of-one-thing",
        "the largest of four copies: each choice gives the same slope",
        maximum_of([[2.0, -1.0]] * 4),
        SQUARE,
        norms=ALL_NORMS,
    ),
    Case(
        "max-pool-never-chosen",
        "x + y is never the largest of 2x, 2y, x + y but at ties",
        maximum_of([[2.0, 0.0], [0.0, 2.0], [1.0, 1.0]]),
        SQUARE,
        norms=(("inf", "inf"), ("1", "inf"), ("2", "inf")),
    ),
    Case(
        "minimum-of-opposites",
        "min(x, -x) = -|x|",
        of_two("Min", [1.0], [-1.0]),
        UNIT,
    ),
    Case(
        "maximum-of-equals",
        "max(x, x): a tie at every point, slope 1",
        of_two("Max", [1.0], [1.0]),
        UNIT,
    ),
    Case(
        "clip-to-a-point",
        "Clip with equal ends is constant",
        clipped(0.5, 0.5),
        UNIT,
        at_most=(0.0,),
    ),
    Case(
        "clip-at-the-region-s-ends",
        "both kinks are the ends of the region: slope 1 inside, nothing outside counts",
        clipped(-1.0, 1.0),
        UNIT,
    ),
    Case(
        "clip-outside",
        "the region starts where the clip ends",
        clipped(-1.0, 1.0),
        BoxRegion((1.0,), (2.0,)),
        at_most=(0.0, 0.5),
    ),
    Case(
        "clip-inverts",
        "Clip of -2x, with an end that the region passes by an ulp",
        clipped(-2.0, 0.0, slope=-2.0),
        BoxRegion((nextafter(1.0, 0.0),), (3.0,)),
        at_most=(0.5, 1.0),
    ),
    Case(
        "l1-ball-inside-a-kink",
        "relu(x + y - 0.75) on the l1 ball of radius 0.5 is 0; on its bounding box it is not",
        relu_of([1.0, 1.0], -0.75),
        BallRegion((0.0, 0.0), 0.5, "1"),
        norms=ALL_NORMS,
        at_most=(0.25,),
    ),
    Case(
        "l1-ball-face-on-a-kink",
        "a whole face of the l1 ball is at the kink, no inner point is beyond it",
        relu_of([1.0, 1.0], -0.5),
        BallRegion((0.0, 0.0), 0.5, "1"),
        at_most=(0.25,),
        features=(0, 1),
    ),
    Case(
        "l1-ball-vertex-past-a-kink",
        "a vertex of the l1 ball is past the kink by 1e-9",
        relu_of([1.0, 0.0], -0.5 + 1e-9, out=100.0),
        BallRegion((0.0, 0.0), 0.5, "1"),
        at_most=(1.0,),
    ),
    Case(
        "l2-ball-tangent-to-a-kink",
        "3x + 4y = 5 touches the unit ball in one point",
        relu_of([3.0, 4.0], -5.0),
        BallRegion((0.0, 0.0), 1.0, "2"),
        norms=(("2", "inf"), ("inf", "inf")),
        at_most=(1.0,),
    ),
    Case(
        "l2-ball-cap",
        "the kink cuts a cap of height 1e-9 off the unit ball",
        relu_of([3.0, 4.0], -5.0 + 5e-9),
        BallRegion((0.0, 0.0), 1.0, "2"),
        norms=(("2", "inf"), ("inf", "inf")),
        at_most=(1.0,),
    ),
    Case(
        "l1-ball-clipped-off-the-kink",
        "the part of the l1 ball that is past the kink is clipped away",
        relu_of([1.0, 0.0], -0.25),
        BallRegion((0.0, 0.0), 0.5, "1", clip=(-1.0, 0.25)),
        at_most=(0.25,),
    ),
    Case(
        "l2-ball-clipped-off-the-kink",
        "the cap past the kink lies outside of the valid range; the ball and the range pass it",
        relu_of([1.0, 1.0], -1.3),
        BallRegion((0.0, 0.0), 1.0, "2", clip=(-1.0, 0.625)),
        at_most=(0.25,),
    ),
)
