"""The quadratic (semidefinite) dual over the open gates of one row of the Jacobian."""

from lipverify.bounds.quadratic.gates import OpenGates, combined_gates, open_gates
from lipverify.bounds.quadratic.lmi import LmiSolution, solve
from lipverify.bounds.quadratic.refine import (
    DualOf,
    QuadraticBound,
    WarmStart,
    quadratic_upper,
)
from lipverify.bounds.quadratic.relaxation import (
    Majorant,
    QuadraticDual,
    entry_dual,
    first_majorant,
    l1_dual,
    l1_dual_majorised,
    l2_dual,
    next_majorant,
)

__all__ = [
    "DualOf",
    "LmiSolution",
    "Majorant",
    "OpenGates",
    "QuadraticBound",
    "QuadraticDual",
    "WarmStart",
    "combined_gates",
    "entry_dual",
    "first_majorant",
    "l1_dual",
    "l1_dual_majorised",
    "l2_dual",
    "next_majorant",
    "open_gates",
    "quadratic_upper",
    "solve",
]
