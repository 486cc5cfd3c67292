"""What a branching heuristic sees, and what it has to answer."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lipverify.interval import Interval
from lipverify.search.branching.costs import PseudoCosts

GateName = tuple[str, int]
"""(preactivation's node, flat index of the entry)."""


@dataclass(frozen=True, eq=False, slots=True)
class Candidate:
    """An open gate that a split of its preactivation would fix or narrow, with numbers about it.

    None of them is proved or has to be good: they order the work, no bound depends on them.
    """

    gate: GateName
    estimate: float
    """What the bound is likely to gain, by the quadratic dual's multiplier."""
    doubt: float
    """In [0, 1]: how undecided the quadratic relaxation is about its slope."""
    area: float = 0.0
    """Area of what its relaxation allows, weighted as `area.weighted_areas` says."""
    position: float = 0.0
    """Where its preactivation would be split: a kink, or strictly inside of its interval."""


@dataclass(frozen=True, eq=False)
class Trial:
    """Upper ends of the halves that a split would give, roughly; -inf: that half is empty."""

    below: float
    above: float


@dataclass(frozen=True, eq=False)
class Crossing:
    """A bounded subproblem that has to be split at one of its candidates (at least one)."""

    candidates: tuple[Candidate, ...]
    upper: float
    """Its proved upper end."""
    target: float
    """Halves at or below this are done."""
    preactivations: Mapping[str, Interval]
    costs: PseudoCosts
    """What earlier splits of this objective brought."""
    attempt: Callable[[GateName], Trial]
    """Bounds the halves of a split cheaply; what it finds is kept if that split is chosen."""


class AbstractBranching(ABC):
    """Which gate to split. Any choice is sound; a good one needs fewer subproblems."""

    summary: str
    """One line for users."""

    @abstractmethod
    def choose(self, crossing: Crossing) -> Candidate:
        """One of the crossing's candidates; the same one for the same crossing, always."""
