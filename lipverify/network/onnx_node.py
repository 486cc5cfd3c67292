"""One ONNX node with its operands looked up: what a converter works on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lipverify.errors import UnsupportedOperator
from lipverify.network.builder import Switched, Value
from lipverify.network.onnx_file import import_onnx
from lipverify.network.onnx_fold import Array, fold, require_finite
from lipverify.operators import Shape


@dataclass(frozen=True, eq=False)
class OnnxNode:
    """`operands` are values that depend on the input, constants, or None where left out.

    `names` are the operands' names in the file. `shape` is what ONNX's own shape inference says
    of the first output, at a batch of 1; None where it cannot tell. `outputs` counts them, and
    `opset` is the version of the operators.
    """

    operator: str
    names: tuple[str, ...]
    operands: tuple[Value | Switched | Array | None, ...]
    attributes: Mapping[str, Any]
    shape: Shape | None
    outputs: int = 1
    opset: int = 0

    def number(self, name: str, default: float) -> float:
        """An attribute; the file's are float32, so onnxruntime's defaults are as well."""
        return float(np.float32(self.attributes.get(name, default)))

    def is_constant(self, index: int) -> bool:
        return isinstance(self._operand(index), np.ndarray)

    def value(self, index: int, role: str = "operand") -> Value:
        """An operand that depends on the input."""
        operand = self._operand(index)
        if not isinstance(operand, Value):
            raise UnsupportedOperator(f"its {role} (operand {index}) must depend on the input")
        return operand

    def weight(self, index: int, role: str) -> Tensor:
        """A constant operand, float64; `NetworkError` if it is not finite."""
        operand = self._operand(index)
        if not isinstance(operand, np.ndarray):
            raise UnsupportedOperator(f"its {role} (operand {index}) must be a constant")
        require_finite(self.names[index], operand)
        # A copy, since stored tensors are read-only views of the file's bytes.
        return torch.tensor(operand.astype(np.float64))

    def optional_weight(self, index: int, role: str) -> Tensor | None:
        return None if self._operand(index) is None else self.weight(index, role)

    def reduced(self) -> list[int] | None:
        """The dimensions that a reduction of operand 0 is over; None where it is to do nothing.

        They are an attribute in older opsets and operand 1 in newer ones; all, where left out.
        """
        axes = self.integers(1, "axes") or list(self.attributes.get("axes", ()))
        if axes:
            return axes
        if self.attributes.get("noop_with_empty_axes", 0):
            return None
        return list(range(len(self.value(0).shape)))

    def integers(self, index: int, role: str) -> list[int] | None:
        """A constant operand that lists integers; None where left out."""
        weight = self.optional_weight(index, role)
        return None if weight is None else [int(number) for number in weight.reshape(-1)]

    def inferred_shape(self) -> Shape:
        if self.shape is None:
            raise UnsupportedOperator("the shape of its result cannot be told before it is run")
        return self.shape

    def evaluated(self, first: Array) -> list[Array]:
        """All outputs with `first` in place of operand 0; all others must be constants."""
        names = list(self.names)
        operands = {names[0]: first}
        for index, name in enumerate(names[1:], start=1):
            if name:
                if not self.is_constant(index):
                    raise UnsupportedOperator(f"its operand {index} must be a constant")
                operand = self._operand(index)
                assert isinstance(operand, np.ndarray)
                operands[name] = operand
        outputs = [f"output/{index}" for index in range(self.outputs)]
        proto = import_onnx().helper.make_node(self.operator, names, outputs, **self.attributes)
        return list(fold(proto, operands, self.opset))

    def _operand(self, index: int) -> Value | Switched | Array | None:
        return self.operands[index] if index < len(self.operands) else None

    def refuse_attribute(self, name: str, default: object) -> None:
        """`UnsupportedOperator` unless the attribute has its only supported value."""
        given = self.attributes.get(name, default)
        if given != default:
            raise UnsupportedOperator(f"{name}={given} is not supported, only {default}")

    def text(self, name: str, default: str) -> str:
        given = self.attributes.get(name, default)
        return given.decode(errors="replace") if isinstance(given, bytes) else str(given)
