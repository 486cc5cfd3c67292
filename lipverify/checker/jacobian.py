"""Enclosures of rows of the Jacobian (README 4.5, 4.6): the mean-split, and linear propagation
through the backward graph.

The adjoint of layer k is d(rows f) / d a_k; layer -1 is the input, whose adjoints are the
Jacobian's elements. Gates have slopes in [alpha, beta]; the coefficients' blur is added at the end.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from operator import add, mul, sub

from lipverify.checker.activations import SLOPE, Span, TwoSlopes
from lipverify.checker.exact import Matrix, Rows, each, magnitude, paired, shift_up
from lipverify.checker.forward import Known, Problem, divide

Ends = tuple[Rows, Rows]
"""Lower and upper ends, [rows, entries], at 2^-P."""


def cut(value: int, old: int, new: int, upward: bool) -> int:
    """From 2^-old to 2^-new, rounded."""
    if new >= old:
        return value << (new - old)
    return shift_up(value, old - new) if upward else value >> (old - new)


@dataclass
class Scaled:
    """Exact rows at 2^-bits."""

    rows: Rows
    bits: int

    def plus(self, other: "Scaled | None") -> "Scaled":
        """The sum; rows that only one of them has are zero in the other."""
        if other is None:
            return self
        a, b = (self, other) if len(self.rows) >= len(other.rows) else (other, self)
        bits = max(a.bits, b.bits)
        up_a, up_b = bits - a.bits, bits - b.bits
        both = each(lambda x, y: (x << up_a) + (y << up_b), a.rows[: len(b.rows)], b.rows)
        rest = [[x << up_a for x in row] for row in a.rows[len(b.rows) :]]
        return Scaled(both + rest, bits)

    def ends(self, bits: int) -> Ends:
        """Rounded both ways."""
        lower, upper = (partial(cut, old=self.bits, new=bits, upward=way) for way in (False, True))
        return each(lower, self.rows), each(upper, self.rows)


@dataclass
class Gates:
    """Slopes of one layer's gates at 2^-bits, without common zeros behind."""

    alpha: list[int]
    beta: list[int]
    bits: int

    @cached_property
    def open(self) -> list[int]:
        return [i for i, (a, b) in enumerate(zip(self.alpha, self.beta, strict=True)) if a < b]


