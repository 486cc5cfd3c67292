"""`lipverify inspect`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from lipverify import __version__
from lipverify.cli.console import new_table, print_table, stderr, stdout
from lipverify.cli.exits import ExitCode
from lipverify.cli.options import JsonFile

if TYPE_CHECKING:
    from rich.table import Table

    from lipverify.network.inspect import Inspection


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The network's file.")],
    json: JsonFile = None,
) -> int:
    """List a network's operators, and what of it is not supported; exit code 3 if anything is."""
    from lipverify.cli.output import STDOUT, check_writable, write_json
    from lipverify.network.inspect import inspect_network

    check_writable(json, "--json")
    inspection = inspect_network(model)
    console = stderr() if json == STDOUT else stdout()
    print_table(console, _table(inspection))
    for line in _lines(inspection):
        console.print(line, soft_wrap=True)
    if json is not None:
        write_json(json, _document(inspection))
    return ExitCode.VERIFIED if inspection.is_supported else ExitCode.ERROR


def _table(inspection: Inspection) -> Table:
    from rich.text import Text

    table = new_table("node", "operator", "shape", "parameters", "supported", "note")
    for node in inspection.nodes:
        shape = "?" if node.shape is None else "x".join(str(size) for size in node.shape)
        table.add_row(
            Text(node.name),
            Text(node.operator),
            Text(shape),
            str(node.parameters),
            Text("yes", style="green") if node.supported else Text("no", style="bold red"),
            Text(node.note if node.supported else node.reason),
        )
    return table


def _lines(inspection: Inspection) -> list[str]:
    ends = [f"input {info}" for info in inspection.inputs]
    ends += [f"output {info}" for info in inspection.outputs]
    missing = [f"unsupported: {node.complaint}" for node in inspection.unsupported]
    missing += [f"unsupported: {problem}" for problem in inspection.problems]
    verdict = (
        "all of it is supported"
        if inspection.is_supported
        else "lipverify cannot bound this network"
    )
    return [*ends, *missing, f"{inspection.parameters} parameters; {verdict}"]


def _document(inspection: Inspection) -> dict[str, Any]:
    return {
        "lipverify": __version__,
        "network": inspection.path,
        "network_sha256": inspection.sha256,
        "supported": inspection.is_supported,
        "parameters": inspection.parameters,
        "inputs": [_end(info) for info in inspection.inputs],
        "outputs": [_end(info) for info in inspection.outputs],
        "problems": list(inspection.problems),
        "nodes": [
            {
                "name": node.name,
                "operator": node.operator,
                "shape": None if node.shape is None else list(node.shape),
                "parameters": node.parameters,
                "supported": node.supported,
                "reason": node.reason or None,
                "note": node.note or None,
            }
            for node in inspection.nodes
        ],
    }


def _end(info: Any) -> dict[str, Any]:
    return {"name": info.name, "shape": list(info.shape), "dtype": info.dtype}
