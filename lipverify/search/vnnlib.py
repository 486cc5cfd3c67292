"""VNN-LIB properties: box by box, or through what two copies say about one.

The file itself is the judge of every counterexample, with strict constraints as it states them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice

import torch
from torch import Tensor

from lipverify.confirm import original_inside
from lipverify.network import Network
from lipverify.network.with_inputs import with_inputs
from lipverify.query_output import OutputQuery
from lipverify.region import AbstractRegion
from lipverify.search.budget import Clock
from lipverify.search.copies import decide_copies
from lipverify.search.job import Decision, Job, Stop, timeout
from lipverify.search.output_search import decide
from lipverify.spec.vnnlib import VnnLibFile
from lipverify.spec.vnnlib.property import VnnLib
from lipverify.verdict import Counterexample, Falsified, Reason, Unknown, Verdict, Verified

SHARES = 64
"""The time left is shared by so many boxes at a time."""
NUDGES = 2.0 ** -torch.arange(1, 48, dtype=torch.float64)
"""Steps towards the middle of the box, off an edge that a strict constraint leaves out."""

EMPTY = "trivially unsat: no input satisfies the constraints on inputs"


def decide_vnnlib(job: Job, prop: VnnLib) -> Decision:
    """Verified: nothing satisfies the file (unsat). Falsified: the counterexample does (sat)."""
    file = prop.file
    remarks = []
    if file.float_type is not None:
        remarks.append(
            f"the file asks about {file.float_type} values; what is proved is about real numbers"
        )
    if not file.satisfiable_inputs:
        return Decision(Verified(), "no input", subproblems=0, remark="; ".join([EMPTY, *remarks]))
    found = _boxes(job, file) if file.layout.copies == 1 else decide_copies(job, file)
    return replace(found, remark="; ".join(remarks))


@dataclass(frozen=True, eq=False)
class _Left:
    """What is not decided so far: nothing, or the first reason why."""

    verdict: Verdict
    stage: str = "none"
    subproblems: int = 0
    boxes: int = 0

    def after(self, answer: Verdict, stage: str, subproblems: int) -> "_Left":
        first = self.verdict if isinstance(self.verdict, Unknown) else answer
        stage = self.stage if first is self.verdict and self.boxes else stage
        return _Left(first, stage, self.subproblems + subproblems, self.boxes + 1)


def _boxes(job: Job, file: VnnLibFile) -> Decision:
    """Every box in turn: one falsified decides, all have to be verified."""
    stream = file.queries()
    network = with_inputs(job.network) if file.joins_inputs else job.network
    known = list(islice(stream, SHARES))
    state = _Left(Verified())
    for query in chain(known, stream):
        if job.clock.expired():
            stopped = timeout(job.clock).verdict
            return Decision(stopped, state.stage, subproblems=state.subproblems)
        ahead = max(1, len(known) - state.boxes)
        left = job.clock.left
        clock = job.clock if left is None else job.clock.limited(left / ahead)
        verdict, stage, subproblems = _box(job, network, file, query, clock, state)
        state = state.after(verdict, stage, subproblems)
        if isinstance(verdict, Falsified):
            return Decision(verdict, stage, subproblems=state.subproblems)
    return Decision(state.verdict, state.stage, subproblems=state.subproblems)


def _box(
    job: Job, network: Network, file: VnnLibFile, query: OutputQuery, clock: Clock, state: _Left
) -> tuple[Verdict, str, int]:
    """The verdict on one box, the stage that gave it, and its subproblems.

    `network` has the outputs that the query is about.
    """
    if any(not len(clause) for clause in query.unsafe):
        points = original_inside(job.network, query.region, query.region.center).unsqueeze(0)
        found = satisfying(job, file, points, "no constraint on outputs: every input counts")
        return found or _edge().verdict, "input", 0
    most, beyond = job.config.max_subproblems, max(0, state.subproblems - state.boxes)
    config = replace(job.config, max_subproblems=None if most is None else max(1, most - beyond))
    why = f"box {state.boxes + 1}" if state.boxes else ""

    def tell(stage: str, lower: float | None, upper: float | None, subproblems: int) -> None:
        job.note(stage, lower, upper, state.subproblems + subproblems, why)

    number = state.boxes
    answer = decide(
        network, query, config, clock, tell, lambda key: job.slot(f"box {number}: {key}")
    )
    verdict = answer.verdict
    if isinstance(verdict, Falsified):
        point = verdict.counterexample.inputs[0]
        points = torch.cat([point.unsqueeze(0), _nudged(job.network, query.region, point)])
        found = satisfying(job, file, points, verdict.counterexample.statement)
        verdict = found or _edge().verdict
    return verdict, answer.stage, answer.subproblems


def _nudged(network: Network, region: AbstractRegion, point: Tensor) -> Tensor:
    """Points between this one [n] and the middle of its box, [k, n]."""
    steps = NUDGES.flip(0).unsqueeze(1) * (region.center - point)
    return torch.stack([original_inside(network, region, moved) for moved in point + steps])


def satisfying(job: Job, file: VnnLibFile, points: Tensor, statement: str) -> Falsified | None:
    """The first of the points [k, n] that satisfies the file with the original's outputs."""
    for start in range(0, len(points), 16):
        chunk = points[start : start + 16]
        outputs = job.network.original(chunk)
        for x, y in zip(chunk, outputs, strict=True):
            if _holds(file, [x], [y]):
                return Falsified(Counterexample((x,), (y,), statement))
    return None


def _holds(file: VnnLibFile, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> bool:
    values = [torch.cat(tuple(part)) for part in (inputs, outputs)]
    finite = all(bool(torch.isfinite(part).all()) for part in values)
    return finite and file.holds(values[0].tolist(), values[1].tolist())


def _edge() -> Stop:
    return Stop(
        Reason.CANDIDATE,
        "an input was found that does not satisfy the file exactly as stated: it lies on an edge "
        "that a strict constraint leaves out, or no nearer than rounding allows",
    )


__all__ = ["decide_vnnlib"]
