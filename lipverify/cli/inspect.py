"""`lipverify inspect`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from lipverify import __version__
from lipverify.cli.console import new_table, print_table, stderr, stdout
from lipverify.cli.exits import ExitCode
from lipverify.cli.inspect_region import Estimates, Where, costs_table, estimate_on
from lipverify.cli.options import JsonFile, Memory

if TYPE_CHECKING:
    from rich.table import Table

    from lipverify.network.inspect import Inspection


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The network's file.")],
    region: Annotated[
        str | None,
        typer.Option(help="A spec file: its region, preprocessing and inputs.", metavar="SPEC"),
    ] = None,
    center: Annotated[
        str | None, typer.Option(help="A region instead, as of `lipschitz`.", metavar="POINT")
    ] = None,
    radius: Annotated[float | None, typer.Option(help="Of the ball around the center.")] = None,
    norm: Annotated[str, typer.Option(help="Of the ball: inf, 2 or 1.", metavar="NORM")] = "inf",
    clip: Annotated[
        tuple[float, float] | None,
        typer.Option(help="Valid range of inputs.", metavar="LOWER UPPER"),
    ] = None,
    memory: Memory = 4.0,
    json: JsonFile = None,
) -> int:
    """List a network's operators, and what of it is not supported; exit code 3 if anything is.

    With a region: how many neurons are open there, and about what each method takes.
    """
    from lipverify.cli.output import STDOUT, check_writable, write_json
    from lipverify.network.inspect import inspect_network

    check_writable(json, "--json")
    where = Where(region, center, radius, norm, clip)
    inspection = inspect_network(model, where.reading)
    estimates: Estimates | None = None
    if where.given and inspection.is_supported:
        estimates = estimate_on(model, where, memory * 1e9)
    console = stderr() if json == STDOUT else stdout()
    print_table(console, _table(inspection, estimates))
    for line in _lines(inspection):
        console.print(line, soft_wrap=True)
    if estimates is not None:
        print_table(console, costs_table(estimates))
    if json is not None:
        write_json(json, _document(inspection, estimates))
    return ExitCode.VERIFIED if inspection.is_supported else ExitCode.ERROR


def _table(inspection: Inspection, estimates: Estimates | None) -> Table:
    from rich.text import Text

    shares = {} if estimates is None else estimates.shares
    unstable = ("unstable",) if shares else ()
    table = new_table("node", "operator", "shape", "parameters", *unstable, "supported", "note")
    for node in inspection.nodes:
        shape = "?" if node.shape is None else "x".join(str(size) for size in node.shape)
        share = shares.get(node.name)
        table.add_row(
            Text(node.name),
            Text(node.operator),
            Text(shape),
            str(node.parameters),
            *(["" if share is None else str(share)] if shares else []),
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


def _document(inspection: Inspection, estimates: Estimates | None) -> dict[str, Any]:
    shares = {} if estimates is None else estimates.shares
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
                **(shares[node.name].as_json() if node.name in shares else {}),
            }
            for node in inspection.nodes
        ],
        **({} if estimates is None else {"estimates": estimates.as_json()}),
    }


def _end(info: Any) -> dict[str, Any]:
    return {"name": info.name, "shape": list(info.shape), "dtype": info.dtype}