class Backward:
    """The backward graph at one node: gates there, and what several rows share."""

    def __init__(self, known: Known) -> None:
        self.known, self.problem, self.bits = known, known.problem, known.problem.bits
        self.forms = self.problem.network.forms
        self.gates = [self._gates(layer) for layer in range(len(known.lower))]
        self._pulled: dict[int, dict[int, Matrix]] = {}

    def _gates(self, layer: int) -> Gates:
        function, known = self.problem.network.activations[layer], self.known
        size = len(known.lower[layer])
        spans = [function.gate(known.span(layer, i), self.bits) for i in range(size)]
        every = 0
        for span in spans:
            every |= span.lower | span.upper
        zeros = min((every & -every).bit_length() - 1, SLOPE) if every else SLOPE
        lower, upper = ([end >> zeros for end in ends] for ends in zip(*spans, strict=True))
        return Gates(lower, upper, SLOPE - zeros)

    def push(self, layer: int, rows: Scaled, coming: dict[int, Scaled]) -> None:
        """From adjoints of preactivations to those of what they are made of."""
        self.problem.clock.check()
        for source, matrix in self.forms[layer].parts.items():
            made = Scaled(matrix.after(rows.rows), rows.bits + matrix.bits)
            coming[source] = made.plus(coming.get(source))

    def pull(self, layer: int, rows: Scaled) -> dict[int, Scaled]:
        """Adjoints of all layers before preactivations `layer`, every gate at its mean."""
        coming: dict[int, Scaled] = {}
        self.push(layer, rows, coming)
        for k in range(layer - 1, -1, -1):
            if k in coming:
                gate = self.gates[k]
                means = paired(add, gate.alpha, gate.beta)
                turned = [paired(mul, row, means) for row in coming[k].rows]
                self.push(k, Scaled(turned, coming[k].bits + gate.bits + 1), coming)
        return coming

    def _remainders(self, layer: int) -> dict[int, Matrix]:
        """|C(z_j, .)| for the open gates j of a layer: what several rows share."""
        if layer not in self._pulled:
            gate = self.gates[layer]
            units = [[int(i == j) for j in range(len(gate.alpha))] for i in gate.open]
            self._pulled[layer] = {
                source: Matrix(part.rows, len(part.rows[0]), part.bits).magnitude
                for source, part in self.pull(layer, Scaled(units, 0)).items()
            }
        return self._pulled[layer]

    def mean_split(self, seed: Scaled) -> tuple[dict[int, Ends], Scaled, Rows]:
        """Intervals of all adjoints; and centre and radius of the elements."""
        centers = self.pull(len(self.gates), seed)
        spread = {k: [[0] * len(row) for row in center.rows] for k, center in centers.items()}
        for k in range(len(self.gates) - 1, -1, -1):
            gate, center = self.gates[k], centers[k]
            if not gate.open:
                continue

            def weight(x: int, more: int, low: int, high: int, old: int, drop: int) -> int:
                return shift_up((cut(abs(x), old, self.bits, True) + more) * (high - low), drop)

            weights = [
                [
                    weight(row[i], more[i], gate.alpha[i], gate.beta[i], center.bits, gate.bits + 1)
                    for i in gate.open
                ]
                for row, more in zip(center.rows, spread[k], strict=True)
            ]
            for source, matrix in self._remainders(k).items():
                accumulate(spread[source], matrix, weights)
        ends: dict[int, Ends] = {}
        for k, center in centers.items():
            lower, upper = center.ends(self.bits)
            ends[k] = each(sub, lower, spread[k]), each(add, upper, spread[k])
        self._narrow(seed, ends)
        return ends, centers[-1], spread[-1]

    def _narrow(self, seed: Scaled, ends: dict[int, Ends]) -> None:
        """Intersect with interval arithmetic through the backward graph, from the outputs."""
        total: dict[int, Ends] = {}
        for k in range(len(self.gates), -2, -1):
            lower, upper = seed.ends(self.bits) if k == len(self.gates) else total.pop(k)
            if k < len(self.gates):
                ends[k] = each(max, ends[k][0], lower), each(min, ends[k][1], upper)
            if k < 0:
                return
            if k < len(self.gates):
                lower, upper = _products(self.gates[k], ends[k])
            for source, matrix in self.forms[k].parts.items():
                middle = matrix.after(each(add, lower, upper))
                radius = matrix.magnitude.after(each(sub, upper, lower))
                ends_there = Scaled(each(sub, middle, radius), matrix.bits + 1 + self.bits)
                low = ends_there.ends(self.bits)[0]
                high = Scaled(each(add, middle, radius), ends_there.bits).ends(self.bits)[1]
                old = total.get(source)
                total[source] = (
                    (low, high)
                    if old is None
                    else (each(add, old[0], low), each(add, old[1], high))
                )

    def narrow_by_lines(self, seed: Scaled, ends: dict[int, Ends], whole: bool) -> None:
        """Narrow intervals by linear propagation, row by row, from the outputs to the input;
        without `whole`, only elements of open sign."""
        for row in range(len(seed.rows)):
            for layer in range(len(self.gates) - 1, -2, -1):
                lower, upper = ends[layer][0][row], ends[layer][1][row]
                if layer >= 0:
                    indices = self.gates[layer].open
                else:
                    indices = [j for j, a in enumerate(lower) if whole or a < 0 < upper[j]]
                one, size = 1 << self.bits, len(lower)
                start = [[s * (i == j) for j in range(size)] for s in (one, -one) for i in indices]
                found = self.uppers(seed, row, ends, layer, start)
                for place, i in enumerate(indices):
                    upper[i] = min(upper[i], found[place])
                    lower[i] = max(lower[i], -found[place + len(indices)])

    def uppers(
        self, seed: Scaled, row: int, ends: Mapping[int, Ends], layer: int, start: Rows
    ) -> list[int]:
        """Upper bounds of linear functions, at 2^-P, of the adjoints of `layer`, for one row.

        A gate's output d g lies between the two-slope functions max and min of alpha g, beta g:
        each is replaced by a line on g's interval. What rounding a coefficient drops, less than a
        unit, is charged by the reach of what it multiplies.
        """
        bits = self.bits
        totals = [0] * len(start)  # at 2^-(2 bits)
        on = {layer: start}
        for m in range(layer + 1, len(self.forms)) if start else ():
            self.problem.clock.check()
            last = m == len(self.gates)
            rows: Rows | None = None
            spans = [] if last else paired(Span, ends[m][0][row], ends[m][1][row])
            slopes = [] if last else list(zip(self.gates[m].alpha, self.gates[m].beta, strict=True))
            for source, matrix in self.forms[m].parts.items():
                if source not in on:
                    continue
                made = matrix.transposed.after(on[source])
                if last:  # the adjoint is the seed itself
                    for t, line in enumerate(made):
                        value = sum(paired(mul, line, seed.rows[row]))
                        totals[t] += cut(value, bits + matrix.bits + seed.bits, 2 * bits, True)
                    continue
                reach = [
                    shift_up(magnitude(*slope) * magnitude(*span), self.gates[m].bits)
                    for slope, span in zip(slopes, spans, strict=True)
                ]
                divide(made, matrix.bits, reach, totals)
                rows = made if rows is None else each(add, rows, made)
            if rows is None:
                continue
            lift = SLOPE - self.gates[m].bits
            lines = [
                (
                    TwoSlopes(a << lift, b << lift).line(span, bits, True),
                    TwoSlopes(b << lift, a << lift).line(span, bits, False),
                )
                for (a, b), span in zip(slopes, spans, strict=True)
            ]
            for t, line in enumerate(rows):
                chosen = [lines[j][q < 0] for j, q in enumerate(line)]
                totals[t] += sum(
                    q * intercept for q, (_, intercept) in zip(line, chosen, strict=True)
                )
                line[:] = [q * slope for q, (slope, _) in zip(line, chosen, strict=True)]
            divide(rows, SLOPE, [magnitude(*span) for span in spans], totals)
            on[m] = rows
        return [shift_up(total, bits) for total in totals]


