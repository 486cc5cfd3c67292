"""Layers as nodes of a forward graph: what every input format is translated to.

Shapes are the original's, at a batch of 1. Constants are float64 and finite. A use that is not
supported raises `UnsupportedOperator` with the reason alone; the caller adds the node's name.
"""

from collections.abc import Sequence
from math import prod

import numpy as np
import torch
from torch import Tensor

from lipverify.errors import NetworkError, UnsupportedOperator
from lipverify.network.builder import GraphBuilder, Value
from lipverify.network.layout import expand, numbers, select
from lipverify.operators import (
    Activation,
    Add,
    AveragePool,
    Conv,
    ConvTranspose,
    Dense,
    Pad,
    Scale,
    Shape,
    Transpose,
)
from lipverify.reading import Preprocessing

Padding = tuple[tuple[int, int], ...]

BATCH_NORM_ROUNDING = 4
"""Operations behind a factor weight / sqrt(variance + epsilon), and one to spare."""


def reshape(x: Value, shape: Shape) -> Value:
    """The same entries, in row-major order, in another shape."""
    if prod(shape) != prod(x.shape):
        raise UnsupportedOperator(
            f"it repeats or drops entries: shape {list(x.shape)} becomes {list(shape)}"
        )
    return Value(x.node, shape)


def dense(build: GraphBuilder, x: Value, weight: Tensor, bias: Tensor | None = None) -> Value:
    """weight [out, in] along the last dimension of x; bias [out] or None."""
    if not x.shape or x.shape[-1] != weight.shape[1]:
        raise NetworkError(
            f"a weight for {weight.shape[1]} entries is applied to shape {list(x.shape)}"
        )
    start = next((i for i, size in enumerate(x.shape) if size != 1), len(x.shape) - 1)
    operator = Dense(weight.contiguous(), bias)
    return Value(
        build.apply(operator, build.view(x.node, x.shape[start:])),
        (*x.shape[:-1], weight.shape[0]),
    )


def right_product(build: GraphBuilder, x: Value, weight: Tensor) -> Value:
    """x @ weight, for a constant of any rank; only its last two dimensions may exceed 1."""
    if weight.dim() == 1:
        y = dense(build, x, weight[None, :])
        return reshape(y, x.shape[:-1])
    y = dense(build, x, _matrix(weight).T)
    rank = max(len(x.shape), weight.dim() if len(x.shape) > 1 else weight.dim() - 1)
    return reshape(y, (1,) * (rank - len(y.shape)) + y.shape)


def left_product(build: GraphBuilder, weight: Tensor, x: Value) -> Value:
    """weight @ x, for a constant of any rank; only its last two dimensions may exceed 1."""
    matrix = weight[None, :] if weight.dim() == 1 else _matrix(weight)
    if len(x.shape) < 2:
        y = dense(build, x, matrix)
        return reshape(y, () if weight.dim() == 1 else (*weight.shape[:-2], *y.shape))
    swap = (*range(len(x.shape) - 2), len(x.shape) - 1, len(x.shape) - 2)
    y = transpose(build, dense(build, transpose(build, x, swap), matrix), swap)
    if weight.dim() == 1:
        return reshape(y, (*y.shape[:-2], y.shape[-1]))
    return reshape(y, (1,) * (weight.dim() - len(y.shape)) + y.shape)


def _matrix(weight: Tensor) -> Tensor:
    if prod(weight.shape[:-2]) != 1:
        raise UnsupportedOperator(
            f"its constant is a stack of matrices, shape {list(weight.shape)}; one is supported"
        )
    return weight.reshape(weight.shape[-2:])


