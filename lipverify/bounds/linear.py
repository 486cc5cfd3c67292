"""Linear bound propagation on the backward graph (Shi et al. 2022), for every input norm.

The adjoints that open gates multiply are bounded one gate layer after the other; each gate is
then relaxed to affine functions of its adjoint alone, so the rows of the Jacobian are independent
and are bounded side by side as a batch.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lipverify.bounds.jacobian import JacobianBounds, JacobianProblem
from lipverify.bounds.preactivation import one_hot
from lipverify.bounds.propagation import Engine, GateRelaxation, gate_relaxations, rounding_slack
from lipverify.errors import InvertedInterval, NumericalFailure
from lipverify.graph import BackwardGraph
from lipverify.interval import Interval
from lipverify.norms import AbstractNorm
from lipverify.numerics import SMALLEST, UNIT_ROUNDOFF


@dataclass(frozen=True, eq=False)
class _Stage:
    problem: JacobianProblem
    engine: Engine
    relax_gate: GateRelaxation


def linear(
    problem: JacobianProblem,
    engine: Engine,
    relax_gate: GateRelaxation,
    input_norm: AbstractNorm,
    known: JacobianBounds,
) -> JacobianBounds:
    """Bounds of rows J and of its rows' norms dual to `input_norm`, rounded outward.

    `known` holds proved bounds of the elements and of the adjoints (mean-split and interval);
    the result is intersected with it. `engine` must use `relax_gate` too.
    """
    assert known.adjoints is not None
    stage = _Stage(problem, engine, relax_gate)
    backward = problem.backward
    adjoints: dict[str, Interval] = {}
    for gate in backward.gates:
        slope = problem.slopes[gate.name]
        index = (slope.lower < slope.upper).flatten().nonzero().flatten()
        adjoint = known.adjoints[gate.name]
        if index.numel():
            adjoint = _tighten(stage, gate.inputs[1], index, adjoint, adjoints)
        adjoints[gate.name] = adjoint

    everything = torch.arange(backward[backward.jacobian].size)
    elements = _tighten(
        stage,
        backward.jacobian,
        everything,
        known.elements.reshape(-1, *backward[backward.jacobian].shape),
        adjoints,
    ).reshape(problem.rows.shape[0], -1)
    norms = _row_norms(stage, elements, input_norm.dual, adjoints)
    return JacobianBounds(elements, norms, adjoints)


def _row_norms(
    stage: _Stage, elements: Interval, dual: AbstractNorm, adjoints: dict[str, Interval]
) -> Tensor | None:
    """A bound [r] of each row's dual norm from one more substitution; None: the elements' is it."""
    chord = norm_chord(elements, dual)
    if chord is None:
        return None
    return chord.norm(_row_objective(stage, chord.slope, adjoints))


@dataclass(frozen=True, eq=False)
class NormChord:
    """slope [r, n] . row + intercept [r], rounded up, is above the row's norm (l2: its square)."""

    slope: Tensor
    intercept: Tensor
    squared: bool

    def norm(self, value: Tensor) -> Tensor:
        """The bound of the norm from a bound of slope . row: [r]."""
        total = value + self.intercept
        if not self.squared:
            return total
        return total.clamp(min=0.0).sqrt() * (1 + 4 * UNIT_ROUNDOFF) + SMALLEST


def norm_chord(elements: Interval, dual: AbstractNorm) -> NormChord | None:
    """The convex norm `dual` of each row, below its chord on the intervals [r, n] of the elements.

    |g| gives the l1 norm (Shi et al. 2022, section 3.3), g^2 the squared l2 norm. The largest entry
    (dual of l1) is exact from the elements: None.
    """
    lower, upper = elements.lower, elements.upper
    if dual.name == "1":
        mixed = (lower < 0) & (upper > 0)
        width = torch.where(mixed, upper - lower, torch.ones_like(lower))
        sign = torch.where(lower >= 0, 1.0, -1.0).to(lower)
        slope = torch.where(mixed, (upper + lower) / width, sign)
        reach = elements.magnitude
        intercept = torch.where(mixed, upper - slope * upper, torch.zeros_like(lower))
        intercept = intercept + torch.where(mixed, 16 * UNIT_ROUNDOFF * reach, 0.0)
        return NormChord(slope, _sum_up(intercept), squared=False)
    if dual.name == "2":
        slope = lower + upper
        intercept = -lower * upper + 16 * UNIT_ROUNDOFF * elements.magnitude**2
        return NormChord(slope, _sum_up(intercept), squared=True)
    return None


def _row_objective(stage: _Stage, slope: Tensor, adjoints: dict[str, Interval]) -> Tensor:
    """max slope . row of J for each row: [r, n] -> [r]."""
    jacobian = stage.problem.backward[stage.problem.backward.jacobian]
    objective = slope.reshape(1, -1, *jacobian.shape)
    return _upper(stage, jacobian.name, objective, adjoints)[0]


def _tighten(
    stage: _Stage,
    target: str,
    index: Tensor,
    known: Interval,
    adjoints: dict[str, Interval],
) -> Interval:
    """`known` [r, *shape] with the flat entries `index` intersected with linear bounds."""
    rows = stage.problem.rows.shape[0]
    identity = one_hot(index, stage.problem.backward[target].shape).expand(
        -1, rows, *known.shape[1:]
    )
    upper = _upper(stage, target, identity, adjoints)
    lower = -_upper(stage, target, -identity, adjoints)
    new_lower = known.lower.reshape(rows, -1).clone()
    new_upper = known.upper.reshape(rows, -1).clone()
    new_lower[:, index] = torch.maximum(new_lower[:, index], lower.T)
    new_upper[:, index] = torch.minimum(new_upper[:, index], upper.T)
    try:
        return Interval(new_lower.reshape(known.shape), new_upper.reshape(known.shape))
    except InvertedInterval as error:
        raise NumericalFailure(f"bounds of {target!r} are inverted or NaN") from error


def _upper(stage: _Stage, target: str, objective: Tensor, adjoints: dict[str, Interval]) -> Tensor:
    """max objective . value of a backward node, rounded up: [specs, r, *shape] -> [specs, r]."""
    problem = stage.problem
    backward = problem.backward
    relaxations = gate_relaxations(backward, target, problem.slopes, adjoints, stage.relax_gate)
    slopes = {
        name: torch.maximum(relaxation.lower_slope.abs(), relaxation.upper_slope.abs())
        for name, relaxation in relaxations.items()
    }
    intercepts = {
        name: torch.maximum(relaxation.lower_intercept.abs(), relaxation.upper_intercept.abs())
        for name, relaxation in relaxations.items()
    }
    sources = {BackwardGraph.SEED: problem.seed.abs()}
    largest = max(node.size for node in backward)
    chunk = max(1, int(problem.memory / (8.0 * 6 * largest * objective.shape[1])))
    results = []
    for part in objective.split(chunk):
        value = stage.engine.backward_upper(
            target, part, problem.rows, problem.preactivations, adjoints, problem.slopes
        )
        slack = rounding_slack(backward, target, part, sources, slopes, intercepts)
        results.append(value + slack)
    return torch.cat(results)


def _sum_up(terms: Tensor) -> Tensor:
    """The sum over the last dimension, rounded up."""
    slack = 2 * UNIT_ROUNDOFF * terms.shape[-1] * terms.abs().sum(-1) + SMALLEST
    return terms.sum(-1) + slack
