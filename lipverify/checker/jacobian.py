"""Enclosures of rows of the Jacobian (README 4.5, 4.6): the mean-split, and the backward graph.

The adjoint of layer k is d(row f) / d a_k; layer -1 is the input, whose adjoints are the row's
elements. Gates have slopes in [alpha, beta].
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from math import gcd
from operator import add, mul, sub

from lipverify.checker.activations import ABS, SLOPE, Span, TwoSlopes
from lipverify.checker.exact import Matrix, at, common, magnitude, paired, regrid, regrid_up
from lipverify.checker.forward import Ends, Entries, Known, Problem, bound, intervals, uppers
from lipverify.checker.network import Affine, Network
from lipverify.checker.region import Region


@dataclass
class Gates:
    """Slopes of one layer's gates at 2^-bits, without common zeros behind."""

    alpha: list[int]
    beta: list[int]
    bits: int

    @cached_property
    def widths(self) -> list[int]:
        return paired(sub, self.beta, self.alpha)

    @cached_property
    def open(self) -> list[int]:
        return [i for i, width in enumerate(self.widths) if width]

    @cached_property
    def functions(self) -> list[tuple[TwoSlopes, TwoSlopes]]:
        """g -> d g lies between the smaller and the larger one of alpha g and beta g."""
        scaled = [[end << SLOPE - self.bits for end in ends] for ends in (self.alpha, self.beta)]
        below = [TwoSlopes(b, a) for a, b in zip(*scaled, strict=True)]
        return [(f, TwoSlopes(f.above, f.below) if f.above < f.below else f) for f in below]


@dataclass(frozen=True)
class Row:
    """What is known about one row of the Jacobian: the intervals of all adjoints, those of layer k
    as layer L - 1 - k of `known`, the elements as layer L. Elements are also within `radius` of
    `center`; `blur` is how far those of the true network may be from the rounded one's."""

    known: Known
    center: Matrix
    radius: list[int]
    blur: list[int]

    def ends(self, layer: int) -> Ends:
        return self.known.ends[self.known.problem.count - 2 - layer]

    def magnitudes(self, layer: int = -1) -> list[int]:
        return paired(magnitude, *self.ends(layer))

    def upper(self, input_: int | None, sign: int, entries: Entries) -> int:
        """An upper bound of the sum of all |elements|, or of one element with its sign, by linear
        propagation; `entries` are slopes for the gates."""
        last, bits = self.known.problem.count, self.known.problem.bits
        turned = [{**entry, "layer": last - 2 - entry["layer"]} for entry in entries]
        if input_ is None:
            return uppers(self.known, {last: [[1 << bits]]}, 1, turned)[0]
        row = [(sign << bits) * (j == input_) for j in range(self.center.columns)]
        return uppers(self.known, {last - 1: [row]}, 1, turned)[0]


