"""The quadratic dual over the open gates (README 4.7).

Variables v = [1; c; t]: c the combination of rows, for joint objectives, and t the outputs u of the
open gates scaled to [-1, 1]. The proof is that threshold - Lagrangian is a form that is never
negative on |v_i| <= 1.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from operator import mul
from typing import Any

from lipverify.checker.activations import ABS, SLOPE, Span, TwoSlopes
from lipverify.checker.errors import Rejected
from lipverify.checker.exact import (
    Rows,
    counted,
    down,
    each,
    floats,
    magnitude,
    paired,
    product,
    rounded,
    shift_up,
    transposed,
    up,
)
from lipverify.checker.jacobian import Backward, Ends, Gates, Scaled
from lipverify.checker.objectives import JointNorm, RowNorm, Slope, vector_norm
from lipverify.checker.semidefinite import not_negative

Term = tuple[Sequence[int], Sequence[int], int, int]
"""left, right, weight, power of two."""
Interval = Callable[[int], tuple[list[int], list[int]]]

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


def holds(
    backward: Backward,
    seed: Scaled,
    ends: Mapping[int, Ends],
    goal: RowNorm | Slope | JointNorm,
    blur: Rows | None,
    proof: Mapping[str, Any],
) -> bool:
    """Whether the multipliers prove the goal. seed: its rows; ends: intervals of their adjoints."""
    bits = backward.bits
    joint = goal if isinstance(goal, JointNorm) else None
    free = len(seed.rows) if joint else 0
    if joint and joint.norm == "1":
        raise Rejected("the quadratic rule is not for joint objectives with input norm 1")

    def interval(layer: int) -> tuple[list[int], list[int]]:
        lower, upper = ends[layer]
        if joint is None:
            return lower[0], upper[0]
        columns = zip(*each(magnitude, lower, upper), strict=True)
        sizes = [vector_norm(list(column), joint.output_norm) for column in columns]
        return [-size for size in sizes], sizes

    elements, opened = _eliminate(backward, seed, interval, free)
    listed = [tuple(pair) for pair in proof.get("gates", [])]
    if len(set(listed)) < len(listed):
        raise Rejected("quadratic: a gate is listed twice")
    theta = counted(proof.get("theta", ""), len(listed), "theta")
    kappa = counted(proof.get("kappa", ""), len(listed), "kappa")
    if any(k < 0 for k in kappa):
        raise Rejected("quadratic: kappa < 0")

    form = _Form(1 + free + len(opened))
    form.constant(goal.threshold - (_blurred(goal, blur) if blur else 0), bits)
    _objective(form, elements, interval(-1), goal, proof, bits)
    fixed, grid = rounded(theta, EXTRA)
    used = [(opened[name], place) for place, name in enumerate(listed) if name in opened]
    form.products([(g.near_alpha, g.near_beta, fixed[i], 2 * g.bits + grid) for g, i in used])
    form.products(_pairs(backward, opened, proof))
    fixed, grid = rounded(kappa, EXTRA)
    for gate, place in used:
        form.bounded(gate.variable, fixed[place], grid)
    if joint:
        shares = floats(proof.get("free", ""), "free")
        if len(shares) != (1 if joint.output_norm == "2" else free) or min(shares) < 0:
            raise Rejected("quadratic: `free` needs a number >= 0; for output norm 1, one per row")
        fixed, grid = rounded(shares, EXTRA)
        for r in range(free):
            alone = joint.output_norm == "1" or r == 0
            form.bounded(1 + r, fixed[min(r, len(fixed) - 1)], grid, alone)
    rest = {gate.variable for gate in opened.values()} - {gate.variable for gate, _ in used}
    return not_negative(form.without(rest), backward.problem.clock)


class _Form:
    """A symmetric form S over v, twice its matrix kept: parts at different powers of two."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.total = Scaled([[0] * width for _ in range(width)], 0)

    def _add(self, rows: Rows, bits: int) -> None:
        self.total = Scaled(rows, bits).plus(self.total)

    def _entry(self, i: int, value: int, bits: int) -> None:
        """value v_i^2."""
        lift = max(0, bits - self.total.bits)
        if lift:
            self.total = Scaled([[x << lift for x in row] for row in self.total.rows], bits)
        self.total.rows[i][i] += 2 * value << (self.total.bits - bits)

    def constant(self, value: int, bits: int) -> None:
        self._entry(0, value, bits)

    def bounded(self, i: int, share: int, bits: int, alone: bool = True) -> None:
        """- share (1 - v_i^2); not `alone`: the 1 has been taken by another one of a ball."""
        self._entry(i, share, bits)
        if alone:
            self._entry(0, -share, bits)

    def linear(self, row: Sequence[int], bits: int) -> None:
        """- row . v."""
        made = [[0] * self.width for _ in range(self.width)]
        for i, value in enumerate(row):
            made[0][i] -= value
            made[i][0] -= value
        self._add(made, bits)

    def products(self, terms: Sequence[Term]) -> None:
        """- sum of weight (left . v)(right . v), each at its own power of two."""
        width = self.width
        for bits in {term[3] for term in terms if term[2]}:
            some = [term for term in terms if term[3] == bits]
            left = [[*a, *[0] * (width - len(a))] for a, _, _, _ in some]
            right = [[w * x for x in b] + [0] * (width - len(b)) for _, b, w, _ in some]
            made = product(transposed(left, width), right, width)
            self._add(each(lambda x, y: -x - y, made, transposed(made, width)), bits)

    def without(self, gone: Collection[int]) -> Rows:
        """Variables dropped, at the price of all their terms, |v_i v_j| <= 1."""
        rows = self.total.rows
        price = sum(abs(x) * (1 if j in gone else 2) for i in gone for j, x in enumerate(rows[i]))
        kept = [i for i in range(self.width) if i not in gone]
        made = [[rows[i][j] for j in kept] for i in kept]
        made[0][0] -= price
        return made


