"""The results of a run as a table and a summary line."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console
from rich.text import Text

from lipverify.cli import figures
from lipverify.cli.console import new_table, print_table
from lipverify.cli.run import Outcome, Row
from lipverify.evidence import FeatureResult, PropertyResult
from lipverify.evidence.report_json import SpecFailure
from lipverify.verdict import Falsified, Unknown, Verdict

STYLES = {"verified": "bold green", "falsified": "bold red", "unknown": "bold yellow"}

ALIKE = 3
"""So many properties may have the same explanation, each for itself."""


def print_results(console: Console, rows: Sequence[Row]) -> None:
    """The table, and under it why properties are unknown or falsified."""
    if not rows:
        return
    folder = _common_folder([row.spec for row in rows])
    table = new_table("spec", "property", "verdict", title=folder and f"specs in {folder}")
    table.add_column("bound", no_wrap=True)
    table.add_column("method", overflow="fold")
    table.add_column("time", justify="right", no_wrap=True)
    for row in rows:
        result = row.result
        table.add_row(
            Text(os.path.relpath(row.spec, folder) if folder else row.spec),
            Text(f"[{result.property}] {row.description}"),
            Text(result.verdict.word, style=STYLES[result.verdict.word]),
            Text(_bound(result)),
            Text(result.method),
            Text(figures.seconds(result.seconds)),
        )
    print_table(console, table)
    for row in rows:
        if row.result.remark:
            remark = f"{row.spec} [{row.result.property}] {row.result.remark}"
            console.print(Text(remark), soft_wrap=True)
    for line in _reasons(rows):
        console.print(line, soft_wrap=True)


def print_failures(console: Console, failures: Iterable[SpecFailure]) -> None:
    """One line per spec that gave no answer."""
    for failure in failures:
        known = failure.message.startswith(failure.spec)
        text = failure.message if known else f"{failure.spec}: {failure.message}"
        console.print(Text("error: ", style="bold red") + Text(text), soft_wrap=True)


def summary(outcome: Outcome) -> str:
    """The run in one line."""
    counts = Counter(row.result.verdict.word for row in outcome.rows)
    words = ", ".join(f"{counts[word]} {word}" for word in STYLES)
    errors = figures.count_noun(len(outcome.failures), "spec")
    failed = f"; {errors} with errors" if outcome.failures else ""
    total = figures.count_noun(len(outcome.rows), "property", "properties")
    return f"{total}: {words}{failed}; {figures.seconds(outcome.seconds)}"


def _common_folder(specs: Sequence[str]) -> str | None:
    """The folder that all specs are in, if they are several: it is shown once."""
    if len(set(specs)) < 2 or len({os.path.isabs(spec) for spec in specs}) > 1:
        return None
    return os.path.commonpath([os.path.dirname(spec) for spec in specs]) or None


def _bound(result: PropertyResult) -> str:
    if result.bound is None:
        return ""
    return figures.interval(result.bound.lower, result.bound.upper)


def _reasons(rows: Iterable[Row]) -> Iterator[Text]:
    """Why properties are not verified; what holds for many alike is said once."""
    explained = [row for row in rows if _explanation(row.result.verdict)]
    counts = Counter(_explanation(row.result.verdict) for row in explained)
    for row in explained:
        result, explanation = row.result, _explanation(row.result.verdict)
        verdict = Text(result.verdict.word, style=STYLES[result.verdict.word])
        open_features = [f for f in result.features if _explanation(f.verdict)]
        if open_features:
            yield Text(f"{row.spec} [{result.property}] ") + verdict
            yield from (Text(f"  {_feature(feature)}") for feature in open_features)
        elif counts[explanation] > ALIKE:
            yield Text(f"{counts[explanation]} properties ") + verdict + Text(f": {explanation}")
            counts[explanation] = -1
        elif counts[explanation] > 0:
            yield Text(f"{row.spec} [{result.property}] ") + verdict + Text(f": {explanation}")


def _feature(feature: FeatureResult) -> str:
    bound = figures.interval(feature.bound.lower, feature.bound.upper)
    return (
        f"{feature.name} ({feature.direction}) {feature.verdict.word}, derivative in {bound}: "
        f"{_explanation(feature.verdict)}"
    )


def _explanation(verdict: Verdict) -> str:
    match verdict:
        case Unknown(reason, detail):
            return f"{reason.value}: {detail}"
        case Falsified(counterexample):
            return counterexample.statement
        case _:
            return ""
