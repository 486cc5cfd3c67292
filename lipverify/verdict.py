"""The three answers to a property. Unknown is the default; Verified has to be earned."""

from dataclasses import dataclass
from enum import Enum

from torch import Tensor


class Reason(Enum):
    """Why a property stayed undecided."""

    BOUND = "bound"
    """The method ran to its end; its bound does not decide the property."""
    TIMEOUT = "timeout"
    SUBPROBLEMS = "subproblems"
    MEMORY = "memory"
    INTERRUPTED = "interrupted"
    NUMERICS = "numerics"
    UNSUPPORTED = "unsupported"
    """The method or its solver cannot do this; others may."""
    CANDIDATE = "candidate"
    """A violation was found in our arithmetic, but the original network did not confirm it."""
    CERTIFICATE = "certificate"
    """It was verified in float64, but no certificate of it was written that the checker accepts."""


@dataclass(frozen=True, eq=False)
class Counterexample:
    """Inputs that violate a property, confirmed on the original network.

    `inputs` holds one point, or the pair (before, after) for monotonicity, each of the network's
    input size [n]; `outputs` the original network's outputs [m] at them.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    statement: str
    """The violated comparison in words and numbers."""


@dataclass(frozen=True)
class Verified:
    word = "verified"


@dataclass(frozen=True, eq=False)
class Falsified:
    counterexample: Counterexample
    word = "falsified"


@dataclass(frozen=True)
class Unknown:
    reason: Reason
    detail: str
    word = "unknown"


Verdict = Verified | Falsified | Unknown
