"""ONNX operators that act on each entry alone."""

from collections.abc import Callable

from lipverify.errors import UnsupportedOperator
from lipverify.network import layers, scalars
from lipverify.network.builder import GraphBuilder, Value
from lipverify.network.onnx_node import OnnxNode
from lipverify.operators import (
    Abs,
    Activation,
    Cos,
    Elu,
    Erf,
    Exp,
    Gelu,
    GeluTanh,
    HardSwish,
    LeakyReLU,
    Log,
    Mish,
    Pow,
    ReLU,
    Sigmoid,
    Silu,
    Sin,
    Softplus,
    Softsign,
    Tanh,
)

Converter = Callable[[GraphBuilder, OnnxNode], Value]


def _activation(operator: Activation) -> Converter:
    def convert(build: GraphBuilder, node: OnnxNode) -> Value:
        return layers.activation(build, node.value(0), operator)

    return convert


def _leaky_relu(build: GraphBuilder, node: OnnxNode) -> Value:
    slope = node.number("alpha", LeakyReLU.slope)
    return layers.activation(build, node.value(0), LeakyReLU(slope))


def _elu(build: GraphBuilder, node: OnnxNode) -> Value:
    return layers.activation(build, node.value(0), Elu(node.number("alpha", 1.0)))


def _selu(build: GraphBuilder, node: OnnxNode) -> Value:
    alpha = node.number("alpha", 1.67326319217681884765625)
    scale = node.number("gamma", 1.05070102214813232421875)
    return layers.activation(build, node.value(0), Elu(alpha, scale))


def _celu(build: GraphBuilder, node: OnnxNode) -> Value:
    alpha = node.number("alpha", 1.0)
    if not alpha > 0:
        raise UnsupportedOperator(f"alpha={alpha:g} is not positive")
    return layers.activation(build, node.value(0), Elu(alpha, 1.0, 1.0 / alpha))


def _gelu(build: GraphBuilder, node: OnnxNode) -> Value:
    form = node.text("approximate", "none")
    if form not in ("none", "tanh"):
        raise UnsupportedOperator(f"approximate={form} is not supported")
    operator = Gelu() if form == "none" else GeluTanh()
    return layers.activation(build, node.value(0), operator)


def _swish(build: GraphBuilder, node: OnnxNode) -> Value:
    """x sigmoid(alpha x)."""
    x, alpha = node.value(0), node.number("alpha", 1.0)
    if alpha == 1.0:
        return layers.activation(build, x, Silu())
    share = layers.activation(build, layers.scale(build, x, scalars.number(alpha)), Sigmoid())
    return scalars.product(build, x, share)


def _clip(build: GraphBuilder, node: OnnxNode) -> Value:
    """Bounds are attributes before opset 11 and operands since."""
    bounds = []
    for index, name in ((1, "min"), (2, "max")):
        bound = node.optional_weight(index, name)
        if bound is None and name in node.attributes:
            bound = scalars.number(float(node.attributes[name]))
        bounds.append(bound)
    return scalars.clip(build, node.value(0), *bounds)


def _hard_sigmoid(build: GraphBuilder, node: OnnxNode) -> Value:
    slope = scalars.number(node.number("alpha", 0.2))
    return scalars.hard_sigmoid(
        build, node.value(0), slope, scalars.number(node.number("beta", 0.5))
    )


def _prelu(build: GraphBuilder, node: OnnxNode) -> Value:
    return scalars.prelu(build, node.value(0), node.weight(1, "slope"))


def _pow(build: GraphBuilder, node: OnnxNode) -> Value:
    if not node.is_constant(0):
        return scalars.power(build, node.value(0), node.weight(1, "exponent"))
    return scalars.exponential(build, node.weight(0, "base"), node.value(1))


SCALAR_CONVERTERS: dict[str, Converter] = {
    "Abs": _activation(Abs()),
    "Celu": _celu,
    "Clip": _clip,
    "Cos": _activation(Cos()),
    "Elu": _elu,
    "Erf": _activation(Erf()),
    "Exp": _activation(Exp()),
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _activation(HardSwish()),
    "LeakyRelu": _leaky_relu,
    "Log": _activation(Log()),
    "Mish": _activation(Mish()),
    "PRelu": _prelu,
    "Pow": _pow,
    "Reciprocal": _activation(Pow(-1.0)),
    "Relu": _activation(ReLU()),
    "Selu": _selu,
    "Sigmoid": _activation(Sigmoid()),
    "Sin": _activation(Sin()),
    "Softplus": _activation(Softplus()),
    "Softsign": _activation(Softsign()),
    "Sqrt": _activation(Pow(0.5)),
    "Swish": _swish,
    "Tanh": _activation(Tanh()),
}
