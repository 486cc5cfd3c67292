"""Many lines through input space at once: a piecewise-linear network, piece by piece.

`bounds.line` walks one line with intervals; this walks thousands together with centres and error
bounds, layer by layer. What rounding leaves open is settled in exact arithmetic by `exact`.
"""

from lipverify.bounds.lines.exact import ExactLine, ExactNetwork, ExactPiece, exact_network
from lipverify.bounds.lines.walk import LineSet, WalkedLines, check_walkable, walk_lines

__all__ = [
    "ExactLine",
    "ExactNetwork",
    "ExactPiece",
    "LineSet",
    "WalkedLines",
    "check_walkable",
    "exact_network",
    "walk_lines",
]
