"""The quadratic dual of one row of the Jacobian as a linear matrix inequality (DESIGN 4.4).

Maximise s . G [1; u] over u and over s in the unit ball whose support function is the asked norm.
Each open gate gives (u_i - alpha g_i)(beta g_i - u_i) = 0: the norm is convex in every single gate,
so its maximum is at slopes alpha or beta, and the multiplier may have any sign. Pairs of gates that
no input puts on two given slopes at once give a product that vanishes. Further the box of
u, with multipliers kappa >= 0. Any multipliers prove a bound: with u scaled to t in [-1, 1] and
v = [1; t; s], if S = diag(kappa) - M is positive semidefinite then
objective = v^T M v <= v^T diag(kappa) v <= sum kappa.
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from lipverify.bounds.quadratic.gates import OpenGates
from lipverify.bounds.quadratic.lmi import Lmi
from lipverify.numerics import SMALLEST, UNIT_ROUNDOFF, gamma

Array = NDArray[np.float64]

MARGIN = 1.0
"""How far inside the positive semidefinite cone the start is, relative to the objective."""
EIGENVALUE_SLACK = 64
"""LAPACK's eigenvalues err by a small multiple of n u ||S|| (Anderson et al. 1999)."""


@dataclass(frozen=True, eq=False)
class QuadraticDual:
    """The inequality, and magnitudes of its data for the error of a bound read off it.

    `rounding` times `reach` bounds the error of base and of every term (left and right each).
    """

    lmi: Lmi
    base_reach: Array
    left_reach: Array
    right_reach: Array
    rounding: float
    gates: OpenGates

    def bound(self, theta: Array) -> float:
        """The upper end that multipliers prove, rounded up; inf where they prove nothing.

        Safe against floating point: the smallest eigenvalue is moved down by LAPACK's error, and
        the rounding of every coefficient is charged at |v_i v_j| <= 1.
        """
        lmi = self.lmi
        theta = np.clip(theta, lmi.lower, lmi.upper)
        matrix = lmi.matrix(theta)
        if not np.isfinite(matrix).all():
            return float("inf")
        size = len(matrix)
        least = float(np.linalg.eigvalsh(matrix)[0])
        least -= EIGENVALUE_SLACK * size * UNIT_ROUNDOFF * float(np.linalg.norm(matrix))
        weights = np.abs(theta)[lmi.parameter]
        reach = float(self.base_reach.sum())
        reach += float((weights * self.left_reach.sum(1) * self.right_reach.sum(1)).sum())
        error = (3 * self.rounding + gamma(4 * len(lmi.parameter) + 16)) * reach
        value = float(lmi.cost @ theta) + size * max(0.0, -least) + error
        total = float(np.abs(lmi.cost * theta).sum()) + abs(value)
        value += gamma(len(theta) + 16) * total + SMALLEST
        return value if np.isfinite(value) else float("inf")


@dataclass(frozen=True, eq=False)
class _Scaled:
    """Vectors over [1; c; t] (no s yet): rows of adjoints, of u, of the Jacobian; reaches."""

    adjoint: Array
    output: Array
    jacobian: Array
    adjoint_reach: Array
    output_reach: Array
    jacobian_reach: Array


