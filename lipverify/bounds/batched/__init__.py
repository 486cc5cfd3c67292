"""Bounds on many boxes of inputs at once, with dense batched code.

The same relaxations as for one region (`bounds.preactivation`, `bounds.linear`), computed on the
network reduced to its open neurons on each box; see `reduced.py`.
"""

from lipverify.bounds.batched.boxes import Boxes
from lipverify.bounds.batched.build import reduce_network
from lipverify.bounds.batched.clauses import ClauseDepths
from lipverify.bounds.batched.jacobian import Entries, MatrixNorm, RowNorms
from lipverify.bounds.batched.objective import (
    AbstractObjective,
    BatchSetting,
    BoxBounds,
    bound_boxes,
    box_bytes,
    gate_count,
)
from lipverify.bounds.batched.outputs import Outputs
from lipverify.bounds.batched.patterns import PATTERN_LIMIT, pattern_rows
from lipverify.bounds.batched.reduced import Reduced
from lipverify.bounds.batched.rows import Pairs, RowBounds, row_bounds

__all__ = [
    "PATTERN_LIMIT",
    "AbstractObjective",
    "BatchSetting",
    "BoxBounds",
    "Boxes",
    "ClauseDepths",
    "Entries",
    "MatrixNorm",
    "Outputs",
    "Pairs",
    "Reduced",
    "RowBounds",
    "RowNorms",
    "bound_boxes",
    "box_bytes",
    "gate_count",
    "pattern_rows",
    "reduce_network",
    "row_bounds",
]
