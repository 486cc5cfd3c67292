"""Small hand-made ONNX models, and what every loaded network must satisfy."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from lipverify.graph import backward_graph, jacobian, output
from lipverify.network import Network

OPSET = 13


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    """Normal float32 weights."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def integers(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def node(op: str, inputs: str, output: str = "y", **attributes: Any) -> onnx.NodeProto:
    """Inputs are separated by blanks; "-" is one that is left out."""
    names = ["" if name == "-" else name for name in inputs.split()]
    return helper.make_node(op, names, output.split(), name=f"{op}:{output}", **attributes)


def model(
    nodes: Sequence[onnx.NodeProto],
    input_shape: Sequence[int | str],
    weights: Mapping[str, np.ndarray] | None = None,
    *,
    opset: int = OPSET,
    outputs: Sequence[str] = ("y",),
    output_rank: int = 2,
    dtype: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """A model from "x" to "y"."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info("x", dtype, list(input_shape))],
        [helper.make_tensor_value_info(o, dtype, [None] * output_rank) for o in outputs],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def save(proto: onnx.ModelProto, folder: Path, name: str = "model.onnx") -> Path:
    path = folder / name
    path.write_bytes(proto.SerializeToString())
    return path


def points(network: Network, count: int = 12) -> torch.Tensor:
    """Random float32 points, as float64: the graph and the original see the same ones."""
    generator = torch.Generator().manual_seed(1)
    size = (count, network.graph.input_size)
    return torch.randn(size, generator=generator).to(network.dtype).to(torch.float64)


def assert_equals_original(network: Network, relative: float = 1e-5) -> None:
    x = points(network)
    ours, theirs = output(network.graph, x), network.original(x)
    assert ours.dtype == theirs.dtype == torch.float64
    assert ours.shape == theirs.shape
    reach = max(1.0, float(theirs.abs().max()))
    assert float((ours - theirs).abs().max()) <= relative * reach


def assert_jacobian_is_autograd(network: Network) -> None:
    """The backward graph against autograd through the forward graph, at points off the kinks."""
    graph = network.graph
    x = points(network, 4)
    ours = jacobian(backward_graph(graph), x)
    for row, point in zip(ours, x, strict=True):
        theirs = torch.autograd.functional.jacobian(
            lambda flat: output(graph, flat[None])[0], point, vectorize=False
        )
        assert torch.allclose(row, theirs, rtol=1e-9, atol=1e-11)
