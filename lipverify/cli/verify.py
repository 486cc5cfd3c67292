"""`lipverify verify`."""

from typing import Annotated

import typer

from lipverify.cli.options import (
    DEFAULT_BRANCHING,
    DEFAULT_EVERY,
    DEFAULT_SOLVER,
    DEFAULT_TIMEOUT,
    Branching,
    CheckpointEvery,
    CheckpointFile,
    JsonFile,
    MaxSubproblems,
    Memory,
    MethodName,
    Resume,
    Seed,
    SolverName,
    Threads,
    Timeout,
)


def command(
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH", help="Spec files, and folders of them.")
    ],
    timeout: Timeout = DEFAULT_TIMEOUT,
    method: MethodName = "auto",
    solver: SolverName = DEFAULT_SOLVER,
    max_subproblems: MaxSubproblems = None,
    json: JsonFile = None,
    threads: Threads = None,
    jobs: Annotated[int, typer.Option(min=1, help="Specs worked on at a time.")] = 1,
    seed: Seed = 0,
    memory: Memory = 4.0,
    branching: Branching = DEFAULT_BRANCHING,
    checkpoint: CheckpointFile = None,
    resume: Resume = False,
    checkpoint_every: CheckpointEvery = DEFAULT_EVERY,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only the summary line.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="What each stage gained, and tracebacks.")
    ] = False,
) -> int:
    """Decide the properties of spec files.

    Folders are searched for *.yaml. Exit code: 0 all verified; 1 some falsified; 2 none falsified,
    some unknown; 3 bad input or an error (other specs still run).
    """
    from lipverify.cli.execute import Settings, check, checkpoint_config, execute
    from lipverify.cli.prepare import prepare
    from lipverify.config import VerifyConfig

    settings = Settings(
        config=VerifyConfig(
            method=method,
            timeout=timeout,
            max_subproblems=max_subproblems,
            memory=memory * 1e9,
            seed=seed,
            branching=branching,
            checkpoint=checkpoint_config(checkpoint, checkpoint_every, resume),
            solver=solver,
        ),
        json=json,
        jobs=jobs,
        threads=threads or 1,
        quiet=quiet,
        verbose=verbose,
        stages=verbose,
    )
    check(settings)
    return execute(prepare(paths), settings)
