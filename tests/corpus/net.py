"""Tiny networks as lists of steps: written as ONNX files, and read by the exact judge.

Weights are arrays of the network's own dtype, so that both see the same stored numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 13
INPUT = "x"


@dataclass(frozen=True, eq=False)
class Step:
    """`op` is an ONNX operator; `weights` are its constant operands, in order after `inputs`.

    With `constant_first`, the (only) constant is the first operand: constant - x.
    """

    op: str
    inputs: tuple[str, ...]
    name: str
    weights: tuple[NDArray[Any], ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    constant_first: bool = False


@dataclass(frozen=True, eq=False)
class Net:
    """From the input "x" [1, inputs] to the last step's value [1, outputs]."""

    inputs: int
    steps: tuple[Step, ...]
    double: bool = False

    @property
    def dtype(self) -> type[np.floating[Any]]:
        return np.float64 if self.double else np.float32

    def onnx(self) -> onnx.ModelProto:
        kind = TensorProto.DOUBLE if self.double else TensorProto.FLOAT
        nodes, arrays = [], []
        for step in self.steps:
            names = [f"{step.name}.{place}" for place in range(len(step.weights))]
            arrays += [
                numpy_helper.from_array(array, name)
                for name, array in zip(names, step.weights, strict=True)
            ]
            operands = [*names, *step.inputs] if step.constant_first else [*step.inputs, *names]
            nodes.append(helper.make_node(step.op, operands, [step.name], **step.attributes))
        graph = helper.make_graph(
            nodes,
            "corpus",
            [helper.make_tensor_value_info(INPUT, kind, [1, self.inputs])],
            [helper.make_tensor_value_info(self.steps[-1].name, kind, [1, None])],
            arrays,
        )
        opset = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opset, ir_version=8)

    def save(self, path: Path) -> Path:
        path.write_bytes(self.onnx().SerializeToString())
        return path


class Builder:
    """Makes a `Net` step by step; each method returns the name of the new value."""

    def __init__(self, inputs: int, double: bool = False) -> None:
        self.inputs, self.double = inputs, double
        self.steps: list[Step] = []

    def numbers(self, values: Any) -> NDArray[Any]:
        return np.asarray(values, dtype=np.float64 if self.double else np.float32)

    def op(
        self,
        op: str,
        *inputs: str,
        weights: Sequence[Any] = (),
        constant_first: bool = False,
        **attributes: Any,
    ) -> str:
        name = f"v{len(self.steps)}"
        arrays = tuple(
            w if isinstance(w, np.ndarray) and w.dtype == np.int64 else self.numbers(w)
            for w in weights
        )
        self.steps.append(Step(op, inputs, name, arrays, attributes, constant_first))
        return name

    def dense(self, x: str, weight: Any, bias: Any = None) -> str:
        """weight [out, in], bias [out]."""
        weight = self.numbers(weight)
        bias = np.zeros(len(weight)) if bias is None else bias
        return self.op("Gemm", x, weights=(weight, bias), transB=1)

    def relu(self, x: str) -> str:
        return self.op("Relu", x)

    def net(self) -> Net:
        return Net(self.inputs, tuple(self.steps), self.double)


def chain(inputs: int, *layers: Any, double: bool = False) -> Net:
    """Layers in a row: ("Relu",), ("LeakyRelu", {"alpha": 2.0}), or a (weight, bias) pair."""
    build, x = Builder(inputs, double), INPUT
    for layer in layers:
        if isinstance(layer[0], str):
            attributes = layer[1] if len(layer) > 1 else {}
            x = build.op(layer[0], x, **attributes)
        else:
            x = build.dense(x, *layer)
    return build.net()
