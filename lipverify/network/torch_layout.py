"""torch calls that move, join, sum or interpolate entries."""

import torch
from torch import Tensor
from torch.nn import functional

from lipverify.errors import UnsupportedOperator
from lipverify.network import contraction, joining, layers, layout, products
from lipverify.network.builder import GraphBuilder, Value
from lipverify.network.torch_node import Converter, TorchNode


def _moves(build: GraphBuilder, node: TorchNode) -> Value | tuple[Value, ...]:
    """Any call that only moves entries of its operand, by what it does to their numbers."""
    operand = next(name for name in ("self", "input", "tensor") if name in node.arguments)
    x = node.value(operand)
    picked = node.evaluated(layout.numbers(x))
    if isinstance(picked, Tensor):
        return layout.select(build, x, picked)
    return tuple(layout.select(build, x, part) for part in picked)


def _parts(node: TorchNode) -> list[Value | Tensor]:
    """The tensors of a list, constants as float64."""
    return [
        part if isinstance(part, Value) else part.detach().to(torch.float64)
        for part in node.arguments["tensors"]
    ]


def _cat(build: GraphBuilder, node: TorchNode) -> Value:
    return joining.concat(build, _parts(node), int(node.arguments["dim"]))


def _stack(build: GraphBuilder, node: TorchNode) -> Value:
    axis = int(node.arguments["dim"]) % len(node.shape)

    def wide(part: Value | Tensor) -> Value | Tensor:
        if isinstance(part, Tensor):
            return part.unsqueeze(axis)
        return Value(part.node, (*part.shape[:axis], 1, *part.shape[axis:]))

    return joining.concat(build, [wide(part) for part in _parts(node)], axis)


def _reduce(mean: bool) -> Converter:
    def convert(build: GraphBuilder, node: TorchNode) -> Value:
        x = node.value()
        given = node.arguments.get("dim")
        axes = [given] if isinstance(given, int) else list(given or range(len(x.shape)))
        keep = bool(node.arguments.get("keepdim", False))
        return contraction.reduce(build, x, axes, keep=keep, mean=mean)

    return convert


def _einsum(build: GraphBuilder, node: TorchNode) -> Value:
    return products.einsum_of(build, str(node.arguments["equation"]), _parts(node))


def _cumsum(build: GraphBuilder, node: TorchNode) -> Value:
    x = node.value()
    axis = int(node.arguments["dim"]) % len(x.shape)
    triangle = torch.ones(x.shape[axis], x.shape[axis], dtype=torch.float64).tril()
    return contraction.along(build, x, axis, triangle)


def _interpolated(dimensions: int) -> Converter:
    """Linear in every space dimension: torch's own call on unit lines gives the weights."""

    def convert(build: GraphBuilder, node: TorchNode) -> Value:
        x = node.value() if "self" in node.arguments else node.value("input")
        factors = _factors(node, dimensions)
        for axis in range(dimensions):
            place = len(x.shape) - dimensions + axis
            length, target = x.shape[place], node.shape[place]
            unit = torch.eye(length, dtype=torch.float64).unsqueeze(1)
            matrix = torch.ops.aten.upsample_linear1d(
                unit, [target], bool(node.arguments["align_corners"]), factors[axis]
            )
            x = contraction.along(build, x, place, matrix.squeeze(1).T)
        return x

    return convert


def _factors(node: TorchNode, dimensions: int) -> list[float | None]:
    """The scale factors, where the call has them beside the sizes."""
    listed = node.arguments.get("scale_factors")
    if listed is not None:
        return [float(factor) for factor in listed]
    names = ["scales_d", "scales_h", "scales_w"][-dimensions:] if dimensions > 1 else ["scales"]
    given = [node.arguments.get(name) for name in names]
    return [None if factor is None else float(factor) for factor in given]


def _adaptive_pool(dimensions: int) -> Converter:
    """Means of windows that cover each dimension evenly."""

    def convert(build: GraphBuilder, node: TorchNode) -> Value:
        x = node.value()
        for axis in range(len(x.shape) - dimensions, len(x.shape)):
            length, target = x.shape[axis], node.shape[axis]
            unit = torch.eye(length, dtype=torch.float64).unsqueeze(1)
            counts = functional.adaptive_avg_pool1d(unit, target).squeeze(1).T
            # Windows of sums, then one division each: a mean's weight is not rounded first.
            x = contraction.along(build, x, axis, (counts > 0).to(torch.float64))
            sizes = (counts > 0).sum(1).to(torch.float64)
            x = layers.divide(build, x, sizes.reshape(-1, *(1 for _ in x.shape[axis + 1 :])))
        return x

    return convert


def _fill(build: GraphBuilder, node: TorchNode) -> Value:
    """masked_fill by a constant mask."""
    if node.is_value("mask") or node.is_value("value"):
        raise UnsupportedOperator("its mask and value must be constants")
    return layers.where(build, node.weight("mask"), node.weight("value"), node.value())


LAYOUT_CONVERTERS: dict[str, Converter] = {
    "aten._adaptive_avg_pool2d": _adaptive_pool(2),
    "aten._adaptive_avg_pool3d": _adaptive_pool(3),
    "aten.adaptive_avg_pool1d": _adaptive_pool(1),
    "aten.adaptive_avg_pool2d": _adaptive_pool(2),
    "aten.adaptive_avg_pool3d": _adaptive_pool(3),
    "aten.cat": _cat,
    "aten.concat": _cat,
    "aten.cumsum": _cumsum,
    "aten.einsum": _einsum,
    "aten.masked_fill": _fill,
    "aten.mean": _reduce(mean=True),
    "aten.stack": _stack,
    "aten.sum": _reduce(mean=False),
    "aten.upsample_bilinear2d": _interpolated(2),
    "aten.upsample_linear1d": _interpolated(1),
    "aten.upsample_trilinear3d": _interpolated(3),
    **dict.fromkeys(
        (
            "aten.chunk",
            "aten.diagonal",
            "aten.expand",
            "aten.expand_as",
            "aten.flip",
            "aten.im2col",
            "aten.index",
            "aten.index_select",
            "aten.movedim",
            "aten.narrow",
            "aten.pixel_shuffle",
            "aten.pixel_unshuffle",
            "aten.reflection_pad1d",
            "aten.reflection_pad2d",
            "aten.reflection_pad3d",
            "aten.repeat",
            "aten.repeat_interleave",
            "aten.replication_pad1d",
            "aten.replication_pad2d",
            "aten.replication_pad3d",
            "aten.roll",
            "aten.select",
            "aten.slice",
            "aten.split",
            "aten.split_with_sizes",
            "aten.tile",
            "aten.tril",
            "aten.triu",
            "aten.unbind",
            "aten.unfold",
            "aten.upsample_nearest1d",
            "aten.upsample_nearest2d",
            "aten.upsample_nearest3d",
        ),
        _moves,
    ),
}
