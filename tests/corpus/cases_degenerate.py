"""Rows of zeros, dead neurons, constant outputs, regions without width, ties all over."""

import numpy as np

from tests.corpus.case import Case
from tests.corpus.cases_kinks import ALL_NORMS, IDENTITY, RELU, SQUARE, UNIT
from tests.corpus.net import INPUT, Builder, Net, chain
from tests.corpus.regions import BallRegion, BoxRegion


def of_small_integers(seed: int) -> Net:
    """2-4-3-2 with weights -1, 0, 1: neurons repeat, vanish and tie."""
    random = np.random.default_rng(seed)

    def numbers(*shape: int) -> list:
        return random.integers(-1, 2, shape).astype(float).tolist()

    return chain(
        2,
        (numbers(4, 2), numbers(4)),
        RELU,
        (numbers(3, 4), [0.0] * 3),
        RELU,
        (numbers(2, 3), numbers(2)),
    )


def two_branches() -> Net:
    """relu(x) and relu(-x) joined, then |first - second| = |x|, beside x itself."""
    build = Builder(1)
    first = build.relu(INPUT)
    second = build.relu(build.op("Neg", INPUT))
    size = build.op("Abs", build.op("Sub", first, second))
    build.op("Concat", size, INPUT, axis=1)
    return build.net()


ZERO_ROW = chain(
    1,
    ([[1.0], [0.0], [0.0], [0.0]], [0.0, 0.0, -1.0, 1.0]),
    RELU,
    ([[1.0, 1e30, 1e30, 1e30]], [0.0]),
)

CASES = (
    Case(
        "zero-rows",
        "neurons without inputs at, below and above their kink, with outgoing weights of 1e30",
        ZERO_ROW,
        UNIT,
        at_most=(2.0,),
    ),
    Case(
        "minus-zero",
        "weights and biases of -0.0",
        chain(1, ([[-0.0], [1.0]], [-0.0, -0.0]), RELU, ([[5.0, 1.0]], [-0.0])),
        UNIT,
    ),
    Case(
        "dead-neurons",
        "neurons that no input wakes, with the largest outgoing weights",
        chain(
            2,
            ([[1.0, 1.0], [1.0, -1.0], [1.0, 0.0]], [-2.0, -3.0, 0.0]),
            RELU,
            ([[1e6, 1e6, 1.0]], [0.0]),
        ),
        SQUARE,
        norms=ALL_NORMS,
        features=(0, 1),
        at_most=(2.0,),
    ),
    Case(
        "all-dead",
        "every neuron is dead: the output is its bias",
        chain(1, ([[1.0], [-1.0]], [-2.0, -2.0]), RELU, ([[1.0, 1.0]], [7.0])),
        UNIT,
        at_most=(0.0,),
    ),
    Case(
        "constant-output",
        "the last weights are 0: derivative 0 in both directions",
        chain(2, ([[1.0, 1.0]], [0.0]), RELU, ([[0.0], [0.0]], [1.0, 0.0])),
        SQUARE,
        norms=ALL_NORMS,
        features=(0, 1),
        label=0,
        at_most=(0.0,),
    ),
    Case(
        "one-output-is-constant",
        "the difference of a constant and a kink: margin 0 at the kink's whole inactive side",
        chain(1, ([[1.0]], [0.0]), RELU, ([[0.0], [-1.0]], [0.0, 0.0])),
        UNIT,
        label=0,
        norms=ALL_NORMS,
    ),
    Case(
        "region-is-a-point",
        "no width: the constant is the derivative's norm there, monotonicity is empty",
        chain(2, ([[1.0, 2.0]], [0.0]), RELU, ([[3.0]], [0.0])),
        BoxRegion((0.5, 0.5), (0.5, 0.5)),
        norms=ALL_NORMS,
    ),
    Case(
        "ball-of-radius-zero",
        "a ball of radius 0 around a smooth point",
        IDENTITY,
        BallRegion((0.25,), 0.0, "2"),
    ),
    Case(
        "fixed-input-at-a-kink",
        "x is fixed at relu(x)'s kink: no derivative by x, y's is 1",
        chain(2, ([[1.0, 0.0], [0.0, 1.0]], [0.0, 5.0]), RELU, ([[3.0, 1.0]], [0.0])),
        BoxRegion((0.0, -1.0), (0.0, 1.0)),
        features=(0, 1),
        norms=(("inf", "inf"), ("1", "inf")),
    ),
    Case(
        "fixed-input-off-its-kink",
        "x is fixed by an ulp on the active side",
        chain(2, ([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0]), RELU, ([[3.0, 1.0]], [0.0]), double=True),
        BoxRegion((2.0**-1074, -1.0), (2.0**-1074, 1.0)),
        features=(1,),
        norms=(("inf", "inf"), ("1", "inf"), ("2", "inf")),
    ),
    Case(
        "flat-region-along-a-kink",
        "x = 0 is fixed, y moves on: relu(x + y) - relu(y - x) is 0 here, its slopes by x are not",
        chain(2, ([[1.0, 1.0], [-1.0, 1.0]], [0.0, 0.0]), RELU, ([[1.0, -1.0]], [0.0])),
        BoxRegion((0.0, -1.0), (0.0, 1.0)),
        features=(1,),
    ),
    Case(
        "branches-join",
        "|relu(x) - relu(-x)| beside x: the same input on three ways",
        two_branches(),
        UNIT,
        norms=ALL_NORMS,
        label=1,
    ),
    *(
        Case(
            f"small-integers-{seed}",
            "weights -1, 0, 1 and inner biases 0: neurons repeat, vanish, tie, and kinks meet",
            of_small_integers(seed),
            region,
            norms=ALL_NORMS,
            features=(0, 1),
            label=0,
        )
        for seed, region in {
            0: SQUARE,
            1: BoxRegion((0.0, 0.0), (1.0, 1.0)),
            2: BoxRegion((-1.0, 0.0), (1.0, 0.0)),
            6: BallRegion((0.0, 0.0), 1.0, "1"),
            4: BallRegion((1.0, 1.0), 1.0, "1", clip=(0.0, 1.0)),
            8: BallRegion((0.0, 1.0), 1.0, "inf", clip=(-0.5, 2.0)),
        }.items()
    ),
)
