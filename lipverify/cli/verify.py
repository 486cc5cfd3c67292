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
    OwnTimeout,
    Resume,
    Seed,
    SolverName,
    Threads,
)


def command(
    context: typer.Context,
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH",
            help="Spec files, folders of them, VNN-LIB files, instances files (*.csv).",
        ),
    ],
    network: Annotated[
        list[str] | None,
        typer.Option("--network", metavar="FILE", help="Network of VNN-LIB files; also NAME=FILE."),
    ] = None,
    timeout: OwnTimeout = None,
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
    vnncomp: Annotated[
        bool,
        typer.Option(
            "--vnncomp",
            help="Print sat, unsat, unknown, timeout or error, and counterexamples, as VNN-COMP.",
        ),
    ] = False,
    results: Annotated[
        str | None,
        typer.Option(
            "--results",
            metavar="PATH",
            help="Write these there: a file for one property, else a folder with results.csv, "
            "cactus.svg and a file for each.",
        ),
    ] = None,
    certify: Annotated[
        str | None,
        typer.Option(
            "--certify",
            metavar="DIR",
            help="Write certificates there and check them: verified then means checked.",
        ),
    ] = None,
    certify_timeout: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            metavar="SECONDS",
            help="For writing the certificates of a property; default: four times --timeout.",
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only the summary line.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="What each stage gained, and tracebacks.")
    ] = False,
) -> int:
    """Decide the properties of spec files.

    Folders are searched for *.yaml. Instances files have lines of network, property (a VNN-LIB
    file) and timeout, relative to their folder. Exit code: 0 all verified; 1 some falsified; 2 none
    falsified, some unknown; 3 bad input or an error (other specs still run).
    """
    from lipverify.cli.execute import (
        Settings,
        certify_config,
        check,
        checkpoint_config,
        execute,
    )
    from lipverify.cli.prepare import prepare
    from lipverify.config import VerifyConfig

    settings = Settings(
        config=VerifyConfig(
            method=method,
            timeout=DEFAULT_TIMEOUT if timeout is None else timeout,
            max_subproblems=max_subproblems,
            memory=memory * 1e9,
            seed=seed,
            branching=branching,
            checkpoint=checkpoint_config(checkpoint, checkpoint_every, resume),
            solver=solver,
            certify=certify_config(certify, certify_timeout),
        ),
        json=json,
        jobs=jobs,
        threads=threads or 1,
        quiet=quiet,
        verbose=verbose,
        stages=verbose,
        vnncomp=vnncomp,
        results=results,
        command=context.obj or (),
    )
    check(settings)
    return execute(prepare(paths, network or (), timeout), settings)
