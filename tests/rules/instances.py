"""Example instances of every row of the operator tables; a new row needs an entry here.

Each instance comes with a judge that is written from the operator's definition (loops over
entries, in exact numbers), not from its code.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import prod

import torch
from torch import Tensor

from lipverify.numerics import DTYPE
from lipverify.operators import (
    Abs,
    Activation,
    Add,
    AffineOperator,
    AveragePool,
    Concat,
    Conv,
    ConvTranspose,
    Dense,
    Einsum,
    LeakyReLU,
    Pad,
    Pullback,
    ReLU,
    Reshape,
    Scale,
    Select,
    Shape,
    Sigmoid,
    Tanh,
    Transpose,
)
from tests.rules import exact
from tests.rules.cases import generator

Matrix = list[list[Fraction]]
Padding = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class ActivationInstance:
    """An activation, its judge, and whether its values are rounded by more than one operation."""

    operator: Activation
    judge: exact.Judge
    rounded: bool = False

    def __str__(self) -> str:
        return f"{type(self.operator).__name__}({getattr(self.operator, 'slope', '')})"


ACTIVATION_INSTANCES = [
    ActivationInstance(ReLU(), exact.TwoSlopes(0.0, 1.0)),
    *(
        ActivationInstance(LeakyReLU(slope), exact.TwoSlopes(slope, 1.0))
        for slope in (0.01, 0.5, 1.0, -0.3, 2.0, 0.0, 0.7)
    ),
    ActivationInstance(Abs(), exact.TwoSlopes(-1.0, 1.0)),
    ActivationInstance(Tanh(), exact.TanhJudge(), rounded=True),
    ActivationInstance(Sigmoid(), exact.SigmoidJudge(), rounded=True),
]


@dataclass(frozen=True)
class AffineInstance:
    """An affine operator with operands of these shapes, and what it is, exactly."""

    label: str
    operator: AffineOperator
    shapes: tuple[Shape, ...]
    matrices: tuple[Matrix, ...]
    """One per operand: [entries of the result, entries of the operand]."""
    constant: list[Fraction] | None = None
    """One per entry of the result, or None for zero."""

    @property
    def output_shape(self) -> Shape:
        return self.operator.output_shape(*self.shapes)

    def __str__(self) -> str:
        return self.label


def pulled_back(instance: AffineInstance, operand: int) -> AffineInstance:
    """The transpose of one operand's part, as the backward graph has it."""
    shape = instance.shapes[operand]
    return AffineInstance(
        f"{instance.label}-pullback-{operand}",
        Pullback(instance.operator, operand, shape),
        (instance.output_shape,),
        (exact.transposed(instance.matrices[operand]),),
    )


def _values(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=DTYPE)


def _positions(shape: Sequence[int]) -> list[tuple[int, ...]]:
    return list(product(*(range(size) for size in shape)))


def _matrix(outputs: Shape, inputs: Shape, entries: dict) -> Matrix:
    """From {(output position, input position): coefficient}; the rest is zero."""
    row_of = {position: i for i, position in enumerate(_positions(outputs))}
    column_of = {position: i for i, position in enumerate(_positions(inputs))}
    matrix = [[Fraction(0)] * len(column_of) for _ in row_of]
    for (row, column), coefficient in entries.items():
        matrix[row_of[row]][column_of[column]] += coefficient
    return matrix


def _dense(label: str, weight: Tensor, bias: Tensor | None, lead: Shape = ()) -> AffineInstance:
    outputs, inputs = weight.shape
    entries = {
        ((*place, i), (*place, j)): Fraction(float(weight[i, j]))
        for place in _positions(lead)
        for i in range(outputs)
        for j in range(inputs)
    }
    constant = None if bias is None else exact.fractions(bias) * prod(lead)
    matrix = _matrix((*lead, outputs), (*lead, inputs), entries)
    return AffineInstance(label, Dense(weight, bias), ((*lead, inputs),), (matrix,), constant)


def _windows(
    shape: Shape, kernel: Shape, stride: Shape, padding: Padding, dilation: Shape
) -> tuple[Shape, dict[tuple[int, ...], list[tuple[Shape, Shape]]]]:
    """Output size, and for each output place its (kernel place, input place) inside the input."""
    size = tuple(
        (n + begin + end - d * (k - 1) - 1) // s + 1
        for n, k, s, (begin, end), d in zip(shape, kernel, stride, padding, dilation, strict=True)
    )
    found = {}
    for place in _positions(size):
        found[place] = []
        for k in _positions(kernel):
            source = tuple(
                o * s + i * d - begin
                for o, s, i, d, (begin, _) in zip(place, stride, k, dilation, padding, strict=True)
            )
            if all(0 <= i < n for i, n in zip(source, shape, strict=True)):
                found[place].append((k, source))
    return size, found


