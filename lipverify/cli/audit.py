"""`lipverify audit`."""

from typing import Annotated

import typer

from lipverify.cli.options import MethodName, Seed, Timeout

AUDIT_TIMEOUT = 10.0
"""Of one answer: an audit has thousands."""


def command(
    file: Annotated[str, typer.Argument(metavar="FILE", help="An audit file (kind: audit).")],
    out: Annotated[
        str | None,
        typer.Option("--out", metavar="DIR", help="Folder for the results; default NAME-audit."),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes that share the work.")] = 1,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the database in the folder.")
    ] = False,
    sample: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Audit so many records, drawn by --seed.")
    ] = None,
    seed: Seed = 0,
    skip_bad_rows: Annotated[
        bool,
        typer.Option("--skip-bad-rows", help="Leave out rows that cannot be used."),
    ] = False,
    method: MethodName = "auto",
    timeout: Timeout = AUDIT_TIMEOUT,
    max_subproblems: Annotated[
        int, typer.Option(min=1, help="Limit of the search for one answer.")
    ] = 2000,
    certify: Annotated[
        str | None,
        typer.Option(
            "--certify",
            metavar="DIR",
            help="Write certificates there and have them checked: verified means checked then.",
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only the summary line.")] = False,
) -> int:
    """Ask expected directions of a model's features for every record of a table.

    Writes audit.json, records.csv, audit.md, report.html and audit.sqlite into the folder. Exit
    code: 0 all verified; 1 some falsified; 2 none falsified, some unknown; 3 bad input or an error.
    """
    from pathlib import Path

    from lipverify.audit import AuditConfig
    from lipverify.cli.run_audit import execute

    config = AuditConfig(
        jobs=jobs,
        resume=resume,
        sample=sample,
        seed=seed,
        skip_bad_rows=skip_bad_rows,
        method=method,
        timeout=None if timeout == float("inf") else timeout,
        max_subproblems=max_subproblems,
        certify=None if certify is None else Path(certify),
    )
    return execute(file, out or f"{Path(file).stem}-audit", config, quiet=quiet)
