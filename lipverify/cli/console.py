"""Where text goes: results to stdout, progress and errors to stderr."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

MAX_WIDTH = 10_000
"""Columns of a log."""


def stdout() -> Console:
    """For results. Texts are shown as they are: brackets in names are no markup."""
    return _console(error=False)


def stderr() -> Console:
    """For progress, errors, and for results where stdout holds JSON."""
    return _console(error=True)


def new_table(*columns: str, title: str | None = None) -> Table:
    """An empty table in our style; long cells are folded where the terminal is narrow."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def print_table(console: Console, table: Table) -> None:
    """Print a table: in a log, which has no width, as wide as it needs."""
    if not console.is_terminal:
        unlimited = console.options.update(width=MAX_WIDTH)
        console.width = max(console.width, console.measure(table, options=unlimited).maximum)
    console.print(table)


def _console(*, error: bool) -> Console:
    from rich.console import Console  # 0.1 s, and `--version` needs none

    return Console(
        file=sys.stderr if error else sys.stdout, markup=False, highlight=False, emoji=False
    )
