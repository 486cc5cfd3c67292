"""Intervals of preactivations: interval arithmetic, and linear bounds by back-substitution with the
multipliers of the certificate (README 4.1 to 4.3)."""

from collections.abc import Mapping, Sequence
from operator import add, sub
from typing import Any

from lipverify.checker.activations import SLOPE, Line, Span
from lipverify.checker.archive import Clock
from lipverify.checker.errors import Rejected
from lipverify.checker.exact import (
    Rows,
    down,
    each,
    floats,
    magnitude,
    paired,
    quotient_up,
    shift_up,
    up,
)
from lipverify.checker.network import Affine, Network
from lipverify.checker.region import Region

Conflict = tuple[int, int, int, int, int, int]
Ends = tuple[list[int], list[int]]


class Problem:
    """The network on a region: what does not change from node to node. Everything at 2^-bits.

    `bias` per form: enclosure of the constant, with what the coefficients' blur can do on the
    region. `reach` per layer, -1 the input: above |a| there; `preactivation_reach` above |z|.
    """

    def __init__(self, network: Network, region: Region, bits: int, clock: Clock) -> None:
        self.network, self.region, self.bits, self.clock = network, region, bits, clock
        self.reach = {-1: paired(magnitude, region.lower, region.upper)}
        self.preactivation_reach: list[list[int]] = []
        self.bias: list[Ends] = []
        values = {-1: (region.lower, region.upper)}
        self.first: list[Ends] = []
        for layer, form in enumerate(network.forms):
            clock.check()
            self.bias.append(self._bias(form))
            lower, upper = self.interval(layer, values)
            self.output_reach = paired(magnitude, lower, upper)
            if layer < len(network.layers):
                self.first.append((lower, upper))
                self.preactivation_reach.append(paired(magnitude, lower, upper))
                values[layer] = self.values(layer, lower, upper)
                self.reach[layer] = paired(magnitude, *values[layer])

    def _bias(self, form: Affine) -> Ends:
        spread = [up(value, self.bits) for value in form.bias_blur]
        for source, blur in form.blur.items():
            charge = blur.transposed.after([self.reach[source]])[0]
            spread = paired(add, spread, [shift_up(value, blur.bits) for value in charge])
        ends = [down(b, self.bits) for b in form.bias], [up(b, self.bits) for b in form.bias]
        return paired(sub, ends[0], spread), paired(add, ends[1], spread)

    def interval(self, layer: int, values: Mapping[int, Ends]) -> Ends:
        """Preactivations from intervals of everything before."""
        lower, upper = self.bias[layer]
        for source, matrix in self.network.forms[layer].parts.items():
            low, high = values[source]
            middle = matrix.transposed.after([paired(add, low, high)])[0]
            radius = matrix.magnitude.transposed.after([paired(sub, high, low)])[0]
            drop = matrix.bits + 1
            lower = [x + (m - r >> drop) for x, m, r in zip(lower, middle, radius, strict=True)]
            upper = [
                x + shift_up(m + r, drop) for x, m, r in zip(upper, middle, radius, strict=True)
            ]
        return lower, upper

    def values(self, layer: int, lower: list[int], upper: list[int]) -> Ends:
        function = self.network.activations[layer]
        spans = [function.range(Span(a, b), self.bits) for a, b in zip(lower, upper, strict=True)]
        return [span.lower for span in spans], [span.upper for span in spans]


