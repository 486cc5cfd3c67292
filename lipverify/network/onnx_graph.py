"""From an ONNX file to our graph: constants are folded, then node by node through the table.

Nodes that cannot be read do not stop the walk, so that all of them are reported at once.
"""

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Final, final

import numpy as np

from lipverify.errors import NetworkError, NetworkMismatch, UnsupportedOperator
from lipverify.graph import ForwardGraph
from lipverify.network.builder import GraphBuilder, Switched, Value
from lipverify.network.joining import concat
from lipverify.network.layers import preprocess, reshape
from lipverify.network.node_info import NodeInfo
from lipverify.network.onnx_convert import CONVERTERS, NOTES
from lipverify.network.onnx_file import STANDARD_DOMAINS, OnnxFile, import_onnx
from lipverify.network.onnx_fold import Array, as_constant, can_fold, fold, to_array
from lipverify.network.onnx_node import OnnxNode
from lipverify.network.onnx_selection import SWITCH_CONVERTERS
from lipverify.network.switch import JUMPS
from lipverify.operators import Shape
from lipverify.reading import AS_IT_IS, Reading

if TYPE_CHECKING:
    import onnx

SHAPE_READERS = frozenset({"Shape", "Size"})
"""Operators whose result depends on the operand's shape alone."""

UNUSED = "not used by the output"


@final
class Unknown:
    """A tensor of which not even the shape is known, behind a node that cannot be read."""


UNKNOWN: Final = Unknown()

Operand = Value | Switched | Array | Unknown | None


@dataclass(frozen=True, eq=False)
class Conversion:
    """What became of a file. `errors` are problems other than unsupported nodes.

    `parameters` counts the stored weights in use, each once.
    """

    nodes: tuple[NodeInfo, ...]
    errors: tuple[str, ...]
    parameters: int
    graph: ForwardGraph | None


def convert(file: OnnxFile, reading: Reading = AS_IT_IS) -> Conversion:
    """Read every node. `graph` is None if any of them, or the file as a whole, cannot be read.

    `NetworkError` if a stored weight cannot be read.
    """
    try:
        return _Walk(file, reading).run()
    except NetworkError as error:
        raise NetworkError(f"{file.path}: {error}") from error


