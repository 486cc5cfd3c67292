"""`lipverify graph`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lipverify.cli.console import new_table, print_table, stdout
from lipverify.cli.figures import count_noun

if TYPE_CHECKING:
    from rich.table import Table

    from lipverify.graph import Dag


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The network's file.")],
    svg: Annotated[
        str | None, typer.Option(help="Draw both graphs side by side.", metavar="FILE")
    ] = None,
) -> int:
    """Show a network's forward graph and the backward graph of its Clarke Jacobian."""
    from lipverify.cli.output import check_writable, write_text
    from lipverify.graph import backward_graph
    from lipverify.graph.draw import draw_svg
    from lipverify.network import load_network

    check_writable(svg, "--svg")
    forward = load_network(model).graph
    backward = backward_graph(forward)
    console = stdout()
    for title, dag in (("forward graph", forward), ("backward graph", backward)):
        print_table(console, _table(title, dag, frozenset(node.name for node in forward)))
    counts = (
        (forward.input_size, "input"),
        (forward.output_size, "output"),
        (forward.parameters, "parameter"),
        (len(backward.gates), "gate"),
    )
    sizes = ", ".join(count_noun(*count) for count in counts)
    ends = f"output {forward.output}, Jacobian {backward.jacobian}"
    console.print(f"{sizes}; {ends}", soft_wrap=True)
    if svg is not None:
        write_text(svg, draw_svg(forward, backward))
        console.print(f"drawn in {svg}", soft_wrap=True)
    return 0


def _table(title: str, dag: Dag, forward: frozenset[str]) -> Table:
    from rich.text import Text

    from lipverify.graph import ForwardGraph

    table = new_table("node", "operator", "shape", "inputs", "origin", title=title)
    for node in dag:
        if node.operator is not None:
            operator = _operator(node.operator)
        elif node.name in forward and not isinstance(dag, ForwardGraph):
            operator = "(shared with the forward graph)"
        else:
            operator = "(source)"
        shape = "x".join(str(size) for size in node.shape)
        cells = (node.name, operator, shape, ", ".join(node.inputs), node.origin)
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _operator(operator: object) -> str:
    from lipverify.operators import AbstractOperator, Gate, Pullback

    match operator:
        case Gate():
            return f"gate of {operator.activation.name}"
        case Pullback():
            return f"{operator.forward.name} transposed"
        case AbstractOperator():
            return operator.name
    raise AssertionError(operator)
