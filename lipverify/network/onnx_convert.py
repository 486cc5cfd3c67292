"""ONNX operators, each translated to layers by one function; the table is at the end.

Converters raise `UnsupportedOperator` with the reason alone; the caller adds the node.
"""

from collections.abc import Callable

from torch import Tensor

from lipverify.errors import UnsupportedOperator
from lipverify.network import contraction, layers, products, scalars
from lipverify.network.builder import GraphBuilder, Switched, Value
from lipverify.network.onnx_file import float_types, type_name
from lipverify.network.onnx_layout import LAYOUT_CONVERTERS
from lipverify.network.onnx_node import OnnxNode
from lipverify.network.onnx_products import PRODUCT_CONVERTERS
from lipverify.network.onnx_scalars import SCALAR_CONVERTERS
from lipverify.network.onnx_selection import SELECTION_CONVERTERS
from lipverify.network.onnx_windows import WINDOW_CONVERTERS
from lipverify.operators import Pow

Converter = Callable[[GraphBuilder, OnnxNode], Value | Switched | tuple[Value, ...]]
"""One value (or what a comparison makes of values), or one for each output of the node."""


def _gemm(build: GraphBuilder, node: OnnxNode) -> Value:
    """alpha A B + beta C, with A the value and B, C constants."""
    if not node.is_constant(0) and not node.is_constant(1):
        return _gemm_of_values(build, node)
    x = node.value(0, "first matrix")
    node.refuse_attribute("transA", 0)
    weight = node.weight(1, "second matrix")
    if not node.attributes.get("transB", 0):
        weight = weight.T
    alpha = node.number("alpha", 1.0)
    beta = node.number("beta", 1.0)
    fits = _product_is_exact(weight, alpha)
    y = layers.dense(build, x, weight * alpha if fits else weight)
    if not fits:
        y = layers.scale(build, y, weight.new_tensor(alpha))
    shift = node.optional_weight(2, "constant C")
    if shift is None or beta == 0:
        return y
    rounding = 0 if _product_is_exact(shift, beta) else 1
    return layers.scale(build, y, shift=shift * beta, rounding=rounding)


def _gemm_of_values(build: GraphBuilder, node: OnnxNode) -> Value:
    x, y = node.value(0), node.value(1)
    x = layers.transpose(build, x, (1, 0)) if node.attributes.get("transA", 0) else x
    y = layers.transpose(build, y, (1, 0)) if node.attributes.get("transB", 0) else y
    node.refuse_attribute("beta", 1.0)
    alpha = scalars.number(node.number("alpha", 1.0))
    total = layers.scale(build, products.matrix_product(build, x, y), alpha)
    shift = node.optional_weight(2, "constant C")
    return total if shift is None else layers.scale(build, total, shift=shift)


def _product_is_exact(weight: Tensor, factor: float) -> bool:
    """Whether weight * factor is exact in float64: factors in ONNX files are float32."""
    return factor == 1 or bool((weight == weight.float().double()).all())


def _matmul(build: GraphBuilder, node: OnnxNode) -> Value:
    if not node.is_constant(0) and not node.is_constant(1):
        return products.matrix_product(build, node.value(0), node.value(1))
    for place in (0, 1):
        if node.is_constant(1 - place):
            weight = node.weight(1 - place, "matrix")
            x = node.value(place)
            return contraction.matrix_product(build, x, weight, x_first=place == 0)
    raise AssertionError("constants alone are folded")


def _add(build: GraphBuilder, node: OnnxNode) -> Value:
    if node.is_constant(0):
        return layers.scale(build, node.value(1), shift=node.weight(0, "constant"))
    if node.is_constant(1):
        return layers.scale(build, node.value(0), shift=node.weight(1, "constant"))
    return layers.add(build, node.value(0), node.value(1))


