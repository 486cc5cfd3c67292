"""torch operators with windows and padding: convolutions, average pooling, padding."""

from collections.abc import Sequence

from lipverify.errors import UnsupportedOperator
from lipverify.network import layers, layout
from lipverify.network.builder import GraphBuilder, Switched, Value
from lipverify.network.layers import Padding
from lipverify.network.torch_node import Converter, TorchNode


def _conv(dimensions: int) -> Converter:
    def convert(build: GraphBuilder, node: TorchNode) -> Value:
        weight = node.weight("weight")
        stride = node.sizes("stride", dimensions)
        dilation = node.sizes("dilation", dimensions)
        padding = _padding(node, dimensions, weight.shape[2:], dilation)
        y = layers.conv(
            build,
            _with_batch(node.value("input"), dimensions),
            weight,
            node.optional_weight("bias"),
            stride,
            padding,
            dilation,
            int(node.arguments["groups"]),
        )
        return layers.reshape(y, node.shape)

    return convert


def _convolution(build: GraphBuilder, node: TorchNode) -> Value | Switched | tuple[Value, ...]:
    """The call that torch 2.4 breaks all convolutions up into."""
    dimensions = node.weight("weight").dim() - 2
    kind = _conv_transpose if node.arguments["transposed"] else _conv
    return kind(dimensions)(build, node)


def _conv_transpose(dimensions: int) -> Converter:
    def convert(build: GraphBuilder, node: TorchNode) -> Value:
        y = layers.conv_transpose(
            build,
            _with_batch(node.value("input"), dimensions),
            node.weight("weight"),
            node.optional_weight("bias"),
            node.sizes("stride", dimensions),
            tuple((size, size) for size in node.sizes("padding", dimensions)),
            node.sizes("dilation", dimensions),
            int(node.arguments["groups"]),
            node.sizes("output_padding", dimensions),
        )
        return layers.reshape(y, node.shape)

    return convert


def _padding(
    node: TorchNode, dimensions: int, kernel: Sequence[int], dilation: Sequence[int]
) -> Padding:
    """(begin, end) per dimension; of an odd total, "same" puts the larger part at the end."""
    given = node.arguments["padding"]
    if given == "valid":
        return ((0, 0),) * dimensions
    if given == "same":
        totals = [spread * (width - 1) for width, spread in zip(kernel, dilation, strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)
    return tuple((size, size) for size in node.sizes("padding", dimensions))


def _average_pool(dimensions: int) -> Converter:
    def convert(build: GraphBuilder, node: TorchNode) -> Value:
        divisor = node.arguments.get("divisor_override")
        if divisor is not None:
            raise UnsupportedOperator(
                f"divisor_override={divisor} is not supported; scale its result instead"
            )
        kernel = node.sizes("kernel_size", dimensions)
        stride = node.sizes("stride", dimensions) if node.arguments["stride"] else kernel
        y = layers.average_pool(
            build,
            _with_batch(node.value(), dimensions),
            kernel,
            stride,
            tuple((size, size) for size in node.sizes("padding", dimensions)),
            bool(node.arguments["count_include_pad"]),
            bool(node.arguments["ceil_mode"]),
        )
        return layers.reshape(y, node.shape)

    return convert


def _with_batch(x: Value, dimensions: int) -> Value:
    """torch also takes a sample without its batch."""
    return Value(x.node, (1, *x.shape)) if len(x.shape) == dimensions + 1 else x


def _pad(build: GraphBuilder, node: TorchNode) -> Value:
    """Sizes are listed from the last dimension backwards."""
    x, sizes = node.value(), node.arguments["pad"]
    if node.arguments.get("mode", "constant") != "constant":
        return layout.select(build, x, node.evaluated(layout.numbers(x)))
    pairs = [(sizes[i], sizes[i + 1]) for i in range(0, len(sizes), 2)]
    pairs += [(0, 0)] * (len(x.shape) - len(pairs))
    return layers.pad(build, x, tuple(reversed(pairs)), float(node.arguments["value"] or 0.0))


WINDOW_CONVERTERS: dict[str, Converter] = {
    "aten.avg_pool1d": _average_pool(1),
    "aten.avg_pool2d": _average_pool(2),
    "aten.avg_pool3d": _average_pool(3),
    "aten.constant_pad_nd": _pad,
    "aten.conv1d": _conv(1),
    "aten.conv2d": _conv(2),
    "aten.conv3d": _conv(3),
    "aten.conv_transpose1d": _conv_transpose(1),
    "aten.conv_transpose2d": _conv_transpose(2),
    "aten.conv_transpose3d": _conv_transpose(3),
    "aten.convolution": _convolution,
    "aten.pad": _pad,
}
