"""Answers in the competition's words: on the screen, in results files, and summed up by family."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from lipverify.cli import figures
from lipverify.cli.console import new_table, print_table
from lipverify.cli.output import check_writable, write_text
from lipverify.cli.prepare import Entry
from lipverify.cli.run import Outcome, Row
from lipverify.errors import InputError
from lipverify.evidence.report_instances import (
    InstanceResult,
    cactus_svg,
    families,
    results_csv,
)
from lipverify.evidence.report_vnncomp import ERROR, WORDS, results_text, word
from lipverify.files import distinct_name


def check_results(path: str | None) -> None:
    """`InputError` if nothing can be written there later."""
    if path is not None and not Path(path).is_dir():
        check_writable(path, "--results")


def instance_results(entries: Sequence[Entry], outcome: Outcome) -> list[InstanceResult]:
    """One result for each line of the instances files; an error where there is no answer."""
    rows = {row.spec: row.result for row in outcome.rows}
    found: list[InstanceResult] = []
    for entry in entries:
        result = rows.get(entry.name)
        if result is None:
            found.append(InstanceResult(entry.family, *entry.written, ERROR, 0.0))
            continue
        found.append(
            InstanceResult(
                entry.family, *entry.written, word(result), result.seconds, result.subproblems
            )
        )
    return found


def print_words(console: Console, outcome: Outcome, lines: Sequence[InstanceResult]) -> None:
    """For one property what its results file holds; else a line for each."""
    if len(outcome.rows) == 1 and not lines and not outcome.failures:
        console.print(Text(_text(outcome.rows[0]).rstrip("\n")), soft_wrap=True)
        return
    if len(outcome.failures) == 1 and not lines and not outcome.rows:
        console.print(ERROR)
        return
    for line in lines:
        cells = (line.network, line.property, line.word, f"{line.seconds:.3f}")
        console.print(Text(",".join(cells)), soft_wrap=True)
    if not lines:
        for row in outcome.rows:
            name = f"{row.spec} [{row.result.property}]"
            console.print(Text(f"{name}: {word(row.result)}"), soft_wrap=True)
        for failure in outcome.failures:
            console.print(Text(f"{failure.spec}: {ERROR}"), soft_wrap=True)


def print_families(console: Console, lines: Sequence[InstanceResult]) -> None:
    """How many instances of each family were solved, and how fast."""
    table = new_table("family", title="instances solved")
    for column in ("instances", "solved", *WORDS, "median", "slowest"):
        table.add_column(column, justify="right", no_wrap=True)
    for family in families(lines):
        times = (family.median, family.slowest)
        table.add_row(
            Text(family.family),
            str(family.total),
            str(family.solved),
            *(str(family.counts[name]) for name in WORDS),
            *("" if time is None else figures.seconds(time) for time in times),
        )
    print_table(console, table)


def write_results(path: str, outcome: Outcome, lines: Sequence[InstanceResult]) -> None:
    """One property's file; of several a folder."""
    answers = len(outcome.rows) + len(outcome.failures)
    folder = Path(path)
    if answers == 1 and not lines and not folder.is_dir():
        write_text(path, _text(outcome.rows[0]) if outcome.rows else f"{ERROR}\n")
        return
    if folder.is_file():
        raise InputError(f"--results {path}: is a file, and several answers need a folder")
    folder.mkdir(exist_ok=True)
    for row in outcome.rows:
        write_text(str(folder / _file_name(row)), _text(row))
    if lines:
        write_text(str(folder / "results.csv"), results_csv(lines))
        write_text(str(folder / "cactus.svg"), cactus_svg(lines))


def _text(row: Row) -> str:
    assert row.property is not None
    return results_text(row.result, row.property)


def _file_name(row: Row) -> str:
    """From the names of network and property; distinct for each."""
    names = (Path(row.result.network).name, Path(row.result.spec).name, row.result.property)
    stem = "-".join(str(name) for name in names)
    where = f"{row.spec} {row.result.network} {row.result.property}"
    return f"{distinct_name(stem, where)}.txt"
