"""What each operator of the corpus does, in rational arithmetic, piece by piece."""

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from tests.corpus.net import Step
from tests.corpus.polytope import Form

Forms = tuple[Form, ...]
Piece = tuple[Fraction, Fraction]
"""slope and intercept."""


def fractions(array: Any) -> list[Fraction]:
    """The stored numbers, as they are."""
    return [Fraction(float(v)) for v in np.asarray(array, dtype=np.float64).ravel()]


def combine(weights: Sequence[Fraction], forms: Sequence[Form], constant: Fraction) -> Form:
    total = [constant] + [Fraction(0)] * (len(forms[0]) - 1)
    for weight, form in zip(weights, forms, strict=True):
        if weight:
            total = [t + weight * a for t, a in zip(total, form, strict=True)]
    return tuple(total)


def scaled(form: Form, slope: Fraction, shift: Fraction = Fraction(0)) -> Form:
    return combine([slope], [form], shift)


def _gemm(step: Step, x: Forms) -> Forms:
    weight, bias = step.weights
    assert step.attributes == {"transB": 1}
    rows = np.asarray(weight).reshape(len(weight), -1)
    return tuple(
        combine(fractions(row), x, b) for row, b in zip(rows, fractions(bias), strict=True)
    )


def _constant(step: Step, count: int) -> list[Fraction]:
    numbers = fractions(step.weights[0])
    return numbers * count if len(numbers) == 1 else numbers


def _add(step: Step, *x: Forms) -> Forms:
    if not step.weights:
        return tuple(combine([Fraction(1)] * 2, pair, Fraction(0)) for pair in zip(*x, strict=True))
    shifts = _constant(step, len(x[0]))
    return tuple(scaled(f, Fraction(1), c) for f, c in zip(x[0], shifts, strict=True))


def _sub(step: Step, *x: Forms) -> Forms:
    if not step.weights:
        signs = [Fraction(1), Fraction(-1)]
        return tuple(combine(signs, pair, Fraction(0)) for pair in zip(*x, strict=True))
    shifts = _constant(step, len(x[0]))
    if step.constant_first:
        return tuple(scaled(f, Fraction(-1), c) for f, c in zip(x[0], shifts, strict=True))
    return tuple(scaled(f, Fraction(1), -c) for f, c in zip(x[0], shifts, strict=True))


def _mul(step: Step, x: Forms) -> Forms:
    return tuple(scaled(f, c) for f, c in zip(x, _constant(step, len(x)), strict=True))


def _div(step: Step, x: Forms) -> Forms:
    return tuple(scaled(f, 1 / c) for f, c in zip(x, _constant(step, len(x)), strict=True))


def _concat(step: Step, *x: Forms) -> Forms:
    return tuple(form for forms in x for form in forms)


AFFINE: dict[str, Callable[..., Forms]] = {
    "Gemm": _gemm,
    "Add": _add,
    "Sub": _sub,
    "Mul": _mul,
    "Div": _div,
    "Neg": lambda step, x: tuple(scaled(f, Fraction(-1)) for f in x),
    "Concat": _concat,
    "Reshape": lambda step, x: x,
    "Identity": lambda step, x: x,
}


def _line(slope: Any, intercept: Any = 0) -> Piece:
    return Fraction(slope), Fraction(intercept)


def _leaky(step: Step) -> tuple[list[Fraction], list[Piece]]:
    slope = float(np.float32(step.attributes.get("alpha", 0.01)))
    return [Fraction(0)], [_line(slope), _line(1)]


def _clip(step: Step) -> tuple[list[Fraction], list[Piece]]:
    low, high = (fractions(w)[0] for w in step.weights)
    return [low, high], [_line(0, low), _line(1), _line(0, high)]


def _relu(step: Step) -> tuple[list[Fraction], list[Piece]]:
    return [Fraction(0)], [_line(0), _line(1)]


def _abs(step: Step) -> tuple[list[Fraction], list[Piece]]:
    return [Fraction(0)], [_line(-1), _line(1)]


ENTRYWISE: dict[str, Callable[[Step], tuple[list[Fraction], list[Piece]]]] = {
    "Relu": _relu,
    "LeakyRelu": _leaky,
    "Abs": _abs,
    "Clip": _clip,
}
"""Operator -> kinks k_1 <= ... and the pieces left of, between and right of them."""


def _pool(step: Step, x: Forms) -> Iterator[Forms]:
    """Windows of a MaxPool along the last axis of [1, 1, n], without overlap."""
    (width,) = step.attributes["kernel_shape"]
    assert list(step.attributes["strides"]) == [width] and len(x) % width == 0
    yield from (x[k : k + width] for k in range(0, len(x), width))


def _entries(step: Step, *x: Forms) -> Iterator[Forms]:
    yield from zip(*x, strict=True)


LARGEST: dict[str, tuple[Callable[..., Iterator[Forms]], int]] = {
    "MaxPool": (_pool, 1),
    "Max": (_entries, 1),
    "Min": (_entries, -1),
}
"""Operator -> what each of its outputs is the largest (sign 1) or smallest (-1) of."""
