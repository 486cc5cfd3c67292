"""A read-only, typed view of a networkx DAG whose nodes are operators."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod

import networkx as nx

from lipverify.errors import NetworkError
from lipverify.operators import AbstractOperator, Activation, Gate, Product, Shape


@dataclass(frozen=True, eq=False)
class Node:
    """One operator applied to earlier nodes.

    `operator` is None for sources (the network's input, the backward graph's seed). `inputs` names
    the operands in order; one node may occur twice. `shape` is without the batch. `origin` is what
    users know it by: the name in the file.
    """

    name: str
    operator: AbstractOperator | None
    inputs: tuple[str, ...]
    shape: Shape
    origin: str = ""

    @property
    def size(self) -> int:
        return prod(self.shape)


class Dag:
    """Nodes in topological order. Nothing is written on a graph once it is built."""

    def __init__(self, nodes: list[Node]) -> None:
        """Raises `NetworkError` for a repeated name or an operand that does not come earlier."""
        known: dict[str, Node] = {}
        for node in nodes:
            if node.name in known:
                raise NetworkError(f"two nodes are called {node.name!r}")
            for operand in node.inputs:
                if operand not in known:
                    raise NetworkError(
                        f"node {node.name!r} uses {operand!r}, which is not before it"
                    )
            known[node.name] = node
        self._nodes: Mapping[str, Node] = known

    def __iter__(self) -> Iterator[Node]:
        """In topological order."""
        return iter(self._nodes.values())

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, name: object) -> bool:
        return name in self._nodes

    def __getitem__(self, name: str) -> Node:
        return self._nodes[name]

    @cached_property
    def networkx(self) -> "nx.MultiDiGraph[str]":
        """A frozen networkx graph: node attribute `node`, edge attribute `operand` (its position).

        A multigraph, since an operator may use one operand twice.
        """
        graph: nx.MultiDiGraph[str] = nx.MultiDiGraph()
        for node in self:
            graph.add_node(node.name, node=node)
        for node in self:
            for position, operand in enumerate(node.inputs):
                graph.add_edge(operand, node.name, operand=position)
        return nx.freeze(graph)

    def users(self, name: str) -> tuple[str, ...]:
        """The nodes that take this one as an operand, each once."""
        return tuple(dict.fromkeys(self.networkx.successors(name)))

    @cached_property
    def _ancestors(self) -> Mapping[str, frozenset[str]]:
        reach: dict[str, frozenset[str]] = {}
        for node in self:
            reach[node.name] = frozenset({node.name}).union(*(reach[i] for i in node.inputs))
        return reach

    def ancestors(self, name: str) -> frozenset[str]:
        """The node itself and everything that it depends on."""
        return self._ancestors[name]

    def reversed(self) -> Iterator[Node]:
        return iter(list(self._nodes.values())[::-1])


class ForwardGraph(Dag):
    """A network: one input, one output.

    `input_shape` and `output_shape` are without the batch; `format` names where it came from.
    """

    INPUT = "input"

    def __init__(self, nodes: list[Node], output: str) -> None:
        super().__init__(nodes)
        sources = [node.name for node in nodes if node.operator is None]
        if sources != [self.INPUT]:
            raise NetworkError(f"a network needs exactly one input, found {sources}")
        if output not in self:
            raise NetworkError(f"the output {output!r} is no node of the network")
        self.output = output

    @property
    def input_shape(self) -> Shape:
        return self[self.INPUT].shape

    @property
    def output_shape(self) -> Shape:
        return self[self.output].shape

    @property
    def input_size(self) -> int:
        return self[self.INPUT].size

    @property
    def output_size(self) -> int:
        return self[self.output].size

    @cached_property
    def activations(self) -> tuple[Node, ...]:
        """The activation nodes that the output depends on, in topological order."""
        used = self.ancestors(self.output)
        return tuple(
            node for node in self if isinstance(node.operator, Activation) and node.name in used
        )

    @cached_property
    def products(self) -> tuple[Node, ...]:
        """The products of two branches that the output depends on, in topological order."""
        used = self.ancestors(self.output)
        return tuple(
            node for node in self if isinstance(node.operator, Product) and node.name in used
        )

    @cached_property
    def gated(self) -> tuple[tuple[str, tuple[Node, ...]], ...]:
        """The nodes whose values gates depend on, each with its users that have gates.

        Operands of activations and of products, in an order in which none depends on a later one.
        """
        users: dict[str, list[Node]] = {}
        nonlinear = {node.name for node in (*self.activations, *self.products)}
        for node in self:
            if node.name in nonlinear:
                for name in dict.fromkeys(node.inputs):
                    users.setdefault(name, []).append(node)
        return tuple((name, tuple(found)) for name, found in users.items())

    @property
    def parameters(self) -> int:
        return sum(node.operator.parameters for node in self if node.operator is not None)


class BackwardGraph(Dag):
    """The chain rule of the Clarke Jacobian, for row vectors c: c -> c J, operator by operator.

    Its sources are the seed c, of the network's output shape, and one per preactivation (and
    factor of a product) of the forward graph, under that node's own name: gates share them with
    the forward graph. The node
    `jacobian` holds c J, of the network's input shape. The adjoint of forward node v (the
    derivative of c f with respect to v) is the node that `adjoint(v)` names.
    """

    SEED = "seed"

    def __init__(
        self, nodes: list[Node], forward: ForwardGraph, jacobian: str, adjoints: Mapping[str, str]
    ) -> None:
        super().__init__(nodes)
        self.forward = forward
        self.jacobian = jacobian
        self._adjoints = dict(adjoints)

    def adjoint(self, forward_node: str) -> str:
        return self._adjoints[forward_node]

    @property
    def adjoints(self) -> Mapping[str, str]:
        """Forward node -> backward node, for the forward nodes that the output depends on."""
        return dict(self._adjoints)

    @cached_property
    def gates(self) -> tuple[Node, ...]:
        """The gate nodes, in topological order (those of the last layers first)."""
        return tuple(node for node in self if isinstance(node.operator, Gate))