class Backward:
    """The backward graph at one node: gates there, and enclosures of the rows asked for."""

    def __init__(self, known: Known, rows: Sequence[Sequence[Fraction]], whole: bool) -> None:
        """`whole`: lines bound all elements, not only those of open sign."""
        self.known, self.rows, self.whole = known, rows, whole
        self.problem, self.bits, self.forms = known.problem, known.problem.bits, known.problem.forms
        self.gates = [self._gates(layer) for layer in range(self.problem.count)]
        self._remainders: dict[int, dict[int, Matrix]] = {}
        self._found: dict[tuple[int, bool], Row] = {}

    def _gates(self, layer: int) -> Gates:
        spans = paired(Span, *self.known.ends[layer])
        functions = zip(self.problem.functions[layer], spans, strict=True)
        slopes = [function.gate(span, self.bits) for (function, _), span in functions]
        unit = gcd(1 << SLOPE, *(end for slope in slopes for end in slope))
        alpha, beta = ([end // unit for end in ends] for ends in zip(*slopes, strict=True))
        return Gates(alpha, beta, SLOPE + 1 - unit.bit_length())

    def push(self, layer: int, rows: Matrix, coming: dict[int, Matrix]) -> None:
        """From adjoints of preactivations to those of what they are made of."""
        self.problem.clock.check()
        for source, matrix in self.forms[layer].parts.items():
            coming[source] = matrix.of(rows).plus(coming.get(source))

    def _pull(self, layer: int, rows: Matrix) -> dict[int, Matrix]:
        """Adjoints of all layers before preactivations `layer`, every gate at its mean."""
        coming: dict[int, Matrix] = {}
        self.push(layer, rows, coming)
        for k in range(layer - 1, -1, -1):
            if k in coming:
                gate, rows = self.gates[k], coming[k]
                means = paired(add, gate.alpha, gate.beta)
                turned = [paired(mul, row, means) for row in rows.rows]
                self.push(k, Matrix(turned, rows.columns, rows.bits + gate.bits + 1), coming)
        return coming

    def _remainder(self, layer: int) -> Mapping[int, Matrix]:
        """|C(z_j, .)| for the open gates j of a layer: what several rows share."""
        if layer not in self._remainders:
            size = self.forms[layer].size
            units = [[int(i == j) for j in range(size)] for i in self.gates[layer].open]
            pulled = self._pull(layer, Matrix(units, size, 0))
            self._remainders[layer] = {k: part.magnitude for k, part in pulled.items()}
        return self._remainders[layer]

    def row(self, row: int, lines: bool) -> Row:
        """By the mean-split and interval arithmetic; with `lines`, narrowed by linear propagation
        from the outputs to the input."""
        if (row, lines) not in self._found:
            if lines:
                found = self.row(row, False)
                found = replace(found, known=found.known.child())
                for layer in range(found.known.problem.count):
                    every = self.whole and layer == self.problem.count
                    bound(found.known, {"layer": layer, "neurons": "all" if every else "open"})
            else:
                found = self._mean_split(self.rows[row])
            self._found[row, lines] = found
        return self._found[row, lines]

    def _mean_split(self, row: Sequence[Fraction]) -> Row:
        bits = common([row])
        seed, last = Matrix([at(row, bits)], len(row), bits), len(self.gates)
        functions = [*(gates.functions for gates in reversed(self.gates))]
        functions.append([(ABS, ABS)] * self.problem.network.inputs)
        area, clock = Region([], [], None, None), self.problem.clock
        known = Known(Problem(self._mirrored(seed), area, self.bits, clock, functions))
        spread = self._blurring(known.problem)
        size = self.problem.network.inputs
        blur, centers = spread[-1], {-1: Matrix([[0] * size], size, 0), **self._pull(last, seed)}
        for k in range(last - 1, -1, -1):
            gate, center = self.gates[k], centers[k]
            if gate.open:
                above = [regrid_up(abs(x), center.bits, self.bits) for x in center.rows[0]]
                above = paired(mul, paired(add, above, spread[k]), gate.widths)
                sizes = [regrid_up(above[i], gate.bits + 1, 0) for i in gate.open]
                for source, matrix in self._remainder(k).items():
                    spread[source] = paired(add, spread[source], matrix.above(sizes))
        for k, center in centers.items():
            lower = [regrid(x, center.bits, self.bits) for x in center.rows[0]]
            upper = [regrid_up(x, center.bits, self.bits) for x in center.rows[0]]
            known.meet(last - 1 - k, paired(sub, lower, spread[k]), paired(add, upper, spread[k]))
        intervals(known, {})
        return Row(known, centers[-1], spread[-1], blur)

    def _mirrored(self, seed: Matrix) -> Network:
        """The backward graph of one row as a network: adjoints of layer k, from the last to -1,
        are preactivations; their gates' outputs, activations; the output is the sum of all
        |elements|."""
        last, layers = len(self.gates), []
        output = self.forms[last]
        for k in range(last - 1, -2, -1):
            size = self.forms[k].size if k >= 0 else self.problem.network.inputs
            behind = {last - 1 - m: self.forms[m] for m in range(k + 1, last)}
            constant, error = [Fraction(0)] * size, [Fraction(0)] * size
            if k in output.parts:
                made = output.parts[k].of(seed)
                constant = [Fraction(x, 1 << made.bits) for x in made.rows[0]]
            if k in output.blur:
                made = output.blur[k].of(seed.magnitude)
                error = [Fraction(x, 1 << made.bits) for x in made.rows[0]]
            parts = {m: form.parts[k].transposed for m, form in behind.items() if k in form.parts}
            blur = {m: form.blur[k].transposed for m, form in behind.items() if k in form.blur}
            layers.append(Affine(size, parts, constant, blur, error))
        total = Matrix([[1] * layers[-1].size], layers[-1].size, 0)
        return Network(0, [], layers, Affine(1, {last: total}, [Fraction(0)], {}, [Fraction(0)]))

    def _blurring(self, mirrored: Problem) -> dict[int, list[int]]:
        """By layer, how far adjoints of the true network may be from those of the rounded one with
        the same gates (README 4.5)."""
        found: list[list[int]] = []
        for layer, form in enumerate(mirrored.network.layers):
            total = mirrored.spread[layer]
            for source, matrix in form.parts.items():
                if any(found[source]):
                    ends = mirrored.values(source, [-x for x in found[source]], found[source])
                    total = paired(add, total, matrix.transposed.magnitude.above(ends[1]))
            found.append(total)
        return {len(self.gates) - 1 - layer: total for layer, total in enumerate(found)}
