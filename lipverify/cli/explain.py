"""`lipverify explain`."""

from typing import Annotated

import typer

from lipverify.cli.options import (
    DEFAULT_SOLVER,
    DEFAULT_TIMEOUT,
    JsonFile,
    MaxSubproblems,
    Memory,
    MethodName,
    Seed,
    SolverName,
    Threads,
    Timeout,
)


def command(
    context: typer.Context,
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH", help="Spec files, folders of them, VNN-LIB files."),
    ],
    network: Annotated[
        list[str] | None,
        typer.Option("--network", metavar="FILE", help="Network of VNN-LIB files; also NAME=FILE."),
    ] = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
    method: MethodName = "auto",
    solver: SolverName = DEFAULT_SOLVER,
    max_subproblems: MaxSubproblems = None,
    json: JsonFile = None,
    threads: Threads = None,
    seed: Seed = 0,
    memory: Memory = 4.0,
) -> int:
    """Decide properties as `verify` does, and show what each stage gained and why it was chosen.

    Exit codes are those of `verify`.
    """
    from lipverify.cli.execute import Settings, check, execute
    from lipverify.cli.prepare import prepare
    from lipverify.config import VerifyConfig

    settings = Settings(
        config=VerifyConfig(
            method=method,
            timeout=timeout,
            max_subproblems=max_subproblems,
            memory=memory * 1e9,
            seed=seed,
            solver=solver,
        ),
        json=json,
        threads=threads or 1,
        stages=True,
        command=context.obj or (),
    )
    check(settings)
    return execute(prepare(paths, network or ()), settings)
