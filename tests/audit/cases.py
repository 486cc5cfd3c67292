"""Small audits in a folder: networks with known behaviour, tables, audit files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import nn

from lipverify.audit import AuditConfig, AuditResult, run_audit
from tests.cli.networks import save


def weights(sizes: Sequence[int], seed: int, *, positive: bool = False) -> list[np.ndarray]:
    """Weight [out, in] and bias [out] of each layer, float32."""
    random = np.random.default_rng(seed)
    found = []
    for inputs, outputs in zip(sizes[:-1], sizes[1:], strict=True):
        weight = random.normal(size=(outputs, inputs)) / np.sqrt(inputs)
        if positive:
            weight = np.abs(weight) + 0.01
        bias = random.normal(size=outputs) / 2
        found += [weight.astype(np.float32), bias.astype(np.float32)]
    return found


def write_network(path: Path, layers: Sequence[np.ndarray], end: str = "") -> Path:
    """Dense layers with ReLU between them, and (`end`) an operator behind the last."""
    from onnx import helper

    nodes, named, value = [], {}, "x"
    for place in range(0, len(layers), 2):
        named[f"w{place}"], named[f"b{place}"] = layers[place], layers[place + 1]
        nodes.append(
            helper.make_node("Gemm", [value, f"w{place}", f"b{place}"], [f"z{place}"], transB=1)
        )
        value = f"z{place}"
        if place + 2 < len(layers):
            nodes.append(helper.make_node("Relu", [value], [f"a{place}"]))
            value = f"a{place}"
    if end:
        nodes.append(helper.make_node(end, [value], ["end"]))
    nodes[-1].output[0] = "y"
    return save(path, nodes, named, layers[0].shape[1], layers[-1].shape[0])


def module_of(layers: Sequence[np.ndarray]) -> nn.Sequential:
    """The same network in torch, float64: the judge."""
    found: list[nn.Module] = []
    for place in range(0, len(layers), 2):
        outputs, inputs = layers[place].shape
        linear = nn.Linear(inputs, outputs, dtype=torch.float64)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(layers[place]))
            linear.bias.copy_(torch.from_numpy(layers[place + 1]))
        found += [linear, nn.ReLU()]
    return nn.Sequential(*found[:-1])


def numbers(rows: int, columns: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, size=(rows, columns)).round(3)


def write_table(path: Path, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Path:
    lines = [",".join(names), *(",".join(str(cell) for cell in row) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_audit(folder: Path, columns: dict[str, Any], **keys: Any) -> Path:
    """An audit of net.onnx on table.csv."""
    document = {
        "lipverify": 1,
        "kind": "audit",
        "network": "net.onnx",
        "table": "table.csv",
        "columns": columns,
        **keys,
    }
    path = folder / "audit.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def plain_audit(folder: Path, layers: Sequence[np.ndarray], rows: int = 12, **keys: Any) -> Path:
    """Columns a, b, c, ... in [-1, 1], one per input."""
    size = layers[0].shape[1]
    names = [chr(ord("a") + place) for place in range(size)]
    write_network(folder / "net.onnx", layers, keys.pop("end", ""))
    write_table(folder / "table.csv", names, numbers(rows, size, 3).tolist())
    return write_audit(folder, {name: {"range": [-1.0, 1.0]} for name in names}, **keys)


def ran(path: Path, **config: Any) -> AuditResult:
    return run_audit(path, path.parent / "out", AuditConfig(**{"timeout": 20.0, **config}))
