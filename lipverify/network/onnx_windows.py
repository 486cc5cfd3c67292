"""ONNX operators with windows and padding: Conv, ConvTranspose, pooling, Pad."""

from collections.abc import Callable, Sequence

from lipverify.errors import NetworkError, UnsupportedOperator
from lipverify.network import layers
from lipverify.network.builder import GraphBuilder, Value
from lipverify.network.layers import Padding
from lipverify.network.onnx_layout import moved
from lipverify.network.onnx_node import OnnxNode


def _conv(build: GraphBuilder, node: OnnxNode) -> Value:
    x = node.value(0)
    weight = node.weight(1, "weight")
    kernel = tuple(weight.shape[2:])
    stride = per_dimension(node, "strides", len(kernel))
    dilation = per_dimension(node, "dilations", len(kernel))
    return layers.conv(
        build,
        x,
        weight,
        node.optional_weight(2, "bias"),
        stride,
        window_padding(node, x.shape[2:], kernel, stride, dilation),
        dilation,
        int(node.attributes.get("group", 1)),
    )


def _conv_transpose(build: GraphBuilder, node: OnnxNode) -> Value:
    x = node.value(0)
    weight = node.weight(1, "weight")
    kernel = tuple(weight.shape[2:])
    stride = per_dimension(node, "strides", len(kernel))
    dilation = per_dimension(node, "dilations", len(kernel))
    extra = tuple(node.attributes.get("output_padding", (0,) * len(kernel)))
    padding = _transposed_padding(node, x.shape[2:], kernel, stride, dilation, extra)
    bias = node.optional_weight(2, "bias")
    groups = int(node.attributes.get("group", 1))
    return layers.conv_transpose(build, x, weight, bias, stride, padding, dilation, groups, extra)


def _transposed_padding(
    node: OnnxNode,
    space: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    extra: Sequence[int],
) -> Padding:
    """(begin, end) per space dimension, from `pads`, `auto_pad` or `output_shape`."""
    mode = node.text("auto_pad", "NOTSET")
    wanted = node.attributes.get("output_shape")
    if wanted is None and mode in ("NOTSET", "VALID"):
        return window_padding(node, space, kernel, stride, dilation)
    sizes = wanted or [size * step for size, step in zip(space, stride, strict=True)]
    padding: list[tuple[int, int]] = []
    for size, target, width, step, spread, more in zip(
        space, sizes[-len(kernel) :], kernel, stride, dilation, extra, strict=True
    ):
        total = step * (size - 1) + more + (width - 1) * spread + 1 - target
        less = total // 2
        padding.append((less, total - less) if mode == "SAME_UPPER" else (total - less, less))
    return tuple(padding)


def _average_pool(build: GraphBuilder, node: OnnxNode) -> Value:
    x = node.value(0)
    kernel = tuple(node.attributes["kernel_shape"])
    stride = per_dimension(node, "strides", len(kernel))
    dilation = per_dimension(node, "dilations", len(kernel))
    if set(dilation) - {1}:
        raise UnsupportedOperator(f"dilations={list(dilation)} are not supported, only 1")
    return layers.average_pool(
        build,
        x,
        kernel,
        stride,
        window_padding(node, x.shape[2:], kernel, stride, dilation),
        bool(node.attributes.get("count_include_pad", 0)),
        bool(node.attributes.get("ceil_mode", 0)),
    )


def _global_average_pool(build: GraphBuilder, node: OnnxNode) -> Value:
    x = node.value(0)
    kernel = x.shape[2:]
    return layers.average_pool(build, x, kernel, kernel, tuple((0, 0) for _ in kernel), False)


def per_dimension(node: OnnxNode, name: str, dimensions: int) -> tuple[int, ...]:
    """An attribute with one positive number for each space dimension, by default 1."""
    given = tuple(node.attributes.get(name, (1,) * dimensions))
    if len(given) != dimensions or min(given, default=1) < 1:
        raise NetworkError(f"{name}={list(given)}; expected {dimensions} positive numbers")
    return given


def window_padding(
    node: OnnxNode,
    space: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> Padding:
    """(begin, end) per space dimension, from `pads` or `auto_pad`."""
    mode = node.text("auto_pad", "NOTSET")
    dimensions = len(kernel)
    if mode == "NOTSET":
        pads = node.attributes.get("pads", (0,) * (2 * dimensions))
        return tuple(zip(pads[:dimensions], pads[dimensions:], strict=True))
    if mode == "VALID":
        return tuple((0, 0) for _ in kernel)
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        raise UnsupportedOperator(f"auto_pad={mode} is not supported")
    padding: list[tuple[int, int]] = []
    for size, width, step, spread in zip(space, kernel, stride, dilation, strict=True):
        # The result has ceil(size / step) entries; an odd one of the padding goes to one side.
        windows = -(-size // step)
        total = max((windows - 1) * step + (width - 1) * spread + 1 - size, 0)
        less, more = total // 2, total - total // 2
        padding.append((less, more) if mode == "SAME_UPPER" else (more, less))
    return tuple(padding)


def _pad(build: GraphBuilder, node: OnnxNode) -> Value:
    """A constant around, or entries again; sizes are attributes before opset 11."""
    x = node.value(0)
    mode = node.text("mode", "constant")
    if mode != "constant":
        return moved(build, node)
    fill = node.optional_weight(2, "constant value")
    number = (
        float(node.attributes.get("value", 0.0)) if fill is None else float(fill.reshape(-1)[0])
    )
    sizes = node.integers(1, "pads") or list(node.attributes.get("pads", ()))
    rank = len(x.shape)
    axes = node.integers(3, "axes") or list(range(rank))
    if len(sizes) != 2 * len(axes):
        raise NetworkError(f"{len(sizes)} padding sizes are given for {len(axes)} dimensions")
    padding = [(0, 0)] * rank
    for position, axis in enumerate(axes):
        padding[axis] = (sizes[position], sizes[position + len(axes)])
    return layers.pad(build, x, tuple(padding), number)


WINDOW_CONVERTERS: dict[str, Callable[[GraphBuilder, OnnxNode], Value]] = {
    "AveragePool": _average_pool,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "GlobalAveragePool": _global_average_pool,
    "Pad": _pad,
}
