"""One line in exact arithmetic: for the few pieces whose slope's sign rounding leaves open.

Stored weights are dyadic rationals, so on a piece every node is c0 + c1 t with c0 and c1 integers
times a power of two. A gate right of t is given by the sign of c0 + c1 t there, and by that of c1
where it is 0. The piece ends at the first zero of a neuron further right, which is a fraction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lipverify.errors import UnsupportedOperator
from lipverify.graph import ForwardGraph
from lipverify.numerics import DTYPE
from lipverify.operators import (
    Activation,
    Add,
    AffineOperator,
    Choice,
    Concat,
    Conv,
    Dense,
    Pad,
    Reshape,
    Scale,
    Select,
    Transpose,
)

MANTISSA = 53
MOST_WEIGHTS = 2**23
"""Larger matrices would take minutes."""
MOST_PIECES = 200

Integers = NDArray[Any]
"""Of dtype object, so that they have any size."""


@dataclass(frozen=True, eq=False)
class Dyadic:
    """integers * 2^exponent, any shape."""

    integers: Integers
    exponent: int

    def over(self, exponent: int) -> Integers:
        """The integers over a smaller or equal power of two."""
        assert exponent <= self.exponent
        return self.integers * (1 << (self.exponent - exponent))


@dataclass(frozen=True)
class ExactPiece:
    """The slope on [start, end], all of them exact."""

    start: Fraction
    end: Fraction
    slope: Fraction


def dyadic(values: Tensor) -> Dyadic:
    """Finite floats, exactly."""
    array = values.detach().to(DTYPE).numpy()
    mantissa, exponent = np.frexp(array)
    integers = np.ldexp(mantissa, MANTISSA).astype(np.int64)
    exponent = exponent.astype(np.int64) - MANTISSA
    used = exponent[integers != 0]
    least = int(used.min()) if used.size else 0
    shifts = np.where(integers != 0, exponent - least, 0)
    wide = integers.astype(object) * (np.ones_like(shifts).astype(object) << shifts.astype(object))
    return _reduced(np.asarray(wide, dtype=object), least)


def _reduced(integers: Integers, exponent: int) -> Dyadic:
    """Without common factors of two, so that numbers stay short."""
    flat = [int(value) for value in integers.reshape(-1)]
    joined = 0
    for value in flat:
        joined |= abs(value)
    shift = (joined & -joined).bit_length() - 1 if joined else 0
    return Dyadic(integers >> shift, exponent + shift) if shift else Dyadic(integers, exponent)


@dataclass(frozen=True, eq=False)
class _Affine:
    """y = sum_i A_i x_i + b with sparse columns left out: A_i [out, in_i] and b [out], exact."""

    matrices: tuple[Dyadic, ...]
    constant: Dyadic | None


class ExactNetwork:
    """A network's affine maps in exact arithmetic, made once.

    `UnsupportedOperator` for weights that are not stored as they are (they were divided, say).
    """

    def __init__(self, forward: ForwardGraph) -> None:
        self.forward = forward
        used = forward.ancestors(forward.output)
        self.nodes = [node for node in forward if node.operator and node.name in used]
        self.affine: dict[str, _Affine] = {}
        for node in self.nodes:
            if isinstance(node.operator, AffineOperator):
                sizes = [forward[name].shape for name in node.inputs]
                self.affine[node.name] = _exact_affine(node.operator, sizes)

    @cached_property
    def slopes(self) -> Mapping[str, tuple[Fraction, Fraction]]:
        """The derivatives below and above 0 of each activation node."""
        one = torch.ones((), dtype=DTYPE)
        found = {}
        for node in self.nodes:
            if isinstance(node.operator, Activation):
                ends = node.operator.derivative(-one), node.operator.derivative(one)
                found[node.name] = (Fraction(float(ends[0])), Fraction(float(ends[1])))
        return found


@lru_cache(maxsize=4)
def exact_network(forward: ForwardGraph) -> ExactNetwork | None:
    """None where its weights are not exact."""
    try:
        return ExactNetwork(forward)
    except UnsupportedOperator:
        return None


def _exact_affine(operator: AffineOperator, shapes: Sequence[tuple[int, ...]]) -> _Affine:
    match operator:
        case Dense() | Conv() | Add() | Choice() | Concat() | Scale(rounding=0):
            pass
        case Pad() | Reshape() | Select() | Transpose():
            pass
        case _:
            raise UnsupportedOperator(f"{operator.name}: its weights are not exact")
    matrices = []
    for operand, shape in enumerate(shapes):
        size = int(np.prod(shape))
        if size > MOST_WEIGHTS // max(1, size):
            raise UnsupportedOperator(f"{operator.name}: too large for exact arithmetic")
        columns = operator.linear(torch.eye(size, dtype=DTYPE).reshape(size, *shape), operand)
        matrix = columns.reshape(size, -1).T
        if matrix.numel() > MOST_WEIGHTS:
            raise UnsupportedOperator(f"{operator.name}: too large for exact arithmetic")
        matrices.append(dyadic(matrix))
    constant = operator.constant
    if constant is None:
        return _Affine(tuple(matrices), None)
    shape = operator.output_shape(*shapes)
    return _Affine(tuple(matrices), dyadic(constant.expand(shape).reshape(-1)))


@dataclass(frozen=True, eq=False)
class _Lines:
    """c0 + c1 t for every entry of a node: two rows [2, size] of integers over one power of two."""

    both: Dyadic

    def sign_right_of(self, t: Fraction) -> Integers:
        """The signs just right of t; 0 where the entry is 0 all along."""
        c0, c1 = self.both.integers
        at = c0 * t.denominator + c1 * t.numerator
        return np.where(at != 0, np.sign(at), np.sign(c1)).astype(int)

    def sign_at(self, t: Fraction) -> Integers:
        c0, c1 = self.both.integers
        return np.sign(c0 * t.denominator + c1 * t.numerator).astype(int)


@dataclass(frozen=True, eq=False)
class ExactLine:
    """t -> row . f(x + (t - x_index) e_index), x [n], row [m]."""

    network: ExactNetwork
    x: Tensor
    index: int
    row: Tensor

    def pieces(self, low: float, high: float) -> tuple[ExactPiece, ...] | None:
        """Its pieces on [low, high]; None if they are more than `MOST_PIECES`."""
        t, end = Fraction(low), Fraction(high)
        found: list[ExactPiece] = []
        while len(found) < MOST_PIECES:
            lines, preactivations = self._right_of(t)
            stop = _first_zero(preactivations, t, end)
            scale = Fraction(2) ** lines.both.exponent
            found.append(ExactPiece(t, stop, int(lines.both.integers[1, 0]) * scale))
            if stop >= end:
                return tuple(found)
            t = stop
        return None

    def value(self, t: float) -> Fraction:
        """row . f at t."""
        lines, _ = self._right_of(Fraction(t))
        scale = Fraction(2) ** lines.both.exponent
        c0, c1 = (int(c) for c in lines.both.integers[:, 0])
        return (c0 + c1 * Fraction(t)) * scale

    def _right_of(self, t: Fraction) -> tuple[_Lines, list[_Lines]]:
        """The output on the piece that begins at t, and all preactivations there."""
        forward = self.network.forward
        start = self.x.detach().to(DTYPE).clone()
        start[self.index] = 0.0
        unit = torch.zeros_like(start)
        unit[self.index] = 1.0
        known = {ForwardGraph.INPUT: _Lines(dyadic(torch.stack([start, unit])))}
        preactivations: list[_Lines] = []
        for node in self.network.nodes:
            operands = [known[name] for name in node.inputs]
            if node.name in self.network.affine:
                known[node.name] = _apply(self.network.affine[node.name], operands)
                continue
            preactivations.append(operands[0])
            signs = operands[0].sign_right_of(t)
            known[node.name] = _through(operands[0], signs, self.network.slopes[node.name])
        weights = _Affine((dyadic(self.row.reshape(1, -1)),), None)
        return _apply(weights, [known[forward.output]]), preactivations


def _apply(affine: _Affine, operands: Sequence[_Lines]) -> _Lines:
    terms = []
    for matrix, operand in zip(affine.matrices, operands, strict=True):
        both = operand.both
        product = np.stack([_times(matrix.integers, part) for part in both.integers])
        terms.append(Dyadic(product, matrix.exponent + both.exponent))
    if affine.constant is not None:
        shift = affine.constant
        zero = np.zeros(len(shift.integers), dtype=object)
        terms.append(Dyadic(np.stack([shift.integers, zero]), shift.exponent))
    least = min(term.exponent for term in terms)
    total = sum((term.over(least) for term in terms[1:]), start=terms[0].over(least))
    return _Lines(_reduced(np.asarray(total, dtype=object), least))


def _times(matrix: Integers, vector: Integers) -> Integers:
    """matrix @ vector; columns of zeros are left out."""
    used = np.flatnonzero(vector != 0)
    if not used.size:
        return np.zeros(len(matrix), dtype=object)
    return matrix[:, used].dot(vector[used])


def _through(lines: _Lines, signs: Integers, slopes: tuple[Fraction, Fraction]) -> _Lines:
    """After the activation with that side's slope; the slopes are floats, so dyadic too."""
    exact = dyadic(torch.tensor([float(slope) for slope in slopes], dtype=DTYPE))
    below, above = (int(value) for value in exact.integers)
    factor = np.where(signs < 0, below, above).astype(object)
    both = lines.both
    return _Lines(_reduced(both.integers * factor, both.exponent + exact.exponent))


def _first_zero(preactivations: Sequence[_Lines], t: Fraction, end: Fraction) -> Fraction:
    """The first place right of t, and at most `end`, where a neuron changes its sign."""
    first = end
    for lines in preactivations:
        before, after = lines.sign_right_of(t), lines.sign_at(first)
        for neuron in np.flatnonzero((before != 0) & (after != before)):
            c0, c1 = (int(c) for c in lines.both.integers[:, neuron])
            first = min(first, Fraction(-c0, c1))
    return first
