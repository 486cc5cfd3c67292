"""The original network in double precision, run by its own engine.

Real arithmetic can prove that an output falls by less than float32 shows. Then the same file, its
weights widened (which changes none of them), is run again: its rounding is 2^-29 of the first.
"""

from copy import deepcopy
from dataclasses import replace

import torch

from lipverify.errors import NetworkError
from lipverify.network.original import (
    AbstractOriginal,
    OnnxOriginal,
    PreprocessedOriginal,
    TorchOriginal,
)


def in_double(original: AbstractOriginal) -> AbstractOriginal | None:
    """The same network on float64 inputs; None where its engine has no such operators."""
    match original:
        case PreprocessedOriginal():
            inner = in_double(original.inner)
            return inner and replace(original, inner=inner, dtype=torch.float64)
        case TorchOriginal():
            return replace(original, module=deepcopy(original.module).double(), dtype=torch.float64)
        case OnnxOriginal():
            return _onnx(original)
    return None


def _onnx(original: OnnxOriginal) -> OnnxOriginal | None:
    import onnx
    from onnx import TensorProto, numpy_helper

    model = onnx.load_from_string(original.model)
    graph = model.graph
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    del graph.value_info[:]

    def widened(tensor: "onnx.TensorProto") -> "onnx.TensorProto":
        if tensor.data_type != TensorProto.FLOAT:
            return tensor
        return numpy_helper.from_array(numpy_helper.to_array(tensor).astype("float64"), tensor.name)

    for tensor in graph.initializer:
        tensor.CopyFrom(widened(tensor))
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                attribute.t.CopyFrom(widened(attribute.t))
            if node.op_type == "Cast" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.DOUBLE
    found = replace(original, model=model.SerializeToString(), dtype=torch.float64)
    try:
        found.evaluate(torch.zeros(1, torch.Size(original.shape).numel(), dtype=torch.float64))
    except (NetworkError, RuntimeError):
        return None
    return found
