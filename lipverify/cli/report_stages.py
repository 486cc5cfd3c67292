"""What each stage gained on each property, as tables."""

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from lipverify.cli import figures
from lipverify.cli.console import new_table, print_table
from lipverify.cli.run import Row
from lipverify.evidence import PropertyResult, StageRecord


def print_stages(console: Console, rows: Sequence[Row]) -> None:
    """One table per property: its stages in order, the interval after each, and what it took."""
    for row in rows:
        title = f"{row.spec} [{row.result.property}] {row.description}"
        console.print(title, soft_wrap=True)
        table = new_table("stage", "lower", "upper")
        for column in ("seconds", "subproblems"):
            table.add_column(column, justify="right", no_wrap=True)
        table.add_column("why", overflow="fold")
        for stage in row.result.stages:
            table.add_row(*(Text(cell) for cell in _cells(stage)))
        if row.result.stages:
            print_table(console, table)
        console.print(_end(row.result), soft_wrap=True)


def _cells(stage: StageRecord) -> tuple[str, ...]:
    return (
        stage.stage,
        "" if stage.lower is None else figures.lower(stage.lower),
        "" if stage.upper is None else figures.upper(stage.upper),
        f"{stage.seconds:.2f}",
        str(stage.subproblems),
        stage.detail,
    )


def _end(result: PropertyResult) -> str:
    where = "" if result.stages else "no stage ran; "
    return (
        f"{where}{result.verdict.word} by {result.method} after {figures.seconds(result.seconds)}"
    )
