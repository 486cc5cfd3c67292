"""`lipverify supports`."""

from __future__ import annotations

import sys

from lipverify.cli.console import new_table, print_table, stdout


def command() -> int:
    """List the operators, norms, kinds of property, methods and heuristics on offer."""
    from rich.text import Text

    from lipverify.api import BRANCHINGS, METHODS
    from lipverify.norms import NORMS
    from lipverify.operators import ACTIVATIONS, AFFINE
    from lipverify.spec import KINDS

    console = stdout()
    operators = new_table("operator", "kind", "what it is", title="operators")
    for kind, table in (("affine", AFFINE), ("activation", ACTIVATIONS)):
        for name, operator in sorted(table.items()):
            operators.add_row(Text(name), Text(kind), Text(_first_line(operator)))
    methods = new_table("method", "what it does", title="methods")
    for name, text in METHODS.items():
        methods.add_row(Text(name), Text(text))
    branchings = new_table("branching", "which gate is split next", title="branching heuristics")
    for name, text in BRANCHINGS.items():
        branchings.add_row(Text(name), Text(text))
    for shown in (operators, methods, branchings):
        print_table(console, shown)
    console.print(f"norms: {', '.join(NORMS)}", soft_wrap=True)
    console.print(f"kinds of property: {', '.join(KINDS)}", soft_wrap=True)
    return 0


def _first_line(operator: type) -> str:
    """Of the class's docstring; of its file's where dataclasses made the class's."""
    text = operator.__doc__ or ""
    if not text or text.startswith(f"{operator.__name__}("):
        text = sys.modules[operator.__module__].__doc__ or ""
    return text.strip().splitlines()[0]