def l1_dual(gates: OpenGates, max_signs: int) -> QuadraticDual:
    """For the l1 norm of the row: |s_j| <= 1 for each entry.

    Entries of known sign enter linearly. Of the open ones, up to `max_signs` (those whose chord is
    loosest) get their own s_j, blended with the chord of |.| by a weight in [0, 1]; the rest
    enter by the chord alone.
    """
    lower, upper = gates.element_lower, gates.element_upper
    scaled = _scale(gates)
    open_ = (lower < 0) & (upper > 0)
    slope, intercept = _chord(gates)
    loose = np.argsort(-intercept, kind="stable")[: min(max_signs, int(open_.sum()))]
    chosen = np.zeros(len(lower), dtype=bool)
    chosen[loose] = True

    linear = (slope[~chosen, None] * scaled.jacobian[~chosen]).sum(0)
    linear[0] += intercept[~chosen].sum()
    linear_reach = (np.abs(slope[~chosen, None]) * scaled.jacobian_reach[~chosen]).sum(0)
    linear_reach[0] += np.abs(intercept[~chosen]).sum()

    chord = slope[chosen, None] * scaled.jacobian[chosen]
    chord[:, 0] += intercept[chosen]
    chord_reach = np.abs(slope[chosen, None]) * scaled.jacobian_reach[chosen]
    chord_reach[:, 0] += np.abs(intercept[chosen])

    signs = int(chosen.sum())
    size = gates.width + signs
    unit = np.eye(size)
    own = unit[gates.width :]
    first = np.broadcast_to(unit[0], (signs, size))
    entries, entries_reach = (
        _pad(scaled.jacobian[chosen], size),
        _pad(scaled.jacobian_reach[chosen], size),
    )
    blend = _Terms(
        np.vstack([-own, first]),
        np.vstack([entries, _pad(chord, size)]),
        np.vstack([own, first]),
        np.vstack([entries_reach, _pad(chord_reach, size)]),
        np.concatenate([np.arange(signs), np.arange(signs)]),
    )
    base = -_sym(unit[0], _pad(linear[None], size)[0])
    base -= 0.5 * (own.T @ entries + entries.T @ own)
    base_reach = _sym(unit[0], _pad(linear_reach[None], size)[0])
    base_reach += 0.5 * (own.T @ entries_reach + entries_reach.T @ own)
    groups = _groups(gates, np.arange(signs))
    return _assemble(gates, scaled, base, base_reach, blend, groups)


@dataclass(frozen=True, eq=False)
class Majorant:
    """How each |r_j| of a row is bounded: blend chord + (1 - blend)(scale + r_j^2 / (4 scale)).

    blend [n] in [0, 1], scale [n] > 0; any values are proved, good ones come from moments. Entries
    of known sign are linear and ignore it.
    """

    blend: Array
    scale: Array


def first_majorant(gates: OpenGates) -> Majorant:
    """A guess before any moments are known: independent u in the middle of their boxes."""
    scaled = _scale(gates)
    weights = np.full(gates.width, 0.5)
    weights[1 : 1 + gates.free] = 1 / max(1, gates.free)
    weights[0] = 1.0
    return _majorant(gates, scaled, np.diag(weights))


def next_majorant(gates: OpenGates, moments: Array, old: Majorant) -> Majorant:
    """The best majorant for the moments [width, width] of a solution, halfway from the old one."""
    normed = moments / max(float(moments[0, 0]), 1e-300)
    new = _majorant(gates, _scale(gates), normed)
    return Majorant((old.blend + new.blend) / 2, new.scale)


def _majorant(gates: OpenGates, scaled: _Scaled, moments: Array) -> Majorant:
    rows = scaled.jacobian
    second = np.einsum("ij,jk,ik->i", rows, moments, rows).clip(0)
    root = np.sqrt(second)
    slope, intercept = _chord(gates)
    chord = slope * (rows @ moments[:, 0]) + intercept
    # A smooth step from 0 to 1 where the chord gets better than the root of the second moment.
    softness = 0.05 * (np.abs(root) + np.abs(chord)) + 1e-300
    blend = 1 / (1 + np.exp(np.clip((chord - root) / softness, -40, 40)))
    least = 1e-6 * float(root.max(initial=0.0)) + 1e-300
    return Majorant(blend, np.maximum(root, least) / 2)


def _chord(gates: OpenGates) -> tuple[Array, Array]:
    """Slope and intercept of the chord of |r| on each entry's interval; +-r for known signs."""
    lower, upper = gates.element_lower, gates.element_upper
    open_ = (lower < 0) & (upper > 0)
    width = np.where(open_, upper - lower, 1.0)
    slope = np.where(open_, (upper + lower) / width, np.where(lower >= 0, 1.0, -1.0))
    intercept = np.where(open_, upper - slope * upper, 0.0)
    intercept += np.where(open_, 16 * UNIT_ROUNDOFF * np.maximum(-lower, upper), 0.0)
    return slope, intercept


