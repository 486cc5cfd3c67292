"""Building a forward graph node by node, whatever the network was read from.

Networks are read at a batch of 1. A tensor is then one row-major list of entries, which dimensions
of size 1 do not move: changes of shape alone make no node, and every layer looks at its operand in
the shape that suits it. That keeps the batch out of the graph without guessing where it is.
"""

from dataclasses import dataclass, fields, is_dataclass, replace
from math import prod

import numpy as np
import torch
from torch import Tensor

from lipverify.errors import NetworkError
from lipverify.graph import ForwardGraph, Node
from lipverify.network.fuse import fuse
from lipverify.operators import AbstractOperator, Reshape, Shape

LARGEST = 2**24
"""Entries of one tensor, at a batch of 1: 128 MiB. More is a damaged file, or out of reach."""


@dataclass(frozen=True)
class Value:
    """A tensor that depends on the input: the graph's node that holds its entries, row-major.

    `shape` is the shape in the original network, at a batch of 1.
    """

    node: str
    shape: Shape


@dataclass(frozen=True, eq=False)
class Switched:
    """`first` where the entry of z is positive, `second` elsewhere; None for 0.

    No node holds it: it may jump. A comparison z > 0 has 1 and None.
    """

    z: Value
    first: "Value | Tensor | None"
    second: "Value | Tensor | None"

    @property
    def shape(self) -> Shape:
        parts = [part for part in (self.first, self.second) if part is not None]
        return np.broadcast_shapes(self.z.shape, *(tuple(part.shape) for part in parts))


def without_batch(shape: Shape) -> Shape:
    """The shape of one sample: a leading 1 is the batch, unless it is the only dimension."""
    if not shape:
        return (1,)
    return shape[1:] if len(shape) > 1 and shape[0] == 1 else shape


def _require_reasonable(shape: Shape) -> None:
    if prod(shape) > LARGEST:
        raise NetworkError(
            f"a tensor of shape {list(shape)} has more than {LARGEST} entries: too large to bound"
        )


class GraphBuilder:
    """Collects nodes; `finish` returns the graph."""

    def __init__(self, input_shape: Shape) -> None:
        """`input_shape` is the original's, at a batch of 1."""
        _require_reasonable(input_shape)
        source = Node(ForwardGraph.INPUT, None, (), without_batch(input_shape))
        self._nodes = {source.name: source}
        self._origin = ""
        self.input = Value(source.name, input_shape)

    def begin(self, origin: str) -> None:
        """Nodes added from now on belong to this node of the original network."""
        self._origin = origin

    def node(self, name: str) -> Node:
        return self._nodes[name]

    def shape(self, node: str) -> Shape:
        return self._nodes[node].shape

    def apply(self, operator: AbstractOperator, *operands: str) -> str:
        """Add a node; returns its name."""
        shape = operator.output_shape(*(self.shape(operand) for operand in operands))
        return self._add(operator.name, operator, operands, shape)

    def known(self, operator: AbstractOperator, *operands: str) -> str | None:
        """The node that applies the same operator to the same operands, if there is one."""
        for node in self._nodes.values():
            if node.inputs == operands and _same(node.operator, operator):
                return node.name
        return None

    def shared(self, operator: AbstractOperator, *operands: str) -> str:
        """`known`, or a new node."""
        return self.known(operator, *operands) or self.apply(operator, *operands)

    def view(self, node: str, shape: Shape) -> str:
        """The node that holds the same entries in this shape; a Reshape where there is none."""
        known = self._nodes[node]
        if known.shape == shape:
            return node
        if isinstance(known.operator, Reshape):
            return self.view(known.inputs[0], shape)
        for other in self._nodes.values():
            if isinstance(other.operator, Reshape) and other.inputs == (node,):
                if other.shape == shape:
                    return other.name
        return self.apply(Reshape(known.shape, shape), node)

    def placeholder(self, shape: Shape) -> Value:
        """Stands for a result that cannot be built, so that its users can still be checked."""
        return Value(self._add("placeholder", None, (), without_batch(shape)), shape)

    def _add(
        self, kind: str, operator: AbstractOperator | None, operands: tuple[str, ...], shape: Shape
    ) -> str:
        _require_reasonable(shape)
        name = f"{kind}_{len(self._nodes)}"
        self._nodes[name] = Node(name, operator, operands, shape, self._origin)
        return name

    def finish(self, output: Value) -> ForwardGraph:
        """The graph of what the output depends on.

        `NetworkError` if the output does not depend on the input.
        """
        used = {output.node}
        for node in reversed(self._nodes.values()):
            if node.name in used:
                used.update(node.inputs)
        if ForwardGraph.INPUT not in used:
            raise NetworkError("the output does not depend on the input: nothing to verify")
        assert prod(self.shape(output.node)) == prod(output.shape)
        alive = [node for node in self._nodes.values() if node.name in used]
        return _renumber(fuse(alive, output.node), output.node)


def _same(a: AbstractOperator | None, b: AbstractOperator) -> bool:
    """Whether two operators are of one kind and have equal fields."""
    if type(a) is not type(b):
        return False
    assert is_dataclass(a) and is_dataclass(b)
    pairs = ((getattr(a, entry.name), getattr(b, entry.name)) for entry in fields(a))
    return all(
        torch.equal(x, y) if isinstance(x, Tensor) and isinstance(y, Tensor) else x is y or x == y
        for x, y in pairs
    )


def _renumber(nodes: list[Node], output: str) -> ForwardGraph:
    """The graph, with nodes named by what they are in the end: Gemm_1, Relu_2, ..."""
    names = {
        node.name: node.name if node.operator is None else f"{node.operator.name}_{index}"
        for index, node in enumerate(nodes)
    }
    renamed = [
        replace(node, name=names[node.name], inputs=tuple(names[i] for i in node.inputs))
        for node in nodes
    ]
    return ForwardGraph(renamed, names[output])
