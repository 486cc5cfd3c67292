"""A primal-dual interior-point method for the linear matrix inequalities of the quadratic dual.

    minimise cost . theta  subject to  lower <= theta <= upper  and to
    S(theta) = base - sum_k theta[parameter_k] sym(left_k, right_k)  positive semidefinite,
    with sym(p, q) = (p q^T + q p^T) / 2.

Path following with the HKM direction and Mehrotra's predictor and corrector (Todd 2001,
"Semidefinite optimization", section 5); with coefficients of low rank, a step costs
O(T^2 N + p^3) for T
terms, matrices of size N and p parameters. theta stays feasible from the first step on, so
stopping at any time leaves a usable one. Nothing here is trusted: the caller proves its bound from
the theta returned.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from scipy.sparse import csr_array

Array = NDArray[np.float64]

STEP_SHARE = 0.95
"""Share of the way to the boundary that a step may go."""
RIDGE = 1e-13
SPARSE_SIZE, SPARSE_SHARE = 50_000, 0.1
"""Coefficients are stored sparse from this many entries on, if fewer than this share are not 0."""


@dataclass(frozen=True, eq=False)
class Lmi:
    """The data above: base [N, N], left and right [T, N], parameter [T], the rest [p].

    Terms are sorted by parameter, and every parameter has one. `start` is strictly feasible.
    """

    base: Array
    left: Array
    right: Array
    parameter: NDArray[np.int64]
    cost: Array
    lower: Array
    upper: Array
    start: Array

    @cached_property
    def factors(self) -> tuple[Array | csr_array, Array | csr_array]:
        """left and right for products, sparse where that is faster."""
        dense = np.count_nonzero(self.left) + np.count_nonzero(self.right)
        if self.left.size < SPARSE_SIZE or dense > SPARSE_SHARE * 2 * self.left.size:
            return self.left, self.right
        return csr_array(self.left), csr_array(self.right)

    def combination(self, theta: Array) -> Array:
        """- sum_k theta[parameter_k] sym(left_k, right_k)."""
        left, _ = self.factors
        with np.errstate(all="ignore"):  # an overflow is seen in the result
            product = left.T @ (theta[self.parameter][:, None] * self.right)
            return -0.5 * (product + product.T)

    def matrix(self, theta: Array) -> Array:
        return self.base + self.combination(theta)


@dataclass(frozen=True, eq=False)
class LmiSolution:
    """A feasible theta [p], the primal matrix X [N, N] (moments), and the steps taken."""

    theta: Array
    moments: Array
    steps: int


def solve(
    lmi: Lmi,
    *,
    max_steps: int = 40,
    relative_gap: float = 1e-4,
    stop: Callable[[float], bool] = lambda value: False,
) -> LmiSolution:
    """Minimise; `stop(cost . theta)` ends early (a decided question, an expired clock)."""
    state = _start(lmi)
    for step in range(max_steps):
        try:
            with np.errstate(all="ignore"):  # what breaks down is seen in the result
                following = _step(lmi, state)
        except (np.linalg.LinAlgError, ValueError):  # the limit of float64; what was reached stays
            return LmiSolution(state.theta, state.x, step)
        if not np.isfinite(following.theta).all():
            return LmiSolution(state.theta, state.x, step)
        state = following
        value = float(lmi.cost @ state.theta)
        converged = state.gap <= relative_gap * abs(value) and state.residual <= 1e-3
        if converged or stop(value):
            return LmiSolution(state.theta, state.x, step + 1)
    return LmiSolution(state.theta, state.x, max_steps)


@dataclass(frozen=True, eq=False)
class _State:
    theta: Array
    s: Array
    x: Array
    z_lower: Array
    z_upper: Array
    gap: float = np.inf
    residual: float = np.inf


@dataclass(frozen=True, eq=False)
class _Direction:
    theta: Array
    s: Array
    x: Array
    z_lower: Array
    z_upper: Array


def _start(lmi: Lmi) -> _State:
    size = len(lmi.base)
    s = lmi.matrix(lmi.start)
    weight = max(1.0, abs(float(lmi.cost @ lmi.start))) / size
    x = np.eye(size) * weight / max(1.0, float(np.median(np.diag(s))))
    has_lower, has_upper = np.isfinite(lmi.lower), np.isfinite(lmi.upper)
    below = np.where(has_lower, lmi.start - lmi.lower, 1.0)
    above = np.where(has_upper, lmi.upper - lmi.start, 1.0)
    z_lower = np.where(has_lower, weight / np.maximum(below, 1e-3), 0.0)
    z_upper = np.where(has_upper, weight / np.maximum(above, 1e-3), 0.0)
    return _State(lmi.start, s, x, z_lower, z_upper)


def _step(lmi: Lmi, state: _State) -> _State:
    size = len(lmi.base)
    factor = scipy.linalg.cholesky(state.s, lower=True, check_finite=False)
    inverse = scipy.linalg.cho_solve((factor, True), np.eye(size), check_finite=False)
    inverse = (inverse + inverse.T) / 2
    x_factor = scipy.linalg.cholesky(state.x, lower=True, check_finite=False)

    has_lower, has_upper = np.isfinite(lmi.lower), np.isfinite(lmi.upper)
    below = np.where(has_lower, state.theta - lmi.lower, 1.0)
    above = np.where(has_upper, lmi.upper - state.theta, 1.0)
    count = size + int(has_lower.sum()) + int(has_upper.sum())

    def complementarity(x: Array, s: Array, zl: Array, dl: Array, zu: Array, du: Array) -> float:
        total = float((x * s).sum() + (zl * dl)[has_lower].sum() + (zu * du)[has_upper].sum())
        return total / count

    mu = complementarity(state.x, state.s, state.z_lower, below, state.z_upper, above)
    normal = _normal_matrix(lmi, state.x, inverse)
    normal[np.diag_indices(len(normal))] += np.where(has_lower, state.z_lower / below, 0.0)
    normal[np.diag_indices(len(normal))] += np.where(has_upper, state.z_upper / above, 0.0)
    scale = np.sqrt(np.diag(normal))
    normal /= scale
    normal /= scale[:, None]
    normal[np.diag_indices(len(normal))] += RIDGE
    factored = scipy.linalg.cho_factor(normal, overwrite_a=True, check_finite=False)
    inner_inverse = _inner(lmi, inverse)
    barrier = np.where(has_lower, 1 / below, 0.0) - np.where(has_upper, 1 / above, 0.0)

    def direction(target: float, bend: Array, bend_lower: Array, bend_upper: Array) -> _Direction:
        """Towards complementarity `target`, with second-order corrections `bend`."""
        right = -lmi.cost + target * (inner_inverse + barrier) - _inner(lmi, bend)
        right -= np.where(has_lower, bend_lower / below, 0.0)
        right += np.where(has_upper, bend_upper / above, 0.0)
        solved = scipy.linalg.cho_solve(factored, right / scale, check_finite=False)
        d_theta: Array = np.asarray(solved) / scale
        d_s = lmi.combination(d_theta)
        mixed = state.x @ d_s @ inverse
        d_x = target * inverse - state.x - 0.5 * (mixed + mixed.T) - bend
        d_lower = (target - bend_lower - state.z_lower * d_theta) / below - state.z_lower
        d_upper = (target - bend_upper + state.z_upper * d_theta) / above - state.z_upper
        return _Direction(
            d_theta,
            d_s,
            d_x,
            np.where(has_lower, d_lower, 0.0),
            np.where(has_upper, d_upper, 0.0),
        )

    def lengths(way: _Direction) -> tuple[float, float]:
        """How far theta and the primal side can go before the boundary."""
        dual = min(
            _psd_length(factor, way.s),
            _length(below[has_lower], way.theta[has_lower]),
            _length(above[has_upper], -way.theta[has_upper]),
        )
        primal = min(
            _psd_length(x_factor, way.x),
            _length(state.z_lower[has_lower], way.z_lower[has_lower]),
            _length(state.z_upper[has_upper], way.z_upper[has_upper]),
        )
        return dual, primal

    nothing, none = np.zeros((size, size)), np.zeros(len(lmi.cost))
    predictor = direction(0.0, nothing, none, none)
    dual, primal = (min(1.0, length) for length in lengths(predictor))
    reached = complementarity(
        state.x + primal * predictor.x,
        state.s + dual * predictor.s,
        state.z_lower + primal * predictor.z_lower,
        below + dual * predictor.theta,
        state.z_upper + primal * predictor.z_upper,
        above - dual * predictor.theta,
    )
    share = min(1.0, max(reached / mu, 1e-6))
    centering = share**3 if min(dual, primal) > 0.3 else share
    bend = predictor.x @ predictor.s @ inverse
    corrector = direction(
        centering * mu,
        0.5 * (bend + bend.T),
        predictor.z_lower * predictor.theta,
        -predictor.z_upper * predictor.theta,
    )
    dual, primal = (min(1.0, STEP_SHARE * length) for length in lengths(corrector))
    theta = state.theta + dual * corrector.theta
    x = state.x + primal * corrector.x
    residual = lmi.cost - _inner(lmi, state.x) - state.z_lower + state.z_upper
    return _State(
        theta,
        lmi.matrix(theta),
        (x + x.T) / 2,
        state.z_lower + primal * corrector.z_lower,
        state.z_upper + primal * corrector.z_upper,
        mu * count,
        float(np.abs(residual).max()),
    )


def _inner(lmi: Lmi, matrix: Array) -> Array:
    """The derivative of S by each parameter, inner product with a symmetric matrix: [p]."""
    left, _ = lmi.factors
    terms = -np.einsum("ij,ij->i", left @ matrix, lmi.right)
    return _gather(lmi, terms)


def _normal_matrix(lmi: Lmi, x: Array, inverse: Array) -> Array:
    """tr(B_a X B_b S^-1) for all pairs of parameters, from the low-rank factors."""
    left, right = lmi.factors
    # Symmetric matrices: (left x right^T)^T = right (left x)^T, sparse factors on the left.
    x_left, x_right = (left @ x).T, (right @ x).T
    s_left, s_right = (left @ inverse).T, (right @ inverse).T
    crossed = right @ x_left
    crossed *= (right @ s_left).T
    total = crossed + crossed.T
    total += (right @ x_right) * (left @ s_left)
    total += (left @ x_left) * (right @ s_right)
    total *= 0.25
    if len(lmi.parameter) != len(lmi.cost):
        starts = _starts(lmi)
        total = np.add.reduceat(np.add.reduceat(total, starts, axis=0), starts, axis=1)
    return (total + total.T) / 2


def _gather(lmi: Lmi, terms: Array) -> Array:
    if len(lmi.parameter) == len(lmi.cost):
        return terms
    return np.add.reduceat(terms, _starts(lmi))


def _starts(lmi: Lmi) -> NDArray[np.intp]:
    return np.searchsorted(lmi.parameter, np.arange(len(lmi.cost)))


def _psd_length(factor: Array, way: Array) -> float:
    """The largest t for which L L^T + t way stays positive semidefinite."""
    half = scipy.linalg.solve_triangular(factor, way, lower=True, check_finite=False)
    whole = scipy.linalg.solve_triangular(factor, half.T, lower=True, check_finite=False)
    least = scipy.linalg.eigvalsh(
        (whole + whole.T) / 2, subset_by_index=[0, 0], check_finite=False
    )[0]
    return np.inf if least >= 0 else float(-1.0 / least)


def _length(distance: Array, way: Array) -> float:
    towards = way < 0
    return float((-distance[towards] / way[towards]).min()) if towards.any() else np.inf
