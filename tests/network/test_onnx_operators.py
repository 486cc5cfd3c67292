"""Every ONNX operator and every way to use it that can be read, against onnxruntime."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_models import (
    assert_equals_original,
    assert_jacobian_is_autograd,
    integers,
    model,
    node,
    numbers,
    save,
)

from lipverify.network import load_network

N = "batch"


def _gemm(batch: int | str = N, **attributes: float) -> onnx.ModelProto:
    shape = (3, 4) if attributes.get("transB") else (4, 3)
    return model(
        [node("Gemm", "x w c", **attributes)], [batch, 4], {"w": numbers(*shape), "c": numbers(3)}
    )


def _gemm_c(*shape: int, rows: int = 1) -> onnx.ModelProto:
    weights = {"w": numbers(4, 3), "c": numbers(*shape)}
    return model([node("Gemm", "x w c", beta=0.5)], [rows, 4], weights)


def _two(op: str, inputs: str, constant: np.ndarray, shape: tuple[int | str, ...]):
    """A Relu, so that the operator works on a hidden tensor, then one binary operator."""
    nodes = [node("Relu", "x", "h"), node(op, inputs)]
    return model(nodes, shape, {"c": constant}, output_rank=max(len(shape), constant.ndim))


def _conv(shape: tuple[int | str, ...], weight: tuple[int, ...], bias: bool = True, **attributes):
    weights = {"w": numbers(*weight)} | ({"b": numbers(weight[0])} if bias else {})
    inputs = "x w b" if bias else "x w"
    return model([node("Conv", inputs, **attributes)], shape, weights, output_rank=len(shape))


def _pool(shape: tuple[int | str, ...], opset: int = 13, **attributes) -> onnx.ModelProto:
    return model(
        [node("AveragePool", "x", **attributes)], shape, opset=opset, output_rank=len(shape)
    )


def _unary(op: str, shape: tuple[int | str, ...] = (N, 5), rank: int = 2, **attributes):
    return model([node(op, "x", **attributes)], shape, output_rank=rank)


def _matmul(inputs: str, weight: tuple[int, ...], shape: tuple[int | str, ...], rank: int):
    return model([node("MatMul", inputs)], shape, {"w": numbers(*weight)}, output_rank=rank)


def _shaped(op: str, shape: tuple[int | str, ...], target: np.ndarray, rank: int, opset: int = 13):
    return model([node(op, "x s")], shape, {"s": target}, output_rank=rank, opset=opset)


def _batch_norm(shape: tuple[int | str, ...], **attributes: float) -> onnx.ModelProto:
    channels = int(shape[1])
    weights = {
        "s": numbers(channels, seed=1),
        "b": numbers(channels, seed=2),
        "m": numbers(channels, seed=3),
        "v": np.abs(numbers(channels, seed=4)) + np.float32(0.1),
    }
    nodes = [node("BatchNormalization", "x s b m v", **attributes)]
    return model(nodes, shape, weights, output_rank=len(shape))


def _pad(inputs: str, weights: dict[str, np.ndarray], opset: int = 13, **attributes):
    shape = (N, 2, 4, 3)
    return model([node("Pad", inputs, **attributes)], shape, weights, opset=opset, output_rank=4)


def _residual() -> onnx.ModelProto:
    nodes = [
        node("Gemm", "x w", "h"),
        node("Relu", "h", "r"),
        node("Gemm", "r w", "g"),
        node("Add", "g h", "a"),
        node("Tanh", "a", "t"),
        node("Sub", "t r", "y"),
    ]
    return model(nodes, [N, 4], {"w": numbers(4, 4)})


def _shared_matmul() -> onnx.ModelProto:
    """A MatMul with two users: its bias must not become part of it."""
    nodes = [
        node("MatMul", "x w", "h"),
        node("Add", "h b", "a"),
        node("Relu", "a", "r"),
        node("Add", "r h", "y"),
    ]
    return model(nodes, [N, 4], {"w": numbers(4, 4), "b": numbers(4)})


def _two_views() -> onnx.ModelProto:
    """One tensor that is looked at in two shapes."""
    nodes = [
        node("Relu", "x", "r"),
        node("Reshape", "r s1", "a"),
        node("MatMul", "a w1", "b"),
        node("Reshape", "r s2", "c"),
        node("MatMul", "c w2", "d"),
        node("Reshape", "b s3", "e"),
        node("Reshape", "d s3", "f"),
        node("Sub", "e f", "y"),
    ]
    weights = {
        "s1": integers(-1, 2, 6),
        "w1": numbers(6, 6),
        "s2": integers(-1, 3, 4),
        "w2": numbers(4, 4),
        "s3": integers(-1, 12),
    }
    return model(nodes, [N, 12], weights)


def _computed_reshape() -> onnx.ModelProto:
    """x.view(x.size(0), -1) as torch writes it."""
    nodes = [
        node("Shape", "x", "s"),
        node("Constant", "", "zero", value=onnx.numpy_helper.from_array(np.array(0))),
        node("Gather", "s zero", "size", axis=0),
        node("Constant", "", "axes", value_ints=[0]),
        node("Unsqueeze", "size axes", "first"),
        node("Constant", "", "rest", value=onnx.numpy_helper.from_array(integers(-1))),
        node("Concat", "first rest", "target", axis=0),
        node("Reshape", "x target", "flat"),
        node("MatMul", "flat w", "y"),
    ]
    return model(nodes, [N, 2, 3], {"w": numbers(6, 2)})


def _computed_weight() -> onnx.ModelProto:
    """Weights that are computed from constants, by several operators."""
    nodes = [
        node("ConstantOfShape", "s", "zeros"),
        node("Transpose", "w", "t"),
        node("Mul", "t t", "squares"),
        node("Add", "squares zeros", "sum"),
        node("Cast", "sum", "cast", to=TensorProto.FLOAT),
        node("Sqrt", "cast", "root"),
        node("Gemm", "x root b", "y"),
    ]
    weights = {"w": numbers(3, 4), "s": integers(4, 3), "b": numbers(3)}
    return model(nodes, [N, 4], weights)


def _cast_and_drop() -> onnx.ModelProto:
    nodes = [
        node("Cast", "x", "d", to=TensorProto.DOUBLE),
        node("Cast", "d", "f", to=TensorProto.FLOAT),
        node("Dropout", "f", "e"),
        node("Identity", "e", "i"),
        node("Gemm", "i w", "y"),
    ]
    return model(nodes, [N, 4], {"w": numbers(4, 3)})


def _lenet(batch: int | str) -> onnx.ModelProto:
    nodes = [
        node("Sub", "x mean", "centered"),
        node("Div", "centered std", "normal"),
        node("Conv", "normal k", "c", pads=[1, 1, 1, 1]),
        node("Add", "c kb", "cb"),
        node("Relu", "cb", "r"),
        node("AveragePool", "r", "p", kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", "p", "f"),
        node("MatMul", "f w", "m"),
        node("Add", "m b", "y"),
    ]
    weights = {
        "mean": np.float32([[[[0.1]]]]),
        "std": np.float32([[[[0.3]]]]),
        "k": numbers(3, 1, 3, 3),
        "kb": numbers(3, 1, 1),
        "w": numbers(27, 4),
        "b": numbers(4),
    }
    return model(nodes, [batch, 1, 6, 6], weights)


def _local_function() -> onnx.ModelProto:
    """A function defined in the file itself is put in where it is called."""
    body = [helper.make_node("Relu", ["a"], ["r"]), helper.make_node("Neg", ["r"], ["b"])]
    imports = [helper.make_opsetid("", 13)]
    function = helper.make_function("own", "NegRelu", ["a"], ["b"], body, imports)
    made = model([helper.make_node("NegRelu", ["x"], ["y"], domain="own")], [N, 4])
    made.opset_import.append(helper.make_opsetid("own", 1))
    made.functions.append(function)
    return made


IMAGE = (N, 2, 7, 6)
SAME = {"strides": [2, 2], "kernel_shape": [3, 2]}

CASES: dict[str, Callable[[], onnx.ModelProto]] = {
    "gemm": lambda: _gemm(),
    "gemm-transB": lambda: _gemm(transB=1),
    "gemm-alpha-beta": lambda: _gemm(alpha=0.3, beta=-2.0),
    "gemm-static-batch": lambda: _gemm(batch=1, transB=1),
    "gemm-no-c": lambda: model([node("Gemm", "x w")], [N, 4], {"w": numbers(4, 3)}),
    "gemm-scalar-c": lambda: _gemm_c(),
    "gemm-row-c": lambda: _gemm_c(1, 3),
    "gemm-column-c": lambda: _gemm_c(2, 1, rows=2),
    "gemm-unbatched": lambda: _gemm(batch=2),
    "gemm-double": lambda: model(
        [node("Gemm", "x w c", alpha=0.3, beta=0.7)],
        [N, 4],
        {"w": numbers(4, 3).astype(np.float64) / 3, "c": numbers(3).astype(np.float64) / 3},
        dtype=TensorProto.DOUBLE,
    ),
    "matmul-right": lambda: _matmul("x w", (4, 3), (N, 4), 2),
    "matmul-right-3d": lambda: _matmul("x w", (4, 3), (N, 2, 4), 3),
    "matmul-right-stack-of-one": lambda: _matmul("x w", (1, 4, 3), (N, 4), 3),
    "matmul-right-vector": lambda: _matmul("x w", (4,), (N, 2, 4), 2),
    "matmul-rank-1": lambda: _matmul("x w", (4, 3), (4,), 1),
    "matmul-rank-1-stack": lambda: _matmul("x w", (1, 4, 3), (4,), 2),
    "matmul-left-rank-1": lambda: _matmul("w x", (3, 4), (4,), 1),
    "matmul-left-rank-1-stack": lambda: _matmul("w x", (1, 3, 4), (4,), 2),
    "matmul-inner-product": lambda: _matmul("w x", (4,), (4,), 0),
    "matmul-left-column": lambda: _matmul("w x", (3, 4), (4, 1), 2),
    "matmul-left-batched-column": lambda: _matmul("w x", (3, 4), (N, 4, 1), 3),
    "matmul-left-matrix": lambda: _matmul("w x", (3, 4), (N, 4, 2), 3),
    "matmul-left-stack-of-one": lambda: _matmul("w x", (1, 3, 4), (N, 4, 2), 3),
    "matmul-left-vector": lambda: _matmul("w x", (4,), (N, 4, 2), 2),
    "matmul-add": lambda: model(
        [node("MatMul", "x w", "h"), node("Add", "b h")],
        [N, 4],
        {"w": numbers(4, 3), "b": numbers(3)},
    ),
    "matmul-add-per-row": lambda: model(
        [node("MatMul", "x w", "h"), node("Add", "h b")],
        [N, 2, 4],
        {"w": numbers(4, 3), "b": numbers(2, 3)},
        output_rank=3,
    ),
    "add": lambda: _two("Add", "h c", numbers(5), (N, 5)),
    "add-left": lambda: _two("Add", "c h", numbers(1, 5), (N, 5)),
    "add-scalar": lambda: _two("Add", "h c", numbers(), (N, 5)),
    "add-per-channel": lambda: _two("Add", "h c", numbers(3, 1, 1), (N, 3, 2, 2)),
    "add-more-dimensions": lambda: _two("Add", "h c", numbers(1, 1, 5), (N, 5)),
    "sub": lambda: _two("Sub", "h c", numbers(5), (N, 5)),
    "sub-from-constant": lambda: _two("Sub", "c h", numbers(5), (N, 5)),
    "mul": lambda: _two("Mul", "h c", numbers(5), (N, 5)),
    "mul-left": lambda: _two("Mul", "c h", numbers(1), (N, 5)),
    "div": lambda: _two("Div", "h c", numbers(5), (N, 5)),
    "div-by-power-of-two": lambda: _two("Div", "h c", np.float32(4), (N, 5)),
    "add-branches": lambda: model(
        [node("Relu", "x", "r"), node("Tanh", "x", "t"), node("Add", "r t")], [N, 5]
    ),
    "sub-branches": lambda: model([node("Relu", "x", "r"), node("Sub", "x r")], [N, 5]),
    "add-itself": lambda: model([node("Relu", "x", "r"), node("Add", "r r")], [N, 5]),
    "add-branches-of-other-rank": lambda: model(
        [
            node("Relu", "x", "r"),
            node("Reshape", "r s", "f"),
            node("Tanh", "f", "t"),
            node("Add", "x t"),
        ],
        [1, 1, 5],
        {"s": integers(5)},
        output_rank=3,
    ),
    "neg": lambda: _unary("Neg"),
    "relu": lambda: _unary("Relu"),
    "relu-of-input-rank-4": lambda: _unary("Relu", (1, 2, 3, 1), 4),
    "leaky-relu": lambda: _unary("LeakyRelu", alpha=0.2),
    "leaky-relu-default": lambda: _unary("LeakyRelu"),
    "tanh": lambda: _unary("Tanh"),
    "sigmoid": lambda: _unary("Sigmoid"),
    "identity": lambda: _unary("Identity"),
    "flatten": lambda: _unary("Flatten", (N, 2, 3)),
    "flatten-axis-2": lambda: _unary("Flatten", (1, 2, 3), axis=2),
    "reshape": lambda: _shaped("Reshape", (N, 6), integers(-1, 3, 2), 3),
    "reshape-keep": lambda: _shaped("Reshape", (N, 2, 3), integers(0, -1), 2),
    "reshape-batch-of-one": lambda: _shaped("Reshape", (1, 6), integers(2, 3), 2),
    "reshape-drops-batch": lambda: _shaped("Reshape", (1, 6), integers(6), 1),
    "squeeze": lambda: _shaped("Squeeze", (N, 1, 3), integers(1), 2),
    "squeeze-attribute": lambda: model([node("Squeeze", "x", axes=[1])], [N, 1, 3], opset=11),
    "unsqueeze": lambda: _shaped("Unsqueeze", (N, 3), integers(1, 3), 4),
    "transpose": lambda: _unary("Transpose", (N, 2, 3), 3, perm=[0, 2, 1]),
    "transpose-default": lambda: _unary("Transpose", (3, 2), 2),
    "transpose-batch-of-one": lambda: _unary("Transpose", (1, 2, 3), 3, perm=[2, 0, 1]),
    "transpose-only-ones": lambda: _unary("Transpose", (1, 4, 5, 1), 4, perm=[0, 3, 1, 2]),
    "transpose-4d": lambda: _unary("Transpose", (N, 2, 3, 4), 4, perm=[0, 3, 1, 2]),
    "conv": lambda: _conv(IMAGE, (3, 2, 3, 3)),
    "conv-no-bias": lambda: _conv(IMAGE, (3, 2, 2, 3), bias=False),
    "conv-static-batch": lambda: _conv((1, *IMAGE[1:]), (3, 2, 3, 3)),
    "conv-asymmetric": lambda: _conv(IMAGE, (3, 2, 3, 2), pads=[0, 1, 2, 0], strides=[2, 1]),
    "conv-dilated": lambda: _conv(IMAGE, (3, 2, 3, 2), dilations=[2, 3], pads=[1, 1, 1, 1]),
    "conv-groups": lambda: _conv((N, 4, 5, 5), (6, 2, 3, 3), group=2),
    "conv-depthwise": lambda: _conv((N, 3, 5, 5), (3, 1, 3, 3), group=3),
    "conv-same-upper": lambda: _conv(IMAGE, (3, 2, 3, 2), auto_pad="SAME_UPPER", **SAME),
    "conv-same-lower": lambda: _conv(IMAGE, (3, 2, 3, 2), auto_pad="SAME_LOWER", **SAME),
    "conv-valid": lambda: _conv(IMAGE, (3, 2, 3, 2), auto_pad="VALID", **SAME),
    "conv-1d": lambda: _conv((N, 2, 9), (3, 2, 4), pads=[1, 2], strides=[2]),
    "conv-1d-same": lambda: _conv((N, 2, 9), (3, 2, 4), auto_pad="SAME_LOWER", strides=[2]),
    "conv-then-shift": lambda: model(
        [node("Conv", "x w", "c"), node("Add", "c b")],
        IMAGE,
        {"w": numbers(3, 2, 2, 2), "b": numbers(1, 3, 1, 1)},
        output_rank=4,
    ),
    "conv-then-uneven-shift": lambda: model(
        [node("Conv", "x w", "c"), node("Add", "c b")],
        IMAGE,
        {"w": numbers(3, 2, 2, 2), "b": numbers(6, 1)},
        output_rank=4,
    ),
    "pool": lambda: _pool(IMAGE, kernel_shape=[2, 3]),
    "pool-ceil": lambda: _pool((N, 2, 7, 5), kernel_shape=[2, 4], strides=[2, 2], ceil_mode=1),
    "pool-ceil-padded": lambda: _pool(
        IMAGE, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2], ceil_mode=1
    ),
    "pool-ceil-fits": lambda: _pool(IMAGE, kernel_shape=[2, 2], ceil_mode=1, count_include_pad=1),
    "pool-padded": lambda: _pool(IMAGE, kernel_shape=[3, 3], pads=[1, 0, 2, 1], strides=[2, 2]),
    "pool-counting": lambda: _pool(
        IMAGE, kernel_shape=[3, 2], pads=[1, 0, 1, 1], count_include_pad=1
    ),
    "pool-same": lambda: _pool(IMAGE, kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_UPPER"),
    "pool-opset-7": lambda: _pool(IMAGE, opset=7, kernel_shape=[2, 2], strides=[2, 2]),
    "pool-1d": lambda: _pool((N, 2, 9), kernel_shape=[3], strides=[2], pads=[1, 1]),
    "pool-global": lambda: _unary("GlobalAveragePool", IMAGE, 4),
    "pool-global-1d": lambda: _unary("GlobalAveragePool", (1, 2, 5), 3),
    "pad": lambda: _pad("x p", {"p": integers(0, 0, 1, 0, 0, 0, 2, 3)}),
    "pad-channels": lambda: _pad("x p", {"p": integers(0, 1, 0, 0, 0, 2, 0, 0)}),
    "pad-zero-value": lambda: _pad(
        "x p z", {"p": integers(0, 0, 1, 1, 0, 0, 1, 1), "z": np.float32(0)}
    ),
    "pad-axes": lambda: _pad(
        "x p - a", {"p": integers(1, 2, 0, 1), "a": integers(2, -1)}, opset=18
    ),
    "pad-attribute": lambda: _pad("x", {}, opset=10, pads=[0, 0, 1, 0, 0, 0, 2, 3]),
    "batch-norm": lambda: _batch_norm((N, 5)),
    "batch-norm-images": lambda: _batch_norm((N, 2, 3, 3), epsilon=0.01),
    "batch-norm-static": lambda: _batch_norm((1, 3, 4)),
    "residual": _residual,
    "shared-matmul": _shared_matmul,
    "two-views": _two_views,
    "computed-reshape": _computed_reshape,
    "computed-weight": _computed_weight,
    "cast-dropout-identity": _cast_and_drop,
    "lenet": lambda: _lenet(N),
    "lenet-static": lambda: _lenet(1),
    "local-function": _local_function,
}


@pytest.mark.parametrize("name", CASES)
def test_equals_onnxruntime(name: str, tmp_path: Path) -> None:
    network = load_network(save(CASES[name](), tmp_path))
    assert_equals_original(network)
    assert_jacobian_is_autograd(network)
