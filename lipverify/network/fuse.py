"""A bias that follows its layer as an own addition is made part of the layer.

Only where nothing is computed: weights stay as they are stored, so no rounding comes in.
"""

from collections import Counter

from torch import Tensor

from lipverify.graph import Node
from lipverify.operators import AbstractOperator, Conv, Dense, Scale


def fuse(nodes: list[Node], output: str) -> list[Node]:
    """The same function with Dense or Conv, then a constant shift, as one node.

    The layer has no bias yet, no other user, and the shift is the same wherever a bias is. The
    fused node keeps the name of the shift, which later nodes use, and the origin of the layer.
    """
    by_name = {node.name: node for node in nodes}
    uses = Counter(operand for node in nodes for operand in node.inputs)
    uses[output] += 1
    fused: dict[str, Node] = {}
    gone: set[str] = set()
    for node in nodes:
        layer = by_name[node.inputs[0]] if isinstance(node.operator, Scale) else None
        if layer is None or uses[layer.name] != 1:
            continue
        operator = _with_shift(layer.operator, node.operator)
        if operator is not None:
            fused[node.name] = Node(node.name, operator, layer.inputs, node.shape, layer.origin)
            gone.add(layer.name)
    return [fused.get(node.name, node) for node in nodes if node.name not in gone]


def _with_shift(
    layer: AbstractOperator | None, scale: AbstractOperator | None
) -> AbstractOperator | None:
    """`layer` with the shift of `scale` as its bias; None where that is not the same."""
    if not isinstance(scale, Scale) or scale.factor is not None or scale.rounding:
        return None
    shift = scale.shift
    assert shift is not None, "a Scale has a factor or a shift"
    if isinstance(layer, Dense) and layer.bias is None:
        bias = _common(shift.reshape(-1, shift.shape[-1]).T)
        return None if bias is None else Dense(layer.weight, bias)
    if isinstance(layer, Conv) and layer.bias is None:
        bias = _common(shift.reshape(shift.shape[0], -1))
        return (
            None
            if bias is None
            else Conv(
                layer.weight,
                bias,
                layer.input_shape,
                layer.stride,
                layer.padding,
                layer.dilation,
                layer.groups,
            )
        )
    return None


def _common(rows: Tensor) -> Tensor | None:
    """The number in each row, if all entries of a row agree: [rows, columns] -> [rows]."""
    first = rows[:, 0]
    return first.clone() if bool((rows == first[:, None]).all()) else None