class Known:
    """What has been proved at a node: intervals, box, conflicts. Children start from a copy."""

    def __init__(self, problem: Problem, parent: "Known | None" = None) -> None:
        self.problem = problem
        if parent is None:
            self.lower = [list(lower) for lower, _ in problem.first]
            self.upper = [list(upper) for _, upper in problem.first]
            self.box = problem.region.lower, problem.region.upper
            self.conflicts: tuple[Conflict, ...] = ()
            self.empty = False
            self._lines: list[dict[int, tuple[Line, Line]]] = [{} for _ in self.lower]
            self._own = set(range(len(self.lower)))
        else:
            self.lower, self.upper = list(parent.lower), list(parent.upper)
            self.box, self.conflicts, self.empty = parent.box, parent.conflicts, parent.empty
            self._lines = list(parent._lines)
            self._own = set()
        self.version = 0
        """Grows with every change."""

    def span(self, layer: int, neuron: int) -> Span:
        return Span(self.lower[layer][neuron], self.upper[layer][neuron])

    def is_open(self, layer: int, neuron: int) -> bool:
        return self.problem.network.activations[layer].open(
            self.span(layer, neuron), self.problem.bits
        )

    def cut(self, layer: int, neuron: int, lower: int | None, upper: int | None) -> None:
        """Intersect an interval."""
        low, high = self.span(layer, neuron)
        new_low = low if lower is None else max(low, lower)
        new_high = high if upper is None else min(high, upper)
        if (new_low, new_high) == (low, high):
            return
        if layer not in self._own:
            self.lower[layer], self.upper[layer] = list(self.lower[layer]), list(self.upper[layer])
            self._lines[layer] = dict(self._lines[layer])
            self._own.add(layer)
        self.lower[layer][neuron], self.upper[layer][neuron] = new_low, new_high
        self._lines[layer].pop(neuron, None)
        self.version += 1
        if new_low > new_high:
            self.empty = True

    def cut_box(self, index: int, lower: int | None, upper: int | None) -> None:
        low, high = (list(end) for end in self.box)
        if lower is not None:
            low[index] = max(low[index], lower)
        if upper is not None:
            high[index] = min(high[index], upper)
        self.box = low, high
        self.version += 1
        if low[index] > high[index]:
            self.empty = True

    def use_conflicts(self) -> None:
        """Cut neurons whose partner lies on its side of a conflict."""
        changed = True
        while changed and not self.empty:
            before = self.version
            for pair in self.conflicts:
                for k, i, s, other, j, side in (pair, (*pair[3:], *pair[:3])):
                    low, high = self.span(k, i)
                    if (low >= 0) if s > 0 else (high <= 0):
                        self.cut(other, j, *((None, 0) if side > 0 else (0, None)))
            changed = self.version != before

    def intervals(self) -> None:
        """Interval arithmetic from the box, layer by layer."""
        problem = self.problem
        values = {-1: self.box}
        for layer in range(len(self.lower)):
            problem.clock.check()
            for neuron, ends in enumerate(zip(*problem.interval(layer, values), strict=True)):
                self.cut(layer, neuron, *ends)
            if self.empty:
                return
            values[layer] = problem.values(layer, self.lower[layer], self.upper[layer])

    def lines(self, layer: int, neuron: int) -> tuple[Line, Line]:
        """The default lines above and below."""
        found = self._lines[layer].get(neuron)
        if found is None:
            function, span = self.problem.network.activations[layer], self.span(layer, neuron)
            found = (
                function.line(span, self.problem.bits, True),
                function.line(span, self.problem.bits, False),
            )
            self._lines[layer][neuron] = found
        return found


