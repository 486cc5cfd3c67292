"""From prepared specs to text, JSON and exit code."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lipverify import __version__
from lipverify.api import BRANCHINGS, METHODS, require_solver
from lipverify.cli.console import stderr, stdout
from lipverify.cli.exits import ExitCode
from lipverify.cli.output import STDOUT, check_writable, write_json
from lipverify.cli.prepare import Prepared, Task
from lipverify.cli.report_stages import print_stages
from lipverify.cli.report_table import print_failures, print_results, summary
from lipverify.cli.report_words import (
    check_results,
    instance_results,
    print_families,
    print_words,
    write_results,
)
from lipverify.cli.run import Outcome, run
from lipverify.cli.watch import watch_for
from lipverify.config import CertifyConfig, CheckpointConfig, VerifyConfig
from lipverify.errors import CertificateError, CheckpointError, UnknownBranching, UnknownMethod
from lipverify.evidence.report_instances import InstanceResult, instances_json
from lipverify.evidence.report_json import report
from lipverify.evidence.run_record import RunRecord, now
from lipverify.search.checkpoint import check_free, checkpoint_file
from lipverify.verdict import Falsified, Unknown, Verdict

FOLDERS = ("checkpoint", "certify")
"""Settings that name files of this machine, and do not change what is found."""


@dataclass(frozen=True)
class Settings:
    """What a run was asked for, beside its specs."""

    config: VerifyConfig
    json: str | None = None
    jobs: int = 1
    threads: int = 1
    quiet: bool = False
    verbose: bool = False
    stages: bool = False
    """Show what each stage gained."""
    vnncomp: bool = False
    """Print the competition's words instead of tables."""
    results: str | None = None
    """Where these words are written."""
    command: tuple[str, ...] = ()
    """The arguments as they were given."""


def check(settings: Settings) -> None:
    """`InputError` for settings that would fail later; to be called first."""
    check_writable(settings.json, "--json")
    check_results(settings.results)
    method, branching = settings.config.method, settings.config.branching
    if method not in METHODS:
        raise UnknownMethod(
            f"--method {method!r} is not offered; choose one of {', '.join(METHODS)}"
        )
    if branching not in BRANCHINGS:
        raise UnknownBranching(
            f"--branching {branching!r} is not offered; choose one of {', '.join(BRANCHINGS)}"
        )
    require_solver(settings.config.solver)
    if settings.config.checkpoint is not None:
        parent = settings.config.checkpoint.path.parent
        if not parent.is_dir():
            raise CheckpointError(
                f"--checkpoint {settings.config.checkpoint.path}: the folder {parent} does not "
                "exist; make it first"
            )


def checkpoint_config(path: str | None, every: float, resume: bool) -> CheckpointConfig | None:
    """`CheckpointError` for --resume without a file to resume."""
    if path is None:
        if resume:
            raise CheckpointError("--resume needs --checkpoint FILE, the file to go on from")
        return None
    return CheckpointConfig(Path(path), every, resume)


def certify_config(folder: str | None, seconds: float | None = None) -> CertifyConfig | None:
    """`CertificateError` for a folder that cannot be made, or a time without a folder."""
    if folder is None:
        if seconds is not None:
            raise CertificateError("--certify-timeout needs --certify DIR")
        return None
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CertificateError(
            f"--certify {folder}: cannot be made a folder ({error.strerror}); name another"
        ) from None
    return CertifyConfig(Path(folder), seconds)


def execute(prepared: Prepared, settings: Settings) -> ExitCode:
    """Work on the specs, show and write the results."""
    if settings.config.checkpoint is not None:
        _place(settings.config.checkpoint, prepared.tasks)
    started = now()
    total = sum(len(task.spec.properties) for task in prepared.tasks)
    watch = watch_for(stderr(), total, quiet=settings.quiet, verbose=settings.verbose)
    outcome = run(prepared.tasks, settings.config, settings.jobs, settings.threads, watch)
    outcome = replace(outcome, failures=(*prepared.failures, *outcome.failures))
    lines = instance_results(prepared.entries, outcome)
    _show(outcome, settings, lines)
    if settings.results is not None:
        write_results(settings.results, outcome, lines)
    if settings.json is not None:
        results = (row.result for row in outcome.rows)
        document = report(
            __version__, results, outcome.failures, _run_record(settings, started, outcome.seconds)
        )
        write_json(settings.json, {**document, **(instances_json(lines) if lines else {})})
    if outcome.failures:
        return ExitCode.ERROR
    return exit_code(row.result.verdict for row in outcome.rows)


def _run_record(settings: Settings, started: str, seconds: float) -> RunRecord:
    config = {key: value for key, value in asdict(settings.config).items() if key not in FOLDERS}
    return RunRecord(settings.command, started, seconds, config, settings.threads, settings.jobs)


def _place(config: CheckpointConfig, tasks: Sequence[Task]) -> None:
    """Make the folder for several specs; `CheckpointError` for what is in the way, before work."""
    if len(tasks) > 1:
        if config.path.is_file():
            raise CheckpointError(
                f"--checkpoint {config.path}: is a file, and {len(tasks)} specs need a folder; "
                "name another, or verify the specs one by one"
            )
        config.path.mkdir(exist_ok=True)
    for task in tasks:
        check_free(config, checkpoint_file(config, task.spec))


def exit_code(verdicts: Iterable[Verdict]) -> ExitCode:
    """The code of a run without errors."""
    found = list(verdicts)
    if any(isinstance(verdict, Falsified) for verdict in found):
        return ExitCode.FALSIFIED
    if any(isinstance(verdict, Unknown) for verdict in found):
        return ExitCode.UNKNOWN
    return ExitCode.VERIFIED


def _show(outcome: Outcome, settings: Settings, lines: Sequence[InstanceResult]) -> None:
    text, errors = stderr() if settings.json == STDOUT else stdout(), stderr()
    if settings.vnncomp:
        print_words(text, outcome, lines)
        text = errors
    elif not settings.quiet:
        print_results(text, outcome.rows)
    if lines and not settings.quiet:
        print_families(text, lines)
    if settings.stages and not settings.quiet:
        print_stages(text, outcome.rows)
    print_failures(errors, outcome.failures)
    if settings.verbose:
        for trace in outcome.traces:
            errors.print(trace, soft_wrap=True)
    if outcome.interrupted:
        errors.print("stopped by Ctrl-C: what was not decided by then is unknown", soft_wrap=True)
    text.print(summary(outcome), soft_wrap=True)
