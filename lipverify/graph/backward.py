"""The backward graph of the Clarke Jacobian.

Shi, Wang, Zhang, Kolter, Hsieh 2022 (arXiv 2210.07394), section 3.1: the chain rule written as a
second graph. Which set it describes: each gate may take any slope that its activation's Clarke
derivative allows, independently of the others, so the values of c J form the *gate-product set*,
whose convex hull contains the Clarke Jacobian (DESIGN section 4).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from lipverify.errors import NetworkError
from lipverify.graph.dag import BackwardGraph, ForwardGraph, Node
from lipverify.operators import (
    FACTOR,
    Activation,
    Add,
    AffineOperator,
    Choice,
    Gate,
    Product,
    Pullback,
    ReLU,
    Scale,
    Shape,
)


def backward_graph(forward: ForwardGraph) -> BackwardGraph:
    """The backward graph of `forward`, by one rule per operator.

    The adjoint of a node is the sum of what its users hand back: A_i^T g from an affine user, the
    gate d g from an activation. What the branches of a maximum or minimum are handed back is kept
    as one choice between adjoints. A product hands back to each factor the gate whose slope is the
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

    chosen = _chosen(forward, used)
    members = {user.name for group in chosen.values() for user in group.nodes}
    pieces: dict[str, list[str]] = {name: [] for name in used}
    pieces[forward.output].append(BackwardGraph.SEED)
    adjoints: dict[str, str] = {}
    for node in forward.reversed():
        if node.name not in used:
            continue
        adjoints[node.name] = adjoint = _sum(node, pieces[node.name], nodes)
        operator = node.operator
        if node.name in chosen:
            for piece, source in zip(
                _choices(node, chosen[node.name], adjoints), node.inputs, strict=True
            ):
                nodes.append(piece)
                pieces[source].append(piece.name)
            continue
        for operand, source in enumerate(node.inputs):
            if isinstance(operator, Choice):
                # Its sum does not hold the first; what branches are handed follows the gate.
                handed = node.name in members and operand < 2
                if operator.signs[operand] == 0 or handed:
                    continue
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


@dataclass(frozen=True)
class _Chosen:
    """The largest and the smallest of a and b, as far as there are such nodes, by relu(a - b)."""

    largest: Node | None
    smallest: Node | None

    @property
    def nodes(self) -> tuple[Node, ...]:
        return tuple(node for node in (self.largest, self.smallest) if node is not None)


def _chosen(forward: ForwardGraph, used: frozenset[str]) -> dict[str, _Chosen]:
    """By name of the difference a - b; where nothing else uses it."""
    found: dict[str, _Chosen] = {}
    for node in forward:
        if not isinstance(node.operator, Add) or node.operator.signs != (1, -1):
            continue
        if node.name not in used or node.inputs[0] == node.inputs[1]:
            continue
        relus = [forward[name] for name in forward.users(node.name) if name in used]
        inner = {node.name, *(relu.name for relu in relus)}
        if len(relus) != 1 or not isinstance(relus[0].operator, ReLU) or forward.output in inner:
            continue
        users = [forward[name] for name in forward.users(relus[0].name) if name in used]
        group = _Chosen(
            _choice(users, "max", node.inputs), _choice(users, "min", node.inputs[::-1])
        )
        if len(users) == len(group.nodes):
            found[node.name] = group
    return found


def _choice(users: list[Node], kind: str, branches: tuple[str, ...]) -> Node | None:
    """max(a, b) = b + relu(a - b), min(b, a) = a - relu(a - b)."""
    for user in users:
        if isinstance(user.operator, Choice) and user.operator.kind == kind:
            if user.inputs[:2] == branches:
                return user
    return None


def _choices(node: Node, chosen: _Chosen, adjoints: Mapping[str, str]) -> list[Node]:
    """What a and b are handed back by their largest and smallest, with adjoints g and h.

    d g + (1 - d) h and (1 - d) g + d h for the gate d, in terms of y = d (g - h), the adjoint of
    `node` = a - b.
    """
    y = adjoints[node.name]
    largest = None if chosen.largest is None else adjoints[chosen.largest.name]
    smallest = None if chosen.smallest is None else adjoints[chosen.smallest.name]
    made = []
    # a is handed h + y, b is handed g - y; y alone where the first of these is missing.
    for operand, (first, second, sign) in enumerate(
        ((largest, smallest, 1), (smallest, largest, -1))
    ):
        operator: AffineOperator
        if first is not None and second is not None:
            operator, inputs = Choice("between", sign), (first, second, y)
        elif second is not None:
            # With h alone, y = -d h.
            operator, inputs = Choice("rest", sign), (second, y)
        else:
            operator, inputs = Add((sign,)), (y,)
        name = f"d/{node.inputs[operand]}~{node.name}[{operand}]"
        made.append(Node(name, operator, inputs, node.shape, node.origin))
    return made


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