def _products(gate: Gates, ends: Ends) -> Ends:
    """Intervals of d g, row by row."""
    lower, upper = [], []
    for row in zip(*ends, strict=True):
        corners = [
            (a * low, a * high, b * low, b * high)
            for a, b, low, high in zip(gate.alpha, gate.beta, *row, strict=True)
        ]
        lower.append([min(four) >> gate.bits for four in corners])
        upper.append([shift_up(max(four), gate.bits) for four in corners])
    return lower, upper


def accumulate(total: Rows, matrix: Matrix, rows: Rows) -> None:
    """Add rows times the matrix, rounded up."""
    for old, new in zip(total, matrix.after(rows), strict=True):
        for j, value in enumerate(new):
            old[j] += shift_up(value, matrix.bits)


def blurring(problem: Problem, seed: Scaled) -> Rows | None:
    """How far the coefficients' blur can move each element, at 2^-P (README 4.5); None: not."""
    network, bits = problem.network, problem.bits
    if not any(form.blur for form in network.forms):
        return None
    widths = {-1: network.inputs} | {k: form.size for k, form in enumerate(network.layers)}
    size, error = ({k: [[0] * n for _ in seed.rows] for k, n in widths.items()} for _ in range(2))
    sizes = [[cut(abs(x), seed.bits, bits, True) for x in row] for row in seed.rows]
    errors = [[0] * len(row) for row in seed.rows]
    for k in range(len(network.layers), -1, -1):
        form = network.forms[k]
        if k < len(network.layers):
            function = network.activations[k]
            spans = [
                function.gate(Span(a, b), bits) for a, b in zip(*problem.first[k], strict=True)
            ]
            steep = [magnitude(*span) for span in spans]
            sizes, errors = (
                [[shift_up(x * s, SLOPE) for x, s in zip(row, steep, strict=True)] for row in rows]
                for rows in (size[k], error[k])
            )
        for source, matrix in form.parts.items():
            accumulate(size[source], matrix.magnitude, sizes)
            accumulate(error[source], matrix.magnitude, errors)
            if source in form.blur:
                accumulate(error[source], form.blur[source], errors)
                accumulate(error[source], form.blur[source], sizes)
    return error[-1]
