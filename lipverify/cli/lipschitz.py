"""`lipverify lipschitz`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

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
    Memory,
    MethodName,
    Resume,
    Seed,
    SolverName,
    Threads,
    Timeout,
    positive,
)
from lipverify.errors import InputError

if TYPE_CHECKING:
    from lipverify.network import Network
    from lipverify.spec import Spec


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The network's file.")],
    center: Annotated[
        str,
        typer.Option(
            help="A number for all inputs, a list 0.1,0.2,..., or a file: .npy, .csv, .txt, "
            ".npz:array, .npz:array:index.",
            metavar="POINT",
        ),
    ],
    radius: Annotated[float, typer.Option(help="Of the ball around the center.")],
    norm: Annotated[
        str, typer.Option(help="Of the ball, and of inputs: inf, 2 or 1.", metavar="NORM")
    ] = "inf",
    input_norm: Annotated[
        str | None, typer.Option(help="If not that of the ball.", metavar="NORM")
    ] = None,
    output_norm: Annotated[
        str | None, typer.Option(help="If not that of inputs.", metavar="NORM")
    ] = None,
    outputs: Annotated[
        str, typer.Option(help="all, or positions such as 0,3.", metavar="OUTPUTS")
    ] = "all",
    clip: Annotated[
        tuple[float, float] | None,
        typer.Option(help="Valid range of inputs.", metavar="LOWER UPPER"),
    ] = None,
    at_most: Annotated[
        float | None, typer.Option(help="Ask whether the constant is at most this.")
    ] = None,
    gap: Annotated[
        float | None, typer.Option(help="Stop at upper/lower - 1 <= gap.", callback=positive)
    ] = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
    method: MethodName = "auto",
    solver: SolverName = DEFAULT_SOLVER,
    json: JsonFile = None,
    threads: Threads = None,
    seed: Seed = 0,
    memory: Memory = 4.0,
    branching: Branching = DEFAULT_BRANCHING,
    checkpoint: CheckpointFile = None,
    resume: Resume = False,
    checkpoint_every: CheckpointEvery = DEFAULT_EVERY,
) -> int:
    """Bound the local Lipschitz constant of one network around one point."""
    from lipverify.cli.execute import Settings, check, checkpoint_config, execute
    from lipverify.cli.prepare import Prepared, Task
    from lipverify.config import VerifyConfig
    from lipverify.network import load_network

    settings = Settings(
        config=VerifyConfig(
            method=method,
            timeout=timeout,
            memory=memory * 1e9,
            seed=seed,
            branching=branching,
            checkpoint=checkpoint_config(checkpoint, checkpoint_every, resume),
            solver=solver,
        ),
        json=json,
        threads=threads or 1,
    )
    check(settings)
    network = load_network(model)
    norms = (norm, input_norm or norm, output_norm or input_norm or norm)
    spec = _spec(network, model, (center, radius), norms, outputs, clip, at_most, gap)
    return execute(Prepared((Task(model, spec, network, model),), ()), settings)


def _spec(
    network: Network,
    model: str,
    ball: tuple[str, float],
    norms: tuple[str, str, str],
    outputs: str,
    clip: tuple[float, float] | None,
    at_most: float | None,
    gap: float | None,
) -> Spec:
    """The question as a spec; `InputError` where an option does not fit the network."""
    import torch

    from lipverify.cli.center import read_center
    from lipverify.norms import norm_named
    from lipverify.region import ball_region
    from lipverify.spec import Lipschitz, Spec

    if at_most is not None and not at_most >= 0:
        raise InputError(f"--at-most: expected a number >= 0, found {at_most}")
    graph = network.graph
    ball_norm, input_norm, output_norm = (norm_named(name) for name in norms)
    center = torch.from_numpy(read_center(ball[0], graph.input_size))
    radius = torch.tensor(ball[1], dtype=torch.float64)
    ends = None
    if clip is not None:
        ends = (torch.full_like(center, clip[0]), torch.full_like(center, clip[1]))
    region = ball_region(center, radius, ball_norm, ends)
    rows = _rows(outputs, graph.output_size)
    names = tuple(f"x{index}" for index in range(graph.input_size))
    asked = Lipschitz(input_norm, output_norm, rows, at_most, gap)
    return Spec(model, region, (asked,), names)


def _rows(outputs: str, size: int) -> tuple[tuple[float, ...], ...]:
    """Unit row vectors of the outputs that are listed."""
    if outputs.strip() == "all":
        picked = list(range(size))
    else:
        parts = outputs.split(",")
        if not all(part.strip().isdigit() for part in parts):
            raise InputError(f"--outputs {outputs}: expected all, or positions such as 0,3")
        picked = [int(part) for part in parts]
    for output in picked:
        if output >= size:
            raise InputError(
                f"--outputs {outputs}: {output} is out of range: the network has {size} outputs, "
                f"0 to {size - 1}"
            )
    if len(set(picked)) < len(picked):
        raise InputError(f"--outputs {outputs}: an output is listed twice; remove one")
    return tuple(tuple(1.0 if j == output else 0.0 for j in range(size)) for output in picked)
