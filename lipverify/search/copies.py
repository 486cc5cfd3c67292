"""VNN-LIB files over two copies of a network: proved by derivatives, refuted by pairs of inputs."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from lipverify.confirm import float32_inside
from lipverify.graph import output
from lipverify.norms import AbstractNorm
from lipverify.query import norm_query, slope_query
from lipverify.search.job import Decision, Job, timeout
from lipverify.search.lipschitz import decide_lipschitz
from lipverify.search.monotonicity import decide_monotonicity
from lipverify.spec.lipschitz import Lipschitz
from lipverify.spec.vnnlib import VnnLibFile
from lipverify.spec.vnnlib.copies import Question
from lipverify.verdict import Counterexample, Falsified, Reason, Unknown, Verdict, Verified

HALVINGS = 24
"""Distances of pairs that are tried around a point: the region's width, halved so often."""
TRIED_ROWS = 16

CANDIDATE = Unknown(
    Reason.CANDIDATE,
    "by our arithmetic some pair of inputs satisfies the file, but no pair was found that does "
    "with the original network's outputs, exactly as stated",
)


def decide_copies(job: Job, file: VnnLibFile) -> Decision:
    """Verified if every question is; falsified by the first pair that satisfies the file."""
    first: Unknown | None = None
    stage, subproblems = "none", 0
    for place, question in enumerate(file.questions):
        if job.clock.expired():
            return Decision(timeout(job.clock).verdict, stage, subproblems=subproblems)
        left = job.clock.left
        share = None if left is None else left / (len(file.questions) - place)
        clock = job.clock if share is None else job.clock.limited(share)
        setting = replace(job.setting, region=question.region)

        def slot(key: str, number: int = place):  # noqa: ANN202
            return job.slot(f"question {number}: {key}")

        part = replace(job, setting=setting, clock=clock, slot=slot)
        found = _decide(part, question)
        subproblems += found.subproblems
        verdict = found.verdict
        if isinstance(verdict, Falsified):
            pair = _satisfying(part, file, _pairs(part, question, found), verdict)
            if pair is not None:
                return Decision(pair, found.stage, subproblems=subproblems)
            verdict = CANDIDATE
        if isinstance(verdict, Unknown) and first is None:
            first, stage = verdict, found.stage
        stage = stage if first is not None else found.stage
    return Decision(first or Verified(), stage, subproblems=subproblems)


def _decide(job: Job, question: Question) -> Decision:
    match question.property:
        case None:
            point = question.region.center
            both = Counterexample((point, point), (), "both copies at one input satisfy the file")
            return Decision(Falsified(both), "one input", subproblems=0)
        case Lipschitz():
            return decide_lipschitz(job, norm_query(question.property))
        case prop:
            return decide_monotonicity(job, slope_query(prop))


def _pairs(job: Job, question: Question, found: Decision) -> Iterator[Tensor]:
    """Pairs [2, n] that may satisfy the file, the most promising first."""
    verdicts: list[Verdict] = [found.verdict, *(part.verdict for part in found.features)]
    for verdict in verdicts:
        if isinstance(verdict, Falsified):
            points = verdict.counterexample.inputs
            if len(points) == 2:
                yield torch.stack([float32_inside(question.region, point) for point in points])
            elif isinstance(question.property, Lipschitz):
                yield from _around(job, question, question.property, points[0])


def _around(job: Job, question: Question, prop: Lipschitz, point: Tensor) -> Iterator[Tensor]:
    """Pairs on both sides of the point, in the direction in which a row changes the most."""
    x = point.clone().requires_grad_(True)
    rows = torch.tensor(prop.rows, dtype=torch.float64)
    with torch.enable_grad():
        values = output(job.network.graph, x.unsqueeze(0))[0] @ rows.T
        slopes = [torch.autograd.grad(value, x, retain_graph=True)[0] for value in values]
    moving = torch.tensor(question.moving)
    slopes = [torch.where(moving, slope, 0.0) for slope in slopes]
    slopes.sort(key=lambda slope: -float(prop.input_norm.dual.of(slope)))
    width = float(question.region.bounding.width.max())
    for slope in slopes[:TRIED_ROWS]:
        direction = _steepest(prop.input_norm, slope)
        for halving in range(HALVINGS):
            step = width * 0.5**halving
            for low, high in ((-0.5, 0.5), (0.0, 1.0), (-1.0, 0.0)):
                ends = (point + low * step * direction, point + high * step * direction)
                yield torch.stack(
                    [float32_inside(question.region, question.region.project(x)) for x in ends]
                )


def _steepest(norm: AbstractNorm, slope: Tensor) -> Tensor:
    """A vector of norm 1 along which the slope is steepest; zero where the slope is."""
    return torch.where(slope == 0, 0.0, norm.maximiser(slope))


def _satisfying(
    job: Job, file: VnnLibFile, pairs: Iterator[Tensor], found: Falsified
) -> Falsified | None:
    """The first pair that satisfies the file, in either order, with the original's outputs."""
    for pair in pairs:
        outputs = job.network.original(pair)
        if not bool(torch.isfinite(outputs).all()):
            continue
        for order in ([0, 1], [1, 0]):
            inputs, values = pair[order], outputs[order]
            if file.holds(inputs.flatten().tolist(), values.flatten().tolist()):
                points = (inputs[0], inputs[1])
                statement = f"two inputs satisfy the file; {found.counterexample.statement}"
                return Falsified(Counterexample(points, (values[0], values[1]), statement))
    return None
