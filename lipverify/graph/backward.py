"""The backward graph of the Clarke Jacobian.

Shi, Wang, Zhang, Kolter, Hsieh 2022 (arXiv 2210.07394), section 3.1: the chain rule written as a
second graph. Which set it describes: each gate may take any slope that its activation's Clarke
derivative allows, independently of the others, so the values of c J form the *gate-product set*,
whose convex hull contains the Clarke Jacobian (DESIGN section 4).
"""

from lipverify.errors import NetworkError
from lipverify.graph.dag import BackwardGraph, ForwardGraph, Node
from lipverify.operators import (
    FACTOR,
    Activation,
    Add,
    AffineOperator,
    Gate,
    Product,
    Pullback,
    Scale,
    Shape,
)


def backward_graph(forward: ForwardGraph) -> BackwardGraph:
    """The backward graph of `forward`, by one rule per operator.

    The adjoint of a node is the sum of what its users hand back: A_i^T g from an affine user, the
    gate d g from an activation; a product hands back to each factor the gate whose slope is the
    other factor (operand 0's first). Nodes that the output does not depend on have no adjoint.
    `NetworkError` if the output does not depend on the input.
    """
    used = forward.ancestors(forward.output)
    if ForwardGraph.INPUT not in used:
        raise NetworkError("the output does not depend on the input: its derivative is no graph")
    nodes: list[Node] = []
    sources = {name: forward[name].shape for name, _ in forward.gated}
    nodes.append(Node(BackwardGraph.SEED, None, (), forward.output_shape))
    nodes.extend(Node(name, None, (), shape) for name, shape in sources.items())

    pieces: dict[str, list[str]] = {name: [] for name in used}
    pieces[forward.output].append(BackwardGraph.SEED)
    adjoints: dict[str, str] = {}
    for node in forward.reversed():
        if node.name not in used:
            continue
        adjoints[node.name] = adjoint = _sum(node, pieces[node.name], nodes)
        operator = node.operator
        for operand, source in enumerate(node.inputs):
            name = (
                f"d/{source}~{node.name}"
                if len(node.inputs) == 1
                else (f"d/{source}~{node.name}[{operand}]")
            )
            shape = forward[source].shape
            if isinstance(operator, Activation):
                nodes.append(Node(name, Gate(operator), (source, adjoint), shape, node.origin))
            elif isinstance(operator, Product):
                other = node.inputs[1 - operand]
                nodes.append(Node(name, Gate(FACTOR), (other, adjoint), shape, node.origin))
            else:
                assert isinstance(operator, AffineOperator)
                pullback = _pullback(operator, operand, shape)
                nodes.append(Node(name, pullback, (adjoint,), shape, node.origin))
            pieces[source].append(name)
    _check_names(nodes, forward)
    return BackwardGraph(nodes, forward, adjoints[ForwardGraph.INPUT], adjoints)


def _check_names(nodes: list[Node], forward: ForwardGraph) -> None:
    """Engines hold both graphs in one table: a shared name must mean a shared preactivation."""
    shared = {name for name, _ in forward.gated}
    for node in nodes:
        if node.name in forward and node.name not in shared:
            raise NetworkError(f"the backward graph needs the name {node.name!r}; rename that node")


def _sum(node: Node, pieces: list[str], nodes: list[Node]) -> str:
    """The node that holds the sum of `pieces`: the only piece itself, or a new Add."""
    if len(pieces) == 1:
        return pieces[0]
    name = f"d/{node.name}"
    nodes.append(Node(name, Add(tuple(1 for _ in pieces)), tuple(pieces), node.shape, node.origin))
    return name


def _pullback(operator: AffineOperator, operand: int, shape: Shape) -> AffineOperator:
    if isinstance(operator, Scale):  # its own transpose, but for the shift
        return Scale(operator.factor, None, operator.rounding)
    return Pullback(operator, operand, shape)
