"""Mixed-integer linear programs as values, without any solver's vocabulary."""

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lipverify.errors import NumericalFailure


@final
@dataclass(frozen=True, eq=False)
class MilpModel:
    """Maximise objective . v + offset, row_lower <= matrix v <= row_upper, lower <= v <= upper.

    Shapes: lower, upper, integral, objective [columns]; matrix [rows, columns]; row_lower and
    row_upper [rows]. Variables have finite bounds, so that every bound that follows from them is
    finite too; rows may be one-sided. `NumericalFailure` for NaN or an infinite entry elsewhere.
    """

    lower: NDArray
    upper: NDArray
    integral: NDArray
    matrix: sparse.csr_array
    row_lower: NDArray
    row_upper: NDArray
    objective: NDArray
    offset: float

    def __post_init__(self) -> None:
        rows, columns = self.rows, self.columns
        assert self.matrix.shape == (rows, columns)
        assert self.lower.shape == self.upper.shape == self.integral.shape == (columns,)
        assert self.objective.shape == (columns,)
        assert self.row_lower.shape == self.row_upper.shape == (rows,)
        finite = (self.lower, self.upper, self.matrix.data, self.objective, np.array(self.offset))
        # Written so that a NaN fails both.
        if not all(bool(np.isfinite(part).all()) for part in finite):
            raise NumericalFailure("a number of a mixed-integer program is infinite or NaN")
        if not bool((self.lower <= self.upper).all() and (self.row_lower <= self.row_upper).all()):
            raise NumericalFailure("bounds of a mixed-integer program are inverted or NaN")

    @property
    def columns(self) -> int:
        return len(self.lower)

    @property
    def rows(self) -> int:
        return len(self.row_lower)

    @property
    def is_linear(self) -> bool:
        """No variable has to be integer."""
        return not bool(self.integral.any())


@final
class ModelBuilder:
    """Collects variables and rows."""

    def __init__(self) -> None:
        self._lower: list[float] = []
        self._upper: list[float] = []
        self._integral: list[bool] = []
        self._columns: list[NDArray] = []
        self._values: list[NDArray] = []
        self._row_lower: list[float] = []
        self._row_upper: list[float] = []

    def copy(self) -> "ModelBuilder":
        """A builder that goes on from here; neither sees what the other adds."""
        other = ModelBuilder()
        for name, part in vars(self).items():
            setattr(other, name, list(part))
        return other

    @property
    def columns(self) -> int:
        return len(self._lower)

    @property
    def rows(self) -> int:
        return len(self._columns)

    def magnitudes(self) -> NDArray:
        """The largest |v| of every variable: [columns]."""
        return np.maximum(np.abs(self._lower), np.abs(self._upper)).astype(np.float64)

    def variable(self, lower: float, upper: float) -> int:
        """A new real variable; returns its column."""
        return self._add(lower, upper, False)

    def binary(self, *, relaxed: bool = False) -> int:
        """A new variable in {0, 1}, or, `relaxed`, in [0, 1]; returns its column."""
        return self._add(0.0, 1.0, not relaxed)

    def _add(self, lower: float, upper: float, integral: bool) -> int:
        self._lower.append(float(lower))
        self._upper.append(float(upper))
        self._integral.append(integral)
        return self.columns - 1

    def row(self, columns: NDArray, values: NDArray, lower: float, upper: float) -> None:
        """lower <= sum of values x variables <= upper; every column occurs at most once."""
        self._columns.append(np.asarray(columns, dtype=np.int64))
        self._values.append(np.asarray(values, dtype=np.float64))
        self._row_lower.append(float(lower))
        self._row_upper.append(float(upper))

    def build(self, objective: NDArray, offset: float) -> MilpModel:
        """The model that maximises `objective` [at most columns; the rest is 0] + offset."""
        padded = np.zeros(self.columns)
        padded[: len(objective)] = objective
        lengths = [len(part) for part in self._columns]
        starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)
        empty = np.zeros(0)
        matrix = sparse.csr_array(
            (
                np.concatenate([*self._values, empty]),
                np.concatenate([*self._columns, empty]).astype(np.int64),
                starts,
            ),
            shape=(len(lengths), self.columns),
        )
        return MilpModel(
            np.array(self._lower, dtype=np.float64),
            np.array(self._upper, dtype=np.float64),
            np.array(self._integral, dtype=bool),
            matrix,
            np.array(self._row_lower, dtype=np.float64),
            np.array(self._row_upper, dtype=np.float64),
            padded,
            float(offset),
        )