def _eliminate(
    backward: Backward, seed: Scaled, interval: Interval, free: int
) -> tuple[Scaled, dict[tuple[int, int], _Gate]]:
    """The elements as rows over v [width, inputs], and the open gates; others are linear maps."""
    first = [[0] * len(seed.rows[0])] if free else []
    coming: dict[int, Scaled] = {}
    backward.push(len(backward.gates), Scaled([*first, *seed.rows], seed.bits), coming)
    opened: dict[tuple[int, int], _Gate] = {}
    width = 1 + free
    for k in range(len(backward.gates) - 1, -1, -1):
        gate, adjoint = backward.gates[k], coming.pop(k)
        shut = [0 if a < b else a for a, b in zip(gate.alpha, gate.beta, strict=True)]
        following = Scaled(
            [paired(mul, row, shut) for row in adjoint.rows], adjoint.bits + gate.bits
        )
        if gate.open:
            boxes, grid = _boxes(gate, *interval(k), backward.bits)
            own = [[0] * len(shut) for _ in range(width + len(boxes))]
            bits = max(following.bits, grid)
            up_g, up_u = bits - following.bits, bits - grid
            for place, (i, (middle, radius)) in enumerate(zip(gate.open, boxes, strict=True)):
                own[0][i], own[width + place][i] = middle, radius
                near_alpha = [0] * (width + place + 1)
                near_alpha[0], near_alpha[-1] = middle << up_u, radius << up_u
                near_beta = [-x for x in near_alpha]
                for j, row in enumerate(adjoint.rows):
                    near_alpha[j] -= gate.alpha[i] * row[i] << up_g
                    near_beta[j] += gate.beta[i] * row[i] << up_g
                opened[k, i] = _Gate(width + place, near_alpha, near_beta, bits)
            width += len(boxes)
            following = following.plus(Scaled(own, grid))
        backward.push(k, following, coming)
    return coming.pop(-1), opened


def _boxes(
    gate: Gates, lower: Sequence[int], upper: Sequence[int], bits: int
) -> tuple[list[tuple[int, int]], int]:
    """Of each open gate, u = middle + radius t with |t| <= 1 holds all outputs that the adjoints
    allow; at 2^-(what is returned)."""
    spans = []
    for i in gate.open:
        corners = [s * end for s in (gate.alpha[i], gate.beta[i]) for end in (lower[i], upper[i])]
        spans.append((min(corners), max(corners)))
    largest = max(magnitude(*span) for span in spans)
    drop = max(0, largest.bit_length() - 64)  # 64 bits are enough
    # (lower + upper) / 2 at 2^-n is lower + upper at one bit more; no negative powers.
    grid = bits + gate.bits - drop + 1
    lift = max(0, -grid)
    ends = [(low >> drop, shift_up(high, drop)) for low, high in spans]
    return [((a + b) << lift, (b - a) << lift) for a, b in ends], grid + lift


