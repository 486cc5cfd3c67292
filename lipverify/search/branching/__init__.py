"""Branching heuristics by name. A new one is one file and one line in the table."""

from collections.abc import Mapping

from lipverify.errors import UnknownBranching
from lipverify.search.branching.area import AreaBranching, weighted_areas
from lipverify.search.branching.base import (
    AbstractBranching,
    Candidate,
    Crossing,
    GateName,
    Trial,
)
from lipverify.search.branching.costs import PseudoCosts
from lipverify.search.branching.look_ahead import LookAheadBranching
from lipverify.search.branching.multiplier import MultiplierBranching
from lipverify.search.branching.pseudo_costs import PseudoCostBranching
from lipverify.search.branching.width import WidthBranching

BRANCHINGS: Mapping[str, AbstractBranching] = {
    "area": AreaBranching(),
    "pseudo-costs": PseudoCostBranching(),
    "look-ahead": LookAheadBranching(),
    "multiplier": MultiplierBranching(),
    "width": WidthBranching(),
}


def branching_named(name: str) -> AbstractBranching:
    if name not in BRANCHINGS:
        raise UnknownBranching(
            f"branching {name!r} is not offered; choose one of {', '.join(BRANCHINGS)}"
        )
    return BRANCHINGS[name]


__all__ = [
    "BRANCHINGS",
    "AbstractBranching",
    "Candidate",
    "Crossing",
    "GateName",
    "PseudoCosts",
    "Trial",
    "branching_named",
    "weighted_areas",
]
