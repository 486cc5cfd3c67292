"""What a solver of mixed-integer programs can answer."""

from dataclasses import dataclass
from enum import Enum

from numpy.typing import NDArray


class MilpStatus(Enum):
    """How a solver's run ended; every code of every solver is translated to one of these."""

    OPTIMAL = "optimal"
    """Closed up to the asked gap. The bound is still the dual bound."""
    INFEASIBLE = "infeasible"
    """The solver's word only: no proof, hence no bound."""
    TIME_LIMIT = "time limit"
    CUTOFF = "cutoff"
    """Stopped since the bound had come down to the asked cutoff."""
    LIMIT = "limit"
    """Another limit: iterations, nodes, solutions, memory."""
    SIZE_LIMIT = "size limit"
    """The solver's licence does not cover a model of this size; nothing was solved."""
    UNKNOWN = "unknown"
    """Errors, unbounded relaxations, codes that have no meaning here."""

    @property
    def has_bound(self) -> bool:
        """Whether a dual bound that is reported with this status may be read at all."""
        return self in BOUNDED


BOUNDED = frozenset(
    {MilpStatus.OPTIMAL, MilpStatus.TIME_LIMIT, MilpStatus.CUTOFF, MilpStatus.LIMIT}
)


@dataclass(frozen=True, eq=False)
class MilpResult:
    """An upper end of a maximum, and the best point that was found."""

    status: MilpStatus
    bound: float
    """The dual bound, moved outward by the safe slack (`prepare.py`): no feasible point of the
    model exceeds it. +inf where there is none. Never the incumbent, never read off the status."""
    incumbent: float | None
    """The objective at `point`, within the solver's tolerances; no bound."""
    point: NDArray | None
    """Values of all variables [columns]."""
    seconds: float
    nodes: int
