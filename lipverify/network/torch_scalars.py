"""torch calls that act on each entry alone."""

from torch import Tensor

from lipverify.errors import UnsupportedOperator
from lipverify.network import layers, scalars
from lipverify.network.builder import GraphBuilder, Value
from lipverify.network.torch_node import Converter, TorchNode
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
    Tanh,
)

SELU = (1.6732632423543772, 1.0507009873554805)
"""torch's alpha and scale."""

SMOOTH_THRESHOLD = 20.0
"""torch's softplus is the identity from here on (its default): within 2.1e-9 of the function."""


def _activation(operator: Activation) -> Converter:
    def convert(build: GraphBuilder, node: TorchNode) -> Value:
        return layers.activation(build, node.value(), operator)

    return convert


def _leaky_relu(build: GraphBuilder, node: TorchNode) -> Value:
    slope = float(node.arguments["negative_slope"])
    return layers.activation(build, node.value(), LeakyReLU(slope))


def _prelu(build: GraphBuilder, node: TorchNode) -> Value:
    """One slope per channel (dimension 1), or one for all."""
    x, slope = node.value(), node.weight("weight")
    if slope.numel() > 1 and slope.dim() == 1:
        slope = slope.reshape(-1, *(1 for _ in x.shape[2:]))
    return scalars.prelu(build, x, slope)


def _elu(build: GraphBuilder, node: TorchNode) -> Value:
    given = (float(node.arguments[name]) for name in ("alpha", "scale", "input_scale"))
    return layers.activation(build, node.value(), Elu(*given))


def _celu(build: GraphBuilder, node: TorchNode) -> Value:
    alpha = float(node.arguments["alpha"])
    if not alpha > 0:
        raise UnsupportedOperator(f"alpha={alpha:g} is not positive")
    return layers.activation(build, node.value(), Elu(alpha, 1.0, 1.0 / alpha))


def _softplus(build: GraphBuilder, node: TorchNode) -> Value:
    """log(1 + exp(beta x)) / beta."""
    beta = node.weight("beta")
    if float(node.arguments["threshold"]) < SMOOTH_THRESHOLD:
        raise UnsupportedOperator(
            f"its threshold is below {SMOOTH_THRESHOLD:g}: it jumps from log(1 + exp(x)) to x"
        )
    y = layers.activation(build, layers.scale(build, node.value(), beta), Softplus())
    return layers.divide(build, y, beta)


def _gelu(build: GraphBuilder, node: TorchNode) -> Value:
    operator = Gelu() if node.arguments["approximate"] == "none" else GeluTanh()
    return layers.activation(build, node.value(), operator)


def _bounded(low: str | None, high: str | None) -> Converter:
    """The arguments that hold the bounds of a clipped line."""

    def convert(build: GraphBuilder, node: TorchNode) -> Value:
        bounds = [None if name is None else node.optional_weight(name) for name in (low, high)]
        return scalars.clip(build, node.value(), *bounds)

    return convert


def _relu6(build: GraphBuilder, node: TorchNode) -> Value:
    return scalars.clip(build, node.value(), scalars.number(0.0), scalars.number(6.0))


def _hard_sigmoid(build: GraphBuilder, node: TorchNode) -> Value:
    """relu6(x + 3) / 6."""
    shifted = layers.scale(build, node.value(), shift=scalars.number(3.0))
    clipped = scalars.clip(build, shifted, scalars.number(0.0), scalars.number(6.0))
    return layers.divide(build, clipped, scalars.number(6.0))


def _log_sigmoid(build: GraphBuilder, node: TorchNode) -> Value:
    return scalars.log_sigmoid(build, node.value())


def _pow(build: GraphBuilder, node: TorchNode) -> Value:
    if node.is_value("self"):
        return scalars.power(build, node.value(), node.weight("exponent"))
    return scalars.exponential(build, node.weight("self"), node.value("exponent"))


def _expm1(build: GraphBuilder, node: TorchNode) -> Value:
    y = layers.activation(build, node.value(), Exp())
    return layers.scale(build, y, shift=scalars.number(-1.0))


def _log1p(build: GraphBuilder, node: TorchNode) -> Value:
    x = layers.scale(build, node.value(), shift=scalars.number(1.0))
    return layers.activation(build, x, Log())


def _mul(build: GraphBuilder, node: TorchNode) -> Value:
    if not node.is_value("other"):
        return layers.scale(build, node.value(), node.weight("other"))
    if not node.is_value("self"):
        return layers.scale(build, node.value("other"), node.weight("self"))
    return scalars.product(build, node.value(), node.value("other"))


def _div(build: GraphBuilder, node: TorchNode) -> Value:
    if node.arguments.get("rounding_mode") is not None:
        raise UnsupportedOperator("it rounds the quotient")
    if not node.is_value("other"):
        return layers.divide(build, node.value(), node.weight("other"))
    if not node.is_value("self"):
        inverse = layers.activation(build, node.value("other"), Pow(-1.0))
        return layers.scale(build, inverse, node.weight("self"))
    return scalars.quotient(build, node.value(), node.value("other"))


def _where(build: GraphBuilder, node: TorchNode) -> Value:
    condition = node.weight("condition")
    branches: list[Value | Tensor] = [
        node.value(name) if node.is_value(name) else node.weight(name) for name in ("self", "other")
    ]
    return layers.where(build, condition, branches[0], branches[1])


SCALAR_CONVERTERS: dict[str, Converter] = {
    "aten._prelu_kernel": _prelu,
    "aten.abs": _activation(Abs()),
    "aten.celu": _celu,
    "aten.clamp": _bounded("min", "max"),
    "aten.clamp_max": _bounded(None, "max"),
    "aten.clamp_min": _bounded("min", None),
    "aten.cos": _activation(Cos()),
    "aten.div": _div,
    "aten.elu": _elu,
    "aten.erf": _activation(Erf()),
    "aten.exp": _activation(Exp()),
    "aten.expm1": _expm1,
    "aten.gelu": _gelu,
    "aten.hardsigmoid": _hard_sigmoid,
    "aten.hardswish": _activation(HardSwish()),
    "aten.hardtanh": _bounded("min_val", "max_val"),
    "aten.leaky_relu": _leaky_relu,
    "aten.log": _activation(Log()),
    "aten.log1p": _log1p,
    "aten.log_sigmoid": _log_sigmoid,
    "aten.log_sigmoid_forward": _log_sigmoid,
    "aten.mish": _activation(Mish()),
    "aten.mul": _mul,
    "aten.pow": _pow,
    "aten.prelu": _prelu,
    "aten.reciprocal": _activation(Pow(-1.0)),
    "aten.relu": _activation(ReLU()),
    "aten.relu6": _relu6,
    "aten.rsqrt": _activation(Pow(-0.5)),
    "aten.selu": _activation(Elu(*SELU)),
    "aten.sigmoid": _activation(Sigmoid()),
    "aten.silu": _activation(Silu()),
    "aten.sin": _activation(Sin()),
    "aten.softplus": _softplus,
    "aten.sqrt": _activation(Pow(0.5)),
    "aten.square": _activation(Pow(2.0)),
    "aten.tanh": _activation(Tanh()),
    "aten.where": _where,
}
