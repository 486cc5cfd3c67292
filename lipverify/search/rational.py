"""Unsafe outputs where floats cannot decide: the whole network in exact arithmetic.

Complete for small networks that are piecewise linear, on boxes. Neurons are fixed to a side of 0
one after the other; linear programs whose bounds we prove drop what is clearly safe. What is left
is affine, and an exact linear program tells whether a point of it is unsafe: `<` and `<=` are told
apart, and depths of 0 from those just below and above.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

import torch
from torch import Tensor

from lipverify import confirm
from lipverify.bounds.exact_forward import (
    LARGEST,
    Row,
    Side,
    coefficients,
    exact_values,
    is_exact,
    known_sides,
)
from lipverify.bounds.exact_program import Deepest, Interrupted, deepest
from lipverify.bounds.methods import Setting
from lipverify.bounds.preactivation import Preactivations
from lipverify.graph import ForwardGraph, evaluate
from lipverify.interval import Interval
from lipverify.milp import solver_named
from lipverify.milp.depth import DepthFound, depth_upper
from lipverify.milp.problem import MilpProblem
from lipverify.milp.size import unsupported
from lipverify.numerics import rounded
from lipverify.query_output import Clause, OutputQuery
from lipverify.region import AbstractRegion, Box
from lipverify.search.budget import Clock
from lipverify.search.job import Stop, timeout
from lipverify.search.ladder import BREAKDOWNS
from lipverify.verdict import Counterexample, Reason

NAME = "exact arithmetic"

NEAR = 1e-6
"""Bounds of depths below it are as good as 0: it is worth asking whether a subproblem is flat."""

Neuron = tuple[str, int]
"""A preactivation's node, and the flat index in it."""


@dataclass(frozen=True, eq=False)
class RationalResult:
    """What is known of one clause. `upper` is a proved upper end of its depth.

    `refuted`: no point of the region satisfies the clause, in exact arithmetic. Otherwise `touched`
    holds the exact depth of a point that does, if one was met, and `found` such a point, if the
    original network confirms one.
    """

    upper: float = -float("inf")
    refuted: bool = False
    touched: Fraction | None = None
    found: Counterexample | None = None
    subproblems: int = 0
    stop: Stop | None = None

    def above(self, upper: float) -> "RationalResult":
        return self if upper <= self.upper else replace(self, upper=upper)


def offered(forward: ForwardGraph, region: AbstractRegion) -> bool:
    """Whether the network is small and piecewise linear with stored weights, the region a box."""
    small = coefficients(forward) <= LARGEST
    return isinstance(region, Box) and small and is_exact(forward) and unsupported(forward) is None


def open_neurons(forward: ForwardGraph, known: Preactivations) -> tuple[Neuron, ...]:
    """The preactivations that no interval puts on a side of 0."""
    used = forward.ancestors(forward.output)
    names = dict.fromkeys(node.inputs[0] for node in forward.activations if node.name in used)
    return tuple(
        (name, index)
        for name in names
        for index, side in enumerate(known_sides(known[name]))
        if side == 0
    )


