"""Options that several commands share."""

from math import isfinite
from typing import Annotated

import typer


def positive(value: float | None) -> float | None:
    if value is not None and not (isfinite(value) and value > 0):
        raise typer.BadParameter(f"expected a number > 0, found {value}")
    return value


def time_limit(value: float | None) -> float | None:
    if value is not None and not value >= 0:  # NaN too
        raise typer.BadParameter(f"expected a number >= 0 (or inf), found {value}")
    return value


DEFAULT_TIMEOUT = 60.0
Timeout = Annotated[
    float,
    typer.Option(
        help="Time limit per property; inf for none.", metavar="SECONDS", callback=time_limit
    ),
]
OwnTimeout = Annotated[
    float | None,
    typer.Option(
        help="Time limit per property; inf for none. Default: 60, or what an instances file says.",
        metavar="SECONDS",
        callback=time_limit,
        show_default=False,
    ),
]
MethodName = Annotated[
    str, typer.Option("--method", help="Bounding method; see `lipverify supports`.", metavar="NAME")
]
DEFAULT_SOLVER = "highs"
SolverName = Annotated[
    str,
    typer.Option("--solver", help="Of mixed-integer programs: highs, gurobi.", metavar="NAME"),
]
JsonFile = Annotated[
    str | None, typer.Option("--json", help="Write JSON there; - is stdout.", metavar="FILE")
]
Seed = Annotated[int, typer.Option(help="Seed of the search for witnesses.")]
Memory = Annotated[
    float,
    typer.Option(
        help="Memory for the largest arrays of one bounding step.", metavar="GB", callback=positive
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(min=1, help="Threads of one process; default 1: more help large networks only."),
]
MaxSubproblems = Annotated[
    int | None, typer.Option(min=1, help="Limit per property; 1 is the root alone.")
]
Branching = Annotated[
    str,
    typer.Option(
        "--branching", help="Which gate is split next; see `lipverify supports`.", metavar="NAME"
    ),
]
CheckpointFile = Annotated[
    str | None,
    typer.Option(
        "--checkpoint",
        help="Keep the run's state there; with several specs, a folder with a file for each.",
        metavar="FILE",
    ),
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Go on from the checkpoint; without a file, start afresh."),
]
CheckpointEvery = Annotated[
    float,
    typer.Option(
        help="Least time between two writes of it.", metavar="SECONDS", callback=time_limit
    ),
]
DEFAULT_BRANCHING = "area"
DEFAULT_EVERY = 10.0
