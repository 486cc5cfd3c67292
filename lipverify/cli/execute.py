"""From prepared specs to text, JSON and exit code."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from lipverify import __version__
from lipverify.api import METHODS
from lipverify.cli.console import stderr, stdout
from lipverify.cli.exits import ExitCode
from lipverify.cli.output import STDOUT, check_writable, write_json
from lipverify.cli.prepare import Prepared
from lipverify.cli.report_table import print_failures, print_results, summary
from lipverify.cli.run import Outcome, run
from lipverify.cli.watch import watch_for
from lipverify.config import VerifyConfig
from lipverify.errors import UnknownMethod
from lipverify.evidence.report_json import report
from lipverify.verdict import Falsified, Unknown, Verdict


@dataclass(frozen=True)
class Settings:
    """What a run was asked for, beside its specs."""

    config: VerifyConfig
    json: str | None = None
    jobs: int = 1
    threads: int = 1
    quiet: bool = False
    verbose: bool = False


def check(settings: Settings) -> None:
    """`InputError` for settings that would fail later; to be called first."""
    check_writable(settings.json, "--json")
    method = settings.config.method
    if method not in METHODS:
        raise UnknownMethod(
            f"--method {method!r} is not offered; choose one of {', '.join(METHODS)}"
        )


def execute(prepared: Prepared, settings: Settings) -> ExitCode:
    """Work on the specs, show and write the results."""
    total = sum(len(task.spec.properties) for task in prepared.tasks)
    watch = watch_for(stderr(), total, quiet=settings.quiet, verbose=settings.verbose)
    outcome = run(prepared.tasks, settings.config, settings.jobs, settings.threads, watch)
    outcome = replace(outcome, failures=(*prepared.failures, *outcome.failures))
    _show(outcome, settings)
    if settings.json is not None:
        results = (row.result for row in outcome.rows)
        write_json(settings.json, report(__version__, results, outcome.failures))
    if outcome.failures:
        return ExitCode.ERROR
    return exit_code(row.result.verdict for row in outcome.rows)


def exit_code(verdicts: Iterable[Verdict]) -> ExitCode:
    """The code of a run without errors."""
    found = list(verdicts)
    if any(isinstance(verdict, Falsified) for verdict in found):
        return ExitCode.FALSIFIED
    if any(isinstance(verdict, Unknown) for verdict in found):
        return ExitCode.UNKNOWN
    return ExitCode.VERIFIED


def _show(outcome: Outcome, settings: Settings) -> None:
    text, errors = stderr() if settings.json == STDOUT else stdout(), stderr()
    if not settings.quiet:
        print_results(text, outcome.rows)
    print_failures(errors, outcome.failures)
    if settings.verbose:
        for trace in outcome.traces:
            errors.print(trace, soft_wrap=True)
    if outcome.interrupted:
        errors.print("stopped by Ctrl-C: what was not decided by then is unknown", soft_wrap=True)
    text.print(summary(outcome), soft_wrap=True)
