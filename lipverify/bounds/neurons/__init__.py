"""Bounds under splits of neurons, many subproblems at once: beta-CROWN (Wang et al. 2021).

All subproblems share one region and its reduced network (`bounds.batched.reduced`); each fixes some
of the open neurons to one side of 0.
"""

from lipverify.bounds.neurons.bound import (
    Bounded,
    Effort,
    Parts,
    attaining_points,
    bound_parts,
    check_parts,
    whole,
)
from lipverify.bounds.neurons.open_net import OpenNet, Target, clause_target, open_net
from lipverify.bounds.neurons.split import Refined, candidates, children, quick_halves, refine
from lipverify.bounds.neurons.tighten import tightened_ends, tightened_network, with_ends

__all__ = [
    "Bounded",
    "Effort",
    "OpenNet",
    "Parts",
    "Refined",
    "Target",
    "attaining_points",
    "bound_parts",
    "candidates",
    "check_parts",
    "children",
    "clause_target",
    "open_net",
    "quick_halves",
    "refine",
    "tightened_ends",
    "tightened_network",
    "whole",
    "with_ends",
]