def _conv(label: str, operator: Conv) -> AffineInstance:
    weight, space = operator.weight, operator.input_shape[1:]
    outputs, per_group = weight.shape[:2]
    size, windows = _windows(
        space, tuple(weight.shape[2:]), operator.stride, operator.padding, operator.dilation
    )
    entries = {}
    for channel in range(outputs):
        first = channel // (outputs // operator.groups) * per_group
        for place, window in windows.items():
            for c in range(per_group):
                for k, source in window:
                    coefficient = Fraction(float(weight[(channel, c, *k)]))
                    entries[((channel, *place), (first + c, *source))] = coefficient
    matrix = _matrix((outputs, *size), operator.input_shape, entries)
    constant = None
    if operator.bias is not None:
        constant = [value for value in exact.fractions(operator.bias) for _ in range(prod(size))]
    return AffineInstance(label, operator, (operator.input_shape,), (matrix,), constant)


def _average_pool(label: str, operator: AveragePool) -> AffineInstance:
    channels, *space = operator.input_shape
    ones = tuple(1 for _ in space)
    size, windows = _windows(tuple(space), operator.kernel, operator.stride, operator.padding, ones)
    entries = {}
    for channel in range(channels):
        for place, window in windows.items():
            count = prod(operator.kernel) if operator.count_padding else len(window)
            for _, source in window:
                entries[((channel, *place), (channel, *source))] = Fraction(1, count)
    matrix = _matrix((channels, *size), operator.input_shape, entries)
    return AffineInstance(label, operator, (operator.input_shape,), (matrix,))


def _scale(
    label: str, factor: Tensor | None, shift: Tensor | None, shape: Shape, rounding: int = 0
) -> AffineInstance:
    entries = {
        (place, place): Fraction(1 if factor is None else float(factor[place]))
        for place in _positions(shape)
    }
    constant = None if shift is None else exact.fractions(shift)
    matrix = _matrix(shape, shape, entries)
    return AffineInstance(label, Scale(factor, shift, rounding), (shape,), (matrix,), constant)


def _moves(
    label: str, operator: AffineOperator, source: Shape, target: Shape, to: Callable[[Shape], Shape]
) -> AffineInstance:
    """Entry p of the operand becomes entry to(p) of the result."""
    entries = {(to(place), place): Fraction(1) for place in _positions(source)}
    return AffineInstance(label, operator, (source,), (_matrix(target, source, entries),))


def _add(label: str, signs: tuple[int, ...], shape: Shape) -> AffineInstance:
    matrices = tuple(
        _matrix(shape, shape, {(place, place): Fraction(sign) for place in _positions(shape)})
        for sign in signs
    )
    return AffineInstance(label, Add(signs), tuple(shape for _ in signs), matrices)


def _reshaped(source: Shape, target: Shape) -> AffineInstance:
    places = dict(zip(_positions(source), _positions(target), strict=True))
    return _moves("reshape", Reshape(source, target), source, target, places.__getitem__)


def _conv_transpose(label: str, conv: Conv, bias: Tensor | None) -> AffineInstance:
    forward = _conv(label, conv)
    size = prod(conv.input_shape[1:])
    constant = None
    if bias is not None:
        constant = [value for value in exact.fractions(bias) for _ in range(size)]
    shape, matrix = forward.output_shape, exact.transposed(forward.matrices[0])
    return AffineInstance(label, ConvTranspose(conv, bias), (shape,), (matrix,), constant)


def _select(label: str, source: Shape, target: Shape, index: list[int]) -> AffineInstance:
    places = _positions(source)
    entries = {
        (place, places[where]): Fraction(1)
        for place, where in zip(_positions(target), index, strict=True)
        if where >= 0
    }
    operator = Select(source, target, torch.tensor(index))
    return AffineInstance(label, operator, (source,), (_matrix(target, source, entries),))


def _concat(label: str, operator: Concat, shapes: tuple[Shape, ...]) -> AffineInstance:
    matrices = []
    for start, shape in zip(operator.starts, shapes, strict=True):
        entries = {}
        for place in _positions(shape):
            moved = list(place)
            moved[operator.axis] += start
            entries[(tuple(moved), place)] = Fraction(1)
        matrices.append(_matrix(operator.target, shape, entries))
    return AffineInstance(label, operator, shapes, tuple(matrices))


def _einsum(label: str, inputs: str, weights: str, outputs: str, sizes: dict[str, int], seed: int):
    weight = _values(*(sizes[letter] for letter in weights), seed=seed)
    source = tuple(sizes[letter] for letter in inputs)
    entries: dict = {}
    for place in _positions(tuple(sizes.values())):
        at = dict(zip(sizes, place, strict=True))

        def pick(letters: str, at: dict[str, int] = at) -> Shape:
            return tuple(at[letter] for letter in letters)

        key = (pick(outputs), pick(inputs))
        entries[key] = entries.get(key, 0) + Fraction(float(weight[pick(weights)]))
    operator = Einsum(inputs, weights, outputs, weight, source)
    target = tuple(sizes[letter] for letter in outputs)
    return AffineInstance(label, operator, (source,), (_matrix(target, source, entries),))


