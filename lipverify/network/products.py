"""Layers that multiply branches: products, quotients, matrix products, norms of a layer, softmax.

All of them are written with one operator, Product, and with scalar functions.
"""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from lipverify.errors import NetworkError, UnsupportedOperator
from lipverify.network import contraction, joining, layers, layout
from lipverify.network.builder import GraphBuilder, Value
from lipverify.numerics import DTYPE
from lipverify.operators import Pow, Product, Shape, Sigmoid, Softplus
from lipverify.operators.einsum import BATCH

ELLIPSIS = "..."

DENSE_MEAN = 1024
"""Up to so many entries, x - mean(x) is one matrix, which intervals do not make wider."""


def multiply(build: GraphBuilder, x: Value, y: Value) -> Value:
    """x y for two branches, with broadcasting."""
    shape = layers.broadcast(x.shape, y.shape)
    x, y = (layers.expand(build, one, shape) for one in (x, y))
    inner = build.shape(x.node)
    node = build.apply(Product(), x.node, build.view(y.node, inner))
    return Value(node, shape)


def matrix_product(build: GraphBuilder, x: Value, y: Value) -> Value:
    """x @ y for two branches, as numpy.matmul has it: all products, then their sums."""
    if not x.shape or not y.shape:
        raise NetworkError("a matrix product of a single number")
    wide = x.shape if len(x.shape) > 1 else (1, *x.shape)
    tall = y.shape if len(y.shape) > 1 else (*y.shape, 1)
    if wide[-1] != tall[-2]:
        raise NetworkError(f"matrices of shapes {list(x.shape)} and {list(y.shape)} do not fit")
    stack = layers.broadcast(wide[:-2], tall[:-2])
    full = (*stack, wide[-2], tall[-1], wide[-1])
    first = layout.numbers(x).reshape(wide).unsqueeze(-2).expand(full)
    second = layout.numbers(y).reshape(tall).transpose(-1, -2).unsqueeze(-3).expand(full)
    terms = multiply(build, layout.select(build, x, first), layout.select(build, y, second))
    total = contraction.reduce(build, terms, [-1], keep=False, mean=False)
    rows = (wide[-2],) if len(x.shape) > 1 else ()
    columns = (tall[-1],) if len(y.shape) > 1 else ()
    return layers.reshape(total, (*stack, *rows, *columns))


def einsum_of(build: GraphBuilder, equation: str, parts: Sequence[Value | Tensor]) -> Value:
    """An equation as ONNX and torch write it, of up to two operands."""
    equation = equation.replace(" ", "")
    left, arrow, outputs = equation.partition("->")
    terms = left.split(",")
    if len(terms) > 2:
        raise UnsupportedOperator(
            f"equation {equation!r}: {len(terms)} operands; write it as several of two operands"
        )
    if len(terms) != len(parts):
        raise NetworkError(f"equation {equation!r} is not of its {len(parts)} operands")
    if not arrow:
        letters = left.replace(",", "").replace(ELLIPSIS, "")
        outputs = "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
        outputs = ELLIPSIS + outputs if ELLIPSIS in left else outputs
    terms, outputs = _spelled_out(equation, terms, outputs, parts)
    if BATCH in equation:
        spare = next(c for c in contraction.LETTERS if c not in "".join([*terms, outputs]))
        terms = [term.replace(BATCH, spare) for term in terms]
        outputs = outputs.replace(BATCH, spare)
    weight, its = torch.ones((), dtype=torch.float64), ""
    values: list[tuple[Value, str]] = []
    for part, term in zip(parts, terms, strict=True):
        if isinstance(part, Tensor):
            weight, its = part, term
        else:
            values.append((part, term))
    if len(values) == 2:
        return _sum_of_products(build, values, outputs)
    assert len(values) == 1, "constants alone are folded"
    return contraction.einsum(build, *values[0], weight, its, outputs)


def _spelled_out(
    equation: str, terms: list[str], outputs: str, parts: Sequence[Value | Tensor]
) -> tuple[list[str], str]:
    """Letters for what an ellipsis stands for: the last ones of its letters, aligned at the end."""
    hidden = []
    for term, part in zip(terms, parts, strict=True):
        count = len(part.shape) - len(term.replace(ELLIPSIS, ""))
        if count < 0 or (count > 0 and ELLIPSIS not in term):
            raise NetworkError(f"equation {equation!r} does not fit shape {list(part.shape)}")
        hidden.append(count)
    most = max(hidden)
    spare = "".join(c for c in contraction.LETTERS if c not in equation)[:most]
    if len(spare) < most:
        raise UnsupportedOperator(f"equation {equation!r}: more dimensions than letters")
    terms = [
        term.replace(ELLIPSIS, spare[most - count :])
        for term, count in zip(terms, hidden, strict=True)
    ]
    outputs = outputs.replace(ELLIPSIS, spare)
    if "." in "".join([*terms, outputs]):
        raise NetworkError(f"equation {equation!r}: a dot that is no part of an ellipsis")
    return terms, outputs


