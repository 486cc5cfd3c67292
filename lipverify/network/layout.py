"""Layers that move entries. Any such operator is read by what it does to the entries' numbers.

The numbers 1, 2, ... of a tensor's entries, in its shape, are sent through the operator itself (by
the original's own library); what comes out says where each entry of the result is from, and where
a 0 was filled in.
"""

import torch
from torch import Tensor

from lipverify.errors import UnsupportedOperator
from lipverify.network.builder import GraphBuilder, Value, without_batch
from lipverify.operators import Select, Shape


def numbers(x: Value) -> Tensor:
    """1, 2, ... in the shape of x, in float64 (exact up to 2^53)."""
    return torch.arange(1, torch.Size(x.shape).numel() + 1, dtype=torch.float64).reshape(x.shape)


def select(build: GraphBuilder, x: Value, picked: Tensor) -> Value:
    """The entries of x whose `numbers` are in `picked`, in its shape; 0 for a zero."""
    shape = tuple(picked.shape)
    index = picked.reshape(-1).to(torch.int64) - 1
    size = torch.Size(x.shape).numel()
    if not bool(((index >= -1) & (index < size) & (index + 1 == picked.reshape(-1))).all()):
        raise UnsupportedOperator("it does more than move entries")
    if not index.numel():
        raise UnsupportedOperator("its result is empty")
    if torch.equal(index, torch.arange(size)):
        return Value(x.node, shape)
    source = build.shape(x.node)
    # Modules slice the same parts again and again: each is one node.
    return Value(build.shared(Select(source, without_batch(shape), index), x.node), shape)


def expand(build: GraphBuilder, x: Value, shape: Shape) -> Value:
    """x repeated along dimensions of size 1, and new ones in front; `shape` must fit."""
    return x if x.shape == shape else select(build, x, numbers(x).expand(shape))