def _sub(build: GraphBuilder, node: OnnxNode) -> Value:
    if node.is_constant(0):
        minuend = node.weight(0, "constant")
        return layers.scale(build, node.value(1), minuend.new_tensor(-1.0), minuend)
    if node.is_constant(1):
        return layers.scale(build, node.value(0), shift=-node.weight(1, "constant"))
    return layers.add(build, node.value(0), node.value(1), sign=-1)


def _mul(build: GraphBuilder, node: OnnxNode) -> Value:
    if node.is_constant(0):
        return layers.scale(build, node.value(1), node.weight(0, "constant"))
    if node.is_constant(1):
        return layers.scale(build, node.value(0), node.weight(1, "constant"))
    return scalars.product(build, node.value(0), node.value(1))


def _div(build: GraphBuilder, node: OnnxNode) -> Value:
    if node.is_constant(0):
        inverse = layers.activation(build, node.value(1), Pow(-1.0))
        return layers.scale(build, inverse, node.weight(0, "dividend"))
    if not node.is_constant(1):
        return scalars.quotient(build, node.value(0), node.value(1))
    return layers.divide(build, node.value(0), node.weight(1, "divisor"))


def _neg(build: GraphBuilder, node: OnnxNode) -> Value:
    return layers.negate(build, node.value(0))


def _reshape(build: GraphBuilder, node: OnnxNode) -> Value:
    """Any operator that only changes the shape: ONNX's inference says to what."""
    return layers.reshape(node.value(0), node.inferred_shape())


def _identity(build: GraphBuilder, node: OnnxNode) -> Value:
    return node.value(0)


def _dropout(build: GraphBuilder, node: OnnxNode) -> Value:
    training = node.optional_weight(2, "training_mode")
    if training is not None and bool(training.any()):
        raise UnsupportedOperator("it is in training mode; export the network in eval mode")
    return node.value(0)


def _cast(build: GraphBuilder, node: OnnxNode) -> Value:
    target = node.attributes["to"]
    if target not in float_types():
        raise UnsupportedOperator(
            f"it rounds to {type_name(target)}; casts between float types are supported"
        )
    return node.value(0)


def _transpose(build: GraphBuilder, node: OnnxNode) -> Value:
    x = node.value(0)
    backwards = range(len(x.shape) - 1, -1, -1)
    return layers.transpose(build, x, node.attributes.get("perm", list(backwards)))


def _batch_norm(build: GraphBuilder, node: OnnxNode) -> Value:
    node.refuse_attribute("training_mode", 0)
    node.refuse_attribute("spatial", 1)
    weight, bias, mean, variance = (
        node.weight(index, role)
        for index, role in enumerate(("scale", "bias", "mean", "variance"), start=1)
    )
    epsilon = node.number("epsilon", 1e-5)
    return layers.batch_norm(build, node.value(0), weight, bias, mean, variance, epsilon)


CONVERTERS: dict[str, Converter] = {
    "Add": _add,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Div": _div,
    "Dropout": _dropout,
    "Flatten": _reshape,
    "Gemm": _gemm,
    "Identity": _identity,
    "MatMul": _matmul,
    "Mul": _mul,
    "Neg": _neg,
    "Reshape": _reshape,
    "Squeeze": _reshape,
    "Sub": _sub,
    "Transpose": _transpose,
    "Unsqueeze": _reshape,
    **LAYOUT_CONVERTERS,
    **PRODUCT_CONVERTERS,
    **SCALAR_CONVERTERS,
    **SELECTION_CONVERTERS,
    **WINDOW_CONVERTERS,
}
"""The operators that can be read, by their ONNX names."""

NOTES = {
    "Cast": "taken as the identity: claims are about real arithmetic",
    "Clip": "written with ReLUs",
    "Dropout": "the identity at inference",
    "GRU": "unrolled over its sequence",
    "HardSigmoid": "written with ReLUs",
    "LSTM": "unrolled over its sequence",
    "RNN": "unrolled over its sequence",
}
"""What to tell users about how an operator is read."""
