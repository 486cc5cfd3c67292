"""The reader of ONNX files."""

from math import prod
from pathlib import Path

from lipverify.errors import NetworkError
from lipverify.network.network import Network
from lipverify.network.node_info import refuse_unsupported
from lipverify.network.onnx_convert import CONVERTERS
from lipverify.network.onnx_file import DTYPES, interface_problems, read_file
from lipverify.network.onnx_graph import convert
from lipverify.network.original import OnnxOriginal, preprocessed, with_batching
from lipverify.reading import AS_IT_IS, Reading


def read_onnx(path: Path, reading: Reading = AS_IT_IS) -> Network:
    """The network in an ONNX file.

    The batch is the first dimension of the input if that is dynamic or 1; otherwise the whole
    tensor is one input. `NetworkError` for a file that cannot be read, or that is no function from
    one input (beside those that `reading` fixes) to the outputs that it asks for;
    `UnsupportedOperator` listing all nodes that cannot be bounded.
    """
    file = read_file(path)
    problem = next(interface_problems(file, reading), None)
    if problem is not None:
        raise NetworkError(f"{path}: {problem}")
    conversion = convert(file, reading)
    if conversion.errors:
        raise NetworkError(f"{path}: {conversion.errors[0]}")
    refuse_unsupported(str(path), conversion.nodes, CONVERTERS)
    graph = conversion.graph
    assert graph is not None, "a conversion without errors has a graph"
    fixed = file.fixed(reading)
    (tensor,) = (tensor for tensor in file.inputs if tensor.name not in fixed)
    shape = tensor.static_shape
    assert shape is not None and prod(shape) == graph.input_size
    original = OnnxOriginal(
        source=str(path),
        model=file.content,
        shape=shape,
        dtype=DTYPES[tensor.dtype],
        input=tensor.name,
        outputs=tuple(info.name for info in file.asked(reading)),
        fixed=fixed,
        repeated=frozenset(tensor.name for tensor in file.inputs if tensor.is_batched),
    )
    return Network(
        graph,
        str(path),
        file.sha256,
        conversion.nodes,
        preprocessed(with_batching(original) if tensor.is_batched else original, reading),
        reading,
    )