class _Walk:
    """One pass over the nodes of a file, in their (topological) order."""

    def __init__(self, file: OnnxFile, reading: Reading) -> None:
        graph = file.model.graph
        self.file = file
        self.tensors: dict[str, Operand] = {t.name: to_array(t) for t in graph.initializer}
        self.stored = dict(self.tensors)
        fixed = file.fixed(reading)
        moving = [tensor for tensor in file.inputs if tensor.name not in fixed]
        first = moving[0].static_shape if moving else None
        self.build = GraphBuilder(first or (1,))
        for position, tensor in enumerate(moving):
            shape = tensor.static_shape
            if shape is None:
                self.tensors[tensor.name] = UNKNOWN
            elif position == 0:
                self.tensors[tensor.name] = preprocess(self.build, reading.preprocessing)
            else:
                self.tensors[tensor.name] = self.build.placeholder(shape)
        self.tensors.update({name: as_constant(value) for name, value in fixed.items()})
        self.errors: list[str] = []
        self.asked = tuple(tensor.name for tensor in file.asked(reading))
        self.used = _used_tensors(graph, set(self.asked))

    def run(self) -> Conversion:
        nodes = tuple(
            self._read(node, node.name or f"{node.op_type}_{index}")
            for index, node in enumerate(self.file.model.graph.node)
        )
        clean = all(node.supported for node in nodes) and not self.errors
        parameters = sum(
            _weights(array) for name, array in self.stored.items() if name in self.used
        ) + sum(
            _weights(self.tensors.get(output))
            for node in self.file.model.graph.node
            if node.op_type == "Constant"
            for output in node.output
            if output in self.used
        )
        graph = self._finish() if clean and self.asked else None
        return Conversion(nodes, tuple(self.errors), parameters, graph)

    def _finish(self) -> ForwardGraph | None:
        parts: list[Value] = []
        for name in self.asked:
            output = self.tensors.get(name)
            if isinstance(output, Switched):
                self.errors.append(f"the output {name!r}: {JUMPS}")
            elif not isinstance(output, Value):
                self.errors.append(f"the output {name!r} does not depend on the input")
            else:
                parts.append(output)
        if self.errors:
            return None
        try:
            if len(parts) > 1:
                parts = [concat(self.build, [reshape(y, (1, prod(y.shape))) for y in parts], 1)]
            return self.build.finish(parts[0])
        except NetworkError as error:
            self.errors.append(str(error))
            return None

    def _read(self, node: "onnx.NodeProto", name: str) -> NodeInfo:
        """Define the node's outputs, and tell what came of it."""
        operator = (
            node.op_type if node.domain in STANDARD_DOMAINS else (f"{node.domain}.{node.op_type}")
        )
        if not self.used.intersection(node.output):
            return NodeInfo(name, operator, None, 0, note=UNUSED)
        operands = tuple(self.tensors[i] if i else None for i in node.input)
        parameters = sum(_weights(operand) for operand in operands)
        shape: Shape | None = None
        reason = note = ""
        try:
            if any(isinstance(operand, Unknown) for operand in operands):
                self._define(node, UNKNOWN)
                if operator not in CONVERTERS and operator not in SHAPE_READERS:
                    reason = "this operator is not supported"
            elif self._is_constant(node, operands):
                results = self._fold(node, operands)
                shape = results[0].shape if results else None
                parameters = 0
            else:
                shape = self._infer(node, operands)
                shape = self._convert(node, name, operator, operands, shape)
                note = NOTES.get(operator, "")
        except UnsupportedOperator as error:
            reason = str(error)
            self._define(node, UNKNOWN if shape is None else self.build.placeholder(shape))
        except NetworkError as error:
            self.errors.append(f"{operator} at node {name!r}: {error}")
            self._define(node, UNKNOWN if shape is None else self.build.placeholder(shape))
        return NodeInfo(name, operator, shape, parameters, not reason, reason, note)

    def _define(self, node: "onnx.NodeProto", first: Operand) -> None:
        self.tensors.update({output: UNKNOWN for output in node.output})
        self.tensors[node.output[0]] = first

    def _is_constant(self, node: "onnx.NodeProto", operands: tuple[Operand, ...]) -> bool:
        if not can_fold(node):
            return False
        if node.op_type in SHAPE_READERS:
            return True
        return not any(isinstance(operand, Value | Switched) for operand in operands)

    def _fold(self, node: "onnx.NodeProto", operands: tuple[Operand, ...]) -> list[Array]:
        arrays = {
            name: np.zeros(operand.shape) if isinstance(operand, Value) else operand
            for name, operand in zip(node.input, operands, strict=True)
            if isinstance(operand, Value | np.ndarray)
        }
        results = list(fold(node, arrays, self.file.opset))
        self.tensors.update(zip((name for name in node.output if name), results, strict=True))
        return results

    def _convert(
        self,
        node: "onnx.NodeProto",
        name: str,
        operator: str,
        operands: tuple[Operand, ...],
        shape: Shape | None,
    ) -> Shape:
        """Translate the node; the shape of its result, which must be the inferred one."""
        switched = any(isinstance(operand, Switched) for operand in operands)
        converter = (SWITCH_CONVERTERS if switched else CONVERTERS).get(operator)
        if switched and converter is None:
            raise UnsupportedOperator(JUMPS)
        if converter is None:
            raise UnsupportedOperator("this operator is not supported")
        known = tuple(None if isinstance(operand, Unknown) else operand for operand in operands)
        helper = import_onnx().helper
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        self.build.begin(name)
        names, outputs = tuple(node.input), len(node.output)
        found = converter(
            self.build,
            OnnxNode(operator, names, known, attributes, shape, outputs, self.file.opset),
        )
        results = found if isinstance(found, tuple) else (found,)
        extra = self.used.intersection(node.output[len(results) :])
        if extra:
            raise UnsupportedOperator(f"its further outputs are used: {sorted(extra)}")
        if shape is not None and results[0].shape != shape:
            raise NetworkMismatch(
                f"read as shape {list(results[0].shape)}, ONNX says {list(shape)}"
            )
        self._define(node, results[0])
        self.tensors.update(zip(node.output[1:], results[1:], strict=False))
        return results[0].shape

    def _infer(self, node: "onnx.NodeProto", operands: tuple[Operand, ...]) -> Shape | None:
        """ONNX's own shape inference for this node; None where it cannot tell."""
        if any(isinstance(operand, Switched) for operand in operands):
            return None
        package = import_onnx()
        helper, inference, real = (
            package.helper,
            package.shape_inference,
            package.TensorProto.FLOAT,
        )
        types: dict[str, onnx.TypeProto] = {}
        data: dict[str, onnx.TensorProto] = {}
        for name, operand in zip(node.input, operands, strict=True):
            if isinstance(operand, Value):
                types[name] = helper.make_tensor_type_proto(real, operand.shape)
            elif isinstance(operand, np.ndarray):
                is_real = operand.dtype.kind == "f"
                kind = real if is_real else helper.np_dtype_to_tensor_dtype(operand.dtype)
                types[name] = helper.make_tensor_type_proto(kind, operand.shape)
                if operand.dtype.kind in "iu":  # sizes and axes; weights do not matter here
                    data[name] = package.numpy_helper.from_array(operand, name)
        try:
            schema = package.defs.get_schema(node.op_type, self.file.opset, node.domain)
            inferred = inference.infer_node_outputs(
                schema, node, types, data, opset_imports=list(self.file.model.opset_import)
            )
        except (package.defs.SchemaError, package.checker.ValidationError, KeyError):
            # No standard operator; types behind a Cast to integers; operands left out (onnx 1.16).
            return None
        except inference.InferenceError as error:
            raise NetworkError(f"shapes do not fit: {error}") from error
        found = inferred.get(node.output[0])
        if found is None or not found.tensor_type.HasField("shape"):
            return None
        sizes = [d.dim_value for d in found.tensor_type.shape.dim if d.HasField("dim_value")]
        return tuple(sizes) if len(sizes) == len(found.tensor_type.shape.dim) else None


def _used_tensors(graph: "onnx.GraphProto", outputs: set[str]) -> set[str]:
    """The names of the tensors that the outputs depend on."""
    used = set(outputs)
    for node in reversed(graph.node):
        if used.intersection(node.output):
            used.update(name for name in node.input if name)
    return used


def _weights(operand: Operand) -> int:
    """The number of weights in a constant: sizes, axes and the like (integers) are none."""
    if isinstance(operand, np.ndarray) and operand.dtype.kind == "f":
        return operand.size
    return 0
