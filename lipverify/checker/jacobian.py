"""Enclosures of rows of the Jacobian (README 4.5, 4.6): the mean-split, and linear propagation through
the backward graph.

The adjoint of layer k is d(rows f) / d a_k; layer -1 is the input, whose adjoints are the Jacobian's
elements. Gates have slopes in [alpha, beta]; what the coefficients' blur does is added at the end.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lipverify.checker.activations import SLOPE, Line, Span, TwoSlopes
from lipverify.checker.exact import Matrix, Rows, shift_up
from lipverify.checker.forward import Known, Problem
from lipverify.checker.network import Affine

Ends = tuple[Rows, Rows]
"""Lower and upper ends, [rows, entries], at 2^-P."""


@dataclass
class Scaled:
    """Exact rows at 2^-bits."""

    rows: Rows
    bits: int

    def plus(self, other: "Scaled | None") -> "Scaled":
        if other is None:
            return self
        bits = max(self.bits, other.bits)
        a, b = bits - self.bits, bits - other.bits
        pairs = zip(self.rows, other.rows, strict=True)
        return Scaled(
            [[(x << a) + (y << b) for x, y in zip(r, s, strict=True)] for r, s in pairs], bits
        )


@dataclass
class Gates:
    """Slopes of one layer's gates at 2^-bits, without common zeros behind."""

    alpha: list[int]
    beta: list[int]
    bits: int

    @property
    def open(self) -> list[int]:
        return [i for i, (a, b) in enumerate(zip(self.alpha, self.beta, strict=True)) if a < b]


def gates(known: Known) -> list[Gates]:
    found = []
    for layer, function in enumerate(known.problem.network.activations):
        size = len(known.lower[layer])
        spans = [function.gate(known.span(layer, i), known.problem.bits) for i in range(size)]
        every = 0
        for span in spans:
            every |= span.lower | span.upper
        zeros = min((every & -every).bit_length() - 1, SLOPE) if every else SLOPE
        found.append(
            Gates(
                [s.lower >> zeros for s in spans], [s.upper >> zeros for s in spans], SLOPE - zeros
            )
        )
    return found


def push(form: Affine, rows: Scaled, coming: dict[int, Scaled]) -> None:
    """From adjoints of preactivations to those of what they are made of."""
    for source, matrix in form.parts.items():
        made = Scaled(matrix.after(rows.rows), rows.bits + matrix.bits)
        coming[source] = made.plus(coming.get(source))


def pull(known: Known, every: Sequence[Gates], layer: int, rows: Scaled) -> dict[int, Scaled]:
    """Adjoints of all layers before preactivations `layer`, every gate at its mean."""
    coming: dict[int, Scaled] = {}
    push(known.problem.network.forms[layer], rows, coming)
    for k in range(layer - 1, -1, -1):
        known.problem.clock.check()
        if k in coming:
            means = [a + b for a, b in zip(every[k].alpha, every[k].beta, strict=True)]
            turned = [[x * m for x, m in zip(row, means, strict=True)] for row in coming[k].rows]
            push(
                known.problem.network.forms[k],
                Scaled(turned, coming[k].bits + every[k].bits + 1),
                coming,
            )
    return coming


def mean_split(
    known: Known, every: Sequence[Gates], seed: Scaled
) -> tuple[dict[int, Ends], Scaled, Rows]:
    """Intervals of all adjoints; and centre and radius of the elements."""
    problem, bits = known.problem, known.problem.bits
    centers = pull(known, every, len(every), seed)
    sizes = {-1: problem.network.inputs} | {k: len(g.alpha) for k, g in enumerate(every)}
    spread = {k: [[0] * sizes[k] for _ in seed.rows] for k in centers}
    for k in range(len(every) - 1, -1, -1):
        radius = [b - a for a, b in zip(every[k].alpha, every[k].beta, strict=True)]
        opened = every[k].open
        if k not in centers or not opened:
            continue
        drop = every[k].bits + 1
        weight = [
            [
                shift_up(
                    (_cut(abs(row[i]), centers[k].bits, bits, True) + more[i]) * radius[i], drop
                )
                for i in opened
            ]
            for row, more in zip(centers[k].rows, spread[k], strict=True)
        ]
        units = [[int(i == j) for j in range(sizes[k])] for i in opened]
        for source, part in pull(known, every, k, Scaled(units, 0)).items():
            magnitude = Matrix([list(map(abs, row)) for row in part.rows], sizes[source], part.bits)
            for old, new in zip(spread[source], magnitude.after(weight), strict=True):
                for j, value in enumerate(new):
                    old[j] += shift_up(value, part.bits)
    ends = {
        k: (
            [
                [_cut(x, c.bits, bits, False) - s for x, s in zip(row, more, strict=True)]
                for row, more in zip(c.rows, spread[k], strict=True)
            ],
            [
                [_cut(x, c.bits, bits, True) + s for x, s in zip(row, more, strict=True)]
                for row, more in zip(c.rows, spread[k], strict=True)
            ],
        )
        for k, c in centers.items()
    }
    _narrow(known, every, seed, ends)
    return ends, centers[-1], spread[-1]


