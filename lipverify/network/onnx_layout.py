"""ONNX operators that move or sum entries: slices, gathers, joins, reductions, Einsum, Resize."""

from collections.abc import Callable
from math import floor

import torch
from torch import Tensor

from lipverify.errors import UnsupportedOperator
from lipverify.network import contraction, joining, layers, layout, products
from lipverify.network.builder import GraphBuilder, Value
from lipverify.network.interpolation import Positions, linear_matrix, nearest_index
from lipverify.network.onnx_node import OnnxNode

Converter = Callable[[GraphBuilder, OnnxNode], Value | tuple[Value, ...]]


def moves(build: GraphBuilder, node: OnnxNode) -> tuple[Value, ...]:
    """Any operator that only moves entries of operand 0."""
    x = node.value(0)
    found = node.evaluated(layout.numbers(x).numpy())
    return tuple(layout.select(build, x, torch.tensor(picked)) for picked in found)


def moved(build: GraphBuilder, node: OnnxNode) -> Value:
    return moves(build, node)[0]


def _split(build: GraphBuilder, node: OnnxNode) -> tuple[Value, ...]:
    """Sizes from an attribute (before opset 13), an operand, or equal ones."""
    x = node.value(0)
    axis = int(node.attributes.get("axis", 0)) % len(x.shape)
    sizes = node.integers(1, "sizes") or node.attributes.get("split")
    if sizes is None:
        length = -(-x.shape[axis] // node.outputs)
        sizes = [length] * (node.outputs - 1)
        sizes.append(x.shape[axis] - sum(sizes))
    parts = layout.numbers(x).split(list(sizes), axis)
    return tuple(layout.select(build, x, part) for part in parts)


def _concat(build: GraphBuilder, node: OnnxNode) -> Value:
    parts = [
        node.weight(index, "constant") if node.is_constant(index) else node.value(index)
        for index in range(len(node.names))
    ]
    return joining.concat(build, parts, int(node.attributes["axis"]))


def _reduce(mean: bool) -> Converter:
    def convert(build: GraphBuilder, node: OnnxNode) -> Value:
        x = node.value(0)
        axes = node.reduced()
        if axes is None:
            return x
        keep = bool(node.attributes.get("keepdims", 1))
        return contraction.reduce(build, x, axes, keep=keep, mean=mean)

    return convert


def _sum(build: GraphBuilder, node: OnnxNode) -> Value:
    total: Value | None = None
    shift: Tensor | None = None
    for index in range(len(node.names)):
        if node.is_constant(index):
            part = node.weight(index, "constant")
            if shift is not None:
                raise UnsupportedOperator("it has several constants; add them up before")
            shift = part
        else:
            value = node.value(index)
            total = value if total is None else layers.add(build, total, value)
    assert total is not None, "a node without values is folded"
    return total if shift is None else layers.scale(build, total, shift=shift)


def _einsum(build: GraphBuilder, node: OnnxNode) -> Value:
    parts = [
        node.weight(index, "constant factor") if node.is_constant(index) else node.value(index)
        for index in range(len(node.names))
    ]
    return products.einsum_of(build, node.text("equation", ""), parts)


def _resize(build: GraphBuilder, node: OnnxNode) -> Value:
    """Interpolation dimension by dimension; sizes or factors are constants."""
    node.refuse_attribute("antialias", 0)
    node.refuse_attribute("exclude_outside", 0)
    x, old = node.value(0), node.operator == "Upsample" or node.opset < 11
    scales = node.optional_weight(1 if old else 2, "scales")
    factors = [] if scales is None else scales.reshape(-1).tolist()
    sizes = (None if old else node.integers(3, "sizes")) or []
    axes = [a % len(x.shape) for a in node.attributes.get("axes", range(len(x.shape)))]
    if not (len(factors) or len(sizes)) or len(factors or sizes) != len(axes):
        raise UnsupportedOperator("it needs one constant factor or size for each dimension")
    if sizes and node.text("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise UnsupportedOperator("keep_aspect_ratio_policy is not supported")
    mode = node.text("mode", "nearest")
    transform = "asymmetric" if old else node.text("coordinate_transformation_mode", "half_pixel")
    rounding = "floor" if old else node.text("nearest_mode", "round_prefer_floor")
    for position, axis in enumerate(axes):
        length = x.shape[axis]
        target = sizes[position] if sizes else floor(length * factors[position])
        factor = target / length if sizes else factors[position]
        if target == length and factor == 1:
            continue
        positions = Positions(length, target, factor, transform)
        if mode == "nearest":
            index = torch.tensor(nearest_index(positions, rounding))
            x = layout.select(build, x, layout.numbers(x).index_select(axis, index))
        elif mode == "linear":
            x = contraction.along(build, x, axis, linear_matrix(positions))
        else:
            raise UnsupportedOperator(f"mode={mode} is not supported, only nearest and linear")
    return x


def _where(build: GraphBuilder, node: OnnxNode) -> Value:
    """A constant condition: both branches, each where it is taken."""
    branches = [
        node.weight(index, "branch") if node.is_constant(index) else node.value(index)
        for index in (1, 2)
    ]
    return layers.where(build, node.weight(0, "condition"), branches[0], branches[1])


LAYOUT_CONVERTERS: dict[str, Converter] = {
    "Concat": _concat,
    "DepthToSpace": moved,
    "Einsum": _einsum,
    "Expand": moved,
    "Gather": moved,
    "GatherElements": moved,
    "GatherND": moved,
    "ReduceMean": _reduce(mean=True),
    "ReduceSum": _reduce(mean=False),
    "Resize": _resize,
    "Slice": moved,
    "SpaceToDepth": moved,
    "Split": _split,
    "Sum": _sum,
    "Tile": moved,
    "Trilu": moved,
    "Upsample": _resize,
    "Where": _where,
}
