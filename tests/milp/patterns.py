"""The gate-product set of a tiny network on a box, pattern by pattern: the judge of programs.

Every pattern of gates (each activation node on its own) whose closed cell meets the box counts,
also where the cell has no interior: that is the set that the mixed-integer programs are about. Each
cell is a linear program over the inputs, solved by scipy; no binaries, no big-M, no intervals.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linprog
from torch import Tensor

from lipverify.graph import ForwardGraph
from lipverify.region import Box
from tests.oracles import boxes
from tests.oracles.networks import Step, Tiny

Array = NDArray[np.float64]
FEASIBLE = 1e-9
"""Cells that are missed by less than this are counted: the judge may only be too large."""
SAMPLES = 1000


@dataclass(frozen=True, eq=False)
class Cell:
    """f = jacobian x + offset under one pattern, on rows x + constants >= 0 within the box."""

    jacobian: Array
    offset: Array
    rows: Array
    constants: Array


@dataclass(frozen=True, eq=False)
class Patterns:
    """All cells of `tiny` on `box`; `sides` fixes (step's operand, index) to -1 or +1."""

    tiny: Tiny
    box: Box
    sides: tuple[tuple[str, int, int], ...] = ()

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        n = self.tiny.inputs
        identity = torch.cat([torch.zeros(1, n), torch.eye(n)]).double()
        start = {ForwardGraph.INPUT: identity.reshape(-1, *self.tiny.graph.input_shape)}
        return tuple(self._explore(0, start, np.zeros((0, n + 1))))

    def norm(self, dual: str, row: Tensor) -> float:
        """The largest l1 ("1") or linf ("inf") norm of row J."""
        rows = np.stack([row.numpy() @ cell.jacobian for cell in self.cells])
        magnitudes = np.abs(rows)
        return float((magnitudes.sum(1) if dual == "1" else magnitudes.max(1)).max())

    def entry(self, row: Tensor, index: int) -> tuple[float, float]:
        values = [float((row.numpy() @ cell.jacobian)[index]) for cell in self.cells]
        return min(values), max(values)

    def maximum(self, row: Tensor) -> float:
        """The largest row . f(x)."""
        weights, values = row.numpy(), []
        for cell in self.cells:
            found = self._maximise(weights @ cell.jacobian, np.c_[cell.constants, cell.rows])
            assert found is not None
            values.append(found + float(weights @ cell.offset))
        return max(values)

    def _explore(self, place: int, values: dict[str, Tensor], cut: Array) -> Iterator[Cell]:
        if place == len(self.tiny.steps):
            final = values[self.tiny.output].flatten(1).numpy()
            yield Cell(final[1:].T, final[0], cut[:, 1:], cut[:, 0])
            return
        step = self.tiny.steps[place]
        operands = [values[name] for name in step.inputs]
        used = step.name in self.tiny.graph.ancestors(self.tiny.output)
        if not step.activation or not used:
            value = _affine(step, operands) if not step.activation else operands[0]
            yield from self._explore(place + 1, values | {step.name: value}, cut)
            return
        assert step.slopes is not None
        coefficients = operands[0].flatten(1).numpy()
        for gates, narrower in self._choices(step, coefficients, 0, (), cut):
            factor = torch.tensor(gates, dtype=torch.float64).reshape(step.shape)
            value = operands[0] * factor
            yield from self._explore(place + 1, values | {step.name: value}, narrower)

    def _choices(
        self, step: Step, z: Array, unit: int, gates: tuple[float, ...], cut: Array
    ) -> Iterator[tuple[tuple[float, ...], Array]]:
        if unit == z.shape[1]:
            yield gates, cut
            return
        assert step.slopes is not None
        here = (step.inputs[0], unit)
        wanted = {side for node, index, side in self.sides if (node, index) == here}
        for side, slope in ((-1, step.slopes[0]), (1, step.slopes[1])):
            if wanted and wanted != {side}:
                continue
            narrower = np.vstack([cut, side * z[:, unit]])
            # A sample on the right side proves the cell without a linear program.
            met = (self._samples @ narrower.T >= 0).all(1).any()
            if met or self._maximise(np.zeros(self.tiny.inputs), narrower) is not None:
                yield from self._choices(step, z, unit + 1, (*gates, slope), narrower)

    @cached_property
    def _samples(self) -> Array:
        """Points of the box behind a 1: [s, 1 + n]."""
        x = boxes.points(self.box, SAMPLES).numpy()
        return np.c_[np.ones(len(x)), x]

    def _maximise(self, cost: Array, cut: Array) -> float | None:
        """max cost . x over the cell; None if it does not meet the box."""
        solved = linprog(
            -cost,
            A_ub=-cut[:, 1:],
            b_ub=cut[:, 0] + FEASIBLE,
            bounds=np.c_[self.box.lower.numpy(), self.box.upper.numpy()],
            method="highs",
        )
        assert solved.status in (0, 2), solved.message
        return None if solved.status == 2 else -float(solved.fun)


def _affine(step: Step, operands: list[Tensor]) -> Tensor:
    """The step applied to coefficients over (1, x): its constant belongs to the first only."""
    shift = step.call(*(torch.zeros_like(value[:1]) for value in operands))
    linear = step.call(*operands) - shift
    return torch.cat([linear[:1] + shift, linear[1:]])
