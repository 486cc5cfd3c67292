"""Concatenation of branches and constants."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lipverify.errors import NetworkError
from lipverify.network import layers
from lipverify.network.builder import GraphBuilder, Value
from lipverify.operators import Concat


def concat(build: GraphBuilder, parts: Sequence[Value | Tensor], axis: int) -> Value:
    """The parts one after the other along dimension `axis`; at least one depends on the input."""
    shapes = [tuple(part.shape) for part in parts]
    rank = len(shapes[0])
    axis %= rank
    others = {(*shape[:axis], *shape[axis + 1 :]) for shape in shapes}
    if len(others) != 1:
        raise NetworkError(f"shapes {[list(shape) for shape in shapes]} cannot be joined")
    total = sum(shape[axis] for shape in shapes)
    shape = (*shapes[0][:axis], total, *shapes[0][axis + 1 :])
    lead = 1 if axis > 0 and shape[0] == 1 else 0
    shift = torch.zeros(shape, dtype=torch.float64)
    values, starts, start = [], [], 0
    for part, size in zip(parts, (shape[axis] for shape in shapes), strict=True):
        if isinstance(part, Value):
            values.append(part)
            starts.append(start)
        else:
            shift.narrow(axis, start, size).copy_(part)
        start += size
    sizes = tuple(value.shape[axis] for value in values)
    operator = Concat(shape[lead:], axis - lead, tuple(starts), sizes)
    operands = [build.view(value.node, value.shape[lead:]) for value in values]
    y = Value(build.apply(operator, *operands), shape)
    return layers.scale(build, y, shift=shift) if bool(shift.any()) else y