def _narrow(known: Known, every: Sequence[Gates], seed: Scaled, ends: dict[int, Ends]) -> None:
    """Intersect with interval arithmetic through the backward graph, from the outputs."""
    bits = known.problem.bits
    total: dict[int, Ends] = {}
    for k in range(len(every), -1, -1):
        if k == len(every):
            lower = [[_cut(x, seed.bits, bits, False) for x in row] for row in seed.rows]
            upper = [[_cut(x, seed.bits, bits, True) for x in row] for row in seed.rows]
        else:
            lower, upper = _products(every[k], _intersect(ends, k, total.pop(k)))
        for source, matrix in known.problem.network.forms[k].parts.items():
            sums = [
                [a + b for a, b in zip(*pair, strict=True)]
                for pair in zip(lower, upper, strict=True)
            ]
            widths = [
                [b - a for a, b in zip(*pair, strict=True)]
                for pair in zip(lower, upper, strict=True)
            ]
            pairs = list(zip(matrix.after(sums), matrix.magnitude.after(widths), strict=True))
            drop = matrix.bits + 1
            low = [[(m - r) >> drop for m, r in zip(*pair, strict=True)] for pair in pairs]
            high = [[shift_up(m + r, drop) for m, r in zip(*pair, strict=True)] for pair in pairs]
            old = total.get(source)
            total[source] = (low, high) if old is None else (_sum(old[0], low), _sum(old[1], high))
    _intersect(ends, -1, total[-1])


def _sum(a: Rows, b: Rows) -> Rows:
    return [[x + y for x, y in zip(*pair, strict=True)] for pair in zip(a, b, strict=True)]


def _intersect(ends: dict[int, Ends], k: int, other: Ends) -> Ends:
    lower = [
        [max(a, b) for a, b in zip(*pair, strict=True)]
        for pair in zip(ends[k][0], other[0], strict=True)
    ]
    upper = [
        [min(a, b) for a, b in zip(*pair, strict=True)]
        for pair in zip(ends[k][1], other[1], strict=True)
    ]
    ends[k] = lower, upper
    return ends[k]


def _products(gate: Gates, ends: Ends) -> Ends:
    """Intervals of d g, row by row."""
    corners = [
        [
            [s * x for s in (a, b) for x in g]
            for a, b, *g in zip(gate.alpha, gate.beta, *pair, strict=True)
        ]
        for pair in zip(*ends, strict=True)
    ]
    return (
        [[min(four) >> gate.bits for four in row] for row in corners],
        [[shift_up(max(four), gate.bits) for four in row] for row in corners],
    )


def _cut(value: int, old: int, new: int, upward: bool) -> int:
    """From 2^-old to 2^-new, rounded."""
    if new >= old:
        return value << (new - old)
    return shift_up(value, old - new) if upward else value >> (old - new)


def backward(
    known: Known, every: Sequence[Gates], seed: Scaled, ends: dict[int, Ends], whole: bool
) -> None:
    """Narrow the intervals of mean_split by linear propagation through the backward graph, row by
    row, from the outputs to the input; without `whole`, only elements of open sign."""
    for row in range(len(seed.rows)):
        for layer in range(len(every) - 1, -2, -1):
            lower, upper = ends[layer][0][row], ends[layer][1][row]
            if layer >= 0:
                indices = every[layer].open
            else:
                indices = [j for j, a in enumerate(lower) if whole or a < 0 < upper[j]]
            if not indices:
                continue
            start = [
                [side if i == j else 0 for j in range(len(lower))]
                for side in (1, -1)
                for i in indices
            ]
            start = [[x << known.problem.bits for x in line] for line in start]
            found = chord_uppers(known, every, seed, row, ends, layer, start)
            for place, i in enumerate(indices):
                upper[i] = min(upper[i], found[place])
                lower[i] = max(lower[i], -found[place + len(indices)])


