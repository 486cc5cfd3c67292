"""The part of a region in which all preactivations keep their piece: inner points, and ways out.

Linear programs in the coordinates u in [-1, 1] of the region's bounding box, in floats: they only
suggest points, and whoever uses one evaluates the network at it.
"""

import highspy
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lipverify.errors import NumericalFailure
from lipverify.region import AbstractRegion, Box

Array = NDArray[np.float64]

LEAST = 1e-8
"""Margins below this, in a box scaled to [-1, 1], count as none."""
ITERATIONS = 2000
"""Simplex steps of one program."""
CUTS = 6
"""So often a program is solved again with a half-space that cuts off a point outside a ball."""


class Cuts:
    """Half-spaces that hold a curved region, found on the way; they are true of all of it.

    Each is a row over the box's coordinates u: slope . u <= limit, slopes of length 1 (l1).
    """

    def __init__(self, region: AbstractRegion) -> None:
        box = region.bounding
        self.region = region
        self.moving = box.width > 0
        self.center = box.center
        self.radius = box.radius[self.moving]
        self.slopes: list[Array] = []
        self.limits: list[float] = []
        self._is_box = isinstance(region, Box)

    def point(self, u: Array) -> Tensor:
        """The input [n] at the coordinates u [moving]."""
        box = self.region.bounding
        x = self.center.clone()
        x[self.moving] += self.radius * torch.as_tensor(u)
        return torch.minimum(torch.maximum(x, box.lower), box.upper)

    def cut_off(self, u: Array) -> bool:
        """Whether u was outside of the region; if so, a half-space without it was added."""
        if self._is_box:
            return False
        x = self.point(u)
        normal = x - self.region.project(x)
        if bool(self.region.contains(x)) or not bool(normal.any()):
            return False
        slope = (normal[self.moving] * self.radius).numpy()
        length = float(np.abs(slope).sum())
        limit = float(self.region.support(normal) - normal @ self.center)
        if not length > 0 or not slope @ u > limit:
            return False
        self.slopes.append(slope / length)
        self.limits.append(limit / length)
        return True


class Polytope:
    """rows u + constants >= 0 within a region; rows [k, moving] of length 1 (l1), constants [k].

    One program throughout: maximise t <= 1 with every row at least t. Crossing a row asks for the
    same with that row negated; the solver goes on from its last basis.
    """

    def __init__(self, rows: Array, constants: Array, cuts: Cuts) -> None:
        self._rows, self._constants, self._cuts = rows, constants, cuts
        self._columns = rows.shape[1] + 1
        self._known = len(cuts.limits)
        self._solver = highspy.Highs()
        for name, value in {
            "output_flag": False,
            "threads": 1,
            "parallel": "off",
            "presolve": "off",
            "simplex_iteration_limit": ITERATIONS,
            "objective_bound": -LEAST,
        }.items():
            self._solver.setOptionValue(name, value)
        self._solver.passModel(self._program())

    def _program(self) -> highspy.HighsLp:
        count, columns = len(self._rows) + self._known, self._columns
        free = np.inf
        rows = np.concatenate([self._rows, *(-slope[None] for slope in self._cuts.slopes)])
        program = highspy.HighsLp()
        program.sense_ = highspy.ObjSense.kMinimize
        program.num_col_, program.num_row_ = columns, count
        program.col_cost_ = -np.eye(columns)[-1]
        program.col_lower_ = np.append(-np.ones(columns - 1), -free)
        program.col_upper_ = np.ones(columns)
        program.row_lower_ = -np.append(self._constants, self._cuts.limits)
        program.row_upper_ = np.full(count, free)
        matrix = program.a_matrix_
        matrix.format_ = highspy.MatrixFormat.kRowwise
        matrix.num_col_, matrix.num_row_ = columns, count
        matrix.start_ = (np.arange(count + 1) * columns).astype(np.int32)
        matrix.index_ = np.tile(np.arange(columns, dtype=np.int32), count)
        matrix.value_ = np.concatenate([rows, -np.ones((count, 1))], 1).ravel()
        return program

    def center(self) -> Array | None:
        """The u [moving] of the largest margin; None where it is nothing."""
        return self._solve()

    def across(self, row: int) -> Array | None:
        """A u [moving] beyond one row and within all others, by the largest margin; None: none."""
        solver, last = self._solver, self._columns - 1
        constant = float(self._constants[row])
        solver.changeCoeff(row, last, 1.0)
        solver.changeRowBounds(row, -np.inf, -constant)
        found = self._solve()
        solver.changeCoeff(row, last, -1.0)
        solver.changeRowBounds(row, -constant, np.inf)
        return found

    def _solve(self) -> Array | None:
        for _ in range(CUTS):
            self._catch_up()
            self._solver.run()
            if self._solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
                return None
            solution = np.array(self._solver.getSolution().col_value)
            if not solution[-1] > LEAST:
                return None
            if not self._cuts.cut_off(solution[:-1]):
                return solution[:-1]
        return None

    def _catch_up(self) -> None:
        """Hand the solver the cuts that were found since."""
        for slope, limit in zip(
            self._cuts.slopes[self._known :], self._cuts.limits[self._known :], strict=True
        ):
            index = np.arange(self._columns, dtype=np.int32)
            values = np.append(-slope, -1.0)
            if self._solver.addRow(-limit, np.inf, self._columns, index, values) == (
                highspy.HighsStatus.kError
            ):
                raise NumericalFailure("HiGHS refuses a row of the search for witnesses")
            self._known += 1