def transpose(build: GraphBuilder, x: Value, order: Sequence[int]) -> Value:
    """Dimension i of the result is dimension order[i] of x."""
    if sorted(order) != list(range(len(x.shape))):
        raise NetworkError(f"{list(order)} is no order of the {len(x.shape)} dimensions")
    shape = tuple(x.shape[i] for i in order)
    moved = [i for i in order if x.shape[i] != 1]
    kept = sorted(moved)
    if moved == kept:  # only dimensions of size 1 move: the entries stay
        return Value(x.node, shape)
    if build.shape(x.node) == x.shape[1:] and order[0] == 0:
        return Value(build.apply(Transpose(tuple(i - 1 for i in order[1:])), x.node), shape)
    source = build.view(x.node, tuple(x.shape[i] for i in kept))
    return Value(build.apply(Transpose(tuple(kept.index(i) for i in moved)), source), shape)


def scale(
    build: GraphBuilder,
    x: Value,
    factor: Tensor | None = None,
    shift: Tensor | None = None,
    rounding: int = 0,
) -> Value:
    """factor x + shift, with broadcasting.

    `rounding` counts the float operations behind the constants.
    """
    constants = [constant for constant in (factor, shift) if constant is not None]
    shape = broadcast(x.shape, *(tuple(constant.shape) for constant in constants))
    if prod(shape) != prod(x.shape):
        x = expand(build, x, shape)
    inner = build.shape(x.node)

    def spread(constant: Tensor | None, neutral: float) -> Tensor | None:
        if constant is None or bool((constant == neutral).all()):
            return None
        return constant.expand(shape).reshape(inner).contiguous()

    operator = Scale(spread(factor, 1.0), spread(shift, 0.0), rounding)
    if operator.factor is None and operator.shift is None:
        return Value(x.node, shape)
    return Value(build.apply(operator, x.node), shape)


def negate(build: GraphBuilder, x: Value) -> Value:
    return scale(build, x, torch.tensor(-1.0, dtype=torch.float64))


def divide(build: GraphBuilder, x: Value, divisor: Tensor) -> Value:
    """x / divisor; the reciprocal of a power of two is exact, any other rounds once."""
    if bool((divisor == 0).any()):
        raise UnsupportedOperator("it divides by a constant that holds a zero")
    mantissa, _ = torch.frexp(divisor)
    exact = bool((mantissa.abs() == 0.5).all())
    reciprocal = 1.0 / divisor
    if not bool(torch.isfinite(reciprocal).all()):
        raise UnsupportedOperator("it divides by a constant too small to invert in float64")
    return scale(build, x, reciprocal, rounding=0 if exact else 1)


def add(build: GraphBuilder, x: Value, y: Value, sign: int = 1) -> Value:
    """x + sign y for two branches, with broadcasting."""
    shape = broadcast(x.shape, y.shape)
    x, y = (one if prod(one.shape) == prod(shape) else expand(build, one, shape) for one in (x, y))
    other = build.view(y.node, build.shape(x.node))
    return Value(build.apply(Add((1, sign)), x.node, other), shape)


def where(
    build: GraphBuilder, condition: Tensor, first: Value | Tensor, second: Value | Tensor
) -> Value:
    """first where the constant condition holds, second elsewhere; at least one is a value."""
    chosen = (condition != 0).to(torch.float64)
    if isinstance(first, Tensor):
        assert isinstance(second, Value)
        return scale(build, second, 1 - chosen, first * chosen)
    if isinstance(second, Tensor):
        return scale(build, first, chosen, second * (1 - chosen))
    return add(build, scale(build, first, chosen), scale(build, second, 1 - chosen))


def broadcast(*shapes: Shape) -> Shape:
    """The common shape, by numpy's rules."""
    try:
        # Not torch.broadcast_shapes, whose first call imports sympy and takes a second.
        return np.broadcast_shapes(*shapes)
    except ValueError as error:
        listed = " and ".join(str(list(shape)) for shape in shapes)
        raise NetworkError(f"shapes {listed} do not fit each other") from error


def activation(build: GraphBuilder, x: Value, operator: Activation) -> Value:
    return Value(build.apply(operator, x.node), x.shape)


