"""ONNX operators that move, join or sum entries, and transposed convolutions."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx_models import (
    assert_equals_original,
    assert_jacobian_is_autograd,
    integers,
    model,
    node,
    numbers,
    save,
)
from test_onnx_operators import CASES as OTHER_CASES
from test_onnx_products import CASES as PRODUCTS
from test_onnx_scalars import PLAIN
from test_selection import ONNX as PICKED

from lipverify.network import ONNX_OPERATORS, inspect_network, load_network

N = "batch"
IMAGE = (N, 2, 4, 6)


def _case(op: str, inputs: str = "x", shape=IMAGE, rank: int = 4, opset: int = 18, **given):
    """Arrays are constants, everything else attributes; then a Tanh, so that order matters."""
    constants = {name: value for name, value in given.items() if isinstance(value, np.ndarray)}
    attributes = {name: value for name, value in given.items() if name not in constants}
    nodes = [node(op, inputs, "h", **attributes), node("Tanh", "h")]
    return model(nodes, shape, constants, opset=opset, output_rank=rank)


def _split(opset: int, inputs: str, outputs: str, **given) -> onnx.ModelProto:
    constants = {name: value for name, value in given.items() if isinstance(value, np.ndarray)}
    attributes = {name: value for name, value in given.items() if name not in constants}
    nodes = [
        node("Split", inputs, outputs, axis=1, **attributes),
        node("Relu", "p", "r"),
        node("MatMul", "q w", "m"),
        node("Concat", "m c r p", axis=1),
    ]
    constants |= {"w": numbers(3, 2), "c": numbers(1, 2)}
    return model(nodes, [1, 5], constants, opset=opset)


def _branches() -> onnx.ModelProto:
    """x [n, 1] + h [n, 3]: the smaller branch is repeated."""
    nodes = [node("MatMul", "x w", "h"), node("ReduceMean", "x", "s", axes=[1]), node("Sub", "s h")]
    return model(nodes, [N, 4], {"w": numbers(4, 3)}, opset=13)


def _resize(opset: int = 18, shape=IMAGE, **given) -> onnx.ModelProto:
    inputs = "x - - sizes" if "sizes" in given else "x - scales"
    return _case("Resize", inputs, shape, len(shape), opset, **given)


def factors(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def _transposed(shape, weight, bias: bool = True, **attributes) -> onnx.ModelProto:
    groups = attributes.get("group", 1)
    constants = {"w": numbers(*weight)}
    if bias:
        constants["b"] = numbers(weight[1] * groups)
    inputs = "x w b" if bias else "x w"
    return model(
        [node("ConvTranspose", inputs, **attributes)], shape, constants, output_rank=len(shape)
    )


CASES = {
    "slice": lambda: _case(
        "Slice",
        "x a b c d",
        a=integers(1, 5),
        b=integers(4, 0),
        c=integers(2, 3),
        d=integers(1, -2),
    ),
    "slice-attributes": lambda: _case("Slice", opset=9, starts=[1], ends=[3], axes=[2]),
    "gather": lambda: _case("Gather", "x i", i=integers(3, 0, -1, 0), axis=2),
    "gather-one": lambda: _case("Gather", "x i", rank=3, i=np.array(1), axis=1),
    "gather-matrix": lambda: _case(
        "Gather", "x i", rank=5, i=integers(1, 0, 2, 3).reshape(2, 2), axis=3
    ),
    "gather-elements": lambda: _case(
        "GatherElements", "x i", (1, 3), 2, i=integers(2, 0).reshape(1, 2), axis=1
    ),
    "gather-nd": lambda: _case(
        "GatherND", "x i", (1, 3, 2), 2, i=integers(0, 2, 0, 1).reshape(2, 2)
    ),
    "expand": lambda: _case("Expand", "x s", (1, 3, 1), 3, s=integers(1, 3, 4)),
    "tile": lambda: _case("Tile", "x r", r=integers(1, 2, 1, 3)),
    "trilu": lambda: _case("Trilu", "x k", (1, 4, 4), 3, k=np.array(1), upper=1),
    "depth-to-space": lambda: _case("DepthToSpace", "x", (N, 8, 2, 3), blocksize=2),
    "depth-to-space-crd": lambda: _case("DepthToSpace", "x", (N, 8, 2, 3), blocksize=2, mode="CRD"),
    "space-to-depth": lambda: _case("SpaceToDepth", "x", blocksize=2),
    "split": lambda: _split(13, "x s", "p q", s=integers(2, 3)),
    "split-attribute": lambda: _split(11, "x", "p q", split=[2, 3]),
    "concat-constant-only-zeros": lambda: _case(
        "Concat", "x z", z=np.zeros((1, 1, 4, 6), np.float32), shape=(1, 2, 4, 6), axis=1
    ),
    "concat-in-front": lambda: model(
        [node("Relu", "x", "r"), node("Concat", "r x", axis=0)], [1, 3], opset=13
    ),
    "broadcast-branches": _branches,
    "broadcast-constant": lambda: _case("Add", "x c", (1, 4), 2, c=numbers(4, 4)),
    "broadcast-factor": lambda: _case("Mul", "x c", (1, 3, 1), 3, c=numbers(3, 5)),
    "reduce-sum": lambda: _case("ReduceSum", "x a", rank=3, a=integers(2), keepdims=0),
    "reduce-sum-two": lambda: _case("ReduceSum", "x a", a=integers(1, -1)),
    "reduce-sum-attribute": lambda: _case("ReduceSum", opset=11, axes=[3]),
    "reduce-mean": lambda: _case("ReduceMean", "x a", rank=2, a=integers(2, 3), keepdims=0),
    "reduce-everything": lambda: _case("ReduceMean", "x", (1, 3), 0, keepdims=0),
    "reduce-nothing": lambda: _case("ReduceSum", "x", noop_with_empty_axes=1),
    "sum": lambda: model(
        [node("Relu", "x", "r"), node("Tanh", "x", "t"), node("Sum", "r c x t")],
        [N, 4],
        {"c": numbers(4)},
    ),
    "where": lambda: _case(
        "Where", "m x c", (1, 4), 2, m=np.array([True, False, False, True]), c=numbers(4)
    ),
    "where-twice": lambda: model(
        [node("Relu", "x", "r"), node("Where", "m r x")],
        [1, 4],
        {"m": np.array([True, False, True, False])},
    ),
    "einsum": lambda: _case("Einsum", "x w", (N, 3, 4), 3, w=numbers(4, 5), equation="bij,jk->bik"),
    "einsum-swapped": lambda: _case(
        "Einsum", "w x", (1, 3, 4), 3, w=numbers(5, 3), equation="ki,bij->bjk"
    ),
    "einsum-implicit": lambda: _case("Einsum", "x w", (1, 3), 2, w=numbers(3, 2), equation="bi,ij"),
    "einsum-outer": lambda: _case("Einsum", "x w", (1, 3), 3, w=numbers(2), equation="bi,Z->bZi"),
    "einsum-ellipsis": lambda: _case(
        "Einsum", "x w", (1, 3, 4), 3, w=numbers(4, 5), equation="...j,jk->...k"
    ),
    "einsum-ellipsis-implicit": lambda: _case(
        "Einsum", "x w", (1, 3, 4), 3, w=numbers(4, 5), equation="...j,jk"
    ),
    "einsum-ellipsis-of-one": lambda: _case(
        "Einsum", "x w", (1, 3, 4), 3, w=numbers(5, 4), equation="...b,kb->...k"
    ),
    "einsum-sum": lambda: _case("Einsum", "x", (1, 3, 4), 2, equation="bij->bj"),
    "einsum-number": lambda: _case("Einsum", "x w", (1, 3), 1, w=numbers(3), equation="bi,i->b"),
    "matmul-stack": lambda: _case("MatMul", "x w", (1, 2, 4), 3, w=numbers(3, 4, 2)),
    "matmul-stack-left": lambda: _case("MatMul", "w x", (1, 3, 4, 2), 4, w=numbers(3, 5, 4)),
    "matmul-stack-vector": lambda: _case("MatMul", "x w", (4,), 2, w=numbers(3, 4, 2)),
    "matmul-stack-both": lambda: _case("MatMul", "x w", (1, 3, 2, 4), 4, w=numbers(1, 3, 4, 2)),
    "pad-value": lambda: _case(
        "Pad", "x p v", p=integers(0, 0, 1, 0, 0, 1, 0, 2), v=np.array(0.7, np.float32)
    ),
    "pad-value-attribute": lambda: _case(
        "Pad", opset=10, pads=[0, 0, 1, 0, 0, 0, 0, 2], value=-1.5
    ),
    "pad-crop": lambda: _case("Pad", "x p", p=integers(0, 0, -1, 1, 0, 0, 0, -2)),
    "pad-reflect": lambda: _case("Pad", "x p", p=integers(0, 0, 1, 2, 0, 0, 1, 0), mode="reflect"),
    "pad-edge": lambda: _case("Pad", "x p", p=integers(0, 0, 1, 2, 0, 0, 1, 0), mode="edge"),
    "resize": lambda: _resize(scales=factors(1, 1, 2, 2)),
    "resize-floor": lambda: _resize(
        scales=factors(1, 1, 2, 0.5),
        nearest_mode="floor",
        coordinate_transformation_mode="asymmetric",
    ),
    "resize-sizes": lambda: _resize(sizes=integers(1, 2, 7, 3), shape=(1, 2, 4, 6)),
    "resize-linear": lambda: _resize(scales=factors(1, 1, 2, 3), mode="linear"),
    "resize-linear-down": lambda: _resize(
        sizes=integers(1, 2, 3, 4),
        shape=(1, 2, 4, 6),
        mode="linear",
        coordinate_transformation_mode="pytorch_half_pixel",
    ),
    "resize-linear-corners": lambda: _resize(
        scales=factors(1, 1, 2, 1.5), mode="linear", coordinate_transformation_mode="align_corners"
    ),
    "resize-opset-10": lambda: _case("Resize", "x s", opset=10, s=factors(1, 1, 2, 2)),
    "upsample": lambda: _case("Upsample", "x s", opset=9, s=factors(1, 1, 2, 3)),
    "upsample-linear": lambda: _case(
        "Upsample", "x s", opset=9, s=factors(1, 1, 2, 2), mode="linear"
    ),
    "conv-3d": lambda: model(
        [node("Conv", "x w", strides=[1, 2, 1], pads=[0, 1, 0, 1, 0, 1])],
        [N, 2, 3, 4, 3],
        {"w": numbers(2, 2, 2, 2, 2)},
        output_rank=5,
    ),
    "pool-3d": lambda: model(
        [node("AveragePool", "x", kernel_shape=[2, 2, 1])], [N, 2, 3, 4, 3], output_rank=5
    ),
    "conv-transpose": lambda: _transposed(IMAGE, (2, 3, 3, 3)),
    "conv-transpose-strides": lambda: _transposed(
        IMAGE, (2, 3, 3, 2), strides=[2, 3], pads=[1, 0, 0, 1], output_padding=[1, 2]
    ),
    "conv-transpose-groups": lambda: _transposed(
        (N, 4, 3, 3), (4, 2, 2, 2), group=2, dilations=[2, 1]
    ),
    "conv-transpose-1d": lambda: _transposed((N, 2, 5), (2, 3, 4), bias=False, strides=[2]),
    "conv-transpose-3d": lambda: _transposed((N, 1, 2, 3, 2), (1, 2, 2, 2, 2), strides=[2, 1, 1]),
    "conv-transpose-same": lambda: _transposed(
        IMAGE, (2, 1, 3, 3), strides=[2, 2], auto_pad="SAME_UPPER"
    ),
    "conv-transpose-shape": lambda: _transposed(
        (1, 2, 4, 6), (2, 1, 3, 3), strides=[2, 2], output_shape=[8, 13]
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_equals_onnxruntime(name: str, tmp_path: Path) -> None:
    network = load_network(save(CASES[name](), tmp_path))
    assert_equals_original(network)
    assert_jacobian_is_autograd(network)


def test_every_operator_is_covered(tmp_path: Path) -> None:
    seen = {"Swish"}  # of opset 24, which onnxruntime need not know yet
    tables = [OTHER_CASES, PLAIN, PICKED, PRODUCTS, CASES]
    for make in [make for table in tables for make in table.values()]:
        seen.update(n.operator for n in inspect_network(save(make(), tmp_path)).nodes)
    assert not set(ONNX_OPERATORS) - seen
