"""`lipverify check`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from lipverify.cli.console import stderr, stdout
from lipverify.cli.exits import ExitCode
from lipverify.cli.options import JsonFile
from lipverify.errors import InputError

LIMIT = 24 * 3600.0


def command(
    certificate: Annotated[str, typer.Argument(metavar="CERT", help="A certificate (*.lipcert).")],
    network: Annotated[str, typer.Argument(metavar="NETWORK", help="The ONNX file it is about.")],
    json: JsonFile = None,
    limit_seconds: Annotated[
        float, typer.Option("--limit-seconds", help="Give up (rejected) after this time.")
    ] = LIMIT,
) -> int:
    """Check a certificate in exact arithmetic: exit code 0 accepted, 1 rejected."""
    from lipverify.checker import Unreadable, check
    from lipverify.checker.replay import replay, shown
    from lipverify.cli.output import STDOUT, check_writable, write_json

    check_writable(json, "--json")
    try:
        report = check(Path(certificate), Path(network), limit_seconds)
    except Unreadable as error:
        raise InputError(str(error)) from error
    replayed = replay(Path(certificate), Path(network)) if report.outputs else []
    console = stderr() if json == STDOUT else stdout()
    for line in (f"{report.verdict}: {report.claim}: {report.reason}", *shown(report, replayed)):
        console.print(line, soft_wrap=True, markup=False)
    if json is not None:
        write_json(json, {**asdict(report), "onnxruntime": replayed})
    return ExitCode.VERIFIED if report.accepted else ExitCode.FALSIFIED
