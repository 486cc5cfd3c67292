"""Tiny ONNX files whose Lipschitz constants are known by hand."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    weights: dict[str, np.ndarray],
    inputs: int = 2,
    outputs: int = 2,
) -> Path:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", inputs])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", outputs])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)
    return path


def linear(path: Path) -> Path:
    """y = x W with linf -> linf constants 3 (output 0) and 7 (output 1)."""
    weight = np.array([[1.0, 3.0], [-2.0, 4.0]], dtype=np.float32)
    return save(path, [helper.make_node("MatMul", ["x", "w"], ["y"], name="mat")], {"w": weight})


def residual(path: Path) -> Path:
    """y = relu(x W) + x."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["z"], name="mat"),
        helper.make_node("Relu", ["z"], ["a"], name="relu"),
        helper.make_node("Add", ["a", "x"], ["y"], name="add"),
    ]
    return save(path, nodes, {"w": np.eye(2, dtype=np.float32)})


def unsupported(path: Path) -> Path:
    nodes = [
        helper.make_node("Hardmax", ["x"], ["z"], name="odd"),
        helper.make_node("Relu", ["z"], ["y"], name="relu"),
    ]
    return save(path, nodes, {})
