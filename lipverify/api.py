"""The public functions: where the stages are joined."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from lipverify.bounds.methods import METHODS as _METHODS
from lipverify.bounds.methods import Setting, method_named
from lipverify.config import VerifyConfig
from lipverify.evidence import PropertyResult
from lipverify.evidence.certificate.certify import certified
from lipverify.milp import solver_named
from lipverify.network import Network, load_network
from lipverify.norms import norm_named
from lipverify.query import norm_query, slope_query
from lipverify.reading import AS_IT_IS, Reading
from lipverify.region import ball_region
from lipverify.search.branching import BRANCHINGS as _BRANCHINGS
from lipverify.search.branching import branching_named
from lipverify.search.budget import Note, Progress, Report
from lipverify.search.checkpoint import open_checkpoint
from lipverify.search.job import Decision, Job
from lipverify.search.ladder import BREAKDOWNS
from lipverify.search.lipschitz import decide_lipschitz
from lipverify.search.monotonicity import decide_monotonicity
from lipverify.search.radius import decide_radius
from lipverify.search.recheck import recheck_answer
from lipverify.search.robustness import decide_robustness
from lipverify.search.vnnlib import decide_vnnlib
from lipverify.spec import Spec, bind, read_spec
from lipverify.spec.digest import question_digest
from lipverify.spec.property import Lipschitz, Monotonicity, Property, Radius, Robustness, VnnLib
from lipverify.spec.vnnlib import is_vnnlib, read_vnnlib
from lipverify.spec.vnnlib.property import spec_of
from lipverify.verdict import Reason, Unknown

METHODS: Mapping[str, str] = {name: method.summary for name, method in _METHODS.items()}
"""Bounding methods that `VerifyConfig.method` may name, each with one line on what it does."""

BRANCHINGS: Mapping[str, str] = {name: found.summary for name, found in _BRANCHINGS.items()}
"""Heuristics that `VerifyConfig.branching` may name, each with one line on what it does."""


def verify(
    spec: str | Path | Spec,
    network: Network | str | Path | torch.nn.Module | None = None,
    config: VerifyConfig | None = None,
) -> list[PropertyResult]:
    """Decide every property of a spec file (or of a `Spec` made in Python, with its network).

    A VNN-LIB file needs the argument `network` as well.

    Raises `SpecError` or `NetworkError` for input that cannot be used.
    """
    if isinstance(spec, Spec):
        if network is None:
            if spec.network is None:
                raise ValueError("a Spec without a network file needs the argument `network`")
            network = spec.network
        loaded = _loaded(network, spec.reading)
        return list(verify_spec(loaded, spec, config or VerifyConfig()))
    if is_vnnlib(spec):
        if network is None:
            raise ValueError("a VNN-LIB file needs the argument `network`")
        loaded = _loaded(network, AS_IT_IS)
        file = read_vnnlib(spec)
        file.check_sizes(loaded.graph.input_size, loaded.graph.output_size)
        path = Path(network) if isinstance(network, str | Path) else None
        return list(verify_spec(loaded, spec_of(file, path), config or VerifyConfig()))
    file = read_spec(Path(spec))
    loaded = _loaded(file.network if network is None else network, file.reading)
    bound = bind(file, loaded.graph.input_size, loaded.graph.output_size)
    return list(verify_spec(loaded, bound, config or VerifyConfig()))


def _loaded(source: Network | str | Path | torch.nn.Module, reading: Reading) -> Network:
    """The network, read as the spec says; `ValueError` if it was read in another way already."""
    if not isinstance(source, Network):
        return load_network(source, reading=reading)
    if source.reading != reading:
        raise ValueError(
            "the network was loaded with another preprocessing, or other fixed inputs, than the "
            "spec asks for; load it with load_network(..., reading=spec.reading)"
        )
    return source


def lipschitz(
    network: Network | str | Path | torch.nn.Module,
    center: Tensor | Sequence[float],
    radius: float | Tensor | Sequence[float],
    *,
    norm: str | float = "inf",
    input_norm: str | float | None = None,
    output_norm: str | float | None = None,
    clip: tuple[float, float] | None = None,
    rows: Sequence[Sequence[float]] | None = None,
    at_most: float | None = None,
    gap: float | None = None,
    config: VerifyConfig | None = None,
) -> PropertyResult:
    """The local Lipschitz constant on the ball around `center` [n] of `radius`, as an interval.

    `norm` shapes the ball, and is the input and output norm unless these are given. `rows` [r][m]
    are combinations of outputs (default: the outputs themselves). A torch module needs to be
    loaded first (`load_network(module, example_input)`).
    """
    loaded = network if isinstance(network, Network) else load_network(network)
    graph = loaded.graph
    middle = torch.as_tensor(center, dtype=torch.float64).flatten()
    spread = torch.as_tensor(radius, dtype=torch.float64).flatten()
    spread = spread.reshape(()) if spread.numel() == 1 else spread
    ends = None
    if clip is not None:
        ends = (torch.full_like(middle, clip[0]), torch.full_like(middle, clip[1]))
    region = ball_region(middle, spread, norm_named(norm), ends)
    identity = torch.eye(graph.output_size).tolist()
    prop = Lipschitz(
        norm_named(norm if input_norm is None else input_norm),
        norm_named(norm if output_norm is None else output_norm),
        tuple(tuple(row) for row in (identity if rows is None else rows)),
        at_most,
        gap,
    )
    names = tuple(f"x{index}" for index in range(graph.input_size))
    spec = Spec("lipschitz", region, (prop,), names)
    return next(verify_spec(loaded, spec, config or VerifyConfig()))


def verify_spec(
    network: Network,
    spec: Spec,
    config: VerifyConfig,
    on_progress: Report | None = None,
) -> Iterator[PropertyResult]:
    """The answer to each property of `spec` in turn, as it is found.

    Raises `UnknownMethod` and `UnknownBranching`, `MissingDependency` for a solver that is not
    there, before any work, and `CheckpointError` for a checkpoint that cannot be used or written;
    a breakdown of arithmetic is an Unknown answer.
    """
    method = method_named(config.method)
    branching_named(config.branching)
    require_solver(config.solver)
    setting = Setting(network, spec.region, config.preactivation, config.memory)
    name = str(spec.path or spec.name)
    timeout = config.timeout if spec.timeout is None else spec.timeout
    with open_checkpoint(network, spec, config) as checkpoint:
        for index, prop in enumerate(spec.properties):

            def check(found: PropertyResult, prop: Property = prop) -> PropertyResult:
                return recheck_answer(setting, prop, found)

            known = checkpoint.answer(index, check)
            if known is not None:
                known = replace(known, spec=name, name=spec.name, **asked_of(spec, index))
                yield _certified(setting, prop, known, config)
                continue
            begun = checkpoint.begin(index, timeout)
            note = Note(on_progress, index, begun.clock)
            job = Job(setting, method, config, begun.clock, note, spec.features, begun.slot)
            # numpy's and scipy's own threads follow torch's: small matrices crawl on more.
            with threadpool_limits(torch.get_num_threads(), user_api="blas"):
                decision = _decide(job, prop, begun.resumed)
            result = PropertyResult(
                spec=name,
                name=spec.name,
                property=index,
                kind=prop.kind,
                verdict=decision.verdict,
                bound=decision.bound,
                witness=decision.witness,
                method=f"{config.method}: {decision.stage}",
                subproblems=decision.subproblems,
                seconds=begun.clock.seconds,
                network_sha256=network.sha256,
                features=decision.features,
                stages=note.stages,
                remark=decision.remark,
                network=str(spec.network or network.source),
                timeline=note.timeline,
                **asked_of(spec, index),
            )
            yield _certified(setting, prop, checkpoint.finish(result), config)


def _certified(
    setting: Setting, prop: Property, result: PropertyResult, config: VerifyConfig
) -> PropertyResult:
    """The answer as it is, or with its certificates where these are asked for."""
    if config.certify is None:
        return result
    with threadpool_limits(torch.get_num_threads(), user_api="blas"):
        return certified(setting, prop, result, config)


def asked_of(spec: Spec, index: int) -> dict[str, Any]:
    """The fields of a `PropertyResult` that are about its question."""
    prop = spec.properties[index]
    return {
        "asked": prop.describe(spec.features),
        "requirements": spec.requirements_of(index),
        "spec_sha256": spec.sha256,
        "question_sha256": question_digest(spec.region, prop, spec.features, spec.reading),
    }


def require_solver(name: str) -> None:
    """`UnknownMethod` for a solver that is not offered, `MissingDependency` for one not installed.

    The default solver is looked for at its first use only: most questions need none.
    """
    solver = solver_named(name)
    if name != VerifyConfig().solver:
        solver.require()


def _decide(job: Job, prop: Property, resumed: bool) -> Decision:
    """Unknown unless the kind's own function earns more."""
    if job.clock.expired() and not resumed:
        detail = f"no time to start (timeout {job.clock.timeout} s)"
        return Decision(Unknown(Reason.TIMEOUT, detail), "none", subproblems=0)
    try:
        match prop:
            case Lipschitz():
                return decide_lipschitz(job, norm_query(prop))
            case Monotonicity():
                return decide_monotonicity(job, slope_query(prop))
            case Robustness():
                return decide_robustness(job, prop)
            case Radius():
                return decide_radius(job, prop)
            case VnnLib():
                return decide_vnnlib(job, prop)
    except BREAKDOWNS as error:
        return Decision(Unknown(Reason.NUMERICS, str(error)), "none", subproblems=0)


__all__ = ["BRANCHINGS", "METHODS", "Progress", "lipschitz", "verify", "verify_spec"]
