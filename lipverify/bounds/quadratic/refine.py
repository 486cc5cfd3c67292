"""The best bound of the quadratic dual that a few solutions give, each warm-started by the last."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lipverify.bounds.quadratic.gates import OpenGates
from lipverify.bounds.quadratic.lmi import LmiSolution, solve
from lipverify.bounds.quadratic.relaxation import (
    Majorant,
    QuadraticDual,
    first_majorant,
    l1_dual_majorised,
    next_majorant,
)
from lipverify.config import QuadraticConfig

Array = NDArray[np.float64]

ROUGH_GAP = 2e-2
"""Relative gap of the solution that only ranks conflicts."""


@dataclass(frozen=True, eq=False)
class WarmStart:
    """What a subproblem's solution tells its children.

    `worth` [pairs] is the gain that each conflict promised, by its number (`conflict_names`).
    """

    majorant: Majorant | None = None
    worth: Array | None = None


@dataclass(frozen=True, eq=False)
class QuadraticBound:
    """A proved upper end, and what it was read off."""

    upper: float
    dual: QuadraticDual
    solution: LmiSolution
    start: WarmStart


DualOf = Callable[[OpenGates], QuadraticDual]


def quadratic_upper(
    gates: OpenGates,
    dual_of: DualOf | None,
    start: WarmStart,
    config: QuadraticConfig,
    target: float,
    stop: Callable[[], bool],
) -> QuadraticBound:
    """Work until the bound is at most `target`, or `stop()`, or nothing is gained any more.

    `dual_of` makes the dual in one piece; None is the l1 norm under a majorant, in rounds.
    """
    every = gates
    if dual_of is None:
        majorant = start.majorant or first_majorant(gates)
        gates = _chosen(gates, lambda some: l1_dual_majorised(some, majorant), start, config, stop)
        best = _solve(l1_dual_majorised(gates, majorant), majorant, config, target, stop)
        for _ in range(config.rounds - 1):
            if best.upper <= target or stop():
                break
            moments = best.solution.moments
            assert best.start.majorant is not None
            majorant = next_majorant(gates, moments, best.start.majorant)
            new = _solve(l1_dual_majorised(gates, majorant), majorant, config, target, stop)
            gained = best.upper - new.upper
            best = new if gained > 0 else best
            if gained < config.gain * best.upper:
                break
    else:
        gates = _chosen(gates, dual_of, start, config, stop)
        best = _solve(dual_of(gates), None, config, target, stop)
    return replace(best, start=replace(best.start, worth=_worth(best, every)))


def _chosen(
    gates: OpenGates,
    dual_of: DualOf,
    start: WarmStart,
    config: QuadraticConfig,
    stop: Callable[[], bool],
) -> OpenGates:
    """With the conflicts that promise most; a rough solution without any ranks those unknown."""
    if len(gates.conflicts) <= config.conflicts:
        return gates
    if start.worth is not None:
        worth = start.worth[gates.conflict_names]
    else:
        none = gates.apart(gates.conflicts[:0], gates.conflict_names[:0], gates.conflict_count)
        dual = dual_of(none)
        solution = solve(
            dual.lmi, max_steps=config.max_steps, relative_gap=ROUGH_GAP, stop=lambda _: stop()
        )
        worth = np.abs(_products(dual, solution, gates.conflicts)[0])
    best = np.sort(np.argsort(-worth, kind="stable")[: config.conflicts])
    return gates.apart(gates.conflicts[best], gates.conflict_names[best], gates.conflict_count)


def _products(
    dual: QuadraticDual, solution: LmiSolution, conflicts: NDArray[np.int64]
) -> tuple[Array, Array]:
    """Expectation of each conflict's product under the moments (0 if it holds), and its scale."""
    count = dual.gates.count
    moments = solution.moments / max(float(solution.moments[0, 0]), 1e-300)
    sides = np.vstack([dual.lmi.left[:count], dual.lmi.right[:count]])
    first = conflicts[:, 0] + np.where(conflicts[:, 1] > 0, 0, count)
    second = conflicts[:, 2] + np.where(conflicts[:, 3] > 0, 0, count)
    gram = sides @ moments @ sides.T
    spread = np.sqrt(np.diag(gram).clip(0))
    return gram[first, second], spread[first] * spread[second]


def _worth(bound: QuadraticBound, every: OpenGates) -> Array | None:
    """What each conflict is worth: |multiplier| times scale if it took part, else a guess.

    The guess is by how far the moments are from obeying it, at a typical multiplier.
    """
    if not len(every.conflicts):
        return None
    used, count = bound.dual.gates, bound.dual.gates.count
    theta = np.abs(bound.solution.theta[count : count + len(used.conflicts)])
    excess, _ = _products(bound.dual, bound.solution, every.conflicts)
    worth = np.zeros(every.conflict_count)
    worth[every.conflict_names] = np.abs(excess) * (float(np.median(theta)) if len(theta) else 1.0)
    _, scale = _products(bound.dual, bound.solution, used.conflicts)
    worth[used.conflict_names] = theta * scale
    return worth


def _solve(
    dual: QuadraticDual,
    majorant: Majorant | None,
    config: QuadraticConfig,
    target: float,
    stop: Callable[[], bool],
) -> QuadraticBound:
    solution = solve(
        dual.lmi,
        max_steps=config.max_steps,
        relative_gap=config.relative_gap,
        stop=lambda value: value <= target * (1 - 1e-9) or stop(),
    )
    return QuadraticBound(dual.bound(solution.theta), dual, solution, WarmStart(majorant))
