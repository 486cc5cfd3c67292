"""Inspection lists every node, whether or not the network can be loaded."""

from pathlib import Path

import pytest
from onnx import TensorProto
from onnx_models import integers, model, node, numbers, save

from lipverify.errors import NetworkError
from lipverify.network import inspect_network

N = "batch"


def test_a_supported_network(tmp_path: Path) -> None:
    nodes = [
        node("Reshape", "x s", "f"),
        node("Transpose", "w", "t"),
        node("Cast", "f", "c", to=TensorProto.FLOAT),
        node("MatMul", "c t", "h"),
        node("Add", "h b", "a"),
        node("Add", "a b", "y"),
    ]
    weights = {"s": integers(-1, 4), "w": numbers(3, 4), "b": numbers(3)}
    path = save(model(nodes, [N, 2, 2], weights), tmp_path)
    found = inspect_network(path)
    assert found.is_supported and not found.unsupported and not found.problems
    assert found.path == str(path) and len(found.sha256) == 64
    assert [(t.name, t.shape, t.dtype) for t in found.inputs] == [("x", (N, 2, 2), "float")]
    assert [t.name for t in found.outputs] == ["y"]
    assert [n.name for n in found.nodes] == [n.name for n in nodes]
    assert [n.shape for n in found.nodes] == [(1, 4), (4, 3), (1, 4), (1, 3), (1, 3), (1, 3)]
    assert [n.parameters for n in found.nodes] == [0, 0, 0, 12, 3, 3]
    assert found.parameters == 15  # each stored weight once
    assert "identity" in found.nodes[2].note


def test_unsupported_nodes_are_listed_with_the_others(tmp_path: Path) -> None:
    nodes = [
        node("Gemm", "x w", "g"),
        node("Hardmax", "g", "s"),
        node("Mul", "s g", "m"),
        node("Tanh", "x", "unused"),
        node("Gemm", "m w", "y"),
    ]
    found = inspect_network(save(model(nodes, [N, 4], {"w": numbers(4, 4)}), tmp_path))
    assert not found.is_supported and not found.problems
    assert [n.supported for n in found.nodes] == [True, False, True, True, True]
    assert [n.operator for n in found.unsupported] == ["Hardmax"]
    assert found.nodes[1].reason == "this operator is not supported"
    assert found.nodes[1].shape == found.nodes[4].shape == (1, 4)
    assert found.nodes[3].note == "not used by the output"
    assert found.parameters == 16


def test_problems_of_the_whole_file_are_all_listed(tmp_path: Path) -> None:
    nodes = [node("Relu", "x", "y"), node("Hardmax", "x", "z")]
    path = save(model(nodes, [N, "length"], outputs=("y", "z")), tmp_path)
    found = inspect_network(path)
    assert not found.is_supported
    assert len(found.problems) == 1
    assert "dynamic dimension" in found.problems[0]
    assert [n.supported for n in found.nodes] == [True, False]
    assert found.nodes[0].shape is None


def test_bad_weights_are_a_problem_of_the_file(tmp_path: Path) -> None:
    weight = numbers(4, 4)
    weight[0] = float("nan")
    nodes = [node("Gemm", "x w", "g"), node("Hardmax", "g", "y")]
    found = inspect_network(save(model(nodes, [N, 4], {"w": weight}), tmp_path))
    (problem,) = found.problems
    assert "Gemm at node 'Gemm:g': initialiser 'w' holds 4 entries" in problem
    assert [n.operator for n in found.unsupported] == ["Hardmax"]


def test_an_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "empty.onnx"
    path.touch()
    with pytest.raises(NetworkError, match="empty"):
        inspect_network(path)