def conv(
    build: GraphBuilder,
    x: Value,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, ...],
    padding: Padding,
    dilation: tuple[int, ...],
    groups: int,
) -> Value:
    """weight [out, in / groups, *kernel] over x [1, in, *space], one to three space dimensions."""
    sample = _sample(x, weight.dim() - 2)
    _refuse_negative(padding)
    if weight.shape[1] * groups != sample[0] or weight.shape[0] % groups:
        raise NetworkError(
            f"a weight of shape {list(weight.shape)} in {groups} groups does not fit "
            f"{sample[0]} channels"
        )
    operator = Conv(weight.contiguous(), bias, sample, stride, padding, dilation, groups)
    return _spatial(build, x, operator)


def conv_transpose(
    build: GraphBuilder,
    x: Value,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, ...],
    padding: Padding,
    dilation: tuple[int, ...],
    groups: int,
    extra: tuple[int, ...],
) -> Value:
    """weight [in, out / groups, *kernel]; `extra` entries at the end of each space dimension.

    The result is as large as the operand of the convolution that this is the transpose of.
    """
    sample = _sample(x, weight.dim() - 2)
    _refuse_negative(padding)
    if weight.shape[0] != sample[0] or sample[0] % groups:
        raise NetworkError(
            f"a weight of shape {list(weight.shape)} in {groups} groups does not fit "
            f"{sample[0]} channels"
        )
    space = tuple(
        step * (size - 1) + more + (kernel - 1) * spread + 1 - sum(pair)
        for size, kernel, step, spread, pair, more in zip(
            sample[1:], weight.shape[2:], stride, dilation, padding, extra, strict=True
        )
    )
    target = (weight.shape[1] * groups, *space)
    if min(target) < 1:
        raise NetworkError(f"its padding leaves nothing of the result, shape {list(target)}")
    forward = Conv(weight.contiguous(), None, target, stride, padding, dilation, groups)
    if forward.output_shape(target) != sample:
        raise UnsupportedOperator(
            f"its output padding {list(extra)} is not below the stride {list(stride)}"
        )
    operator = ConvTranspose(forward, bias)
    return Value(build.apply(operator, build.view(x.node, sample)), (1, *target))


def average_pool(
    build: GraphBuilder,
    x: Value,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: Padding,
    count_padding: bool,
    ceil_mode: bool = False,
) -> Value:
    """Means of windows of x [1, channels, *space], one to three space dimensions.

    With `ceil_mode`, of windows that reach beyond the padding at the end as well, if they do not
    start there; what is beyond counts in no mean.
    """
    sample = _sample(x, len(kernel))
    _refuse_negative(padding)
    if ceil_mode:
        wider = _up_to_last_window(sample[1:], kernel, stride, padding)
        if count_padding and wider != padding:
            raise UnsupportedOperator(
                "ceil_mode=1 with padding that counts in the means: its last windows do not count "
                "all of theirs. Export it with ceil_mode=0, or without counting the padding"
            )
        padding = wider
    if any(max(pair) >= size for pair, size in zip(padding, kernel, strict=True)):
        raise UnsupportedOperator(
            f"its padding {padding} reaches the kernel size {list(kernel)}: some windows hold "
            "padding only"
        )
    return _spatial(build, x, AveragePool(sample, kernel, stride, padding, count_padding))


def _up_to_last_window(
    space: Sequence[int], kernel: Sequence[int], stride: Sequence[int], padding: Padding
) -> Padding:
    """Padding whose end is that of the last window that starts before the given padding's end."""
    wider: list[tuple[int, int]] = []
    for size, width, step, (before, after) in zip(space, kernel, stride, padding, strict=True):
        more = -(before + size + after - width) % step
        start = before + size + after + more - width
        wider.append((before, after + (more if start < before + size else 0)))
    return tuple(wider)


