"""The search for points that attain or violate: sampling, ascent, walks over linear regions.

Everything here looks from below. A value found becomes a proved lower end only through
`prove_norm`: interval arithmetic at the point, which covers kinks and rounding.
"""

from lipverify.witness.depth import ascend, clause_depths, search_depth
from lipverify.witness.nearest import search_nearest
from lipverify.witness.norm import search_norm, walk_norm
from lipverify.witness.output import search_output
from lipverify.witness.point import NormWitness, prove_norm
from lipverify.witness.slope import search_slope

__all__ = [
    "NormWitness",
    "ascend",
    "clause_depths",
    "prove_norm",
    "search_depth",
    "search_nearest",
    "search_norm",
    "search_output",
    "search_slope",
    "walk_norm",
]
