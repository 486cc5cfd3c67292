"""What must not happen to a network's outputs: the normal form behind VNN-LIB and robustness.

A query names a region of inputs and unsafe sets of outputs, each a conjunction of linear
constraints. A front end makes queries, one for each region of a disjunction, as lazily as it likes;
`lipverify.search.output_search.decide(network, query, config)` answers one: verified (no input of
the region has an unsafe output), falsified with an input, or unknown with a reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lipverify.errors import InputError
from lipverify.region import AbstractRegion


@dataclass(frozen=True, eq=False)
class Clause:
    """All of `coefficients` y + `offsets` <= 0, row by row, over the flat outputs y.

    coefficients [m, outputs] and offsets [m], float64 and finite. Rows that `strict` [m] marks are
    < 0 instead (None: none is). Without rows, every output is meant.
    """

    coefficients: Tensor
    offsets: Tensor
    strict: Tensor | None = None

    def __post_init__(self) -> None:
        rows, offsets = self.coefficients, self.offsets
        if rows.ndim != 2 or offsets.shape != rows.shape[:1]:
            raise InputError(
                f"a clause has coefficients {list(rows.shape)} and offsets {list(offsets.shape)}; "
                "expected [m, outputs] and [m]"
            )
        if not rows.dtype == offsets.dtype == torch.float64:
            raise InputError(f"a clause has {rows.dtype} and {offsets.dtype}; expected float64")
        if not bool(torch.isfinite(rows).all() and torch.isfinite(offsets).all()):
            raise InputError("a clause has a coefficient or an offset that is NaN or infinite")
        if self.strict is not None and (
            self.strict.shape != offsets.shape or self.strict.dtype != torch.bool
        ):
            raise InputError("`strict` of a clause must be one bool per row")

    def __len__(self) -> int:
        return self.coefficients.shape[0]

    @property
    def is_strict(self) -> Tensor:
        """Which rows are strict, [m]."""
        if self.strict is None:
            return torch.zeros(len(self), dtype=torch.bool)
        return self.strict

    def values(self, outputs: Tensor) -> Tensor:
        """The left sides: [batch, outputs] -> [batch, m]. Not rounded outward."""
        return outputs @ self.coefficients.T + self.offsets

    def holds(self, outputs: Tensor) -> Tensor:
        """Whether outputs [batch, outputs] are meant by the clause, in float arithmetic."""
        values = self.values(outputs)
        return torch.where(self.is_strict, values < 0, values <= 0).all(1)


@dataclass(frozen=True, eq=False)
class OutputQuery:
    """No input of `region` (flat, [n]) may have outputs that one of the `unsafe` clauses means.

    A VNN-LIB box is `Box(lower, upper)` of `lipverify.region`. Without clauses, nothing is unsafe.
    """

    region: AbstractRegion
    unsafe: tuple[Clause, ...]

    def __post_init__(self) -> None:
        sizes = {clause.coefficients.shape[1] for clause in self.unsafe}
        if len(sizes) > 1:
            raise InputError(f"clauses are over different numbers of outputs: {sorted(sizes)}")

    @property
    def outputs(self) -> int | None:
        """The number of outputs that the clauses are over; None without clauses."""
        return self.unsafe[0].coefficients.shape[1] if self.unsafe else None

    def is_unsafe(self, outputs: Tensor) -> Tensor:
        """Whether some clause means the outputs [batch, outputs], in float arithmetic: [batch]."""
        found = torch.zeros(outputs.shape[0], dtype=torch.bool)
        for clause in self.unsafe:
            found = found | clause.holds(outputs)
        return found


def clause(
    coefficients: Sequence[Sequence[float]], offsets: Sequence[float], outputs: int
) -> Clause:
    """A clause from plain lists, [m][outputs] and [m]."""
    rows = torch.tensor(coefficients, dtype=torch.float64).reshape(-1, outputs)
    return Clause(rows, torch.tensor(offsets, dtype=torch.float64))


__all__ = ["Clause", "OutputQuery", "clause"]
