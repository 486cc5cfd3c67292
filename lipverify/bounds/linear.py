"""Linear bound propagation on the backward graph (Shi et al. 2022), for every input norm.

The adjoints that open gates multiply are bounded one gate layer after the other; each gate is
then relaxed to affine functions of its adjoint alone, so the rows of the Jacobian are independent
and are bounded side by side as a batch.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lipverify.bounds.copies import in_order, original_entries
from lipverify.bounds.effort import EVERYTHING, Effort
from lipverify.bounds.jacobian import JacobianBounds, JacobianProblem
from lipverify.bounds.preactivation import one_hot
from lipverify.bounds.propagation import (
    Engine,
    GateRelaxation,
    gate_relaxations,
    substitution_reach,
)
from lipverify.errors import InvertedInterval, NumericalFailure
from lipverify.graph import BackwardGraph
from lipverify.interval import Interval
from lipverify.norms import AbstractNorm
from lipverify.numerics import SMALLEST, UNIT_ROUNDOFF

FEW = 2**22
"""Coefficients of one node that are worked on together at most: more are slower (caches), and a
stop would wait longer. With no more than these in all, nothing is left out."""


@dataclass(frozen=True, eq=False)
class _Stage:
    problem: JacobianProblem
    engine: Engine
    relax_gate: GateRelaxation
    effort: Effort

    @property
    def at_once(self) -> int:
        """So many functions are bounded together."""
        backward, copies = self.problem.backward, len(self.problem.rows)
        largest = max(node.size for node in backward)
        held = self.engine.values_held(backward, backward.jacobian)
        most = min(FEW / (largest * copies), self.problem.memory / (8.0 * held * copies))
        return max(1, int(most))


def linear(
    problem: JacobianProblem,
    engine: Engine,
    relax_gate: GateRelaxation,
    input_norm: AbstractNorm,
    known: JacobianBounds,
    effort: Effort = EVERYTHING,
) -> JacobianBounds:
    """Bounds of rows J and of its rows' norms dual to `input_norm`, rounded outward.

    `known` holds proved bounds of the elements and of the adjoints (mean-split and interval);
    the result is intersected with it. `engine` must use `relax_gate` too. What the effort does not
    allow stays as it is known.
    """
    assert known.adjoints is not None
    rows = (known.row_norm(input_norm.dual) > effort.enough).nonzero().flatten()
    if not rows.numel():
        return known
    stage = _Stage(problem.at_rows(rows), engine, relax_gate, effort)
    return known.with_rows(rows, _rows(stage, known.at_rows(rows), input_norm.dual))


def _rows(stage: _Stage, known: JacobianBounds, dual: AbstractNorm) -> JacobianBounds:
    """Adjoints from the output's side on, then elements, then norms."""
    assert known.adjoints is not None
    problem = stage.problem
    backward = problem.backward
    adjoints: dict[str, Interval] = {}
    for gate in backward.gates:
        slope = problem.slopes[gate.name]
        index = (slope.lower < slope.upper).flatten().nonzero().flatten()
        adjoint = known.adjoints[gate.name]
        if index.numel():
            adjoint = _tighten(stage, gate.inputs[1], index, adjoint, adjoints)
        adjoints[gate.name] = adjoint

    elements = _tighten(
        stage,
        backward.jacobian,
        _wanted(stage, known.elements, dual),
        known.elements.reshape(-1, *backward[backward.jacobian].shape),
        adjoints,
    ).reshape(problem.rows.shape[0], -1)
    norms = None if stage.effort.stop() else _row_norms(stage, elements, dual, adjoints)
    if norms is None:
        norms = known.row_norms
    return JacobianBounds(elements, norms, adjoints)


def matters_to_norm(elements: Interval, dual: AbstractNorm, enough: float) -> Tensor:
    """Which entries [r, n] are worth tightening for the norm of their row."""
    if dual.name == "1":
        return (elements.lower < 0) & (elements.upper > 0)  # else, |entry| is linear
    if dual.name == "inf":
        return elements.magnitude > enough
    return elements.width > 0


def _wanted(stage: _Stage, elements: Interval, dual: AbstractNorm) -> Tensor:
    """The positions of the entries to tighten, those that matter most first."""
    everything = torch.arange(elements.shape[1])
    if not stage.effort.norms_only or len(everything) <= stage.at_once:
        return everything
    matters = matters_to_norm(elements, dual, stage.effort.enough)
    index = elements.width.amax(0).argsort(descending=True)
    return index[matters.any(0)[index]]


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
    return _Bound(stage, jacobian.name, adjoints).upper(objective)[0]


def _tighten(
    stage: _Stage,
    target: str,
    index: Tensor,
    known: Interval,
    adjoints: dict[str, Interval],
) -> Interval:
    """`known` [r, *shape] with the flat entries `index` intersected with linear bounds; those that
    come last are left where the time is up."""
    backward, rows = stage.problem.backward, stage.problem.rows.shape[0]
    # An entry that was copied to many places is bounded once.
    target, places = original_entries(backward, target)
    bound = _Bound(stage, target, adjoints)
    shape = backward[target].shape
    upper = known.upper.new_full((rows, backward[target].size), torch.inf)
    lower = -upper
    # The unit objectives of all entries of a convolution would take gigabytes.
    for part in in_order(places[index]).split(stage.at_once):
        if stage.effort.stop():
            break
        unit = one_hot(part, shape).expand(-1, rows, *shape)
        upper[:, part] = bound.upper(unit).T
        lower[:, part] = -bound.upper(-unit).T
    new_lower = torch.maximum(known.lower.reshape(rows, -1), lower[:, places])
    new_upper = torch.minimum(known.upper.reshape(rows, -1), upper[:, places])
    try:
        return Interval(new_lower.reshape(known.shape), new_upper.reshape(known.shape))
    except InvertedInterval as error:
        raise NumericalFailure(f"bounds of {target!r} are inverted or NaN") from error


class _Bound:
    """Upper bounds of functions of one node, given what is known of the adjoints behind it."""

    def __init__(self, stage: _Stage, target: str, adjoints: dict[str, Interval]) -> None:
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
        self._stage, self._target, self._adjoints = stage, target, adjoints
        self._reach = substitution_reach(backward, target, sources, slopes, intercepts)

    def upper(self, objective: Tensor) -> Tensor:
        """max objective . value, rounded up: [specs, r, *shape] -> [specs, r]."""
        problem = self._stage.problem
        value = self._stage.engine.backward_upper(
            self._target,
            objective,
            problem.rows,
            problem.preactivations,
            self._adjoints,
            problem.slopes,
        )
        return value + self._reach.slack(problem.backward, self._target, objective)


def _sum_up(terms: Tensor) -> Tensor:
    """The sum over the last dimension, rounded up."""
    slack = 2 * UNIT_ROUNDOFF * terms.shape[-1] * terms.abs().sum(-1) + SMALLEST
    return terms.sum(-1) + slack
