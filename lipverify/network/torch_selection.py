"""torch calls that pick entries by their size."""

from torch import Tensor

from lipverify.errors import UnsupportedOperator
from lipverify.network import selection, switch
from lipverify.network.builder import GraphBuilder, Switched, Value
from lipverify.network.torch_node import Converter, TorchNode


def _extremum(largest: bool) -> Converter:
    """Of two tensors, over one dimension, or over all of them."""

    def convert(build: GraphBuilder, node: TorchNode) -> Value:
        if "other" in node.arguments:
            parts = [_part(node, name) for name in ("self", "other")]
            return selection.extremum_of(build, parts, largest=largest)
        given = node.arguments.get("dim")
        x = node.value()
        axes = [given] if isinstance(given, int) else list(given or range(len(x.shape)))
        keep = bool(node.arguments.get("keepdim", False))
        return selection.reduce_axes(build, x, axes, largest=largest, keep=keep)

    return convert


def _part(node: TorchNode, name: str) -> Value | Tensor:
    return node.value(name) if node.is_value(name) else node.weight(name)


def _max_pool(dimensions: int) -> Converter:
    def convert(build: GraphBuilder, node: TorchNode) -> Value:
        x = node.value()
        kernel = node.sizes("kernel_size", dimensions)
        stride = node.sizes("stride", dimensions) if node.arguments["stride"] else kernel
        return selection.max_pool(
            build,
            x,
            kernel,
            stride,
            tuple((size, size) for size in node.sizes("padding", dimensions)),
            node.sizes("dilation", dimensions),
            node.shape[-dimensions:],
        )

    return convert


def _adaptive_max_pool(dimensions: int) -> Converter:
    """Windows from floor(i size / target) to ceil((i + 1) size / target), for each dimension."""

    def convert(build: GraphBuilder, node: TorchNode) -> Value:
        x = node.value()
        for axis in range(len(x.shape) - dimensions, len(x.shape)):
            size, count = x.shape[axis], node.shape[axis]
            windows = [
                list(range(i * size // count, -(-(i + 1) * size // count))) for i in range(count)
            ]
            x = selection.pool_axis(build, x, axis, windows)
        return x

    return convert


def _sort(build: GraphBuilder, node: TorchNode) -> Value:
    dimension = int(node.arguments.get("dim", 0))  # msort has none: its first one
    x = node.value()
    descending = bool(node.arguments.get("descending", False))
    return selection.sort(build, x, dimension, x.shape[dimension], descending=descending)


def _top_k(build: GraphBuilder, node: TorchNode) -> Value:
    if not node.arguments["sorted"]:
        raise UnsupportedOperator("sorted=False leaves the order of its results open")
    return selection.sort(
        build,
        node.value(),
        int(node.arguments["dim"]),
        int(node.arguments["k"]),
        descending=bool(node.arguments["largest"]),
    )


def _compare(more: bool) -> Converter:
    def convert(build: GraphBuilder, node: TorchNode) -> Switched:
        return switch.compare(build, _part(node, "self"), _part(node, "other"), more=more)

    return convert


def _switched(node: TorchNode, name: str) -> Switched | Value | Tensor:
    given = node.arguments[name]
    return given if isinstance(given, Switched) else _part(node, name)


def _not(build: GraphBuilder, node: TorchNode) -> Switched:
    return switch.negated(node.arguments["self"])


def _itself(build: GraphBuilder, node: TorchNode) -> Switched:
    """A cast of True and False to 1 and 0."""
    return node.arguments["self"]


def _product(build: GraphBuilder, node: TorchNode) -> Value | Switched:
    return switch.product(build, _switched(node, "self"), _switched(node, "other"))


def _total(sign: int) -> Converter:
    def convert(build: GraphBuilder, node: TorchNode) -> Value | Switched:
        if node.arguments.get("alpha", 1) != 1:
            raise UnsupportedOperator("alpha other than 1 is not supported")
        return switch.total(build, _switched(node, "self"), _switched(node, "other"), sign)

    return convert


def _reversed(build: GraphBuilder, node: TorchNode) -> Value | Switched:
    """other - self."""
    if node.arguments.get("alpha", 1) != 1:
        raise UnsupportedOperator("alpha other than 1 is not supported")
    return switch.total(build, _switched(node, "other"), _switched(node, "self"), -1)


def _where(build: GraphBuilder, node: TorchNode) -> Value | Switched:
    condition = node.arguments["condition"]
    if not isinstance(condition, Switched):
        raise UnsupportedOperator(switch.JUMPS)
    return switch.where(build, condition, _part(node, "self"), _part(node, "other"))


def _fill(build: GraphBuilder, node: TorchNode) -> Value | Switched:
    mask = node.arguments["mask"]
    if not isinstance(mask, Switched):
        raise UnsupportedOperator(switch.JUMPS)
    return switch.where(build, mask, _part(node, "value"), _part(node, "self"))


SWITCH_CONVERTERS: dict[str, Converter] = {
    "aten._to_copy": _itself,
    "aten.add": _total(1),
    "aten.alias": _itself,
    "aten.bitwise_not": _not,
    "aten.clone": _itself,
    "aten.detach": _itself,
    "aten.logical_not": _not,
    "aten.masked_fill": _fill,
    "aten.mul": _product,
    "aten.rsub": _reversed,
    "aten.sub": _total(-1),
    "aten.to": _itself,
    "aten.where": _where,
}
"""The calls that take what a comparison made."""

SELECTION_CONVERTERS: dict[str, Converter] = {
    "aten.adaptive_max_pool1d": _adaptive_max_pool(1),
    "aten.adaptive_max_pool2d": _adaptive_max_pool(2),
    "aten.adaptive_max_pool3d": _adaptive_max_pool(3),
    "aten.amax": _extremum(largest=True),
    "aten.amin": _extremum(largest=False),
    "aten.ge": _compare(more=True),
    "aten.gt": _compare(more=True),
    "aten.fmax": _extremum(largest=True),
    "aten.fmin": _extremum(largest=False),
    "aten.le": _compare(more=False),
    "aten.lt": _compare(more=False),
    "aten.max": _extremum(largest=True),
    "aten.max_pool1d": _max_pool(1),
    "aten.max_pool1d_with_indices": _max_pool(1),
    "aten.max_pool2d": _max_pool(2),
    "aten.max_pool2d_with_indices": _max_pool(2),
    "aten.max_pool3d": _max_pool(3),
    "aten.max_pool3d_with_indices": _max_pool(3),
    "aten.maximum": _extremum(largest=True),
    "aten.min": _extremum(largest=False),
    "aten.minimum": _extremum(largest=False),
    "aten.msort": _sort,
    "aten.sort": _sort,
    "aten.topk": _top_k,
}