def l1_dual_majorised(gates: OpenGates, majorant: Majorant) -> QuadraticDual:
    """For the l1 norm of the row, each |r_j| under a fixed majorant: no variables s.

    The size does not grow with the number of inputs. Alternating with `next_majorant` descends to
    the bound with all s_j (both are blocks of one jointly convex problem).
    """
    scaled = _scale(gates)
    slope, intercept = _chord(gates)
    open_ = (gates.element_lower < 0) & (gates.element_upper > 0)
    blend = np.where(open_, majorant.blend, 1.0)
    share = 1.0 - blend
    linear = ((blend * slope)[:, None] * scaled.jacobian).sum(0)
    linear[0] += (blend * intercept + share * majorant.scale).sum()
    linear_reach = (np.abs(blend * slope)[:, None] * scaled.jacobian_reach).sum(0)
    linear_reach[0] += (np.abs(blend * intercept) + share * majorant.scale).sum()
    curve = (share / (4 * majorant.scale))[:, None]
    size = gates.width
    unit = np.eye(size)
    base = -_sym(unit[0], linear) - scaled.jacobian.T @ (curve * scaled.jacobian)
    base_reach = _sym(unit[0], linear_reach)
    base_reach += scaled.jacobian_reach.T @ (curve * scaled.jacobian_reach)
    # Sums over the n inputs; a rounded share of 1 - blend is charged as well.
    base_reach *= 1.0 + len(slope) * UNIT_ROUNDOFF / gates.rounding
    return _assemble(gates, scaled, base, base_reach, _no_terms(size), _groups(gates))


def l2_dual(gates: OpenGates) -> QuadraticDual:
    """For the euclidean norm of the row: s . s <= 1, one multiplier.

    G is replaced by the triangular factor of its QR decomposition, of the same norm.
    """
    scaled = _scale(gates)
    factor = scipy.linalg.qr(scaled.jacobian, mode="r")[0][: scaled.jacobian.shape[1]]
    # Householder QR is backward stable: column norms err by a modest multiple of u (Higham 2002,
    # theorem 19.4); that and the entries' own error are charged to the reach.
    columns = np.linalg.norm(scaled.jacobian_reach, axis=0)
    spread = np.broadcast_to(columns, factor.shape) * (1 + scaled.jacobian.shape[0])
    size = gates.width + len(factor)
    own = np.eye(size)[gates.width :]
    entries, entries_reach = _pad(factor, size), _pad(np.asarray(spread), size)
    base = -0.5 * (own.T @ entries + entries.T @ own)
    base_reach = 0.5 * (own.T @ entries_reach + entries_reach.T @ own)
    groups = _groups(gates, np.zeros(len(factor), dtype=np.int64))
    return _assemble(gates, scaled, base, base_reach, _no_terms(size), groups)


def entry_dual(gates: OpenGates, direction: Array) -> QuadraticDual:
    """For one linear function direction . row (a signed entry, say): [n]."""
    scaled = _scale(gates)
    size = gates.width
    unit = np.eye(size)
    base = -_sym(unit[0], direction @ scaled.jacobian)
    base_reach = _sym(unit[0], np.abs(direction) @ scaled.jacobian_reach)
    return _assemble(gates, scaled, base, base_reach, _no_terms(size), _groups(gates))


@dataclass(frozen=True, eq=False)
class _Terms:
    left: Array
    right: Array
    left_reach: Array
    right_reach: Array
    parameter: NDArray[np.int64]


def _no_terms(size: int) -> _Terms:
    empty = np.zeros((0, size))
    return _Terms(empty, empty, empty, empty, np.zeros(0, dtype=np.int64))


def _scale(gates: OpenGates) -> _Scaled:
    """u = middle + radius t, with t in [-1, 1] for every u that the adjoints' intervals allow."""
    corners = np.stack(
        [
            gates.alpha * gates.adjoint_lower,
            gates.alpha * gates.adjoint_upper,
            gates.beta * gates.adjoint_lower,
            gates.beta * gates.adjoint_upper,
        ]
    )
    lower, upper = corners.min(0), corners.max(0)
    middle = (lower + upper) / 2
    reach = np.maximum(np.abs(lower), np.abs(upper))
    radius = (upper - lower) / 2 + 8 * UNIT_ROUNDOFF * reach + 1e-300

    first = 1 + gates.free  # entries of c are at most 1 already

    def change(vectors: Array) -> Array:
        result = vectors.copy()
        result[:, 0] += vectors[:, first:] @ middle
        result[:, first:] *= radius
        return result

    def change_reach(vectors: Array) -> Array:
        result = vectors.copy()
        result[:, 0] += vectors[:, first:] @ np.abs(middle)
        result[:, first:] *= radius
        return result

    outputs = np.hstack([np.zeros((gates.count, first)), np.eye(gates.count)])
    return _Scaled(
        change(gates.adjoint),
        change(outputs),
        change(gates.jacobian),
        change_reach(gates.adjoint_reach),
        change_reach(outputs),
        change_reach(gates.jacobian_reach),
    )