def _objective(
    form: _Form,
    elements: Scaled,
    interval: tuple[list[int], list[int]],
    goal: RowNorm | Slope | JointNorm,
    proof: Mapping[str, Any],
    bits: int,
) -> None:
    """Subtract a quadratic function that is above the objective."""
    columns = transposed(elements.rows, 0)
    if isinstance(goal, Slope):
        form.linear([goal.sign * x for x in columns[goal.input]], elements.bits)
        return
    if goal.norm == "2":  # |r| <= tau + |r|^2 / (4 tau)
        (tau,) = counted(proof.get("scale", ""), 1, "scale")
        if tau <= 0:
            raise Rejected("quadratic: scale <= 0")
        (curve,), grid = _curves([1 << WEIGHT], [tau])
        form.constant(-up(tau, bits), bits)
        form.products([(row, row, curve, 2 * elements.bits + grid) for row in columns])
        return
    lower, upper = interval
    blends = (
        counted(proof["blend"], len(columns), "blend") if "blend" in proof else [1.0] * len(columns)
    )
    scales = (
        counted(proof["scale"], len(columns), "scale") if "scale" in proof else [1.0] * len(columns)
    )
    if any(not 0 <= w <= 1 for w in blends) or min(scales) <= 0:
        raise Rejected("quadratic: expected 0 <= blend <= 1 and scale > 0")
    one = 1 << WEIGHT
    shares, slopes, level = [], [], 0  # slopes at 2^-(WEIGHT + SLOPE), level at 2^-(WEIGHT + bits)
    for low, high, blend in zip(lower, upper, blends, strict=True):
        line = ABS.line(Span(low, high), bits, True)  # |r| itself where its sign is known
        part = down(blend, WEIGHT) if low < 0 < high else one
        shares.append(one - part)
        slopes.append(part * line.slope)
        level += part * line.intercept
    form.constant(-level, WEIGHT + bits)
    lost = sum(
        (
            Fraction(share, one) * Fraction(tau)
            for share, tau in zip(shares, scales, strict=True)
            if share
        ),
        Fraction(0),
    )
    form.constant(-up(lost, bits), bits)
    form.linear(
        [sum(s * x for s, x in zip(slopes, row, strict=True)) for row in elements.rows],
        elements.bits + WEIGHT + SLOPE,
    )
    kept = [j for j, share in enumerate(shares) if share]
    if kept:
        curves, grid = _curves([shares[j] for j in kept], [scales[j] for j in kept])
        terms = zip(kept, curves, strict=True)
        form.products([(columns[j], columns[j], c, 2 * elements.bits + grid) for j, c in terms])


def _curves(shares: Sequence[int], scales: Sequence[float]) -> tuple[list[int], int]:
    """share / (4 scale), rounded up, at 2^-(what is returned)."""
    exact = [
        Fraction(share, 1 << WEIGHT) / (4 * Fraction(scale))
        for share, scale in zip(shares, scales, strict=True)
    ]
    largest = max(exact)
    grid = max(0, EXTRA - largest.numerator.bit_length() + largest.denominator.bit_length())
    return [up(curve, grid) for curve in exact], grid


def _pairs(
    backward: Backward, opened: Mapping[tuple[int, int], _Gate], proof: Mapping[str, Any]
) -> list[Term]:
    """Products that vanish: of two gates that are never on the two sides named."""
    numbers = proof.get("pairs", [])
    fixed, grid = rounded(counted(proof.get("phi", ""), len(numbers), "phi"), EXTRA)
    found = []
    for number, phi in zip(numbers, fixed, strict=True):
        if number >= len(backward.known.conflicts):
            raise Rejected(f"quadratic: conflict {number} is not known")
        pair = backward.known.conflicts[number]
        sides = []
        for k, i, side in (pair[:3], pair[3:]):
            function = backward.problem.network.activations[k]
            if not (isinstance(function, TwoSlopes) and function.below < function.above):
                raise Rejected(f"quadratic: conflict {number}: no slope that rises at 0")
            if (k, i) in opened:
                gate = opened[k, i]
                sides.append((gate.near_alpha if side > 0 else gate.near_beta, gate.bits))
        if len(sides) == 2:  # else a multiplier that is 0
            (a, bits), (b, more) = sides
            found.append((a, b, phi, bits + more + grid))
    return found


def _blurred(goal: RowNorm | Slope | JointNorm, blur: Rows) -> int:
    """The most that the coefficients' blur adds to the objective."""
    if isinstance(goal, Slope):
        return blur[0][goal.input]
    dual = {"2": "2", "inf": "1"}[goal.norm]
    sizes = [vector_norm(row, dual) for row in blur]
    return vector_norm(sizes, goal.output_norm) if isinstance(goal, JointNorm) else sizes[0]
