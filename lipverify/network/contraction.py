"""Layers that sum over dimensions: products with constants and stacks of matrices, sums and means,
interpolation. All are one operator, Einsum."""

from collections.abc import Sequence
from math import prod
from string import ascii_letters

import torch
from torch import Tensor

from lipverify.errors import NetworkError, UnsupportedOperator
from lipverify.network import layers
from lipverify.network.builder import GraphBuilder, Value
from lipverify.operators import Einsum
from lipverify.operators.einsum import BATCH

LETTERS = ascii_letters.replace(BATCH, "")


def einsum(
    build: GraphBuilder, x: Value, inputs: str, weight: Tensor, weights: str, outputs: str
) -> Value:
    """sum of x[inputs] weight[weights] over the letters that are not in `outputs`."""
    if len(inputs) != len(x.shape) or len(weights) != weight.dim():
        raise NetworkError(
            f"{inputs},{weights}->{outputs} does not fit shapes {list(x.shape)} and "
            f"{list(weight.shape)}"
        )
    if any(len(set(letters)) < len(letters) for letters in (inputs, weights, outputs)):
        raise UnsupportedOperator(f"{inputs},{weights}->{outputs} takes a diagonal")
    sizes = dict(zip(inputs, x.shape, strict=True))
    for letter, size in zip(weights, weight.shape, strict=True):
        if sizes.setdefault(letter, size) != size:
            raise NetworkError(f"dimension {letter!r} has sizes {sizes[letter]} and {size}")
    alone = set(weights) - set(inputs) - set(outputs)
    if any(sizes[letter] > 1 for letter in alone):
        raise UnsupportedOperator(f"{inputs},{weights}->{outputs} sums over the constant alone")
    shape = tuple(sizes[letter] for letter in outputs)

    def kept(letters: str) -> str:
        return "".join(letter for letter in letters if sizes[letter] > 1)

    flat = weight.reshape([sizes[letter] for letter in kept(weights)])
    inner, outer, at = kept(inputs), kept(outputs), kept(weights)
    for letter in inner:  # a plain sum over a dimension of x: the weight is 1 along it
        if letter not in at + outer:
            flat, at = flat.unsqueeze(-1).expand(*flat.shape, sizes[letter]), at + letter
    dummy = next(letter for letter in LETTERS if letter not in sizes)
    if bool(inner) != bool(outer):
        flat, at = flat.unsqueeze(-1), at + dummy
    inner, outer = (inner or dummy), (outer or dummy)  # a single number is a list of one
    source = tuple(sizes.get(letter, 1) for letter in inner)
    operator = Einsum(inner, at, outer, flat.contiguous(), source)
    return Value(build.apply(operator, build.view(x.node, source)), shape)


def matrix_product(build: GraphBuilder, x: Value, weight: Tensor, *, x_first: bool) -> Value:
    """x @ weight or weight @ x as numpy.matmul has it, for any ranks."""
    if prod(weight.shape[:-2]) == 1:  # one matrix: a fully connected layer
        product = layers.right_product if x_first else _left
        return product(build, x, weight)
    rank = max(len(x.shape), weight.dim())
    stack = LETTERS[: rank - 2]
    mine, its = stack[rank - len(x.shape) :], stack[rank - weight.dim() :]
    if len(x.shape) < 2:
        mine, core = "", ("y", "yz", "z") if x_first else ("y", "xy", "x")
    else:
        core = ("xy", "yz", "xz") if x_first else ("yz", "xy", "xz")
    shape = layers.broadcast(x.shape[: len(mine)], tuple(weight.shape[: len(its)]))
    wide = (*shape[len(shape) - len(mine) :], *x.shape[len(mine) :])
    x = layers.expand(build, x, wide) if len(mine) == len(x.shape) - len(core[0]) else x
    weight = weight.expand(*shape[len(shape) - len(its) :], *weight.shape[len(its) :])
    return einsum(build, x, mine + core[0], weight, its + core[1], stack + core[2])


def _left(build: GraphBuilder, x: Value, weight: Tensor) -> Value:
    return layers.left_product(build, weight, x)


def reduce(build: GraphBuilder, x: Value, axes: Sequence[int], *, keep: bool, mean: bool) -> Value:
    """The sum or the mean over the dimensions `axes`; with `keep`, they stay with size 1."""
    axes = [axis % len(x.shape) for axis in axes]
    letters = LETTERS[: len(x.shape)]
    left = "".join(letter for axis, letter in enumerate(letters) if axis not in axes)
    one = torch.ones((), dtype=torch.float64)
    y = einsum(build, x, letters, one, "", left) if len(left) < len(letters) else x
    if keep:
        y = Value(y.node, tuple(1 if i in axes else size for i, size in enumerate(x.shape)))
    count = prod(x.shape[axis] for axis in axes)
    return layers.divide(build, y, one * count) if mean and count > 1 else y


def along(build: GraphBuilder, x: Value, axis: int, matrix: Tensor) -> Value:
    """matrix [out, in] applied along one dimension of x."""
    letters = LETTERS[: len(x.shape)]
    new = LETTERS[len(x.shape)]
    outputs = letters.replace(letters[axis], new)
    return einsum(build, x, letters, matrix, new + letters[axis], outputs)
