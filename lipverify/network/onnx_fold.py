"""Evaluating nodes whose operands are all constants.

Float constants are kept, and computed with, in float64, whatever their type in the file: a stored
weight is exact there. What is computed from stored weights is rounded to float64; it counts as
stored from then on.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lipverify.errors import NetworkError, UnsupportedOperator
from lipverify.network.onnx_file import STANDARD_DOMAINS, float_types, import_onnx

if TYPE_CHECKING:
    import onnx

Array = np.ndarray[Any, Any]

RANDOM = frozenset(
    {
        "Bernoulli",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    }
)


def to_array(tensor: "onnx.TensorProto") -> Array:
    """The stored tensor; floats become float64. `NetworkError` if its bytes do not fit it."""
    try:
        array = np.asarray(import_onnx().numpy_helper.to_array(tensor))
    except (KeyError, TypeError, ValueError) as error:
        raise NetworkError(f"initialiser {tensor.name!r} cannot be read ({error})") from error
    return array.astype(np.float64) if tensor.data_type in float_types() else array


def require_finite(name: str, array: Array) -> None:
    """`NetworkError` naming the tensor if it holds NaN or infinity."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).sum())
        raise NetworkError(
            f"initialiser {name!r} holds {bad} entries that are NaN or infinite; its training or "
            "export went wrong"
        )


def can_fold(node: "onnx.NodeProto") -> bool:
    """Whether the node's result is a constant if all its operands are."""
    kinds = import_onnx().AttributeProto
    nested = (kinds.GRAPH, kinds.GRAPHS)
    return (
        node.domain in STANDARD_DOMAINS
        and node.op_type not in RANDOM
        and not any(attribute.type in nested for attribute in node.attribute)
        and (len(node.input) > 0 or node.op_type == "Constant")
    )


def fold(node: "onnx.NodeProto", operands: Mapping[str, Array], opset: int) -> Sequence[Array]:
    """The node's outputs, by onnx's reference implementation.

    `UnsupportedOperator` (the reason alone) if that has none, or fails.
    """
    package = import_onnx()
    for name, array in operands.items():
        require_finite(name, array)
    helper = package.helper
    graph = helper.make_graph(
        [node],
        "fold",
        [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
            )
            for name, array in operands.items()
        ],
        [
            helper.make_tensor_value_info(name, package.TensorProto.UNDEFINED, None)
            for name in node.output
            if name
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    try:
        results = package.reference.ReferenceEvaluator(model).run(None, dict(operands))
    except Exception as error:  # many kinds, for whatever it has not implemented
        raise UnsupportedOperator(
            f"its operands are constants, but it cannot be evaluated ({error})"
        ) from error
    return [as_constant(np.asarray(result)) for result in results]


def as_constant(array: Array) -> Array:
    """Floats as float64; integers and booleans as they are."""
    return array.astype(np.float64) if array.dtype.kind == "f" else array
