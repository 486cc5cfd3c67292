"""The quadratic dual over the open gates (README 4.7).

Variables v = [1; c; t]: c the combination of rows, for joint objectives, and t the outputs u of the
open gates scaled to [-1, 1]. The proof is that threshold - Lagrangian is a form that is never
negative on |v_i| <= 1.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from lipverify.checker.activations import ABS, SLOPE, Span, TwoSlopes
from lipverify.checker.errors import Rejected
from lipverify.checker.exact import Rows, counted, down, floats, product, rounded, shift_up, up
from lipverify.checker.forward import Known
from lipverify.checker.jacobian import Ends, Gates, Scaled
from lipverify.checker.objectives import JointNorm, RowNorm, Slope, vector_norm
from lipverify.checker.semidefinite import not_negative

WEIGHT = 60
"""Fraction bits of a blend."""
EXTRA = 80
"""Bits kept of multipliers, below the largest."""


class _Gate:
    """An open gate: variable number, and u - alpha g, beta g - u as rows over v."""

    def __init__(
        self, variable: int, near_alpha: Sequence[int], near_beta: Sequence[int], bits: int
    ) -> None:
        self.variable, self.near_alpha, self.near_beta, self.bits = (
            variable,
            near_alpha,
            near_beta,
            bits,
        )


def holds(
    known: Known,
    every: Sequence[Gates],
    seed: Scaled,
    ends: Mapping[int, Ends],
    goal: RowNorm | Slope | JointNorm,
    blur: Rows | None,
    proof: Mapping[str, Any],
) -> bool:
    """Whether the multipliers prove the goal. seed: its rows; ends: intervals of their adjoints."""
    problem, bits = known.problem, known.problem.bits
    joint = goal if isinstance(goal, JointNorm) else None
    free = len(seed.rows) if joint else 0
    if joint and joint.norm == "1":
        raise Rejected("the quadratic rule is not for joint objectives with input norm 1")

    def interval(layer: int) -> tuple[list[int], list[int]]:
        lower, upper = ends[layer]
        if joint is None:
            return lower[0], upper[0]
        sizes = [
            vector_norm(
                [max(abs(a), abs(b)) for a, b in zip(low, high, strict=True)], joint.output_norm
            )
            for low, high in zip(zip(*lower, strict=True), zip(*upper, strict=True), strict=True)
        ]
        return [-size for size in sizes], sizes

    elements, opened = _eliminate(known, every, seed, interval, free)
    width = 1 + free + len(opened)
    listed = [tuple(pair) for pair in proof.get("gates", [])]
    if len(set(listed)) < len(listed):
        raise Rejected("quadratic: a gate is listed twice")
    theta = counted(proof.get("theta", ""), len(listed), "theta")
    kappa = counted(proof.get("kappa", ""), len(listed), "kappa")
    if any(k < 0 for k in kappa):
        raise Rejected("quadratic: kappa < 0")

    threshold = goal.threshold - (_blurred(goal, blur) if blur else 0)
    form = _Form(width)
    form.constant(threshold, bits)
    _objective(form, elements, interval(-1), goal, proof, bits)

    places = {name: place for place, name in enumerate(listed) if name in opened}
    fixed, grid = rounded(theta, EXTRA)
    by_bits: dict[int, list[tuple[_Gate, int]]] = {}
    for name, place in places.items():
        by_bits.setdefault(opened[name].bits, []).append((opened[name], fixed[place]))
    for scale, group in by_bits.items():
        form.minus(
            [g.near_alpha for g, _ in group],
            [g.near_beta for g, _ in group],
            [t for _, t in group],
            2 * scale + grid,
        )
    _pairs(form, known, opened, proof)
    one, grid = rounded(kappa, EXTRA)
    for name, place in places.items():
        form.bounded(opened[name].variable, one[place], grid)
    if joint:
        shares = floats(proof.get("free", ""), "free")
        if len(shares) != (1 if joint.output_norm == "2" else free) or min(shares) < 0:
            raise Rejected(
                "quadratic: `free` needs one number >= 0 for output norm 2, one per row for 1"
            )
        one, grid = rounded(shares, EXTRA)
        for r in range(free):
            form.bounded(
                1 + r, one[min(r, len(one) - 1)], grid, alone=joint.output_norm == "1" or r == 0
            )
    chosen = {opened[name].variable for name in places}
    rest = [gate.variable for gate in opened.values() if gate.variable not in chosen]
    return not_negative(form.without(rest), problem.clock)


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

    def minus(
        self,
        left: Sequence[Sequence[int]],
        right: Sequence[Sequence[int]],
        weights: Sequence[int],
        bits: int,
    ) -> None:
        """- sum of weight (left . v)(right . v)."""
        if not any(weights):
            return
        width = self.width
        padded = [[*row, *[0] * (width - len(row))] for row in left]
        turned = [
            [w * x for x in row] + [0] * (width - len(row))
            for row, w in zip(right, weights, strict=True)
        ]
        made = product([list(column) for column in zip(*padded, strict=True)], turned, width)
        self._add(
            [
                [-x - y for x, y in zip(row, column, strict=True)]
                for row, column in zip(made, zip(*made, strict=True), strict=True)
            ],
            bits,
        )

    def without(self, gone: Sequence[int]) -> Rows:
        """Variables dropped, at the price of all their terms, |v_i v_j| <= 1."""
        rows, left = self.total.rows, set(range(self.width)) - set(gone)
        price = sum(abs(x) * (2 if j in left else 1) for i in gone for j, x in enumerate(rows[i]))
        kept = sorted(left)
        made = [[rows[i][j] for j in kept] for i in kept]
        made[0][0] -= price
        return made


def _eliminate(
    known: Known, every: Sequence[Gates], seed: Scaled, interval: Any, free: int
) -> tuple[Scaled, dict[tuple[int, int], _Gate]]:
    """The elements as rows over v [width, inputs], and the open gates; the others are linear maps."""
    problem, bits = known.problem, known.problem.bits
    zero = [0] * len(seed.rows[0])
    coming: dict[int, Scaled] = {}
    _push(
        problem.network.forms[-1].parts,
        Scaled([zero, *seed.rows] if free else list(seed.rows), seed.bits),
        coming,
    )
    opened: dict[tuple[int, int], _Gate] = {}
    width = 1 + free
    for k in range(len(every) - 1, -1, -1):
        problem.clock.check()
        gate, adjoint = every[k], coming.pop(k)
        places = gate.open
        turned = [[x * a for x, a in zip(row, gate.alpha, strict=True)] for row in adjoint.rows]
        for row in turned:
            for i in places:
                row[i] = 0
        following = Scaled(turned, adjoint.bits + gate.bits)
        if places:
            lower, upper = interval(k)
            middle, radius, grid = _boxes(gate, places, lower, upper, bits)
            size = len(gate.alpha)
            own = [[0] * size for _ in range(width + len(places))]
            for place, i in enumerate(places):
                own[0][i], own[width + place][i] = middle[place], radius[place]
            scale = max(following.bits, grid)
            up_g, up_u = scale - following.bits, scale - grid
            for place, i in enumerate(places):
                g = [row[i] << up_g for row in adjoint.rows]
                u = [0] * (width + place + 1)
                u[0], u[-1] = middle[place] << up_u, radius[place] << up_u
                alpha, beta = gate.alpha[i], gate.beta[i]
                near_alpha, near_beta = list(u), [-x for x in u]
                for j, x in enumerate(g):
                    near_alpha[j] -= alpha * x
                    near_beta[j] += beta * x
                opened[k, i] = _Gate(width + place, near_alpha, near_beta, scale)
            width += len(places)
            following = _plus(following, Scaled(own, grid))
        _push(problem.network.forms[k].parts, following, coming)
    return coming.pop(-1), opened


def _push(parts: Mapping[int, Any], rows: Scaled, coming: dict[int, Scaled]) -> None:
    for source, matrix in parts.items():
        made = Scaled(matrix.after(rows.rows), rows.bits + matrix.bits)
        coming[source] = _plus(made, coming[source]) if source in coming else made


def _plus(a: Scaled, b: Scaled) -> Scaled:
    """Rows behind the last one are zero."""
    count, columns = max(len(a.rows), len(b.rows)), len(a.rows[0])
    first, second = (
        Scaled([*x.rows, *([0] * columns for _ in range(count - len(x.rows)))], x.bits)
        for x in (a, b)
    )
    return first.plus(second)


def _boxes(
    gate: Gates, places: Sequence[int], lower: Sequence[int], upper: Sequence[int], bits: int
) -> tuple[list[int], list[int], int]:
    """u = middle + radius t with |t| <= 1, at 2^-grid: all outputs that the adjoints allow."""
    spans = []
    for i in places:
        corners = [
            slope * end for slope in (gate.alpha[i], gate.beta[i]) for end in (lower[i], upper[i])
        ]
        spans.append(Span(min(corners), max(corners)))
    old = bits + gate.bits
    largest = max(max(-span.lower, span.upper) for span in spans)
    drop = max(0, largest.bit_length() - 64)  # 64 bits are enough
    ends = [(span.lower >> drop, shift_up(span.upper, drop)) for span in spans]
    # (lower + upper) / 2 at 2^-(old - drop) is lower + upper at one bit more; below 1, at no bits.
    grid = old - drop + 1
    lift = max(0, -grid)
    return [(a + b) << lift for a, b in ends], [(b - a) << lift for a, b in ends], grid + lift


def _objective(
    form: _Form,
    elements: Scaled,
    interval: tuple[list[int], list[int]],
    goal: RowNorm | Slope | JointNorm,
    proof: Mapping[str, Any],
    bits: int,
) -> None:
    """Subtract a quadratic function that is above the objective."""
    columns = [list(column) for column in zip(*elements.rows, strict=True)]
    if isinstance(goal, Slope):
        form.linear([goal.sign * x for x in columns[goal.input]], elements.bits)
        return
    if goal.norm == "2":  # |r| <= tau + |r|^2 / (4 tau)
        (tau,) = counted(proof.get("scale", ""), 1, "scale")
        if tau <= 0:
            raise Rejected("quadratic: scale <= 0")
        (curve,), grid = _curves([1 << WEIGHT], [tau])
        form.constant(-up(tau, bits), bits)
        form.minus(columns, columns, [curve] * len(columns), 2 * elements.bits + grid)
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
        chosen = [columns[j] for j in kept]
        form.minus(chosen, chosen, curves, 2 * elements.bits + grid)


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
    form: _Form, known: Known, opened: Mapping[tuple[int, int], _Gate], proof: Mapping[str, Any]
) -> None:
    """Products that vanish: of two gates that are never on the two sides named."""
    numbers = proof.get("pairs", [])
    fixed, grid = rounded(counted(proof.get("phi", ""), len(numbers), "phi"), EXTRA)
    groups: dict[int, list[tuple[Sequence[int], Sequence[int], int]]] = {}
    for number, phi in zip(numbers, fixed, strict=True):
        if number >= len(known.conflicts):
            raise Rejected(f"quadratic: conflict {number} is not known")
        k, i, s, other, j, side = known.conflicts[number]
        for layer in (k, other):
            function = known.problem.network.activations[layer]
            if not (isinstance(function, TwoSlopes) and function.below < function.above):
                raise Rejected(
                    f"quadratic: conflict {number}: layer {layer} has no slope that rises at 0"
                )
        if (k, i) not in opened or (other, j) not in opened or not phi:
            continue  # a multiplier that is 0
        a, b = opened[k, i], opened[other, j]
        groups.setdefault(a.bits + b.bits, []).append(
            (a.near_alpha if s > 0 else a.near_beta, b.near_alpha if side > 0 else b.near_beta, phi)
        )
    for bits, terms in groups.items():
        form.minus([t[0] for t in terms], [t[1] for t in terms], [t[2] for t in terms], bits + grid)


def _blurred(goal: RowNorm | Slope | JointNorm, blur: Rows) -> int:
    """The most that the coefficients' blur adds to the objective."""
    if isinstance(goal, Slope):
        return blur[0][goal.input]
    dual = {"2": "2", "inf": "1"}[goal.norm]
    sizes = [vector_norm(row, dual) for row in blur]
    return vector_norm(sizes, goal.output_norm) if isinstance(goal, JointNorm) else sizes[0]