@dataclass(frozen=True, eq=False)
class RationalSearch:
    """All clauses of `query` are those that counterexamples are confirmed for."""

    setting: Setting
    query: OutputQuery
    clock: Clock
    seed: int
    solver: str

    @property
    def forward(self) -> ForwardGraph:
        return self.setting.network.graph

    @property
    def known(self) -> Preactivations:
        return self.setting.crown_preactivations

    def decide(self, clause: Clause, most: int | None) -> RationalResult:
        """Depth first over the sides of the open neurons."""
        state = RationalResult()
        stack: list[tuple[Side, ...]] = [()]
        while stack and state.found is None:
            stop = self._limit(state, most)
            if stop is None:
                try:
                    state, halves = self._step(clause, stack.pop(), state)
                    stack += halves
                except Interrupted:
                    stop = timeout(self.clock)
                except BREAKDOWNS as error:
                    stop = Stop(Reason.NUMERICS, str(error))
            if stop is not None:
                return replace(state, upper=float("inf"), stop=stop)
        if state.found is not None:
            return replace(state, upper=float("inf"))
        return replace(state, refuted=state.touched is None)

    def _limit(self, state: RationalResult, most: int | None) -> Stop | None:
        if self.clock.expired():
            return timeout(self.clock)
        if most is not None and state.subproblems >= most:
            return Stop(Reason.SUBPROBLEMS, f"stopped after {state.subproblems} subproblems")
        return None

    def _step(
        self, clause: Clause, splits: tuple[Side, ...], state: RationalResult
    ) -> tuple[RationalResult, list[tuple[Side, ...]]]:
        """One subproblem: what it adds, and what is left of it."""
        state = replace(state, subproblems=state.subproblems + 1)
        found = self._relaxed(clause, splits)
        if found.upper < 0:
            return state.above(found.upper), []
        if found.upper < NEAR and self._is_flat(splits):
            return state, []
        split = {(name, index) for name, index, _ in splits}
        left = [neuron for neuron in self._neurons if neuron not in split]
        if not left:
            return self._leaf(clause, splits, state), []
        # In the order of the network, splits are affine as early as can be.
        one = left[0] if found.upper < NEAR else self._loosest(left, found.point)
        return state, [(*splits, (*one, side)) for side in (1, -1)]

    def _is_flat(self, splits: Sequence[Side]) -> bool:
        """Whether the splits, where they are affine, leave no inner point of the box.

        Pieces with inner points cover the box, and depths are continuous: nothing is lost with what
        is flat. Where kinks meet in a point, nearly all patterns are.
        """
        values = exact_values(self.forward, splits, self.known)
        box = self.setting.region.bounding
        fixed = [float(x) if low else None for x, low in zip(box.lower, ~_moving(box), strict=True)]
        rows: list[Row] = []
        for name, index, side in splits:
            row = values[name][index]
            if row is not None and not _is_zero(row, fixed):
                rows.append([side * value for value in row])
        if not rows:
            return False
        found = deepest([], rows, box, self.clock.expired)
        assert found is not None, "without hard functions, every point counts"
        return found.value <= 0

    @cached_property
    def _neurons(self) -> tuple[Neuron, ...]:
        return open_neurons(self.forward, self.known)

    def _relaxed(self, clause: Clause, splits: Sequence[Side]) -> DepthFound:
        problem = MilpProblem(
            self.setting.backward,
            self.setting.region,
            clause.coefficients,
            self.known,
            splits=tuple(splits),
        )
        solver = solver_named(self.solver)
        return depth_upper(problem, clause, solver, self.clock.left, self.seed, relaxed=True)

    def _loosest(self, left: Sequence[Neuron], point: Tensor | None) -> Neuron:
        """Of the neurons that are left, the one whose triangle is highest at a point [n]."""
        if point is None:
            return left[0]
        x = point.reshape(1, *self.forward.input_shape)
        values = evaluate(self.forward, {ForwardGraph.INPUT: x})

        def height(neuron: Neuron) -> float:
            name, index = neuron
            z, known = float(values[name].flatten()[index]), self.known[name]
            low, high = float(known.lower.flatten()[index]), float(known.upper.flatten()[index])
            return min(high * (z - low), -low * (high - z)) / (high - low)

        return max(left, key=height)

    def _leaf(
        self, clause: Clause, splits: Sequence[Side], state: RationalResult
    ) -> RationalResult:
        """An affine piece of the network: whether a point of it satisfies the clause, exactly."""
        values = exact_values(self.forward, splits, self.known)
        sides = [[side * value for value in _row(values[name][i])] for name, i, side in splits]
        outputs = [_row(row) for row in values[self.forward.output]]
        depths = exact_depths(clause, outputs)
        found = unsafe_point(clause, sides, depths, self)
        if found is None:
            return state
        piece, unsafe = found
        state = state.above(rounded(piece.value, up=True)[0])
        if unsafe is None:
            return state
        if state.touched is None or unsafe.value > state.touched:
            state = replace(state, touched=unsafe.value)
        answer = confirm.confirm_unsafe(self.setting.network, self.query, _floats(unsafe.point))
        return replace(state, found=answer) if isinstance(answer, Counterexample) else state


def unsafe_point(
    clause: Clause, sides: Sequence[Row], depths: Sequence[Row], search: RationalSearch
) -> tuple[Deepest, Deepest | None] | None:
    """The deepest point of a piece, and one that satisfies the clause, if any; None: no point."""
    box, stop = search.setting.region.bounding, search.clock.expired
    best = deepest(sides, depths, box, stop)
    if best is None or best.value != 0 or not bool(clause.is_strict.any()):
        return best and (best, best if best.value >= 0 else None)
    # Rows that are not strict hold at depth 0; the others need more.
    strict = clause.is_strict.tolist()
    loose = [row for row, mark in zip(depths, strict, strict=True) if not mark]
    tight = [row for row, mark in zip(depths, strict, strict=True) if mark]
    inside = deepest([*sides, *loose], tight, box, stop)
    if inside is None or inside.value <= 0:
        return best, None
    return best, replace(inside, value=Fraction(0))


def exact_depths(clause: Clause, outputs: Sequence[Row]) -> list[Row]:
    """-(row y + offset) of every row, as functions of the input."""
    depths: list[Row] = []
    for row, offset in zip(clause.coefficients.tolist(), clause.offsets.tolist(), strict=True):
        total = [Fraction(0)] * len(outputs[0])
        total[0] = Fraction(offset)
        for weight, output in zip(row, outputs, strict=True):
            if weight:
                factor = Fraction(weight)
                total = [a + factor * b for a, b in zip(total, output, strict=True)]
        depths.append([-value for value in total])
    return depths


def _moving(box: Interval) -> Tensor:
    return box.lower < box.upper


def _is_zero(row: Row, fixed: Sequence[float | None]) -> bool:
    """Whether the function is 0 on the whole box, given the inputs that it fixes."""
    constant = row[0]
    for weight, value in zip(row[1:], fixed, strict=True):
        if value is not None:
            constant += weight * Fraction(value)
        elif weight:
            return False
    return constant == 0


def _row(row: Row | None) -> Row:
    assert row is not None, "every gate is fixed"
    return row


def _floats(point: Sequence[Fraction]) -> Tensor:
    return torch.tensor([float(value) for value in point], dtype=torch.float64)


__all__ = [
    "NAME",
    "RationalResult",
    "RationalSearch",
    "exact_depths",
    "offered",
    "open_neurons",
]
