"""The quadratic dual over the open gates (README 4.7).

Variables v = [1; c; t]: c the combination of rows, for joint objectives, and t the outputs u of the
open gates scaled to [-1, 1]. The proof is that threshold - Lagrangian is a form that is never
negative on |v_i| <= 1. Linear functions of v are rows over v, shorter ones with zeros behind.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from operator import mul, sub
from typing import Any

from lipverify.checker.activations import ABS, SLOPE, Span, TwoSlopes
from lipverify.checker.errors import Rejected
from lipverify.checker.exact import (
    Matrix,
    Rows,
    at,
    common,
    counted,
    down,
    each,
    floats,
    magnitude,
    paired,
    rounded,
    shift_up,
    up,
)
from lipverify.checker.forward import Ends
from lipverify.checker.jacobian import Backward, Row
from lipverify.checker.objectives import Norm, Slope, vector_norm
from lipverify.checker.semidefinite import not_negative

WEIGHT = 60
"""Fraction bits of a blend."""
EXTRA = 80
"""Bits kept of multipliers, below the largest."""


@dataclass
class _Gate:
    """An open gate: variable number, and u - alpha g, beta g - u as rows over v, at 2^-bits."""

    variable: int
    near_alpha: list[int]
    near_beta: list[int]
    bits: int


Gates = Mapping[tuple[int, ...], _Gate]


def holds(
    backward: Backward, found: Sequence[Row], goal: Norm | Slope, proof: Mapping[str, Any]
) -> bool:
    """Whether the multipliers prove the goal; `found`: enclosures of its rows."""
    bits, free = backward.bits, len(found) if len(found) > 1 else 0
    if free and isinstance(goal, Norm) and goal.norm == "1":
        raise Rejected("the quadratic rule is not for joint objectives with input norm 1")
    elements, gates = _eliminate(backward, found, goal, free)
    listed = [tuple(pair) for pair in proof.get("gates", ())]
    if len(set(listed)) < len(listed):
        raise Rejected("quadratic: a gate is listed twice")
    theta, grid = rounded(counted(proof.get("theta", ""), len(listed), "theta"), EXTRA)
    kappa, fine = rounded(counted(proof.get("kappa", ""), len(listed), "kappa"), EXTRA)
    if min(kappa, default=0) < 0:
        raise Rejected("quadratic: kappa < 0")

    form = _Form(1 + free + len(gates))
    blur = goal.wider([row.blur for row in found])
    form.diagonal[0] += Fraction(goal.threshold - blur, 1 << bits)
    _objective(form, elements, _ends(found, goal, -1), goal, proof, bits)
    used = set()
    for name, weight, share in zip(listed, theta, kappa, strict=True):
        if gate := gates.get(name):
            used.add(gate.variable)
            form.minus(gate.near_alpha, gate.near_beta, weight, 2 * gate.bits + grid)
            form.bounded(gate.variable, Fraction(share, 1 << fine))
    _pairs(form, backward, gates, proof)
    if free:
        ball = isinstance(goal, Norm) and goal.output_norm == "2"
        shares = floats(proof.get("free", ""), "free")
        if len(shares) != (1 if ball else free) or min(shares) < 0:
            raise Rejected("quadratic: `free` needs a number >= 0; for output norm 1, one per row")
        fixed, fine = rounded(shares, EXTRA)
        for r in range(free):
            share = Fraction(fixed[r % len(fixed)], 1 << fine)
            form.bounded(1 + r, share, alone=not ball or r == 0)
    return not_negative(
        form.without({gate.variable for gate in gates.values()} - used), backward.problem.clock
    )


def _ends(found: Sequence[Row], goal: Norm | Slope, layer: int) -> Ends:
    """Intervals of the adjoints of one row, or of c times the rows for all c of the dual ball."""
    if isinstance(goal, Slope) or len(found) == 1:
        return found[0].ends(layer)
    columns = zip(*(row.magnitudes(layer) for row in found), strict=True)
    sizes = [vector_norm(column, goal.output_norm) for column in columns]
    return [-size for size in sizes], sizes


class _Form:
    """A quadratic form over v: a diagonal, less weighted products of rows."""

    def __init__(self, width: int) -> None:
        self.width, self.diagonal = width, [Fraction(0)] * width
        self._terms: dict[int, tuple[Rows, Rows]] = {}

    def minus(self, left: Sequence[int], right: Sequence[int], weight: int, bits: int) -> None:
        """- weight (left . v)(right . v), at 2^-bits."""
        if weight:
            lefts, rights = self._terms.setdefault(bits, ([], []))
            lefts.append([*left, *[0] * (self.width - len(left))])
            rights.append([weight * x for x in right] + [0] * (self.width - len(right)))

    def bounded(self, i: int, share: Fraction, alone: bool = True) -> None:
        """- share (1 - v_i^2); not `alone`: the 1 has been taken by another one of a ball."""
        self.diagonal[i] += share
        self.diagonal[0] -= share * alone

    def without(self, gone: Collection[int]) -> Rows:
        """The symmetric matrix, at some scale; variables `gone` are dropped at the price of all
        their terms, |v_i v_j| <= 1."""
        total = Matrix([[0] * self.width for _ in range(self.width)], self.width, 0)
        for bits, (lefts, rights) in self._terms.items():
            left = Matrix(lefts, self.width, 0).transposed
            total = Matrix(rights, self.width, bits).of(left).plus(total)
        total = total.at(max(total.bits, common([self.diagonal])))
        rows = each(lambda x, y: -x - y, total.rows, total.transposed.rows)
        for i, twice in enumerate(at(self.diagonal, total.bits + 1)):
            rows[i][i] += twice
        price = sum(abs(x) * (1 if j in gone else 2) for i in gone for j, x in enumerate(rows[i]))
        kept = [i for i in range(self.width) if i not in gone]
        made = [[rows[i][j] for j in kept] for i in kept]
        made[0][0] -= price
        return made


def _eliminate(
    backward: Backward, found: Sequence[Row], goal: Norm | Slope, free: int
) -> tuple[Matrix, Gates]:
    """The elements as rows over v [width, inputs], and the open gates; others are linear maps."""
    chosen, bits = [backward.rows[row] for row in goal.rows], backward.bits
    grid, size, width = common(chosen), len(chosen[0]), 1 + free
    seed = [[0] * size] * min(free, 1) + [at(row, grid) for row in chosen]
    coming: dict[int, Matrix] = {}
    backward.push(len(backward.gates), Matrix(seed, size, grid), coming)
    gates: dict[tuple[int, ...], _Gate] = {}
    for k in range(len(backward.gates) - 1, -1, -1):
        gate, adjoint, (lower, upper) = backward.gates[k], coming.pop(k), _ends(found, goal, k)
        shut = [0 if a < b else a for a, b in zip(gate.alpha, gate.beta, strict=True)]
        through = [paired(mul, row, shut) for row in adjoint.rows]
        following = Matrix(through, len(shut), adjoint.bits + gate.bits)
        if gate.open:
            # u = middle + radius t holds all outputs that the adjoints allow; 64 bits are enough.
            problem = found[0].known.problem
            ends = problem.values(problem.count - 2 - k, lower, upper)
            spans = [(ends[0][i], ends[1][i]) for i in gate.open]
            drop = max(magnitude(*span) for span in spans).bit_length() - 64
            drop = min(max(0, drop), bits)
            grid = bits - drop + 1  # at which lower + upper is the middle
            fine = max(grid, following.bits)
            own = [[0] * len(shut) for _ in range(width + len(spans))]
            for i, (low, high) in zip(gate.open, spans, strict=True):
                low, high = low >> drop, shift_up(high, drop)
                own[0][i], own[width][i] = low + high, high - low
                u = [low + high, *[0] * (width - 1), high - low]
                u = [x << fine - grid for x in u]
                g = [row[i] << fine - following.bits for row in adjoint.rows]
                g += [0] * (len(u) - len(g))
                near_alpha = paired(sub, u, [gate.alpha[i] * x for x in g])
                near_beta = paired(sub, [gate.beta[i] * x for x in g], u)
                gates[k, i] = _Gate(width, near_alpha, near_beta, fine)
                width += 1
            following = following.plus(Matrix(own, len(shut), grid))
        backward.push(k, following, coming)
    return coming.pop(-1), gates


def _objective(
    form: _Form,
    elements: Matrix,
    interval: Ends,
    goal: Norm | Slope,
    proof: Mapping[str, Any],
    bits: int,
) -> None:
    """Subtract a quadratic function that is above the objective: r_j by itself, or each |r_j| by
    parts of its chord and of tau + r_j^2 / (4 tau); |r| by tau + |r|^2 / (4 tau)."""
    columns, one = elements.transposed.rows, 1 << WEIGHT
    if isinstance(goal, Slope):
        form.minus([goal.sign], columns[goal.input], 1, elements.bits)
        return
    count = 1 if goal.norm == "2" else len(columns)
    scales = [1.0] * count
    if "scale" in proof or goal.norm == "2":
        scales = counted(proof.get("scale", ""), count, "scale")
    blends = [float(goal.norm == "inf")] * count
    if "blend" in proof and goal.norm == "inf":
        blends = counted(proof["blend"], count, "blend")
    if any(not 0 <= w <= 1 for w in blends) or min(scales) <= 0:
        raise Rejected("quadratic: expected 0 <= blend <= 1 and scale > 0")
    parts = [down(blend, WEIGHT) for blend in blends]
    if goal.norm == "inf":
        spans = paired(Span, *interval)
        # |r_j| is its chord where its sign is known.
        parts = [w if low < 0 < high else one for w, (low, high) in zip(parts, spans, strict=True)]
        lines = [ABS.line(span, bits, True) for span in spans]
        slopes = [w * line.slope for w, line in zip(parts, lines, strict=True)]
        row = [sum(paired(mul, slopes, line)) for line in elements.rows]
        form.minus([1], row, 1, elements.bits + WEIGHT + SLOPE)
        level = sum(w * line.intercept for w, line in zip(parts, lines, strict=True))
        form.diagonal[0] -= Fraction(level, one << bits)
    shares = [Fraction(one - part, one) for part in parts]
    lost = sum(share * Fraction(tau) for share, tau in zip(shares, scales, strict=True))
    form.diagonal[0] -= Fraction(up(lost, bits), 1 << bits)
    curves = [share / (4 * Fraction(tau)) for share, tau in zip(shares, scales, strict=True)]
    fixed, fine = rounded(curves, EXTRA)
    for j, column in enumerate(columns):
        form.minus(column, column, fixed[j % count], 2 * elements.bits + fine)


def _pairs(form: _Form, backward: Backward, gates: Gates, proof: Mapping[str, Any]) -> None:
    """Products that vanish: of two gates that are never on the two sides named."""
    numbers, conflicts = proof.get("pairs", ()), backward.known.conflicts
    fixed, grid = rounded(counted(proof.get("phi", ""), len(numbers), "phi"), EXTRA)
    for number, phi in zip(numbers, fixed, strict=True):
        if number >= len(conflicts):
            raise Rejected(f"quadratic: conflict {number} is not known")
        rows: Rows = []
        bits = grid
        for k, i, side in (conflicts[number][:3], conflicts[number][3:]):
            function = backward.problem.functions[k][i][0]
            if not (isinstance(function, TwoSlopes) and function.below < function.above):
                raise Rejected(f"quadratic: conflict {number}: no slope that rises at 0")
            if gate := gates.get((k, i)):
                rows.append(gate.near_alpha if side > 0 else gate.near_beta)
                bits += gate.bits
        if len(rows) == 2:  # else a multiplier that is 0
            form.minus(rows[0], rows[1], phi, bits)
