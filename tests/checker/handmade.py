"""A small writer of certificates for tests: it chooses, the checker computes."""

import base64
import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def floats(values: Any) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f8").tobytes()).decode()


def scalar(value: float) -> str:
    return float(value).hex()


def manifest(
    network: Path, region: Mapping[str, Any], asked: Mapping[str, Any], **more: Any
) -> dict[str, Any]:
    return {
        "lipcert": 1,
        "kind": "proof",
        "claim": "real",
        "precision": 128,
        "network": {"sha256": hashlib.sha256(network.read_bytes()).hexdigest()},
        "region": dict(region),
        "property": dict(asked),
        **more,
    }


def box(lower: Any, upper: Any) -> dict[str, Any]:
    return {"lower": floats(lower), "upper": floats(upper)}


def lipschitz(
    at_most: float, norm: str = "inf", output_norm: str = "inf", **more: Any
) -> dict[str, Any]:
    return {
        "kind": "lipschitz",
        "input_norm": norm,
        "output_norm": output_norm,
        "at_most": scalar(at_most),
        **more,
    }


def write(path: Path, head: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]] | None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", json.dumps(head))
        if nodes is not None:
            archive.writestr("tree.jsonl", "".join(json.dumps(node) + "\n" for node in nodes))
    return path


def mlp(
    path: Path,
    weights: Sequence[Any],
    biases: Sequence[Any],
    activation: str = "Relu",
    **attributes: Any,
) -> Path:
    """An ONNX file of Gemm and activation layers, float32."""
    weights = [np.asarray(weight, dtype=np.float32) for weight in weights]
    nodes, initializers, value = [], [], "input"
    for k, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        initializers.append(numpy_helper.from_array(weight, f"w{k}"))
        initializers.append(numpy_helper.from_array(np.asarray(bias, dtype=np.float32), f"b{k}"))
        nodes.append(helper.make_node("Gemm", [value, f"w{k}", f"b{k}"], [f"z{k}"], transB=1))
        value = f"z{k}"
        if k + 1 < len(weights):
            nodes.append(helper.make_node(activation, [value], [f"a{k}"], **attributes))
            value = f"a{k}"
    return save(
        path, nodes, initializers, [1, weights[0].shape[1]], value, [1, weights[-1].shape[0]]
    )


def save(
    path: Path,
    nodes: Sequence[Any],
    initializers: Sequence[Any],
    shape: Sequence[int],
    output: str,
    output_shape: Sequence[int],
) -> Path:
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, list(output_shape))],
        list(initializers),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(path))
    return path


def random_mlp(
    path: Path, seed: int, sizes: Sequence[int], activation: str = "Relu", scale: float = 1.0
) -> tuple[Path, list[np.ndarray], list[np.ndarray]]:
    generator = np.random.default_rng(seed)
    weights = [
        (generator.standard_normal((b, a)) * scale / np.sqrt(a)).astype(np.float32)
        for a, b in zip(sizes, sizes[1:], strict=False)
    ]
    biases = [(0.3 * generator.standard_normal(b)).astype(np.float32) for b in sizes[1:]]
    return mlp(path, weights, biases, activation), weights, biases
