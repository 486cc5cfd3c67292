"""`lipverify supports`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lipverify import __version__
from lipverify.cli.console import new_table, print_table, stderr, stdout
from lipverify.cli.options import JsonFile

if TYPE_CHECKING:
    from lipverify.operators import AbstractOperator


def command(json: JsonFile = None) -> int:
    """List the operators, norms, kinds of property, methods and heuristics on offer."""
    from rich.text import Text

    from lipverify.cli.output import STDOUT, check_writable, write_json

    check_writable(json, "--json")
    document = _document()
    console = stderr() if json == STDOUT else stdout()
    abilities = list(document["operators"][0]["methods"])
    operators = new_table(
        "operator", "kind", "what it is", "onnx", "torch", *abilities, title="operators"
    )
    for row in document["operators"]:
        operators.add_row(
            Text(row["name"]),
            Text(row["kind"]),
            Text(row["summary"]),
            Text(" ".join(row["onnx"])),
            Text(" ".join(row["torch"])),
            *(Text("yes" if row["methods"][name] else "-") for name in abilities),
        )
    methods = new_table("method", "what it does", title="methods")
    for name, text in document["methods"].items():
        methods.add_row(Text(name), Text(text))
    branchings = new_table("branching", "which gate is split next", title="branching heuristics")
    for name, text in document["branchings"].items():
        branchings.add_row(Text(name), Text(text))
    for shown in (operators, methods, branchings):
        print_table(console, shown)
    for title, key in (
        ("ONNX operators that are read", "onnx"),
        ("torch calls that are read", "torch"),
        ("norms", "norms"),
        ("kinds of property", "kinds"),
    ):
        console.print(f"{title}: {', '.join(document[key])}", soft_wrap=True)
    if json is not None:
        write_json(json, document)
    return 0


def _document() -> dict[str, Any]:
    from lipverify.api import BRANCHINGS, METHODS
    from lipverify.network import ONNX_OPERATORS, TORCH_CALLS
    from lipverify.network.onnx_products import PRODUCT_CONVERTERS
    from lipverify.network.onnx_selection import SELECTION_CONVERTERS
    from lipverify.norms import NORMS
    from lipverify.operators import ACTIVATIONS, AFFINE, PRODUCTS, Choice
    from lipverify.search.abilities import ABILITIES
    from lipverify.spec import KINDS

    tables: dict[str, Mapping[str, type[AbstractOperator]]] = {
        "affine": AFFINE,
        "activation": ACTIVATIONS,
        "maximum": {Choice.name: Choice},
        "product": PRODUCTS,
    }
    made_of = {"maximum": SELECTION_CONVERTERS, "product": PRODUCT_CONVERTERS}
    rows = [
        {
            "name": name,
            "kind": kind,
            "summary": _first_line(operator),
            "onnx": _named_alike(name, ONNX_OPERATORS) or sorted(made_of.get(kind, ())),
            "torch": _named_alike(name, TORCH_CALLS),
            "methods": {method: able(operator) for method, able in ABILITIES.items()},
        }
        for kind, table in tables.items()
        for name, operator in sorted(table.items())
    ]
    return {
        "lipverify": __version__,
        "operators": rows,
        "onnx": list(ONNX_OPERATORS),
        "torch": list(TORCH_CALLS),
        "methods": dict(METHODS),
        "branchings": dict(BRANCHINGS),
        "norms": list(NORMS),
        "kinds": list(KINDS),
    }


def _named_alike(name: str, names: tuple[str, ...]) -> list[str]:
    """Those that are called as the operator is, but for case, underscores and a dimension; others
    that are made of it (MatMul, of Gemm) are in the full lists only."""
    return [other for other in names if _plain(other) == _plain(name)]


def _plain(name: str) -> str:
    plain = name.lower().replace("_", "")
    return plain[:-2] if plain[-2:] in ("1d", "2d") else plain


def _first_line(operator: type) -> str:
    """Of the class's docstring; of its file's where dataclasses made the class's."""
    text = operator.__doc__ or ""
    if not text or text.startswith(f"{operator.__name__}("):
        text = sys.modules[operator.__module__].__doc__ or ""
    return text.strip().splitlines()[0]
