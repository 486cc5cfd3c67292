"""What a drawing of a forward and a backward graph shows, and in which row.

Every backward operator stands in the row of the forward operator that it belongs to, so that the
layers face each other; sums of adjoints stand in rows of their own.
"""

from dataclasses import dataclass
from typing import Literal

import networkx as nx

from lipverify.graph.dag import BackwardGraph, ForwardGraph, Node
from lipverify.operators import Activation, AffineOperator, Gate, Pullback

Side = Literal["forward", "backward"]
Role = Literal["plain", "end", "activation", "gate", "unused"]

OUTPUT = "output of the forward graph"
JACOBIAN = "output of the backward graph"
"""Keys of the boxes that stand for the results; no node is called so."""


@dataclass(frozen=True)
class Block:
    """One box: `title` is its operator, `name` that of its node. Rows count from the top."""

    key: str
    side: Side
    row: int
    title: str
    name: str
    role: Role


@dataclass(frozen=True)
class Arrow:
    """From one block to another; an operator may use one operand twice."""

    tail: str
    head: str


@dataclass(frozen=True)
class Picture:
    """Blocks in the order of the data's way, forward ones first.

    `shared` leads from the preactivations to the gates that depend on them.
    """

    blocks: tuple[Block, ...]
    arrows: tuple[Arrow, ...]
    shared: tuple[Arrow, ...]

    @property
    def rows(self) -> int:
        return 1 + max(block.row for block in self.blocks)


def picture(forward: ForwardGraph, backward: BackwardGraph) -> Picture:
    """The blocks and arrows that show both graphs."""
    rows = _rows(forward, backward)
    last = 1 + max(rows.values())
    blocks = [_forward_block(node, rows[node.name], forward) for node in forward]
    blocks.append(Block(OUTPUT, "forward", last, "f(x)", "output", "end"))
    arrows = [Arrow(source, node.name) for node in forward for source in node.inputs]
    arrows.append(Arrow(forward.output, OUTPUT))

    owners = _owners(forward)
    shared: list[Arrow] = []
    for node in backward:
        if node.name == BackwardGraph.SEED:
            title = f"c {_shape(node)}"
            blocks.append(Block(_key(node.name), "backward", last, title, node.name, "end"))
        elif node.operator is not None:
            row = rows[owners.get(node.name, node.name)]
            blocks.append(_backward_block(node, row))
            if isinstance(node.operator, Gate):
                shared.append(Arrow(node.inputs[0], _key(node.name)))
            sources = node.inputs[1:] if isinstance(node.operator, Gate) else node.inputs
            arrows += [Arrow(_key(source), _key(node.name)) for source in sources]
    top = rows[ForwardGraph.INPUT]
    shape = f"c J {_shape(forward[ForwardGraph.INPUT])}"
    blocks.append(Block(JACOBIAN, "backward", top, shape, "Jacobian row", "end"))
    arrows.append(Arrow(_key(backward.jacobian), JACOBIAN))
    return Picture(tuple(blocks), tuple(arrows), tuple(shared))


def _key(backward_name: str) -> str:
    """Backward nodes may be called like forward ones; keys are told apart."""
    return f"backward {backward_name}"


def _owners(forward: ForwardGraph) -> dict[str, str]:
    """Backward operator -> the forward node whose chain rule it is (see `backward_graph`)."""
    owners: dict[str, str] = {}
    for node in forward:
        for operand, source in enumerate(node.inputs):
            name = f"d/{source}~{node.name}"
            owners[name if len(node.inputs) == 1 else f"{name}[{operand}]"] = node.name
    return owners


def _rows(forward: ForwardGraph, backward: BackwardGraph) -> dict[str, int]:
    """The row of each forward node, and of each sum of adjoints (under its own name).

    A sum lies below its forward node and above that node's users.
    """
    order: nx.DiGraph[str] = nx.DiGraph()
    order.add_nodes_from(node.name for node in forward)
    for node in forward:
        order.add_edges_from((source, node.name) for source in node.inputs)
        total = f"d/{node.name}"
        if backward.adjoints.get(node.name) == total:
            order.add_edge(node.name, total)
            order.add_edges_from((total, user) for user in forward.users(node.name))
    generations = nx.topological_generations(order)
    return {name: row for row, names in enumerate(generations) for name in names}


def _forward_block(node: Node, row: int, forward: ForwardGraph) -> Block:
    title = f"x {_shape(node)}" if node.operator is None else f"{node.operator.name} {_shape(node)}"
    role: Role = "plain"
    if node.operator is None:
        role = "end"
    elif node.name not in forward.ancestors(forward.output):
        role = "unused"
    elif isinstance(node.operator, Activation):
        role = "activation"
    return Block(node.name, "forward", row, title, node.origin or node.name, role)


def _backward_block(node: Node, row: int) -> Block:
    operator = node.operator
    match operator:
        case Gate():
            title = f"{operator.activation.name} gate"
        case Pullback():
            title = f"{operator.forward.name}\N{MODIFIER LETTER CAPITAL T}"
        case _:
            assert isinstance(operator, AffineOperator)
            title = operator.name
    role: Role = "gate" if isinstance(operator, Gate) else "plain"
    return Block(_key(node.name), "backward", row, f"{title} {_shape(node)}", node.name, role)


def _shape(node: Node) -> str:
    sizes = "\N{MULTIPLICATION SIGN}".join(str(size) for size in node.shape)
    return f"[{sizes}]"
