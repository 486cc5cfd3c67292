"""Two-sided bounds of the operator norm max ||J x||_q over ||x||_p <= 1 of an uncertain matrix."""

import torch
from torch import Tensor

from lipverify.errors import NumericalFailure
from lipverify.interval import Interval
from lipverify.norms.base import AbstractNorm
from lipverify.norms.l2 import L2
from lipverify.numerics import SMALLEST, UNIT_ROUNDOFF, gamma, round_down, round_up

ASCENT_STEPS = 8
CORNER_INPUTS, CORNER_ROWS = 10, 1000
SPECTRAL_SLACK = 64
"""LAPACK's largest singular value errs by a small multiple of n u ||J|| (Anderson et al. 1999)."""


def upper(jacobian: Interval, input_norm: AbstractNorm, output_norm: AbstractNorm) -> float:
    """A bound above the operator norm of every matrix in `jacobian` ([m, n]), rounded up."""
    if jacobian.lower.numel() == 0:
        return 0.0
    best = _bounds(jacobian.reshape(1, *jacobian.shape), input_norm, output_norm)
    return _round_up(best[0], sum(jacobian.shape))


def uppers(jacobians: Interval, input_norm: AbstractNorm, output_norm: AbstractNorm) -> Tensor:
    """`upper` of each interval of matrices: [b, m, n] -> [b]."""
    return _rounded_up(_bounds(jacobians, input_norm, output_norm), sum(jacobians.shape[1:]))


def _bounds(jacobians: Interval, input_norm: AbstractNorm, output_norm: AbstractNorm) -> Tensor:
    """Bounds above the operator norms, not rounded: [b, m, n] -> [b].

    With T = max |J|, entry by entry, two facts hold for every pair of norms:
    ||J||_(p->q) <= || (||T_i||_p*)_i ||_q over rows, and <= || (||T_j||_q)_j ||_p* over columns.
    One of them is the exact norm of T unless p = q = 2; there, the spectral norms of centre and
    radius are added as a third bound, and sqrt(||J||_1->1 ||J||_inf->inf) as a fourth.
    For few inputs (p = inf) or few outputs (q = 1), the ball's corners s are gone through:
    ||J s||_q <= || |C s| + R 1 ||_q for centre C and radius R, exact for one matrix.
    Infinite where an entry is.
    """
    magnitude = jacobians.magnitude
    finite = torch.isfinite(magnitude).flatten(1).all(1)
    if not bool(finite.all()):
        zero = torch.zeros_like(magnitude)
        known = finite[:, None, None]
        jacobians = Interval(
            torch.where(known, jacobians.lower, zero), torch.where(known, jacobians.upper, zero)
        )
        magnitude = jacobians.magnitude
    candidates = [
        output_norm.of(input_norm.dual.of(magnitude)),
        input_norm.dual.of(output_norm.of(magnitude.mT)),
    ]
    if input_norm.name == output_norm.name == "2":
        candidates.append(spectral_upper(jacobians.center) + spectral_upper(jacobians.radius))
        candidates.append(magnitude.sum(-2).amax(-1).sqrt() * magnitude.sum(-1).amax(-1).sqrt())
    if input_norm.name == "inf" and output_norm.name != "inf":
        candidates.extend(_by_corners(jacobians, output_norm))
    if output_norm.name == "1" and input_norm.name != "1":
        turned = Interval(jacobians.lower.mT, jacobians.upper.mT)
        candidates.extend(_by_corners(turned, input_norm.dual))
    best = torch.stack(candidates).amin(0)
    return torch.where(finite, best, torch.full_like(best, torch.inf))


def _by_corners(jacobians: Interval, output_norm: AbstractNorm) -> list[Tensor]:
    """The bound of ||J s||_q over all sign vectors s, up to a common sign; none if too many."""
    rows, inputs = jacobians.shape[1:]
    if inputs > CORNER_INPUTS or rows > CORNER_ROWS:
        return []
    patterns = torch.arange(2 ** (inputs - 1)).unsqueeze(1) >> torch.arange(inputs)
    signs = (1.0 - 2.0 * (patterns & 1)).to(jacobians.lower)
    image = (jacobians.center @ signs.T).abs() + jacobians.radius.sum(-1, keepdim=True)
    # Callers charge rounding relative to the norm; entries of C s may cancel.
    slack = gamma(2 * inputs + 8) * jacobians.magnitude.sum(-1, keepdim=True)
    return [output_norm.of((image + slack).mT).amax(-1)]


def from_rows(rows: Tensor, output_norm: AbstractNorm) -> float:
    """A bound above the operator norm, from bounds [m] of ||J_i||_p* of each row, rounded up."""
    return _round_up(output_norm.of(rows), rows.shape[-1])


