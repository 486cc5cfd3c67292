"""ONNX operators that pick entries by their size."""

from collections.abc import Callable

from torch import Tensor

from lipverify.errors import UnsupportedOperator
from lipverify.network import selection, switch
from lipverify.network.builder import GraphBuilder, Switched, Value
from lipverify.network.onnx_node import OnnxNode
from lipverify.network.onnx_windows import per_dimension, window_padding

Converter = Callable[[GraphBuilder, OnnxNode], Value | Switched]


def _extremum(largest: bool) -> Converter:
    def convert(build: GraphBuilder, node: OnnxNode) -> Value:
        parts = [_part(node, index) for index in range(len(node.names))]
        return selection.extremum_of(build, parts, largest=largest)

    return convert


def _reduce(largest: bool) -> Converter:
    def convert(build: GraphBuilder, node: OnnxNode) -> Value:
        x = node.value(0)
        axes = node.reduced()
        if axes is None:
            return x
        keep = bool(node.attributes.get("keepdims", 1))
        return selection.reduce_axes(build, x, axes, largest=largest, keep=keep)

    return convert


def _max_pool(build: GraphBuilder, node: OnnxNode) -> Value:
    """The values; the positions of the largest entries, a second output, are no function here."""
    x = node.value(0)
    kernel = tuple(node.attributes["kernel_shape"])
    stride = per_dimension(node, "strides", len(kernel))
    dilation = per_dimension(node, "dilations", len(kernel))
    padding = window_padding(node, x.shape[2:], kernel, stride, dilation)
    # ONNX's inference counts the windows, also where it rounds up (ceil_mode).
    windows = node.inferred_shape()[2:]
    return selection.max_pool(build, x, kernel, stride, padding, dilation, windows)


def _global_max_pool(build: GraphBuilder, node: OnnxNode) -> Value:
    x = node.value(0)
    return selection.reduce_axes(build, x, range(2, len(x.shape)), largest=True, keep=True)


def _top_k(build: GraphBuilder, node: OnnxNode) -> Value:
    """The k largest or smallest along a dimension; k is an attribute before opset 10."""
    x = node.value(0)
    given = node.integers(1, "number k")
    count = given[0] if given else int(node.attributes["k"])
    if not node.attributes.get("sorted", 1):
        raise UnsupportedOperator("sorted=0 leaves the order of its results open")
    return selection.sort(
        build,
        x,
        int(node.attributes.get("axis", -1)),
        count,
        descending=bool(node.attributes.get("largest", 1)),
    )


def _part(node: OnnxNode, index: int) -> Value | Tensor:
    return node.weight(index, "constant") if node.is_constant(index) else node.value(index)


def _compare(more: bool) -> Converter:
    def convert(build: GraphBuilder, node: OnnxNode) -> Switched:
        return switch.compare(build, _part(node, 0), _part(node, 1), more=more)

    return convert


def _switched(node: OnnxNode, index: int) -> Switched | Value | Tensor:
    given = node.operands[index]
    return given if isinstance(given, Switched) else _part(node, index)


def _condition(node: OnnxNode) -> Switched:
    given = node.operands[0]
    if not isinstance(given, Switched):
        raise UnsupportedOperator(switch.JUMPS)
    return given


def _not(build: GraphBuilder, node: OnnxNode) -> Switched:
    return switch.negated(_condition(node))


def _itself(build: GraphBuilder, node: OnnxNode) -> Switched:
    """A cast of True and False to 1 and 0."""
    return _condition(node)


def _product(build: GraphBuilder, node: OnnxNode) -> Value | Switched:
    return switch.product(build, _switched(node, 0), _switched(node, 1))


def _total(sign: int) -> Converter:
    def convert(build: GraphBuilder, node: OnnxNode) -> Value | Switched:
        return switch.total(build, _switched(node, 0), _switched(node, 1), sign)

    return convert


def _where(build: GraphBuilder, node: OnnxNode) -> Value | Switched:
    return switch.where(build, _condition(node), _part(node, 1), _part(node, 2))


SWITCH_CONVERTERS: dict[str, Converter] = {
    "Add": _total(1),
    "Cast": _itself,
    "Identity": _itself,
    "Mul": _product,
    "Not": _not,
    "Sub": _total(-1),
    "Where": _where,
}
"""The operators that take what a comparison made."""

SELECTION_CONVERTERS: dict[str, Converter] = {
    "GlobalMaxPool": _global_max_pool,
    "Greater": _compare(more=True),
    "GreaterOrEqual": _compare(more=True),
    "Less": _compare(more=False),
    "LessOrEqual": _compare(more=False),
    "Max": _extremum(largest=True),
    "MaxPool": _max_pool,
    "Min": _extremum(largest=False),
    "ReduceMax": _reduce(largest=True),
    "ReduceMin": _reduce(largest=False),
    "TopK": _top_k,
}