FORWARD_INSTANCES = [
    _dense("dense", _values(3, 5, seed=1), _values(3, seed=2)),
    _dense("dense-rows", _values(2, 3, seed=3), _values(2, seed=4), lead=(3,)),
    _dense("dense-sparse", _values(4, 3, seed=5).round(), None),
    _dense("dense-one", torch.full((1, 1), -1.0 / 3, dtype=DTYPE), None),
    _dense("dense-wild", _values(3, 3, seed=6) * 10.0 ** (12 * _values(3, 3, seed=7)), None),
    _conv(
        "conv1d",
        Conv(_values(3, 2, 3, seed=8), _values(3, seed=9), (2, 7), (2,), ((1, 0),), (2,)),
    ),
    _conv(
        "conv1d-rest",
        Conv(_values(2, 1, 2, seed=10), None, (1, 6), (3,), ((0, 2),), (1,)),
    ),
    _conv(
        "conv2d",
        Conv(
            _values(4, 1, 2, 3, seed=11),
            _values(4, seed=12),
            (2, 4, 5),
            (2, 1),
            ((1, 2), (0, 1)),
            (1, 2),
            groups=2,
        ),
    ),
    _conv(
        "conv2d-rest",
        Conv(_values(2, 2, 2, 2, seed=13), None, (2, 4, 4), (3, 2), ((0, 0), (1, 0)), (1, 1)),
    ),
    _conv(
        "conv3d",
        Conv(
            _values(2, 1, 2, 1, 2, seed=20),
            _values(2, seed=21),
            (2, 3, 2, 3),
            (2, 1, 1),
            ((1, 0), (0, 0), (0, 1)),
            (1, 1, 2),
            groups=2,
        ),
    ),
    _conv_transpose(
        "conv-transpose-1d",
        Conv(_values(2, 1, 3, seed=22), None, (2, 6), (2,), ((1, 0),), (1,), groups=2),
        _values(2, seed=23),
    ),
    _conv_transpose(
        "conv-transpose-2d",
        Conv(_values(2, 3, 2, 2, seed=24), None, (3, 4, 3), (2, 1), ((0, 0), (1, 0)), (1, 2)),
        None,
    ),
    _conv_transpose(
        "conv-transpose-3d",
        Conv(
            _values(1, 2, 1, 2, 2, seed=25), None, (2, 2, 3, 2), (1, 2, 1), ((0, 0),) * 3, (1,) * 3
        ),
        _values(2, seed=26),
    ),
    _average_pool(
        "average-pool-3d",
        AveragePool((1, 2, 3, 2), (2, 2, 1), (1, 1, 1), ((0, 1), (0, 0), (0, 0)), False),
    ),
    _select("select", (2, 3), (2, 2), [5, 0, 3, 3]),
    _select("select-zeros", (3,), (2, 2), [-1, 2, 2, 2]),
    _select("select-nothing", (2,), (2,), [-1, -1]),
    _concat("concat", Concat((5, 2), 0, (0, 3), (3, 2)), ((3, 2), (2, 2))),
    _concat("concat-gap", Concat((2, 5), 1, (3, 0), (2, 1)), ((2, 2), (2, 1))),
    _einsum("einsum-stack", "bij", "bjk", "bik", {"b": 2, "i": 2, "j": 3, "k": 2}, 27),
    _einsum("einsum-outer", "ab", "bcd", "dca", {"a": 2, "b": 3, "c": 2, "d": 2}, 28),
    _einsum("einsum-sum", "ab", "ab", "a", {"a": 3, "b": 4}, 29),
    _average_pool(
        "average-pool-1d", AveragePool((2, 7), (3,), (2,), ((1, 1),), count_padding=True)
    ),
    _average_pool(
        "average-pool-2d",
        AveragePool((1, 4, 5), (2, 3), (2, 1), ((1, 0), (0, 2)), count_padding=False),
    ),
    _average_pool(
        "average-pool-2d-counted",
        AveragePool((2, 3, 4), (3, 2), (1, 2), ((0, 1), (1, 1)), count_padding=True),
    ),
    _scale("scale", _values(2, 3, seed=14), _values(2, 3, seed=15), (2, 3)),
    _scale("scale-rounded", _values(3, seed=18), _values(3, seed=19), (3,), rounding=4),
    _scale("scale-factor", _values(4, seed=16), None, (4,)),
    _scale("scale-shift", None, _values(4, seed=17), (4,)),
    _reshaped((2, 3, 2), (4, 3)),
    _moves(
        "transpose",
        Transpose((2, 0, 1)),
        (2, 3, 2),
        (2, 2, 3),
        lambda place: (place[2], place[0], place[1]),
    ),
    _moves(
        "pad",
        Pad((2, 3), ((1, 0), (0, 2))),
        (2, 3),
        (3, 5),
        lambda place: (place[0] + 1, place[1]),
    ),
    _add("add", (1, 1), (2, 3)),
    _add("add-signs", (1, -1, 1), (4,)),
]

PULLBACK_INSTANCES = [
    pulled_back(instance, operand)
    for instance in FORWARD_INSTANCES
    for operand in range(len(instance.shapes))
]

AFFINE_INSTANCES = [*FORWARD_INSTANCES, *PULLBACK_INSTANCES]
