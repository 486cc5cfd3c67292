"""An audit on the command line: progress, reports, exit code."""

from pathlib import Path
from time import monotonic
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from lipverify.audit import REPORTS, AuditConfig, AuditProgress, AuditResult, run_audit
from lipverify.audit.answer import Found
from lipverify.audit.pool import WorkerDied
from lipverify.cli import figures
from lipverify.cli.console import new_table, print_table, stderr, stdout
from lipverify.cli.exits import ExitCode
from lipverify.cli.output import write_text

LOG_SECONDS = 10.0
"""In a log, progress is told so often."""


class _Watch:
    """Shows how far the audit is: at the foot of a terminal, or a line now and then."""

    def __init__(self, console: Console, *, quiet: bool) -> None:
        self._console = console
        self._quiet = quiet
        self._live = Live(console=console, transient=True) if console.is_terminal else None
        self._told = monotonic()

    def __enter__(self) -> "_Watch":
        if self._live is not None and not self._quiet:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None and not self._quiet:
            self._live.stop()

    def __call__(self, progress: AuditProgress) -> None:
        if self._quiet:
            return
        done = progress.decided + progress.unknown
        line = (
            f"{done} of {progress.total} answers: {progress.verified} verified, "
            f"{progress.falsified} falsified, {progress.unknown} unknown"
        )
        if self._live is not None:
            self._live.update(Text(line))
        elif monotonic() >= self._told + LOG_SECONDS or done == progress.total:
            self._told = monotonic()
            self._console.print(line, soft_wrap=True)


def execute(file: str, out: str, config: AuditConfig, *, quiet: bool) -> ExitCode:
    """Run it, write all reports, show the totals."""
    started = monotonic()
    try:
        with _Watch(stderr(), quiet=quiet) as watch:
            result = run_audit(file, out, config, watch)
    except WorkerDied as error:
        stderr().print(f"lipverify: {error}", soft_wrap=True)
        return ExitCode.ERROR
    with result.store:
        for name, report in REPORTS.items():
            write_text(str(Path(out) / name), report(result))
        _show(result, quiet=quiet)
        stdout().print(_summary(result, out, monotonic() - started), soft_wrap=True)
        return _exit_code(result)


def _show(result: AuditResult, *, quiet: bool) -> None:
    if quiet:
        return
    table = new_table("feature", "region", "direction", "verified", "falsified", "unknown")
    for row in result.totals:
        table.add_row(*(str(value) for value in row.values()))
    print_table(stdout(), table)
    for why, count in result.context.records.skipped:
        stderr().print(f"{figures.count_noun(count, 'row')} left out: {why}", soft_wrap=True)
    if result.interrupted:
        stderr().print("stopped by Ctrl-C; go on with --resume", soft_wrap=True)


def _summary(result: AuditResult, out: str, seconds: float) -> str:
    count = {found: sum(row[found.value] for row in result.totals) for found in Found}
    parts = [f"{count[found]} {found.value}" for found in Found]
    return f"{', '.join(parts)} in {figures.seconds(seconds)}; see {out}/report.html"


def _exit_code(result: AuditResult) -> ExitCode:
    found = {word for (_, word), count in result.counts.items() if count}
    if Found.FALSIFIED in found:
        return ExitCode.FALSIFIED
    if Found.UNKNOWN in found or result.interrupted or not found:
        return ExitCode.UNKNOWN
    return ExitCode.VERIFIED
