"""Scalar functions as nodes, other than those that are one activation each.

Clipped lines are written with ReLUs, which every method can split: clip(x, a, b) is
b - relu(b - a - relu(x - a)), whose two gates multiply to the slope 0 or 1 of the clipped line.
"""

import torch
from torch import Tensor

from lipverify.errors import UnsupportedOperator
from lipverify.network import layers, products
from lipverify.network.builder import GraphBuilder, Value
from lipverify.network.patterns import Fused, fused_product
from lipverify.numerics import DTYPE, ELEMENTARY_ULPS, add_down, add_up
from lipverify.operators import Exp, LeakyReLU, Pow, ReLU, Softplus

UNBOUNDED = 3.4e38
"""Bounds from here on are ONNX's way of saying that there is none."""


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=DTYPE)


def clip(build: GraphBuilder, x: Value, low: Tensor | None, high: Tensor | None) -> Value:
    """min(max(x, low), high); None for no bound."""
    if low is not None and bool((low <= -UNBOUNDED).all()):
        low = None
    if high is not None and bool((high >= UNBOUNDED).all()):
        high = None
    if low is None and high is None:
        return x
    if low is None:
        assert high is not None
        below = _relu(build, layers.scale(build, x, number(-1.0), high))
        return layers.scale(build, below, number(-1.0), high)
    above = _relu(build, layers.scale(build, x, shift=-low))
    if high is None:
        return layers.scale(build, above, shift=low)
    if not bool((low <= high).all()):
        raise UnsupportedOperator("its lower bound is above its upper one")
    width, rounding = _difference(high, low)
    below = _relu(build, layers.scale(build, above, number(-1.0), width, rounding))
    return layers.scale(build, below, number(-1.0), high)


def hard_sigmoid(build: GraphBuilder, x: Value, slope: Tensor, shift: Tensor) -> Value:
    """slope x + shift, clipped to [0, 1]."""
    return clip(build, layers.scale(build, x, slope, shift), number(0.0), number(1.0))


def prelu(build: GraphBuilder, x: Value, slope: Tensor) -> Value:
    """x above 0, slope x below: a LeakyReLU, or slope x + (1 - slope) relu(x) where slopes vary."""
    if bool((slope == slope.reshape(-1)[0]).all()):
        return layers.activation(build, x, LeakyReLU(float(slope.reshape(-1)[0])))
    rest, rounding = _difference(torch.ones_like(slope), slope)
    above = layers.scale(build, _relu(build, x), rest, rounding=rounding)
    return layers.add(build, layers.scale(build, x, slope), above)


def power(build: GraphBuilder, x: Value, exponent: Tensor) -> Value:
    """x^exponent, one number for all entries."""
    first = float(exponent.reshape(-1)[0])
    if not bool((exponent == first).all()):
        raise UnsupportedOperator("its exponents differ from entry to entry")
    return x if first == 1.0 else layers.activation(build, x, Pow(first))


def exponential(build: GraphBuilder, base: Tensor, x: Value) -> Value:
    """base^x = exp(x log base) for a constant base; the logarithm is rounded."""
    if not bool((base > 0).all()):
        raise UnsupportedOperator("its constant base is not positive")
    power = layers.scale(build, x, torch.log(base), rounding=ELEMENTARY_ULPS)
    return layers.activation(build, power, Exp())


def log_sigmoid(build: GraphBuilder, x: Value) -> Value:
    return layers.negate(build, layers.activation(build, layers.negate(build, x), Softplus()))


def product(build: GraphBuilder, x: Value, y: Value) -> Value:
    """x y: one activation where that is a scalar function that we know (x sigmoid(x), ...)."""
    found = fused_product(build, x, y)
    if found is None:
        return products.multiply(build, x, y)
    return fused(build, found, layers.broadcast(x.shape, y.shape))


def quotient(build: GraphBuilder, x: Value, y: Value) -> Value:
    """x / y, also as scalar functions that we know (x / (1 + |x|), x / (1 + exp(-x))).

    Regions on which y may be 0 are refused when it is bounded.
    """
    return product(build, x, layers.activation(build, y, Pow(-1.0)))


def fused(build: GraphBuilder, found: Fused, shape: tuple[int, ...]) -> Value:
    """outer f(inner x)."""
    value = Value(found.node, shape)
    inner = layers.scale(build, value, number(found.inner), rounding=found.inner_rounding)
    y = layers.activation(build, inner, found.operator)
    return layers.scale(build, y, number(found.outer), rounding=found.outer_rounding)


def _relu(build: GraphBuilder, x: Value) -> Value:
    return layers.activation(build, x, ReLU())


def _difference(a: Tensor, b: Tensor) -> tuple[Tensor, int]:
    """a - b, and how many roundings it took: 0 or 1."""
    exact = torch.equal(
        add_up(*torch.broadcast_tensors(a, -b)), add_down(*torch.broadcast_tensors(a, -b))
    )
    return a - b, 0 if exact else 1
