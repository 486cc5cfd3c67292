"""The asked output as a graph of its own, and how two copies of it differ.

The pair network takes z = (x, p): an input x of the audited network [n], and a second value p for
the inputs of one feature [k]. Its only output is f(x) - f(x'), where x' is x with p in place of the
feature: the two share all else, so that bounds see what cancels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from lipverify.audit.columns import Feature
from lipverify.audit.output import INCREASING, Target
from lipverify.graph import ForwardGraph, Node, output
from lipverify.network import Network
from lipverify.network.original import AbstractOriginal
from lipverify.numerics import DTYPE
from lipverify.operators import Add, Dense, Reshape, Select

FIRST, SECOND, CHANGE = "first", "second", "change"


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class OwnArithmetic(AbstractOriginal):
    """Our own evaluation of a graph that no engine has: what it shows is a candidate, no more."""

    graph: ForwardGraph

    def _run(self, x: Tensor) -> Tensor:
        return output(self.graph, x.reshape(len(x), -1))


def network_of(target: Target, graph: ForwardGraph) -> Network:
    """A network of the graph alone."""
    original = OwnArithmetic(shape=(1, graph.input_size), dtype=DTYPE, batched=True, graph=graph)
    return replace(target.network, graph=graph, evaluator=original)


def pair_graph(target: Target, feature: Feature) -> ForwardGraph:
    """[n + k] -> [1]: by how much the asked output is larger at x than at x'."""
    asked = _asked_graph(target)
    n, places = asked.input_size, list(feature.inputs)
    shape = (n + len(places),)
    nodes = [Node(ForwardGraph.INPUT, None, (), shape)]
    own = torch.arange(n)
    other = own.clone()
    other[places] = torch.arange(n, n + len(places))
    for name, index in ((FIRST, own), (SECOND, other)):
        nodes.append(_node(name, Select(shape, asked.input_shape, index), nodes[0]))
        nodes += _copied(asked, name)
    ends = tuple(f"{name}_{asked.output}" for name in (FIRST, SECOND))
    nodes.append(Node(CHANGE, Add((1, -1)), ends, (1,)))
    return ForwardGraph(nodes, CHANGE)


def _copied(graph: ForwardGraph, name: str) -> list[Node]:
    """The graph's nodes with other names; its input is the node `name`."""
    names = {node.name: f"{name}_{node.name}" for node in graph}
    names[graph.INPUT] = name
    return [
        replace(node, name=names[node.name], inputs=tuple(names[one] for one in node.inputs))
        for node in graph
        if node.operator is not None
    ]


def _asked_graph(target: Target) -> ForwardGraph:
    """The network's input -> the asked output [1], with what was stripped from its end."""
    nodes = list(target.graph)
    operators = {operator.name: operator for operator in INCREASING}
    size = target.graph.output_size
    steps = [Reshape(target.graph.output_shape, (size,)), Dense(target.row)]
    steps += [operators[name]() for name in target.behind]
    end = target.graph[target.graph.output]
    for place, operator in enumerate(steps):
        end = _node(f"asked_{place}", operator, end)
        nodes.append(end)
    return ForwardGraph(nodes, end.name)


def _node(name: str, operator: Select | Reshape | Dense, operand: Node) -> Node:
    return Node(name, operator, (operand.name,), operator.output_shape(operand.shape))


def split_pair(z: Tensor, feature: Feature) -> tuple[Tensor, Tensor]:
    """x and x' [n] of a pair."""
    n = len(z) - len(feature.inputs)
    x, other = z[:n].clone(), z[:n].clone()
    other[list(feature.inputs)] = z[n:]
    return x, other


def joined(x: Tensor, values: Sequence[float] | Tensor) -> Tensor:
    return torch.cat([x, torch.as_tensor(values, dtype=DTYPE)])