def _gate_terms(gates: OpenGates, scaled: _Scaled, size: int) -> _Terms:
    """One parameter per gate: the product of its output's distances from both slopes.

    One more per conflict: two gates that never have both slopes named have distances from the
    other two whose product is 0.

    The two chords of each gate were tried as further constraints: they gained nothing measurable
    beside the product and the box of u, at three times the cost.
    """
    alpha, beta = gates.alpha[:, None], gates.beta[:, None]
    near_alpha = scaled.output - alpha * scaled.adjoint
    near_beta = beta * scaled.adjoint - scaled.output
    reach = scaled.output_reach + (np.abs(alpha) + np.abs(beta)) * scaled.adjoint_reach
    # The distance from alpha is 0 unless the slope is beta, and the other way round.
    distance = {1: near_alpha, -1: near_beta}
    first, first_side, second, second_side = gates.conflicts.T
    left = np.where((first_side > 0)[:, None], distance[1][first], distance[-1][first])
    right = np.where((second_side > 0)[:, None], distance[1][second], distance[-1][second])
    return _Terms(
        _pad(np.vstack([near_alpha, left]), size),
        _pad(np.vstack([near_beta, right]), size),
        _pad(np.vstack([reach, reach[first]]), size),
        _pad(np.vstack([reach, reach[second]]), size),
        np.arange(gates.count + len(gates.conflicts)),
    )


def _assemble(
    gates: OpenGates,
    scaled: _Scaled,
    base: Array,
    base_reach: Array,
    blend: _Terms,
    groups: NDArray[np.int64],
) -> QuadraticDual:
    """Parameters: per gate, per conflict, the blends in [0, 1], then kappa per coordinate group."""
    size = len(base)
    quadratic = _gate_terms(gates, scaled, size)
    count = len(quadratic.parameter)
    blends = int(blend.parameter.max()) + 1 if len(blend.parameter) else 0
    kappas = int(groups.max()) + 1
    unit = np.eye(size)
    parameter = np.concatenate(
        [quadratic.parameter, count + blend.parameter, count + blends + groups]
    )
    order = np.argsort(parameter, kind="stable")
    left = np.vstack([quadratic.left, blend.left, unit])[order]
    right = np.vstack([quadratic.right, blend.right, -unit])[order]
    left_reach = np.vstack([quadratic.left_reach, blend.left_reach, unit])[order]
    right_reach = np.vstack([quadratic.right_reach, blend.right_reach, unit])[order]
    parameter = parameter[order]

    total = count + blends + kappas
    cost, lower, upper = np.zeros(total), np.zeros(total), np.full(total, np.inf)
    first = count + blends
    cost[first:] = 1.0
    lower[:count] = -np.inf
    lower[first] = -np.inf  # the coordinate that is always 1
    upper[count:first] = 1.0

    start = np.zeros(total)
    start[: gates.count], start[count:first] = 0.1, 0.5
    empty = Lmi(base, left, right, parameter, cost, lower, upper, start)
    rows = np.abs(empty.matrix(start)).sum(1)
    margin = MARGIN * max(1e-6, float(rows.mean()))
    for group in range(kappas):
        start[first + group] = rows[groups == group].max() + margin
    lmi = Lmi(base, left, right, parameter, cost, lower, upper, start)
    return QuadraticDual(lmi, base_reach, left_reach, right_reach, gates.rounding, gates)


def _groups(gates: OpenGates, signs: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """Which coordinates of [1; c; u; s] share a multiplier: those bounded by a ball together."""
    together = gates.free_norm == "2"
    free = np.zeros(gates.free, dtype=np.int64) if together else np.arange(gates.free)
    groups = np.zeros(1, dtype=np.int64)
    for part in (free, np.arange(gates.count), signs):
        if part is not None and len(part):
            groups = np.concatenate([groups, groups[-1] + 1 + part])
    return groups


def _pad(vectors: Array, size: int) -> Array:
    result = np.zeros((len(vectors), size))
    result[:, : vectors.shape[1]] = vectors
    return result


def _sym(p: Array, q: Array) -> Array:
    return 0.5 * (np.outer(p, q) + np.outer(q, p))