def _sum_of_products(
    build: GraphBuilder, factors: Sequence[tuple[Value, str]], outputs: str
) -> Value:
    """Products of two branches, summed over the letters that are not in `outputs`."""
    parts, terms = zip(*factors, strict=True)
    if any(len(set(letters)) < len(letters) for letters in (*terms, outputs)):
        raise UnsupportedOperator(f"{','.join(terms)}->{outputs} takes a diagonal")
    sizes: dict[str, int] = {}
    for part, term in zip(parts, terms, strict=True):
        if len(term) != len(part.shape):
            raise NetworkError(f"{term!r} does not fit shape {list(part.shape)}")
        for letter, size in zip(term, part.shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                raise NetworkError(f"dimension {letter!r} has sizes {sizes[letter]} and {size}")
    every = outputs + "".join(letter for letter in sizes if letter not in outputs)
    full = tuple(sizes[letter] for letter in every)

    def spread(part: Value, term: str) -> Value:
        own = [letter for letter in every if letter in term]
        numbers = layout.numbers(part).permute([term.index(letter) for letter in own])
        thin = tuple(sizes[letter] if letter in term else 1 for letter in every)
        return layout.select(build, part, numbers.reshape(thin).expand(full))

    total = multiply(build, *(spread(*pair) for pair in zip(parts, terms, strict=True)))
    summed = list(range(len(outputs), len(every)))
    return contraction.reduce(build, total, summed, keep=False, mean=False) if summed else total


def log_sum_exp(build: GraphBuilder, x: Value) -> Value:
    """log(sum exp(x)) over the last dimension, by halves: log(e^a + e^b) = b + softplus(a - b).

    Every derivative on the way is between 0 and 1, and nothing overflows.
    """
    while x.shape[-1] > 1:
        half = x.shape[-1] // 2
        numbers = layout.numbers(x)
        a, b = (
            layout.select(build, x, part)
            for part in (numbers[..., :half], numbers[..., half : 2 * half])
        )
        soft = layers.activation(build, layers.add(build, a, b, sign=-1), Softplus())
        joined = layers.add(build, b, soft)
        if x.shape[-1] % 2:
            rest = layout.select(build, x, numbers[..., -1:])
            joined = joining.concat(build, [joined, rest], len(x.shape) - 1)
        x = joined
    return layers.reshape(x, x.shape[:-1])


def softmax(build: GraphBuilder, x: Value, axis: int, *, log: bool = False) -> Value:
    """p_i = sigmoid(x_i - log sum_(j != i) exp(x_j)) along dimension `axis`, or its logarithm.

    So 0 <= p_i <= 1 and dp_i/dx_j is at most 1/4 in magnitude, also for intervals.
    """
    axis %= len(x.shape)
    count = x.shape[axis]
    numbers = layout.numbers(x).movedim(axis, -1)
    if count == 1:  # one share of all: 1
        constant = torch.tensor(0.0 if log else 1.0, dtype=DTYPE)
        return layers.scale(build, x, torch.zeros((), dtype=DTYPE), constant)
    others = torch.tensor([[j for j in range(count) if j != i] for i in range(count)])
    own = layout.select(build, x, numbers)
    rival = log_sum_exp(build, layout.select(build, x, numbers[..., others]))
    if log:
        lead = layers.add(build, rival, own, sign=-1)
        share = layers.negate(build, layers.activation(build, lead, Softplus()))
    else:
        share = layers.activation(build, layers.add(build, own, rival, sign=-1), Sigmoid())
    return layout.select(build, share, layout.numbers(share).movedim(-1, axis))


def masked_softmax(build: GraphBuilder, x: Value, kept: Tensor) -> Value:
    """The softmax over the last dimension among the entries `kept`; 0 for all others."""
    if bool(kept.all()):
        return softmax(build, x, -1)
    kept = kept.expand(x.shape).reshape(-1, x.shape[-1])
    numbers = layout.numbers(x).reshape(kept.shape)
    counts = kept.sum(1)
    if not bool((counts > 0).all()):
        raise UnsupportedOperator("its mask leaves nothing in some row")
    place = torch.zeros(kept.shape, dtype=DTYPE)
    parts: list[Value | Tensor] = []
    done = 0
    for count in counts.unique().tolist():
        rows = (counts == count).nonzero().flatten()
        chosen = kept[rows].nonzero()[:, 1].reshape(len(rows), count)
        picked = layout.select(build, x, numbers[rows].gather(1, chosen))
        shares = softmax(build, picked, -1)
        parts.append(layers.reshape(shares, (len(rows) * count,)))
        index = torch.arange(1, 1 + len(rows) * count, dtype=DTYPE).reshape(chosen.shape)
        place[rows] = place[rows].scatter(1, chosen, index + done)
        done += len(rows) * count
    return layout.select(build, joining.concat(build, parts, 0), place.reshape(x.shape))


def attention(
    build: GraphBuilder,
    query: Value,
    key: Value,
    value: Value,
    factor: float,
    kept: Tensor | None = None,
    shift: Tensor | None = None,
) -> Value:
    """softmax(factor query key^T + shift) value among the entries `kept`."""
    order = [*range(len(key.shape) - 2), len(key.shape) - 1, len(key.shape) - 2]
    scores = matrix_product(build, query, layers.transpose(build, key, order))
    scores = layers.scale(build, scores, torch.tensor(factor, dtype=DTYPE), shift, rounding=2)
    every = torch.ones((), dtype=torch.bool)
    shares = masked_softmax(build, scores, every if kept is None else kept)
    return matrix_product(build, shares, value)


def centered(build: GraphBuilder, x: Value) -> Value:
    """x minus its mean over the last dimension."""
    count = x.shape[-1]
    if count > DENSE_MEAN:
        mean = contraction.reduce(build, x, [-1], keep=True, mean=True)
        return layers.add(build, x, mean, sign=-1)
    # count x - sum(x) has whole weights; the division that is left rounds once.
    weight = count * torch.eye(count, dtype=DTYPE) - 1
    total = contraction.along(build, x, len(x.shape) - 1, weight)
    return layers.divide(build, total, torch.tensor(float(count), dtype=DTYPE))


def sum_of_squares(build: GraphBuilder, x: Value) -> Value:
    """Over the last dimension, which stays with size 1."""
    square = layers.activation(build, x, Pow(2.0))
    return contraction.reduce(build, square, [-1], keep=True, mean=False)


def variance(build: GraphBuilder, x: Value, *, less: int = 0, center: bool = True) -> Value:
    """The mean square of x - mean(x) over the last dimension, which stays with size 1.

    `less` is taken off the count; `center` says whether the mean is subtracted.
    """
    count = x.shape[-1] - less
    if count < 1:
        raise UnsupportedOperator("it is the variance of a single number")
    total = sum_of_squares(build, centered(build, x) if center else x)
    return layers.divide(build, total, torch.tensor(float(count), dtype=DTYPE))


def normalised(build: GraphBuilder, x: Value, epsilon: float, *, center: bool = True) -> Value:
    """(x - mean) / sqrt(variance + epsilon) over the last dimension; the mean only if asked.

    Where the variance may be 0 on the region, epsilon has to be positive.
    """
    if center:
        x = centered(build, x)
    square = variance(build, x, center=False)
    spread = layers.scale(build, square, shift=torch.tensor(epsilon, dtype=DTYPE))
    return multiply(build, x, layers.activation(build, spread, Pow(-0.5)))


def layer_norm(
    build: GraphBuilder,
    x: Value,
    dimensions: int,
    weight: Tensor | None,
    bias: Tensor | None,
    epsilon: float,
    *,
    center: bool = True,
) -> Value:
    """weight x' + bias, x' normalised over the last `dimensions` dimensions."""
    shape, start = x.shape, len(x.shape) - dimensions
    flat = layers.reshape(x, (*shape[:start], prod(shape[start:])))
    y = layers.reshape(normalised(build, flat, epsilon, center=center), shape)
    return layers.scale(build, y, weight, bias)


def group_norm(
    build: GraphBuilder,
    x: Value,
    groups: int,
    weight: Tensor | None,
    bias: Tensor | None,
    epsilon: float,
) -> Value:
    """As `layer_norm` over each of `groups` groups of channels (dimension 1), and their space.

    `weight` and `bias` have one entry per channel.
    """
    shape = x.shape
    if len(shape) < 2 or groups < 1 or shape[1] % groups:
        raise NetworkError(f"{groups} groups do not fit shape {list(shape)}")
    rest = prod(shape[1:]) // groups
    flat = layers.reshape(x, (shape[0], groups, rest))
    y = layers.reshape(normalised(build, flat, epsilon), shape)

    def per_channel(values: Tensor | None) -> Tensor | None:
        return None if values is None else values.reshape(-1, *(1 for _ in shape[2:]))

    return layers.scale(build, y, per_channel(weight), per_channel(bias))


def gated_linear(build: GraphBuilder, x: Value, axis: int) -> Value:
    """GLU: the first half along `axis` times the sigmoid of the second."""
    if x.shape[axis] % 2:
        raise NetworkError(f"dimension {axis} of shape {list(x.shape)} has no halves")
    a, b = (layout.select(build, x, part) for part in layout.numbers(x).chunk(2, axis))
    return multiply(build, a, layers.activation(build, b, Sigmoid()))


def last(build: GraphBuilder, x: Value, axes: Sequence[int]) -> tuple[Value, Shape]:
    """x with the dimensions `axes` moved to the end and made one, and the shape with 1 for them."""
    axes = [axis % len(x.shape) for axis in axes]
    rest = [axis for axis in range(len(x.shape)) if axis not in axes]
    numbers = layout.numbers(x).permute(*rest, *axes)
    flat = numbers.reshape(*(x.shape[axis] for axis in rest), -1)
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(x.shape))
    return layout.select(build, x, flat), kept
