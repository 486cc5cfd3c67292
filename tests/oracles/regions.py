"""Every linear region of a tiny piecewise linear network that meets a box, by linear programs.

The judge of bounds, witnesses and verdicts. Only regions whose part in the box has an interior
count (of the box's own dimension, if some inputs are fixed): the Jacobians there are those of
points at which the network is differentiable.

A preactivation that is identically zero on a region has no margin on either side. Its row is left
out of the linear programs, or a region of full dimension would be thrown away; both of its gates
give the same Jacobian, since its own gradient is zero.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linprog
from torch import Tensor

from lipverify.graph import ForwardGraph
from lipverify.region import Box
from tests.oracles.networks import Step, Tiny
from tests.oracles.operator_norm import operator_norm

Array = NDArray[np.float64]

MARGIN = 1e-9
"""A region thinner than this, in the box scaled to [-1, 1], is not told from an empty one."""
ZERO = 1e-11
"""Below this, relative to the box, a row of coefficients is rounding noise around zero."""
SAMPLES = 512


@dataclass(frozen=True, eq=False)
class LinearRegion:
    """f = jacobian x + offset on it; jacobian [m, n], offset [m].

    `point` [n] is an inner point. `rows` [k, moving] and `constants` [k] say that rows u +
    constants >= 0, in the coordinates u of the box scaled to [-1, 1].
    """

    pattern: tuple[bool | None, ...]
    point: Tensor
    jacobian: Array
    offset: Array
    rows: Array
    constants: Array


@dataclass(frozen=True, eq=False)
class _Part:
    """A part of the box: rows u + constants >= 0, and the samples [s, moving] inside it."""

    pattern: tuple[bool | None, ...]
    rows: Array
    constants: Array
    samples: Array


@dataclass(frozen=True, eq=False)
class Regions:
    """All linear regions of `tiny` on `box` (cut to halfspaces [k, n] x + shifts [k] >= 0)."""

    tiny: Tiny
    box: Box
    halfspaces: Array | None = None
    shifts: Array | None = None
    programs: list[int] = field(default_factory=lambda: [0])
    """How many linear programs were solved."""

    @cached_property
    def all(self) -> tuple[LinearRegion, ...]:
        assert self.tiny.piecewise, "only piecewise linear networks have linear regions"
        moving = len(self._moving)
        random = np.random.default_rng(0)
        samples = random.uniform(-1, 1, (SAMPLES, moving))
        part = _Part((), np.zeros((0, moving)), np.zeros(0), samples)
        if self.halfspaces is not None:
            assert self.shifts is not None
            for slope, shift in zip(self.halfspaces, self.shifts, strict=True):
                row, constant = self._scaled(np.concatenate([[shift], slope]))
                cut = self._cut(part, row, constant, True)
                assert cut is not None, "the region is empty"
                part = _Part((), cut.rows, cut.constants, cut.samples)
        identity = torch.cat([torch.zeros(1, self.tiny.inputs), torch.eye(self.tiny.inputs)])
        start = identity.double().reshape(-1, *self.tiny.graph.input_shape)
        found = tuple(self._explore(0, {ForwardGraph.INPUT: start}, part))
        assert found, "a box without any region"
        return found

    @cached_property
    def jacobians(self) -> Array:
        """[regions, m, n]."""
        return np.stack([region.jacobian for region in self.all])

    @cached_property
    def points(self) -> Tensor:
        """An inner point of each region, [regions, n]."""
        return torch.stack([region.point for region in self.all])

    def norm(self, input_norm: str, output_norm: str, rows: Tensor | None = None) -> float:
        """The largest operator norm of rows J over all regions."""
        jacobians = self._rows(rows)
        return max(operator_norm(matrix, input_norm, output_norm) for matrix in jacobians)

    def entries(self, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The smallest and largest value of each entry of rows J, [r, n] each."""
        jacobians = torch.as_tensor(self._rows(rows))
        return jacobians.amin(0), jacobians.amax(0)

    def maximum(self, row: Tensor) -> float:
        """The maximum of row . f over the box, by one linear program per region."""
        weights = row.numpy()
        values = []
        for region in self.all:
            slope = weights @ region.jacobian
            constant = weights @ region.offset
            scaled, shift = self._scaled(np.concatenate([[constant], slope]), normalise=False)
            if not len(self._moving):
                values.append(shift)
                continue
            self.programs[0] += 1
            solved = linprog(
                -scaled, A_ub=-region.rows, b_ub=region.constants, bounds=(-1, 1), method="highs"
            )
            assert solved.status == 0, solved.message
            values.append(shift - solved.fun)
        return max(values)

    def _rows(self, rows: Tensor | None) -> Array:
        return self.jacobians if rows is None else rows.numpy() @ self.jacobians

    @cached_property
    def _moving(self) -> Array:
        return np.flatnonzero((self.box.upper > self.box.lower).numpy())

    def _scaled(self, coefficients: Array, normalise: bool = True) -> tuple[Array, float]:
        """Coefficients over (1, x) in the scaled coordinates u; the row's length is 1 or 0."""
        center = (self.box.lower / 2 + self.box.upper / 2).numpy()
        radius = (self.box.upper / 2 - self.box.lower / 2).numpy()
        row = (coefficients[1:] * radius)[self._moving]
        constant = float(coefficients[0] + coefficients[1:] @ center)
        if not normalise:
            return row, constant
        length = float(np.linalg.norm(row))
        widest = float(radius.max(initial=0.0))
        if length <= ZERO * widest:
            return np.zeros_like(row), 0.0 if abs(constant) <= ZERO else constant
        return row / length, constant / length

    def _explore(
        self, position: int, values: dict[str, Tensor], part: _Part
    ) -> Iterator[LinearRegion]:
        """The regions within `part`, given the coefficients over (1, x) of the steps before."""
        if position == len(self.tiny.steps):
            yield self._region(values[self.tiny.output], part)
            return
        step = self.tiny.steps[position]
        operands = [values[name] for name in step.inputs]
        if not step.activation:
            yield from self._explore(
                position + 1, values | {step.name: _composed(step, operands)}, part
            )
            return
        assert step.slopes is not None
        preactivation = operands[0].flatten(1).numpy()  # [1 + n, units]
        for child in self._patterns(preactivation, 0, part):
            chosen = child.pattern[len(part.pattern) :]
            gates = [step.slopes[0] if active is False else step.slopes[1] for active in chosen]
            factor = torch.tensor(gates, dtype=torch.float64).reshape(step.shape)
            yield from self._explore(
                position + 1, values | {step.name: operands[0] * factor}, child
            )

    def _patterns(self, preactivation: Array, unit: int, part: _Part) -> Iterator[_Part]:
        """All signs of the units from `unit` on that have an interior within `part`."""
        if unit == preactivation.shape[1]:
            yield part
            return
        coefficients = preactivation[:, unit]
        row, constant = self._scaled(coefficients)
        if not row.any():
            if constant == 0.0 and np.abs(coefficients[1:]).max(initial=0.0) > ZERO:
                raise ValueError("a kink along the fixed inputs: no derivative on the whole box")
            active = None if constant == 0.0 else constant > 0.0
            same = _Part((*part.pattern, active), part.rows, part.constants, part.samples)
            yield from self._patterns(preactivation, unit + 1, same)
            return
        for active in (True, False):
            child = self._cut(part, row, constant, active)
            if child is not None:
                yield from self._patterns(preactivation, unit + 1, child)

    def _cut(self, part: _Part, row: Array, constant: float, active: bool) -> _Part | None:
        """The part on one side of row u + constant = 0; None if it has no interior."""
        sign = 1.0 if active else -1.0
        rows = np.vstack([part.rows, sign * row])
        constants = np.append(part.constants, sign * constant)
        inside = part.samples @ (sign * row) + sign * constant > MARGIN
        child = _Part((*part.pattern, active), rows, constants, part.samples[inside])
        # A sample inside with a margin proves an interior without a linear program.
        return child if inside.any() or self._center(child) is not None else None

    def _center(self, part: _Part) -> Array | None:
        """The centre of the largest ball (margins of rows and box) inside; None if too thin."""
        moving = len(self._moving)
        self.programs[0] += 1
        lengths = np.linalg.norm(part.rows, axis=1, keepdims=True)
        walls = np.vstack([np.eye(moving), -np.eye(moving)])
        # Variables (u, t): row u + constant >= t |row|, and 1 -+ u >= t.
        above = np.vstack(
            [np.hstack([-part.rows, lengths]), np.hstack([walls, np.ones((2 * moving, 1))])]
        )
        limits = np.concatenate([part.constants, np.ones(2 * moving)])
        cost = np.append(np.zeros(moving), -1.0)
        solved = linprog(
            cost, A_ub=above, b_ub=limits, bounds=[(-1, 1)] * moving + [(None, 1)], method="highs"
        )
        assert solved.status in (0, 2), solved.message
        if solved.status == 2 or not solved.x[-1] > MARGIN:
            return None
        return solved.x[:-1]

    def _region(self, output: Tensor, part: _Part) -> LinearRegion:
        coefficients = output.flatten(1).numpy()
        point = (self.box.lower / 2 + self.box.upper / 2).clone()
        if len(self._moving):
            center = self._center(part)
            assert center is not None
            radius = (self.box.upper / 2 - self.box.lower / 2)[self._moving]
            point[self._moving] += radius * torch.as_tensor(center)
        return LinearRegion(
            part.pattern, point, coefficients[1:].T, coefficients[0], part.rows, part.constants
        )


def _composed(step: Step, operands: list[Tensor]) -> Tensor:
    """An affine step applied to coefficients over (1, x): the constant belongs to column 1 only."""
    shift = step.call(*(torch.zeros_like(value[:1]) for value in operands))
    linear = step.call(*operands) - shift
    return torch.cat([linear[:1] + shift, linear[1:]])
