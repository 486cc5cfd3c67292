"""Operator norms max ||J v||_q over ||v||_p <= 1 by brute force: the maximum over all vertices."""

from itertools import product

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

PAIRS = tuple(product(("1", "2", "inf"), repeat=2))
"""(input norm, output norm)."""

ORDER = {"1": 1, "2": 2, "inf": np.inf}


def operator_norm(matrix: Array, input_norm: str, output_norm: str) -> float:
    """A convex function takes its maximum over a polytope at a vertex; (2, 2) is the SVD.

    The vertices of the l1 ball are unit vectors, those of the linf ball sign vectors. From l2, the
    norm is that of the transpose between the dual norms, which starts at a polytope.
    """
    if input_norm == "2" and output_norm == "2":
        return float(np.linalg.svd(matrix, compute_uv=False).max())
    if input_norm == "2":
        dual = {"1": "inf", "inf": "1"}[output_norm]
        return operator_norm(matrix.T, dual, "2")
    inputs = matrix.shape[1]
    if input_norm == "1":
        vertices = np.eye(inputs)
    else:
        vertices = np.array(list(product((1.0, -1.0), repeat=inputs)))
    return float(np.linalg.norm(vertices @ matrix.T, ord=ORDER[output_norm], axis=1).max())