class Multipliers:
    """The slopes and betas of one back-substitution with `targets` targets."""

    def __init__(self, known: Known, entries: Sequence[Mapping[str, Any]], targets: int) -> None:
        self.known = known
        self._slopes: dict[int, list[tuple[bool, list[int], list[list[int]]]]] = {}
        self.betas: dict[int, list[tuple[list[int], list[list[int]]]]] = {}
        sizes = [form.size for form in known.problem.network.layers]
        for entry in entries:
            layer = entry["layer"]
            if layer >= len(sizes):
                raise Rejected(f"multipliers of layer {layer}: there are {len(sizes)} layers")
            neurons = entry.get("neurons", list(range(sizes[layer])))
            if any(i >= sizes[layer] for i in neurons) or len(set(neurons)) < len(neurons):
                raise Rejected(f"multipliers of layer {layer}: neurons that do not exist, or twice")
            for name in ("lower", "upper", "beta"):
                if name not in entry:
                    continue
                numbers = floats(entry[name], f"{name} of layer {layer}")
                if len(numbers) not in (len(neurons), targets * len(neurons)):
                    raise Rejected(
                        f"{name} of layer {layer}: {len(numbers)} numbers; {len(neurons)} neurons, "
                        f"{targets} targets"
                    )
                grid = known.problem.bits if name == "beta" else SLOPE
                fixed = [down(number, grid) for number in numbers]
                step = len(neurons)
                blocks = [fixed[t : t + step] for t in range(0, len(fixed), step)] if step else []
                if name == "beta":
                    self.betas.setdefault(layer, []).append((neurons, blocks))
                else:
                    self._slopes.setdefault(layer, []).append((name == "upper", neurons, blocks))

    def lines(self, layer: int, count: int) -> list[list[tuple[Line, Line]]]:
        """Lines above and below each neuron: one list for all targets, or one per target."""
        known, bits = self.known, self.known.problem.bits
        function = known.problem.network.activations[layer]
        base = [known.lines(layer, i) for i in range(len(known.lower[layer]))]
        chosen = [entry for entry in self._slopes.get(layer, []) if entry[2]]
        own = any(len(blocks) > 1 for _, _, blocks in chosen)
        every = [list(base) for _ in range(count if own else 1)]
        for above, neurons, blocks in chosen:
            for t, lines in enumerate(every):
                for i, slope in zip(neurons, blocks[min(t, len(blocks) - 1)], strict=True):
                    line = Line(slope, function.intercept(slope, known.span(layer, i), bits, above))
                    lines[i] = (line, lines[i][1]) if above else (lines[i][0], line)
        return every


def uppers(
    known: Known,
    start: Mapping[int, Rows],
    count: int,
    entries: Sequence[Mapping[str, Any]],
    constant: Sequence[int] = (),
) -> list[int]:
    """Upper bounds, at 2^-bits, of `count` linear functions of preactivations.

    `start[k]` [count, size of layer k] are coefficients at 2^-bits; k = number of layers: the
    outputs. `constant` at 2^-(2 bits).
    """
    problem = known.problem
    network, bits = problem.network, problem.bits
    multipliers = Multipliers(known, entries, count)
    totals = list(constant) or [0] * count  # at 2^-(2 bits)
    coming: dict[int, Rows] = {}
    for layer in range(max([*start, *multipliers.betas], default=-1), -1, -1):
        problem.clock.check()
        form = network.forms[layer]
        rows = (
            [list(row) for row in start[layer]]
            if layer in start
            else [[0] * form.size for _ in range(count)]
        )
        if layer in coming:
            rows = _through(known, multipliers, layer, coming.pop(layer), rows, totals)
        for neurons, blocks in multipliers.betas.get(layer, ()):
            for t in range(count):
                for i, beta in (
                    zip(neurons, blocks[min(t, len(blocks) - 1)], strict=True) if blocks else ()
                ):
                    end = known.upper if beta > 0 else known.lower
                    totals[t] += beta * end[layer][i]
                    rows[t][i] -= beta
        lower, upper = problem.bias[layer]
        for t, row in enumerate(rows):
            totals[t] += sum(
                b * (high if b > 0 else low)
                for b, low, high in zip(row, lower, upper, strict=True)
                if b
            )
        for source, matrix in form.parts.items():
            made = matrix.after(rows)
            divide(made, matrix.bits, problem.reach[source], totals)
            old = coming.get(source)
            coming[source] = (
                made
                if old is None
                else [
                    [x + y for x, y in zip(a, b, strict=True)]
                    for a, b in zip(old, made, strict=True)
                ]
            )
    for t, row in enumerate(coming.get(-1, ())):
        lower, upper = known.box
        boxed = sum(
            a * (high if a > 0 else low)
            for a, low, high in zip(row, lower, upper, strict=True)
            if a
        )
        if problem.region.ball:
            boxed = min(boxed, problem.region.ball.support(row, lower, upper, bits))
        totals[t] += boxed
    return [shift_up(total, bits) for total in totals]


