"""torch (aten) operators, each translated to layers by one function; the table is at the end.

Converters raise `UnsupportedOperator` with the reason alone; the caller adds the node.
"""

from dataclasses import replace

import torch

from lipverify.errors import UnsupportedOperator
from lipverify.network import contraction, layers, products
from lipverify.network.builder import GraphBuilder, Value
from lipverify.network.torch_layout import LAYOUT_CONVERTERS
from lipverify.network.torch_node import Converter, TorchNode
from lipverify.network.torch_products import PRODUCT_CONVERTERS
from lipverify.network.torch_scalars import SCALAR_CONVERTERS
from lipverify.network.torch_selection import SELECTION_CONVERTERS
from lipverify.network.torch_windows import WINDOW_CONVERTERS


def _linear(build: GraphBuilder, node: TorchNode) -> Value:
    return layers.dense(
        build, node.value("input"), node.weight("weight"), node.optional_weight("bias")
    )


def _addmm(build: GraphBuilder, node: TorchNode) -> Value:
    """beta self + alpha mat1 @ mat2."""
    if node.arguments["alpha"] != 1 or node.arguments["beta"] != 1:
        raise UnsupportedOperator("alpha and beta other than 1 are not supported")
    y = layers.right_product(build, node.value("mat1"), node.weight("mat2"))
    return layers.scale(build, y, shift=node.weight("self"))


def _product(right: str) -> Converter:
    def convert(build: GraphBuilder, node: TorchNode) -> Value:
        if node.is_value("self") and node.is_value(right):
            return products.matrix_product(build, node.value(), node.value(right))
        for mine, other in (("self", right), (right, "self")):
            if not node.is_value(other):
                x, weight = node.value(mine), node.weight(other)
                return contraction.matrix_product(build, x, weight, x_first=mine == "self")
        raise AssertionError("constants alone are folded")

    return convert


def _add(build: GraphBuilder, node: TorchNode) -> Value:
    return _sum(build, node, 1)


def _sub(build: GraphBuilder, node: TorchNode) -> Value:
    return _sum(build, node, -1)


def _sum(build: GraphBuilder, node: TorchNode, sign: int) -> Value:
    """self + sign alpha other."""
    alpha = float(node.arguments.get("alpha", 1))
    if not node.is_value("other"):
        shift = sign * alpha * node.weight("other")
        return layers.scale(build, node.value(), shift=shift, rounding=0 if alpha == 1 else 1)
    if alpha != 1:
        raise UnsupportedOperator("alpha other than 1 is not supported")
    if node.is_value("self"):
        return layers.add(build, node.value(), node.value("other"), sign)
    factor = torch.tensor(float(sign), dtype=torch.float64)
    return layers.scale(build, node.value("other"), factor, node.weight("self"))


def _rsub(build: GraphBuilder, node: TorchNode) -> Value:
    """other - alpha self."""
    if node.arguments.get("alpha", 1) != 1:
        raise UnsupportedOperator("alpha other than 1 is not supported")
    flipped = {"self": node.arguments["other"], "other": node.arguments["self"]}
    return _sub(build, replace(node, arguments=flipped))


def _neg(build: GraphBuilder, node: TorchNode) -> Value:
    return layers.negate(build, node.value())


def _reshape(build: GraphBuilder, node: TorchNode) -> Value:
    """Any operator that only changes the shape."""
    return layers.reshape(node.value(), node.shape)


def _dropout(build: GraphBuilder, node: TorchNode) -> Value:
    if node.arguments["train"]:
        raise UnsupportedOperator(
            "it drops at random even in eval mode; pass training=self.training to it"
        )
    return node.value("input")


def _cast(build: GraphBuilder, node: TorchNode) -> Value:
    """Between float types, the identity: claims are about real arithmetic."""
    if not node.dtype.is_floating_point:
        raise UnsupportedOperator(f"it rounds to {node.dtype}")
    return node.value()


def _permute(build: GraphBuilder, node: TorchNode) -> Value:
    x = node.value()
    return layers.transpose(build, x, [d % len(x.shape) for d in node.arguments["dims"]])


def _transpose(build: GraphBuilder, node: TorchNode) -> Value:
    x = node.value()
    order = list(range(len(x.shape)))
    first, second = node.arguments.get("dim0", 0), node.arguments.get("dim1", 1)
    if order:  # `t` leaves a vector as it is
        first, second = first % len(order), second % len(order)
        order[first], order[second] = order[second], order[first]
    return layers.transpose(build, x, order)


def _batch_norm(build: GraphBuilder, node: TorchNode) -> Value:
    x = node.value("input")
    if node.arguments.get("training", False):
        raise UnsupportedOperator(
            "it uses the batch's own mean and variance; track_running_stats must be on"
        )
    mean, variance = node.weight("running_mean"), node.weight("running_var")
    weight, bias = node.optional_weight("weight"), node.optional_weight("bias")
    return layers.batch_norm(
        build,
        x,
        torch.ones_like(mean) if weight is None else weight,
        torch.zeros_like(mean) if bias is None else bias,
        mean,
        variance,
        float(node.arguments["eps"]),
    )


CONVERTERS: dict[str, Converter] = {
    "aten._native_batch_norm_legit_no_training": _batch_norm,
    "aten._to_copy": _cast,
    "aten._unsafe_view": _reshape,
    "aten.add": _add,
    "aten.addmm": _addmm,
    "aten.alias": _reshape,
    "aten.batch_norm": _batch_norm,
    "aten.bmm": _product("mat2"),
    "aten.clone": _reshape,
    "aten.contiguous": _reshape,
    "aten.detach": _reshape,
    "aten.dropout": _dropout,
    "aten.feature_dropout": _dropout,
    "aten.flatten": _reshape,
    "aten.linear": _linear,
    "aten.matmul": _product("other"),
    "aten.mm": _product("mat2"),
    "aten.neg": _neg,
    "aten.permute": _permute,
    "aten.reshape": _reshape,
    "aten.rsub": _rsub,
    "aten.squeeze": _reshape,
    "aten.sub": _sub,
    "aten.t": _transpose,
    "aten.to": _cast,
    "aten.transpose": _transpose,
    "aten.unflatten": _reshape,
    "aten.unsqueeze": _reshape,
    "aten.view": _reshape,
    **LAYOUT_CONVERTERS,
    **PRODUCT_CONVERTERS,
    **SCALAR_CONVERTERS,
    **SELECTION_CONVERTERS,
    **WINDOW_CONVERTERS,
}
"""The calls that can be read, by their names in torch's exported graphs."""

SUPPORTED = tuple(
    name.removeprefix("aten.") for name in CONVERTERS if not name.startswith("aten._")
)
"""The same for users: without torch's inner ones."""
