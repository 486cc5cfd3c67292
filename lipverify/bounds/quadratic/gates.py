"""The open gates of one row c J, and everything else as affine functions of their outputs.

Gates whose slope is one number are linear maps; eliminating them leaves the outputs u of the open
gates: the adjoint that gate i multiplies is a_i . [1; u], and the row is G [1; u] (DESIGN 4.4).
Several rows under a norm are one row with c as variables: everything is affine in [1; c; u].
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lipverify.bounds.jacobian import JacobianBounds, JacobianProblem
from lipverify.graph import BackwardGraph
from lipverify.interval import Interval
from lipverify.norms import AbstractNorm
from lipverify.numerics import SMALLEST, UNIT_ROUNDOFF, gamma
from lipverify.operators import AffineOperator

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class OpenGates:
    """One row c J with m open gates, n inputs, and c either fixed or f variables.

    alpha, beta [m]: slopes; adjoint [m, 1 + f + m] and jacobian [n, 1 + f + m]: coefficients in
    [1; c; u],
    with `*_reach` above the sum of the magnitudes of the paths behind each coefficient;
    adjoint_lower/upper [m] and element_lower/upper [n]: proved intervals. `rounding` times reach
    bounds the error of a coefficient. `names` [m] says which gate: (gate node, flat index).
    """

    alpha: Array
    beta: Array
    adjoint: Array
    adjoint_reach: Array
    adjoint_lower: Array
    adjoint_upper: Array
    jacobian: Array
    jacobian_reach: Array
    element_lower: Array
    element_upper: Array
    rounding: float
    names: tuple[tuple[str, int], ...]
    conflicts: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 4), dtype=np.int64))
    """Pairs of gates that never have both slopes: (gate, side, gate, side) [k, 4], side +1 beta."""
    conflict_names: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """Their numbers [k] among all `conflict_count` conflicts that the caller knows."""
    conflict_count: int = 0
    free: int = 0
    """How many entries of c are variables."""
    free_norm: str = "inf"
    """c lies in the unit ball of this norm: inf or 2."""

    @property
    def count(self) -> int:
        return len(self.alpha)

    @property
    def width(self) -> int:
        """Length of [1; c; u]."""
        return 1 + self.free + self.count

    def apart(self, pairs: NDArray[np.int64], names: NDArray[np.int64], count: int) -> "OpenGates":
        """With conflicts of these gates (positions in `names`) and sides, instead of its own."""
        return replace(
            self, conflicts=pairs.reshape(-1, 4), conflict_names=names, conflict_count=count
        )


def open_gates(problem: JacobianProblem, known: JacobianBounds, row: int) -> OpenGates:
    """The open gates of row `row`; `known` holds intervals of its adjoints and elements."""
    assert known.adjoints is not None
    adjoints = {
        name: Interval(bounds.lower[row], bounds.upper[row])
        for name, bounds in known.adjoints.items()
    }
    elements = Interval(known.elements.lower[row], known.elements.upper[row])
    return _eliminate(problem, problem.seed[row : row + 1], adjoints, elements, 0, "inf")


def combined_gates(
    problem: JacobianProblem, known: JacobianBounds, output_norm: AbstractNorm
) -> OpenGates:
    """All rows at once: c J for every c in the unit ball dual to `output_norm` (l2 or l1)."""
    assert known.adjoints is not None

    def combined(bounds: Interval) -> Interval:
        # |sum of c_r g_r| <= the norm of (|g_r|), whose dual is the ball's.
        size = bounds.magnitude.movedim(0, -1)
        value = output_norm.of(size) * (1 + 4 * size.shape[-1] * UNIT_ROUNDOFF) + SMALLEST
        return Interval(-value, value)

    adjoints = {name: combined(bounds) for name, bounds in known.adjoints.items()}
    rows = len(problem.rows)
    ball = output_norm.dual.name
    return _eliminate(problem, problem.seed, adjoints, combined(known.elements), rows, ball)


def _eliminate(
    problem: JacobianProblem,
    seed: Tensor,
    adjoints: Mapping[str, Interval],
    elements: Interval,
    free: int,
    free_norm: str,
) -> OpenGates:
    backward = problem.backward
    slopes: dict[str, Interval] = {}
    places: dict[str, tuple[int, Tensor]] = {}
    count = 0
    for gate in backward.gates:
        slope = problem.slopes[gate.name]
        index = (slope.lower < slope.upper).flatten().nonzero().flatten()
        slopes[gate.name], places[gate.name] = slope, (1 + free + count, index)
        count += index.numel()

    width = 1 + free + count
    start = torch.zeros(width, *seed.shape[1:], dtype=seed.dtype)
    start[1 if free else 0 : 1 + free] = seed
    values = _walk(backward, start, slopes, places, absolute=False)
    reach = _walk(backward, start.abs(), slopes, places, absolute=True)
    alpha, beta, names, rows, rows_reach, lower, upper = [], [], [], [], [], [], []
    for gate in backward.gates:
        slope, (_, index) = slopes[gate.name], places[gate.name]
        if not index.numel():
            continue
        alpha.append(slope.lower.flatten()[index])
        beta.append(slope.upper.flatten()[index])
        rows.append(values[gate.inputs[1]].flatten(1)[:, index].T)
        rows_reach.append(reach[gate.inputs[1]].flatten(1)[:, index].T)
        lower.append(adjoints[gate.name].lower.flatten()[index])
        upper.append(adjoints[gate.name].upper.flatten()[index])
        names.extend((gate.name, int(place)) for place in index)
    return OpenGates(
        _join(alpha, 0),
        _join(beta, 0),
        _join(rows, width),
        _join(rows_reach, width),
        _join(lower, 0),
        _join(upper, 0),
        values[backward.jacobian].flatten(1).T.numpy(),
        reach[backward.jacobian].flatten(1).T.numpy(),
        elements.lower.numpy(),
        elements.upper.numpy(),
        4 * gamma(_operations(backward)),
        tuple(names),
        free=free,
        free_norm=free_norm,
    )


def _walk(
    backward: BackwardGraph,
    start: Tensor,
    slopes: dict[str, Interval],
    places: dict[str, tuple[int, Tensor]],
    *,
    absolute: bool,
) -> dict[str, Tensor]:
    """Coefficients in [1; c; u] of every node, [width, *shape]; sums of magnitudes if `absolute`.

    `places` says for each gate in which column its first open output is, and which ones are open.
    """
    values: dict[str, Tensor] = {BackwardGraph.SEED: start}
    for node in backward:
        operator = node.operator
        if operator is None:
            continue
        if isinstance(operator, AffineOperator):
            map_ = operator.absolute_cached if absolute else operator
            total = map_.linear(values[node.inputs[0]], 0)
            for operand, name in enumerate(node.inputs[1:], start=1):
                total = total + map_.linear(values[name], operand)
            values[node.name] = total
        else:
            slope, (offset, index) = slopes[node.name], places[node.name]
            fixed = slope.magnitude if absolute else slope.lower
            out = (fixed * values[node.inputs[1]]).flatten(1).clone()
            out[:, index] = 0.0
            out[offset + torch.arange(index.numel()), index] = 1.0
            values[node.name] = out.reshape(len(start), *node.shape)
    return values


def _join(parts: list[Tensor], columns: int) -> Array:
    if parts:
        return torch.cat(parts).numpy()
    return np.zeros((0, columns)) if columns else np.zeros(0)


def _operations(backward: BackwardGraph) -> int:
    """Float operations along the longest path."""
    depth = {BackwardGraph.SEED: 1}
    for node in backward:
        if node.operator is None:
            continue
        terms = node.operator.terms + 2 if isinstance(node.operator, AffineOperator) else 2
        operands = node.inputs if isinstance(node.operator, AffineOperator) else node.inputs[1:]
        depth[node.name] = terms + max(depth[name] for name in operands)
    return depth[backward.jacobian]