def lower(jacobian: Interval, input_norm: AbstractNorm, output_norm: AbstractNorm) -> float:
    """A bound below the operator norm of every matrix in `jacobian`, rounded down.

    ||J|| >= ||C x||_q / ||x||_p - ||J - C||, for the centre C and any x. The x are the maximisers
    of each row, improved by the alternating (Boyd 1974) iteration; for p = 1, for q = inf and for
    p = q = 2 the first is already the exact norm of C.
    """
    if jacobian.lower.numel() == 0 or not jacobian.is_finite():
        return 0.0
    center, radius = jacobian.center, jacobian.radius
    starts = [input_norm.maximiser(center)]
    if input_norm.name == "1":
        best_columns = output_norm.of(center.T).argmax().reshape(1)
        starts.append(torch.nn.functional.one_hot(best_columns, center.shape[1]).to(center))
    if input_norm.name == output_norm.name == "2":
        starts.append(torch.linalg.svd(center, full_matrices=False).Vh[:1])
    x = torch.cat(starts)
    best = _ratio(center, x, input_norm, output_norm)
    for _ in range(ASCENT_STEPS):
        dual = output_norm.dual.maximiser(x @ center.T)
        x = input_norm.maximiser(dual @ center)
        best = torch.maximum(best, _ratio(center, x, input_norm, output_norm))
    if bool((radius > 0).any()):
        best = best - upper(Interval(-radius, radius), input_norm, output_norm)
    return max(0.0, float(round_down(best)))


def _ratio(
    center: Tensor, x: Tensor, input_norm: AbstractNorm, output_norm: AbstractNorm
) -> Tensor:
    """A number below max ||C x||_q / ||x||_p over the rows of x, rounded down; 0 on overflow.

    The rounding of C x is bounded by that of |C| |x|: entries of C x may cancel.
    """
    slack = 2 * gamma(sum(center.shape) + 8)
    image = output_norm.of(x @ center.T)
    reach = output_norm.of(x.abs() @ center.abs().T)
    proved = image - slack * reach - SMALLEST
    lengths = input_norm.of(x).clamp(min=SMALLEST) * (1 + slack)
    ratios = round_down(proved / lengths)
    return torch.where(torch.isfinite(ratios), ratios, torch.zeros_like(ratios)).amax()


def spectral_upper(matrices: Tensor) -> Tensor:
    """A bound above each largest singular value: [b, m, n] -> [b]."""
    frobenius = L2().of(matrices.flatten(1))
    try:
        largest = torch.linalg.matrix_norm(matrices, ord=2)
    except torch.linalg.LinAlgError:  # it did not converge; the Frobenius norm is above it
        return frobenius * (1 + gamma(matrices[0].numel() + 8)) + SMALLEST
    slack = SPECTRAL_SLACK * max(matrices.shape[1:]) * UNIT_ROUNDOFF * frobenius
    return largest + slack


def _round_up(value: Tensor, operations: int) -> float:
    return float(_rounded_up(value, operations))


def _rounded_up(values: Tensor, operations: int) -> Tensor:
    if bool(values.isnan().any()):
        raise NumericalFailure("a bound of an operator norm is NaN")
    return round_up(values + gamma(operations + 8) * values.abs() + SMALLEST)


def attained(
    jacobians: Tensor, input_norm: AbstractNorm, output_norm: AbstractNorm
) -> tuple[Tensor, Tensor, Tensor]:
    """A large value of c.J v over both unit balls, for each matrix: [b, m, n].

    Returns values [b], c [b, m] (unit in the output norm's dual) and v [b, n] (unit in the input
    norm). Exact for p = 1 and for q = inf; otherwise the best of the rows' maximisers, improved by
    the alternating iteration. Not rounded: a guide for searches, no proof.
    """
    starts = input_norm.maximiser(jacobians)
    if input_norm.name == "1":
        column = output_norm.of(jacobians.mT).argmax(-1)
        unit = torch.nn.functional.one_hot(column, jacobians.shape[-1]).to(jacobians)
        starts = torch.cat([starts, unit.unsqueeze(1)], 1)
    values = output_norm.of(starts @ jacobians.mT)
    best = values.argmax(-1)
    v = starts[torch.arange(len(best)), best]
    steps = 0 if output_norm.name == "inf" or input_norm.name == "1" else ASCENT_STEPS
    for _ in range(steps):
        c = output_norm.dual.maximiser((jacobians @ v.unsqueeze(-1)).squeeze(-1))
        v = input_norm.maximiser((c.unsqueeze(1) @ jacobians).squeeze(1))
    image = (jacobians @ v.unsqueeze(-1)).squeeze(-1)
    return output_norm.of(image), output_norm.dual.maximiser(image), v