def _spatial(build: GraphBuilder, x: Value, operator: Conv | AveragePool) -> Value:
    sample = x.shape[1:]
    shape = operator.output_shape(sample)
    if min(shape) < 1:
        raise NetworkError(f"its kernel is larger than its padded operand, shape {list(sample)}")
    return Value(build.apply(operator, build.view(x.node, sample)), (1, *shape))


def _sample(x: Value, dimensions: int) -> Shape:
    """[channels, *space] of x [1, channels, *space]."""
    if dimensions not in (1, 2, 3):
        raise UnsupportedOperator(f"it has {dimensions} space dimensions; 1 to 3 are supported")
    if len(x.shape) != dimensions + 2:
        raise NetworkError(f"a {dimensions}-D kernel is applied to shape {list(x.shape)}")
    if x.shape[0] != 1:
        raise UnsupportedOperator(
            f"its operand holds {x.shape[0]} samples, shape {list(x.shape)}; the first dimension "
            "must be 1"
        )
    return x.shape[1:]


def pad(build: GraphBuilder, x: Value, padding: Padding, fill: float = 0.0) -> Value:
    """The number `fill` around x, (begin, end) per dimension; negative sizes crop."""
    crop = [(min(begin, 0), min(end, 0)) for begin, end in padding]
    if any(begin or end for begin, end in crop):
        inside = tuple(
            slice(-begin, size + end) for size, (begin, end) in zip(x.shape, crop, strict=True)
        )
        x = select(build, x, numbers(x)[inside])
        padding = tuple((max(begin, 0), max(end, 0)) for begin, end in padding)
    shape = tuple(size + begin + end for size, (begin, end) in zip(x.shape, padding, strict=True))
    if shape == x.shape:
        return x
    start = 1 if x.shape[0] == 1 and padding[0] == (0, 0) else 0
    inner = x.shape[start:]
    node = build.apply(Pad(inner, padding[start:]), build.view(x.node, inner))
    y = Value(node, shape)
    if fill == 0.0:
        return y
    border = torch.full(shape, fill, dtype=torch.float64)
    border[
        tuple(slice(begin, begin + size) for size, (begin, _) in zip(x.shape, padding, strict=True))
    ] = 0.0
    return scale(build, y, shift=border)


def _refuse_negative(padding: Padding) -> None:
    if any(size < 0 for pair in padding for size in pair):
        raise UnsupportedOperator(f"its padding {padding} is negative (it crops)")


def batch_norm(
    build: GraphBuilder,
    x: Value,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
    epsilon: float,
) -> Value:
    """weight (x - mean) / sqrt(variance + epsilon) + bias, per channel (dimension 1 of x).

    Two nodes: the mean is subtracted first. In one node the shift would be bias - factor mean,
    whose rounding error is not small against it where the two cancel.
    """
    if len(x.shape) < 2:
        raise UnsupportedOperator(f"its operand has no channel dimension, shape {list(x.shape)}")
    spread = variance + epsilon
    if not bool((spread > 0).all()):
        raise UnsupportedOperator(
            "variance + epsilon is not positive in some channel: it divides by zero"
        )
    per_channel = (-1, *(1 for _ in x.shape[2:]))
    centered = scale(build, x, shift=-mean.reshape(per_channel))
    return scale(
        build,
        centered,
        (weight / spread.sqrt()).reshape(per_channel),
        bias.reshape(per_channel),
        BATCH_NORM_ROUNDING,
    )


def preprocess(build: GraphBuilder, preprocessing: Preprocessing | None) -> Value:
    """What enters the network, made from the graph's input."""
    x = build.input
    if preprocessing is None:
        return x
    build.begin("preprocessing")
    mean, std, factor, offset = (
        preprocessing.spread(name, build.shape(x.node)) for name, _ in preprocessing
    )
    if mean is not None:
        x = scale(build, x, shift=-mean)
    if std is not None:
        x = divide(build, x, std)
    if factor is not None or offset is not None:
        x = scale(build, x, factor, offset)
    return x