def chord_uppers(
    known: Known,
    every: Sequence[Gates],
    seed: Scaled,
    row: int,
    ends: dict[int, Ends],
    layer: int,
    start: Rows,
) -> list[int]:
    """Upper bounds of linear functions, at 2^-P, of the adjoints of `layer`, for one row.

    A gate's output d g lies between the two-slope functions max and min of alpha g, beta g: each is
    replaced by a line on g's interval.
    """
    problem, bits = known.problem, known.problem.bits
    forms = problem.network.forms
    totals = [0] * len(start)  # at 2^-(2 bits)
    on = {layer: start}
    for m in range(layer + 1, len(forms)):
        problem.clock.check()
        rows: Rows | None = None
        reach = _reaches(every[m], ends[m], row) if m < len(every) else None
        for source, matrix in forms[m].parts.items():
            if source not in on:
                continue
            made = matrix.transposed.after(on[source])
            if reach is None:
                _finish(made, matrix.bits, seed, row, bits, totals)
                continue
            for t, line in enumerate(made):
                for j, value in enumerate(line):
                    line[j] = value >> matrix.bits
                    if line[j] << matrix.bits != value:
                        totals[t] += reach[j]
            rows = (
                made
                if rows is None
                else [
                    [x + y for x, y in zip(a, b, strict=True)]
                    for a, b in zip(rows, made, strict=True)
                ]
            )
        if rows is None:
            continue
        assert reach is not None
        lines = _chords(every[m], ends[m], row, bits)
        following = []
        for t, line in enumerate(rows):
            out = []
            for j, q in enumerate(line):
                slope, intercept = lines[j][q < 0]
                totals[t] += q * intercept
                whole = q * slope
                out.append(whole >> SLOPE)
                if out[-1] << SLOPE != whole:
                    totals[t] += max(abs(ends[m][0][row][j]), abs(ends[m][1][row][j]))
            following.append(out)
        on[m] = following
    return [shift_up(total, bits) for total in totals]


def _finish(made: Rows, grid: int, seed: Scaled, row: int, bits: int, totals: list[int]) -> None:
    """At the outputs the adjoint is the seed itself."""
    for t, line in enumerate(made):
        value = sum(x * y for x, y in zip(line, seed.rows[row], strict=True))
        totals[t] += _cut(value, bits + grid + seed.bits, 2 * bits, True)


def _reaches(gate: Gates, ends: Ends, row: int) -> list[int]:
    return [
        shift_up(max(abs(a), abs(b)) * max(abs(low), abs(high)), gate.bits)
        for a, b, low, high in zip(gate.alpha, gate.beta, ends[0][row], ends[1][row], strict=True)
    ]


def _chords(gate: Gates, ends: Ends, row: int, bits: int) -> list[tuple[Line, Line]]:
    found = []
    lift = SLOPE - gate.bits
    for a, b, low, high in zip(gate.alpha, gate.beta, ends[0][row], ends[1][row], strict=True):
        span = Span(low, high)
        found.append(
            (
                TwoSlopes(a << lift, b << lift).line(span, bits, True),
                TwoSlopes(b << lift, a << lift).line(span, bits, False),
            )
        )
    return found


def blurring(problem: Problem, seed: Scaled) -> Rows | None:
    """How far the coefficients' blur can move each element, at 2^-P; None: not at all (README 4.5)."""
    network, bits = problem.network, problem.bits
    if not any(form.blur for form in network.forms):
        return None
    zero = {-1: network.inputs} | {k: form.size for k, form in enumerate(network.layers)}
    size = {k: [[0] * n for _ in seed.rows] for k, n in zero.items()}
    error = {k: [[0] * n for _ in seed.rows] for k, n in zero.items()}
    sizes = [[_cut(abs(x), seed.bits, bits, True) for x in row] for row in seed.rows]
    errors = [[0] * len(row) for row in seed.rows]
    for k in range(len(network.layers), -1, -1):
        if k < len(network.layers):
            function = network.activations[k]
            spans = [
                function.gate(Span(a, b), bits) for a, b in zip(*problem.first[k], strict=True)
            ]
            steep = [max(abs(span.lower), abs(span.upper)) for span in spans]
            sizes = [
                [shift_up(x * s, SLOPE) for x, s in zip(row, steep, strict=True)] for row in size[k]
            ]
            errors = [
                [shift_up(x * s, SLOPE) for x, s in zip(row, steep, strict=True)]
                for row in error[k]
            ]
        form = network.forms[k]
        for source, matrix in form.parts.items():
            _accumulate(size[source], matrix.magnitude, sizes)
            _accumulate(error[source], matrix.magnitude, errors)
            if source in form.blur:
                _accumulate(error[source], form.blur[source], errors)
                _accumulate(error[source], form.blur[source], sizes)
    return error[-1]


def _accumulate(total: Rows, matrix: Matrix, rows: Rows) -> None:
    for old, new in zip(total, matrix.after(rows), strict=True):
        for j, value in enumerate(new):
            old[j] += shift_up(value, matrix.bits)