def _through(
    known: Known,
    multipliers: Multipliers,
    layer: int,
    coming: Rows,
    rows: Rows,
    totals: list[int],
) -> Rows:
    """Replace an activation's values by lines; the sum of coefficients on z with `rows`."""
    every = multipliers.lines(layer, len(coming))
    for t, row in enumerate(coming):
        lines = every[t if len(every) > 1 else 0]
        for i, a in enumerate(row):
            if a:
                slope, intercept = lines[i][a < 0]
                totals[t] += a * intercept
                row[i] = a * slope
    divide(coming, SLOPE, known.problem.preactivation_reach[layer], totals)
    return each(add, coming, rows)


def divide(rows: Rows, bits: int, reach: list[int], totals: list[int]) -> None:
    """Coefficients divided by 2^bits, in place; what rounding down drops, less than a unit of each,
    is charged to the totals by the reach of what it multiplies."""
    for t, row in enumerate(rows):
        charge = 0
        for j, value in enumerate(row):
            if value:
                part = value >> bits
                if part << bits != value:
                    charge += reach[j]
                row[j] = part
        totals[t] += charge


def bound(known: Known, step: Mapping[str, Any]) -> None:
    """The step `bound`: linear bounds of preactivations of one layer."""
    problem = known.problem
    layer, asked = step.get("layer"), step.get("neurons", "open")
    if layer is None or layer >= len(known.lower):
        raise Rejected(f"step bound: no layer {layer}")
    size = len(known.lower[layer])
    if asked == "all":
        neurons = list(range(size))
    elif asked == "open":
        neurons = [i for i in range(size) if known.is_open(layer, i)]
    else:
        neurons = asked
    if any(i >= size for i in neurons):
        raise Rejected(f"step bound: layer {layer} has {size} neurons")
    sides = {"both": (1, -1), "upper": (1,), "lower": (-1,)}[step.get("sides", "both")]
    targets = [(i, side) for side in sides for i in neurons]
    if not targets:
        return
    scales = [1.0] * len(targets)
    if "scale" in step:
        scales = floats(step["scale"], "scale")
        if len(scales) != len(targets) or min(scales) <= 0:
            raise Rejected(f"scale: expected {len(targets)} numbers > 0")
    fixed = [down(scale, problem.bits) for scale in scales]
    if not all(fixed):
        raise Rejected("scale: a number is too small for the precision")
    rows = []
    for (i, side), scale in zip(targets, fixed, strict=True):
        row = [0] * size
        row[i] = side * scale
        rows.append(row)
    found = uppers(known, {layer: rows}, len(rows), step.get("multipliers", ()))
    for (i, side), scale, value in zip(targets, fixed, found, strict=True):
        end = quotient_up(value << problem.bits, scale)
        known.cut(layer, i, *((None, end) if side > 0 else (-end, None)))
    known.use_conflicts()


def conflicts(known: Known, step: Mapping[str, Any]) -> None:
    """The step `conflicts`: pairs of neurons that are never on the given sides of 0 at once."""
    problem = known.problem
    pairs = [tuple(pair) for pair in step.get("pairs", ())]
    weights = floats(step.get("weights", ""), "weights")
    sizes = [len(lower) for lower in known.lower]
    if len(weights) != len(pairs) or any(not 0 <= w <= 1 for w in weights):
        raise Rejected("step conflicts: expected one weight in [0, 1] per pair")
    start: dict[int, Rows] = {}
    one = 1 << problem.bits
    for t, (pair, weight) in enumerate(zip(pairs, weights, strict=True)):
        share = down(weight, problem.bits)
        for (k, i, s), part in ((pair[:3], share), (pair[3:], one - share)):
            if not (0 <= k < len(sizes) and 0 <= i < sizes[k] and s in (-1, 1)):
                raise Rejected(f"step conflicts: {list(pair)} names no two sides of neurons")
            rows = start.setdefault(k, [[0] * sizes[k] for _ in pairs])
            rows[t][i] += s * part
    found = uppers(known, start, len(pairs), step.get("multipliers", ())) if pairs else []
    for pair, value in zip(pairs, found, strict=True):
        if value >= 0:
            raise Rejected(f"step conflicts: {list(pair)} is not proved: {value / one:.6g} >= 0")
        known.conflicts += (pair,)  # type: ignore[assignment]
    known.use_conflicts()
